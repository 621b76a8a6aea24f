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

/// So many bytes are gathered before they go to another thread, for at most so long: each such step costs as much as
/// hashing 16 KiB, and what is more than this is no longer near the processor when it is hashed. The first piece
/// of a blob goes on at once, since somebody waits for it.
pub(super) const ENOUGH: u64 = 256 * 1024;
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
    enough: u64,
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
    /// Asks for the blob; returns when the headers are here. `on_turn` is called when upstream is asked. So much of
    /// it is gathered before it goes on: see [`ENOUGH`].
    ///
    /// # Errors
    /// As [`Upstream::blob_from`]. Cancel safe.
    pub(super) async fn open(&self, enough: u64, on_turn: impl FnOnce() + Send) -> Result<Arriving, UpstreamError> {
        let mut arriving = self.go_on_at(0, enough);
        arriving.stream = Some(self.ask(0, arriving.deadline, on_turn).await?);
        Ok(arriving)
    }

    /// The blob from an offset on, of which the beginning came before. Nothing is asked yet.
    pub(super) fn go_on_at(&self, at: u64, enough: u64) -> Arriving {
        Arriving {
            enough,
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

    async fn ask(
        &self,
        from: u64,
        deadline: Instant,
        on_turn: impl FnOnce() + Send,
    ) -> Result<Fuse<BlobStream>, UpstreamError> {
        let Self { upstream, repository, claim, .. } = self;
        Ok(Box::pin(upstream.blob_from(repository, *claim, from, deadline, on_turn)).await?.fuse())
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
                // It brings nothing on, and must not count as if it did.
                Some(Ok(piece)) if piece.is_empty() => {}
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
        self.gathered_bytes >= self.enough
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
        match self.source.ask(self.at, self.deadline, || ()).await {
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::oci::Digest;
    use crate::tasks::Tasks;
    use crate::upstream::{NetworkOptions, Proxy, UpstreamOptions, Upstreams};

    /// From an upstream that sends these pieces, each after so long.
    async fn arriving(enough: u64, pieces: impl Into<Vec<(Duration, &'static [u8])>>) -> Arriving {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let pieces = pieces.into();
        let size = pieces.iter().map(|(_, piece)| piece.len() as u64).sum();
        Tasks::new().spawn("upstream", async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            assert_ne!(socket.read(&mut [0; 4096]).await.unwrap(), 0);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            for (pause, piece) in pieces {
                tokio::time::sleep(pause).await;
                socket.write_all(piece).await.unwrap();
            }
        });
        let network = NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
        let repository: Repository = "far.test/app".parse().unwrap();
        let upstreams = vec![UpstreamOptions::new(repository.registry().clone(), url)];
        let upstream = Upstreams::new(upstreams, network).unwrap().get(repository.registry()).unwrap();
        let claim = Claim { digest: Digest::of(b"of no interest"), size };
        let source = Source { upstream, repository, claim, metrics: Arc::default() };
        source.open(enough, || ()).await.unwrap()
    }

    /// The lengths of what goes on.
    async fn steps(mut arriving: Arriving) -> Vec<usize> {
        let mut steps = Vec::new();
        while let Some(pieces) = arriving.next().await.unwrap() {
            steps.push(pieces.iter().map(Bytes::len).sum());
        }
        steps
    }

    const LONG: Duration = Duration::from_millis(300);
    const NOW: Duration = Duration::ZERO;
    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn the_first_piece_goes_on_at_once_and_what_follows_is_gathered_for_a_moment() {
        let pieces: &[(Duration, &[u8])] = &[(NOW, b"1"), (LONG, b"22"), (LONG, b"333")];
        let lines: [(u64, &[usize]); 2] = [(ENOUGH, &[1, 2, 3]), (1, &[1, 2, 3])];
        for (enough, want) in lines {
            assert_eq!(steps(arriving(enough, pieces).await).await, want);
        }
        let many: Vec<_> = std::iter::once((LONG, &b"1"[..])).chain((0..100).map(|_| (MOMENT, &b"x"[..]))).collect();
        let (gathered, each) =
            (steps(arriving(ENOUGH, many.clone()).await).await, steps(arriving(1, many).await).await);
        assert_eq!((gathered[0], gathered.iter().sum::<usize>(), each.iter().sum()), (1, 101, 101usize));
        assert!(gathered.len() < each.len(), "{gathered:?} {each:?}");
    }
}
