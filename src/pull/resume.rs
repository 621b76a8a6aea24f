//! The bytes of a blob as upstream sends them. What breaks off goes on where it ended.
//!
//! Nothing is vouched for here: a second answer may come from another machine than the first. Whoever reads
//! hashes all of it, so a join of two halves that do not belong together is found at the end.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::ReadyChunks;
use tokio::time::Instant;

use crate::oci::{Claim, Repository};
use crate::telemetry::Metrics;
use crate::upstream::{BlobStream, Upstream, UpstreamError, blob_time};

/// Pieces of a response that are taken in one go when they are there already.
const PIECES_AT_ONCE: usize = 32;

/// Pauses before a try: the first, doubled each time, and the longest; plus up to as much again by chance,
/// since what breaks one download off breaks others off, too.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What a try must bring to count as getting on. Who sends less each time would be asked again as long as
/// the deadline lasts.
const GETTING_ON: u64 = 64 * 1024;

/// Which blob, and where it comes from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) upstream: Arc<Upstream>,
    pub(super) repository: Repository,
    pub(super) claim: Claim,
    pub(super) metrics: Arc<Metrics>,
}

/// A blob, or the end of one, on its way in.
pub(super) struct Arriving {
    source: Source,
    stream: Option<ReadyChunks<BlobStream>>,
    /// Offset of the byte that comes next.
    at: u64,
    /// All tries together end here.
    deadline: Instant,
    pauses: ExponentialBackoff,
    /// What came since the last pause.
    since: u64,
    /// Why there is no stream; `None` before the first.
    broken: Option<UpstreamError>,
}

impl Source {
    /// Asks for the blob; returns when the headers are here.
    ///
    /// # Errors
    /// As [`Upstream::blob_from`]. Cancel safe.
    pub(super) async fn open(&self) -> Result<Arriving, UpstreamError> {
        let mut arriving = self.go_on_at(0);
        arriving.stream = Some(self.ask(0, arriving.deadline).await?);
        Ok(arriving)
    }

    /// The blob from an offset on, of which the beginning came before. Nothing is asked yet.
    pub(super) fn go_on_at(&self, at: u64) -> Arriving {
        Arriving {
            source: self.clone(),
            stream: None,
            at,
            deadline: Instant::now() + blob_time(self.claim.size),
            pauses: pauses(&self.upstream),
            since: 0,
            broken: None,
        }
    }

    async fn ask(&self, from: u64, deadline: Instant) -> Result<ReadyChunks<BlobStream>, UpstreamError> {
        let Self { upstream, repository, claim, .. } = self;
        let stream = Box::pin(upstream.blob_from(repository, *claim, from, deadline)).await?;
        Ok(stream.ready_chunks(PIECES_AT_ONCE))
    }
}

impl Arriving {
    /// The next pieces, `None` when all are here. Cancel safe: a dropped call loses only the wait.
    ///
    /// # Errors
    /// What ended the last try, when no further one is made.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, UpstreamError> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.resume().await?;
                continue;
            };
            let Some(pieces) = stream.next().await else { return Ok(None) };
            let mut good = Vec::with_capacity(pieces.len());
            for piece in pieces {
                match piece {
                    Ok(piece) => good.push(piece),
                    Err(error) => {
                        self.broken = Some(error);
                        self.stream = None;
                    }
                }
            }
            let length: u64 = good.iter().map(|piece| piece.len() as u64).sum();
            self.at += length;
            self.since += length;
            if length > 0 {
                return Ok(Some(good));
            }
        }
    }

    /// Waits a moment and asks for the rest.
    async fn resume(&mut self) -> Result<(), UpstreamError> {
        if let Some(error) = &self.broken {
            if std::mem::take(&mut self.since) >= GETTING_ON {
                self.pauses = pauses(&self.source.upstream);
            }
            let pause = self.pauses.next().and_then(|backoff| error.pause(backoff));
            let Some(pause) = pause.filter(|pause| Instant::now() + *pause < self.deadline) else {
                return Err(error.clone());
            };
            tracing::debug!(digest = %self.source.claim.digest, at = self.at, cause = %error, "fetch interrupted; going on");
            tokio::time::sleep(pause).await;
            self.source.metrics.fill_resumed();
        }
        match self.source.ask(self.at, self.deadline).await {
            Ok(stream) => self.stream = Some(stream),
            Err(error) => self.broken = Some(error),
        }
        Ok(())
    }
}

/// Before each try. As many in a row that do not get on as requests are repeated, and within each try requests
/// are repeated, too: together that outlasts a restart over there.
fn pauses(upstream: &Upstream) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(upstream.retries())
        .with_jitter()
        .build()
}
