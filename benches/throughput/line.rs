//! An upstream at the end of a line: so far away, so many bytes a second for all who ask together.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay::demo::{Server, Shelf};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;

/// What is put onto the line in one go.
const PIECE: usize = 128 * 1024;
/// What may be made up for when a timer is late.
const LAG: Duration = Duration::from_millis(5);

/// What a line is like.
#[derive(Clone, Copy)]
pub struct Line {
    pub name: &'static str,
    /// Until an answer begins.
    pub away: Duration,
    /// Bytes a second; `None`: as fast as it goes.
    pub rate: Option<f64>,
}

/// An honest registry at its end.
pub struct FarUpstream {
    server: Server,
    counts: Arc<Counts>,
}

/// What was asked of it.
#[derive(Default)]
struct Counts {
    requests: AtomicUsize,
    gets_of_blobs: AtomicUsize,
    bytes: AtomicUsize,
}

impl FarUpstream {
    pub async fn start(shelf: Arc<Shelf>, line: Line) -> Self {
        let (counts, free) = (Arc::<Counts>::default(), Arc::new(Mutex::new(Instant::now())));
        let counting = Arc::clone(&counts);
        let answer = move |request: Request<_>| {
            let (request, _) = request.into_parts();
            let answer = shelf.answer(&request);
            let (counts, free) = (Arc::clone(&counting), Arc::clone(&free));
            counts.requests.fetch_add(1, Ordering::Relaxed);
            let is_blob = request.method == Method::GET && request.uri.path().contains("/blobs/");
            counts.gets_of_blobs.fetch_add(usize::from(is_blob), Ordering::Relaxed);
            async move {
                tokio::time::sleep(line.away).await;
                let (head, bytes) = answer.into_parts();
                let pieces =
                    (0..bytes.len()).step_by(PIECE).map(move |at| bytes.slice(at..bytes.len().min(at + PIECE)));
                let paced = stream::iter(pieces).then(move |piece| {
                    let (counts, free) = (Arc::clone(&counts), Arc::clone(&free));
                    async move {
                        counts.bytes.fetch_add(piece.len(), Ordering::Relaxed);
                        pass(&free, line, &piece).await;
                        Ok::<_, Infallible>(Frame::data(piece))
                    }
                });
                Ok::<_, Infallible>(Response::from_parts(head, StreamBody::new(Box::pin(paced))))
            }
        };
        let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None, answer).await.unwrap();
        Self { server, counts }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Bytes sent since the counts were taken.
    pub fn sent(&self) -> usize {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// Requests, those of them that are for a blob's bytes, and bytes sent, since the last time.
    pub fn take_counts(&self) -> (usize, usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
        (take(&self.counts.requests), take(&self.counts.gets_of_blobs), take(&self.counts.bytes))
    }
}

/// Waits until the line has taken the piece.
async fn pass(free: &Mutex<Instant>, line: Line, piece: &Bytes) {
    let Some(rate) = line.rate else { return };
    let until = {
        let (mut free, now) = (free.lock().unwrap(), Instant::now());
        *free = (*free).max(now - LAG) + Duration::from_secs_f64(piece.len() as f64 / rate);
        *free
    };
    tokio::time::sleep_until(until.into()).await;
}
