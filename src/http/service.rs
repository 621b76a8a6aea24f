//! From request to response, in one reading: parse, ask the puller, respond.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::oci::{Digest, Registry};
use crate::pull::{Answer, BlobWant, PullError, Puller};
use crate::tasks::Tasks;

use super::access::{AccessLine, RequestSink};
use super::body::ServeBody;
use super::connection::Handler;
use super::listener::{ListenerOptions, serve_with};
use super::reply::Reply;
use super::route::{Route, RouteError, Upstreams, route};
use super::unsent::Unsent;
use super::{conditional, pages, respond};

const UPSTREAM: HeaderName = HeaderName::from_static("assay-upstream");

/// How the registry side answers.
#[derive(Clone)]
pub struct RegistryOptions {
    /// For names that name no registry.
    pub default_upstream: Registry,
    /// Put the reason for a refusal into the HTTP/1.1 status line.
    pub deny_reason: bool,
    /// Write a line for each request.
    pub access: bool,
    /// Told of each request.
    pub sink: Option<RequestSink>,
}

/// How the registry side answers, at any moment. Clones are the same.
#[derive(Clone)]
pub struct LiveOptions(Arc<ArcSwap<RegistryOptions>>);

impl LiveOptions {
    /// Requests that come from now on are answered so.
    pub fn replace(&self, options: RegistryOptions) {
        self.0.store(Arc::new(options));
    }
}

impl From<RegistryOptions> for LiveOptions {
    fn from(options: RegistryOptions) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(options)))
    }
}

/// Serves the registry API until `shutdown`. Returns whether all connections finished within the
/// grace period. See [`ListenerOptions`].
pub async fn serve(
    listener: TcpListener,
    options: ListenerOptions,
    registry: impl Into<LiveOptions>,
    puller: Arc<Puller>,
    tasks: Tasks,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let service = RegistryService { puller, options: registry.into(), unsent: Unsent::default() };
    serve_with(listener, options, service, tasks, shutdown).await
}

struct RegistryService {
    puller: Arc<Puller>,
    options: LiveOptions,
    unsent: Unsent,
}

impl Handler for RegistryService {
    async fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> Response<ServeBody> {
        let (asked, _unread) = request.into_parts();
        let options = self.options.0.load_full();
        let mut line = AccessLine::begin(&asked, client.ip(), options.access, options.sink.clone());
        let reply = match self.route(&asked, &options.default_upstream) {
            Ok(route) => {
                line.asked(&route);
                self.pull(&route, &asked, options.deny_reason).await
            }
            Err(error) => respond::route_error(&error),
        };
        reply.into_response(asked.method == Method::HEAD, Some(line))
    }
}

impl RegistryService {
    /// A list can be large, and each client has one of its own in memory.
    fn list(&self, list: Reply) -> Reply {
        list.within(&self.unsent).unwrap_or_else(respond::busy)
    }

    fn route(&self, asked: &Parts, default: &Registry) -> Result<Route, RouteError> {
        let upstreams = Upstreams { default, knows: &|registry| self.puller.knows(registry) };
        route(&asked.method, &asked.uri, own_host(asked)?, &upstreams)
    }

    async fn pull(&self, route: &Route, asked: &Parts, deny_reason: bool) -> Reply {
        let reply = match self.found(route, asked).await {
            Ok(reply) => reply,
            Err(error) => {
                if let PullError::Internal(why) = &error {
                    tracing::error!(%why, image = route.image(), "request failed");
                }
                respond::pull_error(&error, route, deny_reason)
            }
        };
        match route.repository() {
            Some(repository) => reply.with_text(UPSTREAM, repository.registry().as_str()),
            None => reply,
        }
    }

    async fn found(&self, route: &Route, asked: &Parts) -> Result<Reply, PullError> {
        let puller = &self.puller;
        Ok(match route {
            Route::Ping => pages::ping(),
            Route::Manifest { repository, reference } => {
                content(puller.manifest(repository, reference).await?, route, &asked.headers)
            }
            Route::Blob { repository, digest } => {
                let want = blob_want(&asked.method, &asked.headers, *digest);
                content(puller.blob(repository, *digest, want).await?, route, &asked.headers)
            }
            Route::Tags(ask) => {
                self.list(pages::tags(ask, puller.tags(&ask.repository, ask.n, ask.last.as_ref()).await?))
            }
            Route::Referrers { repository, subject, artifact_type } => {
                let found = match puller.referrers(repository, *subject).await {
                    // The specification wants an empty list.
                    Err(PullError::NotFound { .. }) => Vec::new(),
                    found => found?,
                };
                self.list(pages::referrers(found, artifact_type.as_deref()))
            }
        })
    }
}

/// A HEAD, and a client that holds the content already, get no bytes; but they pass the same gate.
fn blob_want(method: &Method, headers: &HeaderMap, digest: Digest) -> BlobWant {
    if *method == Method::HEAD || conditional::is_held(headers, digest) {
        return BlobWant::Head;
    }
    conditional::range(headers, digest).map_or(BlobWant::Whole, BlobWant::Range)
}

/// Whoever asks by digest gets this digest and no other, whatever went wrong before.
fn content(answer: Answer, route: &Route, conditions: &HeaderMap) -> Reply {
    let got = answer.servable.claim().digest;
    if let Some(asked) = route.digest()
        && asked != got
    {
        tracing::error!(%asked, %got, "the wrong content was about to be served");
        return respond::internal();
    }
    respond::content(answer, route, conditions)
}

/// What the client calls us. A request with two names, or none where HTTP/1.1 wants one, is refused:
/// a proxy in front of us may have read the other.
fn own_host(asked: &Parts) -> Result<Option<&str>, RouteError> {
    let mut hosts = asked.headers.get_all(header::HOST).iter();
    let (host, None) = (hosts.next(), hosts.next()) else { return Err(RouteError::Host) };
    let host = host.map(|host| host.to_str().map_err(|_| RouteError::Host)).transpose()?;
    match asked.uri.authority() {
        Some(authority) => Ok(Some(authority.as_str())),
        None if host.is_none() && asked.version == Version::HTTP_11 => Err(RouteError::Host),
        None => Ok(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::{Image, shown};
    use crate::oci::RangeAsk;
    use crate::telemetry::CacheOutcome;

    fn asked(version: Version, target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::get(target).version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_request_has_one_host() {
        let host = |version, target: &str, hosts: &[&str]| {
            own_host(&asked(version, target, hosts)).map(|host| host.map(str::to_owned))
        };
        let mirror = Ok(Some("mirror:5050".to_owned()));
        assert_eq!(host(Version::HTTP_11, "/v2/", &["mirror:5050"]), mirror);
        assert_eq!(host(Version::HTTP_2, "http://mirror:5050/v2/", &[]), mirror);
        assert_eq!(host(Version::HTTP_11, "http://mirror:5050/v2/", &["other"]), mirror, "RFC 9112, 3.2.2");
        assert_eq!(host(Version::HTTP_10, "/v2/", &[]), Ok(None));
        assert_eq!(host(Version::HTTP_11, "/v2/", &[]), Err(RouteError::Host));
        assert_eq!(host(Version::HTTP_11, "/v2/", &["a", "b"]), Err(RouteError::Host));
    }

    #[test]
    fn only_who_needs_bytes_starts_a_fetch() {
        let digest = Digest::of(b"x");
        let want = |method: Method, headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect();
            blob_want(&method, &headers, digest)
        };
        let tag = conditional::entity_tag(digest);
        assert!(matches!(want(Method::GET, &[]), BlobWant::Whole));
        assert!(matches!(want(Method::HEAD, &[("range", "bytes=1-")]), BlobWant::Head));
        assert!(matches!(want(Method::GET, &[("if-none-match", &tag)]), BlobWant::Head));
        let from_one = RangeAsk::From { first: 1, last: None };
        let ranged = [("range", "bytes=1-"), ("if-range", tag.as_str())];
        assert!(matches!(want(Method::GET, &ranged), BlobWant::Range(ask) if ask == from_one));
        assert!(matches!(want(Method::GET, &[("range", "bytes=1-"), ("if-range", "\"y\"")]), BlobWant::Whole));
    }

    #[tokio::test]
    async fn another_digest_than_asked_is_never_served() {
        let image = Image::new().await;
        let served = async |digest| {
            let route = Route::Blob { repository: "ghcr.io/acme/app".parse().unwrap(), digest };
            let answer = Answer { servable: image.layer_head(), cache: CacheOutcome::Hit };
            shown(content(answer, &route, &HeaderMap::new())).await
        };
        assert!(served(Digest::of(image.layer())).await.starts_with("200\n"));
        assert!(served(Digest::of(b"other")).await.starts_with("500\n"));
    }
}
