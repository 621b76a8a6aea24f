//! The admin listener: is it alive, can it serve, what does it count. For operators, not for clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::pull::Puller;
use crate::tasks::Tasks;

use super::body::ServeBody;
use super::connection::Handler;
use super::listener::{ListenerOptions, serve_with};
use super::reply::Reply;

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Orchestrators give up after a second or a few; a check that takes longer is a no.
const READY_TIMEOUT: Duration = Duration::from_secs(3);

/// What the admin listener shows.
#[derive(Clone)]
pub struct AdminOptions {
    /// Prints all metrics in the OpenMetrics text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Once cancelled, nobody should be sent here any more.
    pub stopping: CancellationToken,
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `shutdown`, under the same protections as the
/// registry side.
pub async fn serve_admin(
    listener: TcpListener,
    options: ListenerOptions,
    admin: AdminOptions,
    puller: Arc<Puller>,
    tasks: Tasks,
    shutdown: impl Future<Output = ()>,
) -> bool {
    serve_with(listener, options, AdminService { puller, options: admin }, tasks, shutdown).await
}

struct AdminService {
    puller: Arc<Puller>,
    options: AdminOptions,
}

impl Handler for AdminService {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<ServeBody> {
        let reply = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => Reply::page(StatusCode::OK, TEXT, "ok\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready().await,
            (&Method::GET | &Method::HEAD, "/metrics") => {
                Reply::page(StatusCode::OK, OPEN_METRICS, (self.options.metrics)())
            }
            _ => Reply::page(StatusCode::NOT_FOUND, TEXT, "not found\n"),
        };
        reply.into_response(request.method() == Method::HEAD, None)
    }
}

impl AdminService {
    async fn ready(&self) -> Reply {
        if self.options.stopping.is_cancelled() {
            return Reply::page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready: stopping\n");
        }
        ready(self.puller.keeps()).await
    }
}

/// `/readyz`: 200, and why nothing is kept, if that is so: it serves all the same, and taking it out of service
/// would make an outage of it. 503 when the disk does not even answer.
async fn ready(check: impl Future<Output = Result<(), String>>) -> Reply {
    match tokio::time::timeout(READY_TIMEOUT, check).await {
        Ok(Ok(())) => Reply::page(StatusCode::OK, TEXT, "ready\n"),
        Ok(Err(why)) => Reply::page(StatusCode::OK, TEXT, format!("ready, but {why}\n")),
        Err(_) => Reply::page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready: the check takes too long\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::shown;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_takes_nothing_is_told_and_is_no_outage() {
        assert!(shown(ready(async { Ok(()) }).await).await.starts_with("200\n"));
        let passing = shown(ready(async { Err("disk full: passing through".to_owned()) }).await).await;
        assert!(
            passing.starts_with("200\n") && passing.ends_with("ready, but disk full: passing through\n"),
            "{passing}"
        );
        let hanging = shown(ready(std::future::pending()).await).await;
        assert!(hanging.starts_with("503\n") && hanging.contains("too long"), "{hanging}");
    }
}
