//! A registry on loopback that answers what a test scripts, and remembers what it was asked.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::{HeaderMap, Response};
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::Frame;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// What the fake was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
}

impl Seen {
    pub fn authorization(&self) -> Option<&str> {
        self.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap())
    }
}

/// What it answers.
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    after: Duration,
    behind: Option<Arc<Notify>>,
}

enum Body {
    /// With its length.
    Whole(Bytes),
    /// Without its length, in pieces.
    Chunked(Bytes),
    /// These bytes, then silence.
    Stalled(Bytes),
    /// These bytes of that many, if it says how many, then the connection breaks.
    Cut(Bytes, Option<u64>),
    /// Never ends.
    Endless,
    /// Never ends, and comes byte by byte, with this pause before each.
    Drip(Duration),
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(Bytes::new()), after: Duration::ZERO, behind: None }
    }

    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self { body: Body::Whole(body.into()), ..Self::status(200) }
    }

    #[must_use]
    pub fn partial(self) -> Self {
        Self { status: 206, ..self }
    }

    pub fn chunked(body: impl Into<Bytes>) -> Self {
        Self { body: Body::Chunked(body.into()), ..Self::status(200) }
    }

    pub fn stalled(body: impl Into<Bytes>) -> Self {
        Self { body: Body::Stalled(body.into()), ..Self::status(200) }
    }

    pub fn cut(body: impl Into<Bytes>, claimed: u64) -> Self {
        Self { body: Body::Cut(body.into(), Some(claimed)), ..Self::status(200) }
    }

    pub fn chunked_and_cut(body: impl Into<Bytes>) -> Self {
        Self { body: Body::Cut(body.into(), None), ..Self::status(200) }
    }

    pub fn endless() -> Self {
        Self { body: Body::Endless, ..Self::status(200) }
    }

    pub fn drip(pause: Duration) -> Self {
        Self { body: Body::Drip(pause), ..Self::status(200) }
    }

    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Self::status(status).header("location", location)
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Thinks for a while first.
    pub fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// Waits until it is told to go on.
    pub fn behind(self, gate: &Arc<Notify>) -> Self {
        Self { behind: Some(Arc::clone(gate)), ..self }
    }

    fn into_response(self) -> Response<BoxBody<Bytes, io::Error>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let length = match &self.body {
            Body::Whole(bytes) => Some(bytes.len() as u64),
            Body::Cut(_, claimed) => *claimed,
            _ => None,
        };
        let response = match length {
            Some(length) => response.header(CONTENT_LENGTH, length),
            None => response,
        };
        let pieces = |bytes: Bytes| {
            let pieces: Vec<_> = bytes.chunks(7).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            stream::iter(pieces)
        };
        response
            .body(match self.body {
                Body::Whole(bytes) => body(stream::iter([Ok(bytes)])),
                Body::Chunked(bytes) => body(pieces(bytes)),
                Body::Stalled(bytes) => body(pieces(bytes).chain(stream::pending())),
                Body::Cut(bytes, _) => body(pieces(bytes).chain(stream::once(async {
                    // So that what came before is on its way.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Err(io::ErrorKind::Other.into())
                }))),
                Body::Drip(pause) => body(stream::repeat(()).then(move |()| async move {
                    tokio::time::sleep(pause).await;
                    Ok(Bytes::from_static(b" "))
                })),
                Body::Endless => body(stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 16 * 1024])))),
            })
            .unwrap()
    }
}

fn body(pieces: impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static) -> BoxBody<Bytes, io::Error> {
    BoxBody::new(StreamBody::new(pieces.map(|piece| piece.map(Frame::data))))
}

/// The server. Dropping it stops it.
pub struct Fake {
    pub address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// Over plain HTTP.
    pub async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    /// Over TLS if there is an acceptor.
    pub async fn start_with(tls: Option<TlsAcceptor>, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, answer, log) = (tls.clone(), Arc::clone(&answer), Arc::clone(&log));
                connections.spawn(async move {
                    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                        let seen = Seen {
                            method: request.method().to_string(),
                            target: request.uri().path_and_query().unwrap().to_string(),
                            headers: request.headers().clone(),
                        };
                        let reply = answer(&seen);
                        log.lock().unwrap().push(seen);
                        async move {
                            tokio::time::sleep(reply.after).await;
                            if let Some(gate) = &reply.behind {
                                gate.notified().await;
                            }
                            Ok::<_, Infallible>(reply.into_response())
                        }
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    match tls {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(server.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, scheme, seen, task }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Everything asked so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Forgets what was asked so far.
    pub fn forget(&self) {
        self.seen.lock().unwrap().clear();
    }

    /// How many questions had this in their target.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.target.contains(part)).count()
    }
}
