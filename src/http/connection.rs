//! One connection: TLS with a deadline, HTTP/1.1 or HTTP/2 with every limit by name, and its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Method, Request, Response, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

use super::body::ServeBody;
use super::file_socket::{FileSocket, Outlet};
use super::listener::ListenerOptions;
use super::quiet::{Activity, Patience, Quiet, Watched};
use super::respond;
use super::shares::ConnectionPlace;

/// Answers requests. What it sends can only be a [`ServeBody`].
pub(super) trait Handler: Send + Sync + 'static {
    /// Answers one request. Its body is never read. Dropped when the client leaves.
    fn answer(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> impl Future<Output = Response<ServeBody>> + Send;
}

/// Longest request head and most unsent bytes of an HTTP/1.1 connection. Names are short; what is
/// long is user agents and tokens that proxies in front of us add.
const H1_BUFFER: usize = 64 * 1024;
/// All of one HTTP/2 request's headers, decompressed (RUSTSEC-2024-0332 and its kin).
const H2_HEADERS_MAX: u32 = 16 * 1024;
/// Requests at a time on one HTTP/2 connection; clients fetch some ten layers at a time.
const H2_STREAMS_MAX: u32 = 128;
/// The same on all connections of a client but its first ones.
const H2_STREAMS_LATER: u32 = 16;
/// What a client may send before we read it. We never read request bodies.
const H2_WINDOW: u32 = 65_535;
/// Unsent bytes of one HTTP/2 stream: one piece of content.
const H2_SEND_BUFFER: usize = 256 * 1024;
/// Unsent bytes of one TLS connection: a piece of content and its head, so that it is encrypted and sent in one go.
const TLS_BUFFER: usize = 264 * 1024;
/// What the kernel takes of an answer before it can send it, on all connections of a client but its first ones. By
/// itself it takes some megabytes for whoever was fast, and keeps them when that one stops reading: two thousand
/// such connections fill all the memory that there is for TCP. Less costs processor time, so nodes do not get it.
const UNSENT: u32 = 128 * 1024;
/// How many connections of a client are its first ones: a node has some ten.
const FIRST: usize = 64;
/// Streams that a client may open and reset before we hang up (RUSTSEC-2023-0034, rapid reset).
const H2_RESETS_MAX: usize = 20;
/// Streams that we may have to reset because of its errors (RUSTSEC-2024-0003).
const H2_ERRORS_MAX: usize = 256;
/// How often a silent HTTP/2 client is asked whether it is still there, and how long it may take.
const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Two ways to end: finish what runs, and do not.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    pub(super) soon: CancellationToken,
    pub(super) now: CancellationToken,
}

/// Serves one connection to its end. May be dropped at any point.
pub(super) async fn serve<H: Handler>(
    socket: TcpStream,
    client: SocketAddr,
    place: ConnectionPlace,
    handler: Arc<H>,
    options: Arc<ListenerOptions>,
    tasks: Tasks,
    end: End,
) {
    // Small answers must not wait for the client's acknowledgement of earlier ones.
    let _ = socket.set_nodelay(true);
    if place.number() > FIRST {
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
    }
    let socket = FileSocket::new(socket);
    let outlet = socket.outlet();
    let mut socket = TimeoutStream::new(socket);
    socket.set_write_timeout(Some(options.stall_timeout));
    let socket = Box::pin(socket);
    let Some(tls) = &options.tls else {
        return talk(socket, Some(outlet), (client, place), handler, &options, tasks, end).await;
    };
    let accept = tls.accept_with(socket, |session| session.set_buffer_limit(Some(TLS_BUFFER)));
    let handshake = tokio::time::timeout(options.tls_handshake_timeout, accept);
    let shaken = tokio::select! {
        // Dropping a handshake closes the connection.
        shaken = handshake => shaken,
        () = end.soon.cancelled() => return,
    };
    match shaken {
        // What is encrypted must pass through memory.
        Ok(Ok(stream)) => talk(stream, None, (client, place), handler, &options, tasks, end).await,
        Ok(Err(error)) => tracing::debug!(%client, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(%client, "TLS handshake took too long"),
    }
}

async fn talk<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    outlet: Option<Outlet>,
    (client, place): (SocketAddr, ConnectionPlace),
    handler: Arc<H>,
    options: &ListenerOptions,
    tasks: Tasks,
    end: End,
) {
    let activity = Activity::new();
    let streams = if place.number() > FIRST { H2_STREAMS_LATER } else { H2_STREAMS_MAX };
    let service = {
        let activity = activity.clone();
        service_fn(move |request| {
            let (busy, handler) = (activity.begin(), Arc::clone(&handler));
            // HTTP/2 cuts bodies into frames.
            let outlet = outlet.clone().filter(|_| request.version() < Version::HTTP_2);
            let place = place.request();
            // Boxed, so that a stream whose client takes nothing of its answer does not hold the work for it, too.
            Box::pin(async move {
                let response = answer(&*handler, request, client, place.is_some()).await;
                let watched = |body: ServeBody| Watched::new(body.through(outlet.clone()), (busy, place), outlet);
                Ok::<_, Infallible>(response.map(watched))
            })
        })
    };
    let builder = builder(options, tasks, streams);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let patience = Patience { first: options.header_timeout, next: options.idle_timeout, stall: options.stall_timeout };
    let mut ending = false;
    loop {
        tokio::select! {
            // The connection is kept and polled on; the others lose only their wait.
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%client, %error, "connection ended in an error");
                }
                return;
            }
            () = end.soon.cancelled(), if !ending => {
                ending = true;
                connection.as_mut().graceful_shutdown();
            }
            quiet = activity.quiet(patience) => {
                // A client that does not even take the goodbye has had its time.
                if quiet == Quiet::Stalled || ending {
                    tracing::debug!(%client, "connection cut: its client takes nothing");
                    return;
                }
                ending = true;
                activity.touch();
                connection.as_mut().graceful_shutdown();
            }
            () = end.now.cancelled() => return,
        }
    }
}

/// Hands one request on, unless its client has its share of those that are answered at once. A connection on which a request body lies unread is closed, since its bytes
/// could be taken for the next request.
async fn answer(
    handler: &impl Handler,
    request: Request<Incoming>,
    client: SocketAddr,
    has_place: bool,
) -> Response<ServeBody> {
    let unread = !request.body().is_end_stream() && request.version() < Version::HTTP_2;
    let mut response = match has_place {
        true => handler.answer(request, client).await,
        false => respond::crowded().into_response(request.method() == Method::HEAD, None),
    };
    if unread {
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    response
}

fn builder(options: &ListenerOptions, tasks: Tasks, streams: u32) -> auto::Builder<Spawner> {
    let mut builder = auto::Builder::new(Spawner(tasks));
    builder
        .http1()
        // Without a timer the timeout below would be silently without effect.
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        // Not `max_headers`: that many is hyper's own limit (100; containerd sends some 20), and kept where it costs nothing.
        .max_buf_size(H1_BUFFER)
        .half_close(false)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_PING_INTERVAL)
        .keep_alive_timeout(H2_PING_TIMEOUT)
        .max_concurrent_streams(streams)
        .max_header_list_size(H2_HEADERS_MAX)
        .max_pending_accept_reset_streams(H2_RESETS_MAX)
        .max_local_error_reset_streams(H2_ERRORS_MAX)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER);
    builder
}

/// Lets hyper run the streams of an HTTP/2 connection through [`Tasks`].
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawner {
    fn execute(&self, work: F) {
        self.0.spawn("http2 stream", work.map(drop));
    }
}
