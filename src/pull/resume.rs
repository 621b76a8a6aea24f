//! The bytes of a blob as upstream sends them. What breaks off goes on where it ended.
//!
//! Nothing is vouched for here: a second answer may come from another machine than the first. Whoever reads
//! hashes all of it, so a join of two halves that do not belong together is found at the end.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::Fuse;
use tokio::time::{Instant, timeout_at};

use crate::oci::{Claim, Repository};
use crate::telemetry::Metrics;
use crate::upstream::{BlobStream, Upstream, UpstreamError, blob_time};

/// So many bytes are gathered before they go on, for at most so long: each step to another thread costs as much as
/// hashing 16 KiB, and what is more than this is no longer near the processor when it is hashed. The first piece
/// of a blob goes on at once, since somebody waits for it.
const ENOUGH: u64 = 256 * 1024;
const GATHERING: Duration = Duration::from_millis(5);

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
    stream: Option<Fuse<BlobStream>>,
    /// Offset of the byte that comes next.
    at: u64,
    /// What came and did not go on yet, and how much that is.
    gathered: Vec<Bytes>,
    gathered_bytes: u64,
    /// All tries together end here.
    deadline: Instant,
    pauses: ExponentialBackoff,
    /// Something of it went on.
    has_begun: bool,
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
            gathered: Vec::new(),
            gathered_bytes: 0,
            deadline: Instant::now() + blob_time(self.claim.size),
            pauses: pauses(&self.upstream),
            has_begun: false,
            since: 0,
            broken: None,
        }
    }

    async fn ask(&self, from: u64, deadline: Instant) -> Result<Fuse<BlobStream>, UpstreamError> {
        let Self { upstream, repository, claim, .. } = self;
        Ok(Box::pin(upstream.blob_from(repository, *claim, from, deadline)).await?.fuse())
    }
}

impl Arriving {
    /// The next pieces, `None` when all are here. Cancel safe: a dropped call loses only the wait.
    ///
    /// # Errors
    /// What ended the last try, when no further one is made.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Bytes>>, UpstreamError> {
        let mut until = None;
        while !self.has_enough() {
            let Some(stream) = &mut self.stream else {
                if self.gathered_bytes > 0 {
                    break;
                }
                self.resume().await?;
                continue;
            };
            let piece = match until {
                None => stream.next().await,
                Some(until) => match timeout_at(until, stream.next()).await {
                    Ok(piece) => piece,
                    Err(_elapsed) => break,
                },
            };
            match piece {
                None => break,
                Some(Ok(piece)) => {
                    self.at += piece.len() as u64;
                    self.since += piece.len() as u64;
                    self.gathered_bytes += piece.len() as u64;
                    self.gathered.push(piece);
                    until.get_or_insert_with(|| Instant::now() + GATHERING);
                }
                Some(Err(error)) => {
                    self.broken = Some(error);
                    self.stream = None;
                }
            }
        }
        self.gathered_bytes = 0;
        self.has_begun = true;
        let gathered = std::mem::take(&mut self.gathered);
        Ok((!gathered.is_empty()).then_some(gathered))
    }

    /// Whether what is gathered should go on.
    fn has_enough(&self) -> bool {
        self.gathered_bytes >= ENOUGH
            || (self.gathered_bytes > 0 && (!self.has_begun || self.at >= self.source.claim.size))
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
