//! A small registry over real HTTP, in this process, on loopback: what `assay demo` and the tests pull
//! from. It is honest; what it holds need not be.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use http::Request;

use super::seen::{RequestLog, Seen};
use super::shelf::Shelf;
use super::wire::{Server, Whole};

/// A running registry. All that a [`Shelf`] can do (`push_image`, `put_manifest`, …) can be done while it
/// runs. It ends when it is dropped.
#[derive(Debug)]
pub struct Registry {
    shelf: Arc<Shelf>,
    log: Arc<RequestLog>,
    server: Server,
}

impl Registry {
    /// Starts an empty registry on a free port of 127.0.0.1, without TLS, for HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts it at a given address, for example to come back after an outage.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        Self::start_with(address, Arc::default()).await
    }

    /// Starts it with content that another one left behind, or shares.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_with(address: SocketAddr, shelf: Arc<Shelf>) -> io::Result<Self> {
        let log = Arc::new(RequestLog::default());
        let (held, noting) = (Arc::clone(&shelf), Arc::clone(&log));
        let server = Server::start(address, None, move |request: Request<_>| {
            let (request, _) = request.into_parts();
            let seen = noting.note(&request);
            let answer = held.answer(&request);
            seen.answered(answer.status());
            std::future::ready(Ok::<_, Infallible>(answer.map(Whole::new)))
        })
        .await?;
        Ok(Self { shelf, log, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its content, to share with another server.
    pub fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    /// All requests so far, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.log.all()
    }

    /// Forgets the requests so far.
    pub fn forget_requests(&self) {
        self.log.clear();
    }
}

/// A registry is its content, behind a socket.
impl Deref for Registry {
    type Target = Shelf;

    fn deref(&self) -> &Shelf {
        &self.shelf
    }
}
