//! Accepts connections, never more than the cap, until it is told to stop; then lets them finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::tasks::Tasks;
use crate::telemetry::Metrics;

use super::connection::{self, End, Handler};
use super::shares::{Shares, Told};

/// Most clients that the kernel lets wait to be accepted, if `net.core.somaxconn` lets it: a cluster that comes back
/// connects at once, and who finds the queue full tries again only after a second, then three.
const BACKLOG: u32 = 4096;

/// Listens for clients. To be called inside the runtime.
///
/// # Errors
/// The address is taken, or not ours.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As after a restart: connections that are ending do not keep the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How a listener treats its connections.
#[derive(Clone)]
pub struct ListenerOptions {
    /// Most connections at a time. As many again wait here, further ones in the kernel's queue. One client has its
    /// share only; see [`super::shares`].
    pub max_connections: usize,
    /// Most requests that are answered at a time. The next ones are asked to come again.
    pub max_requests: usize,
    /// How long a client may take for a request's head, and an HTTP/1.1 connection between two
    /// requests (hyper has one timer for both).
    pub header_timeout: Duration,
    /// How long an HTTP/2 connection may have no request.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of what is ready.
    pub stall_timeout: Duration,
    /// TLS, unless the listener is plain.
    pub tls: Option<TlsAcceptor>,
    /// How long a TLS handshake may take.
    pub tls_handshake_timeout: Duration,
    /// How long running answers may go on once the listener is told to stop.
    pub grace: Duration,
    /// Counts open connections.
    pub metrics: Option<Arc<Metrics>>,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_requests: 8 * 4096,
            header_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(300),
            tls: None,
            tls_handshake_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(30),
            metrics: None,
        }
    }
}

/// Serves until `shutdown`, then waits for running answers, at most for [`ListenerOptions::grace`].
/// Returns whether all finished by themselves.
///
/// Not cancel safe: dropped, it leaves its connections running until [`Tasks::stop`].
pub(super) async fn serve_with<H: Handler>(
    listener: TcpListener,
    options: ListenerOptions,
    handler: H,
    tasks: Tasks,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let (options, handler, end) = (Arc::new(options), Arc::new(handler), End::default());
    // Those that are open, and those that wait.
    let most = u32::try_from(options.max_connections.saturating_mul(2)).unwrap_or(u32::MAX).max(2);
    let slots = Arc::new(Semaphore::new(most as usize));
    tokio::select! {
        // What was accepted runs in its own task, so nothing is lost here.
        () = accept(&listener, &slots, &handler, &options, &tasks, &end) => {}
        () = shutdown => {}
    }
    drop(listener);
    end.soon.cancel();
    // Every connection holds a slot until it ends.
    let calm = tokio::time::timeout(options.grace, slots.acquire_many(most)).await.is_ok();
    end.now.cancel();
    calm
}

async fn accept<H: Handler>(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    handler: &Arc<H>,
    options: &Arc<ListenerOptions>,
    tasks: &Tasks,
    end: &End,
) {
    let connections = options.max_connections.max(1);
    let shares = Shares::new(connections, options.max_requests, options.metrics.clone());
    let mut told = Told::default();
    loop {
        let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((socket, client)) => {
                // Otherwise it is closed: many of its client's wait already.
                let Some(arrival) = shares.arrive(client.ip()) else { continue };
                let (handler, options) = (Arc::clone(handler), Arc::clone(options));
                let (of, end) = (tasks.clone(), end.clone());
                tasks.spawn("connection", async move {
                    let turn = tokio::time::timeout(options.idle_timeout, arrival.place());
                    // Dropping it closes the connection.
                    let place = tokio::select! {
                        turn = turn => turn.ok(),
                        () = end.soon.cancelled() => None,
                    };
                    if let Some(place) = place {
                        let counted = options.metrics.as_ref().map(|metrics| metrics.connection_opened());
                        connection::serve(socket, client, place, handler, options, of, end).await;
                        drop(counted);
                    }
                    drop(slot);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Mostly: no file descriptors left. Some come back when connections end.
                if told.is_due() {
                    tracing::error!(%error, "cannot accept connections");
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// The client left before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
