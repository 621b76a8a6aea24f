//! A plain HTTP server on real sockets: HTTP/1.1 and HTTP/2, with or without TLS.
//!
//! Knows nothing of registries. The demo's registry and the tests' misbehaving upstream both stand on
//! it. Not for production: it keeps to loopback use and has no graceful shutdown; dropping it ends all.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Open connections; more wait in the listen queue.
const CONNECTIONS_MAX: usize = 512;
/// For a TLS handshake, and for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A running server. Dropping it closes the socket and cuts all connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

impl Server {
    /// Listens on `address` (port 0: any free one) and answers each request with `answer`. When `answer`
    /// fails, the connection is closed (HTTP/1.1) or the stream reset (HTTP/2) without an answer.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start<A, F, B, E>(address: SocketAddr, tls: Option<TlsAcceptor>, answer: A) -> io::Result<Self>
    where
        A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Response<B>, E>> + Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
        E: Into<BoxError> + 'static,
    {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls, Arc::new(answer)));
        Ok(Self { address, _accepting: accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Runs until dropped; the connections, which live in the set, end with it.
async fn accept<A, F, B, E>(listener: TcpListener, tls: Option<TlsAcceptor>, answer: Arc<A>)
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, mostly: let some close.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&answer)));
    }
}

async fn connection<A, F, B, E>(stream: TcpStream, tls: Option<TlsAcceptor>, answer: Arc<A>)
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return converse(stream, answer).await };
    if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
        converse(stream, answer).await;
    }
}

async fn converse<S, A, F, B, E>(stream: S, answer: Arc<A>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    E: Into<BoxError> + 'static,
{
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    server.http2().timer(TokioTimer::new());
    // A client that goes away is no news here.
    let _ = server.serve_connection(TokioIo::new(stream), service_fn(|request| answer(request))).await;
}

/// A body that is already complete.
#[derive(Debug)]
pub struct Whole(Option<Bytes>);

impl Whole {
    /// Sends `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
