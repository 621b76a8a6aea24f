//! An upstream over real HTTP/1.1 and HTTP/2 that is honest until a test scripts it otherwise.
//!
//! It fronts a `demo::Registry`, which holds the content and stays reachable, and honest, at its own
//! address.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use assay::demo::{Registry, RequestLog, Seen, Server, Shelf};
use assay::oci::Digest;
use http::request::Parts;
use http::{Method, Request, Response};
use tokio_rustls::TlsAcceptor;

use super::certs::TestCa;
use super::misbehaviour::{Body, Misbehaviour, whole};

/// Which requests are meant. Both GET and HEAD, unless narrowed.
#[derive(Clone, Debug)]
pub struct PathMatch {
    what: What,
    method: Option<Method>,
}

#[derive(Clone, Debug)]
enum What {
    Any,
    Exact(String),
    Containing(String),
    Ending(String),
}

/// What a TLS upstream lets its client choose (ALPN). Without TLS, the client simply begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

pub struct NastyUpstream {
    registry: Registry,
    rules: Arc<Mutex<Vec<Rule>>>,
    log: Arc<RequestLog>,
    server: Server,
    scheme: &'static str,
}

struct Rule {
    path: PathMatch,
    misbehaviour: Misbehaviour,
    left: Option<usize>,
}

impl NastyUpstream {
    /// Starts on a free port of 127.0.0.1, without TLS.
    pub async fn start() -> Self {
        Self::start_on("http", None).await
    }

    /// Starts with TLS and a certificate for loopback.
    pub async fn start_tls(ca: &TestCa, protocol: Protocol) -> Self {
        let alpn = match protocol {
            Protocol::Http1 => "http/1.1",
            Protocol::Http2 => "h2",
        };
        Self::start_on("https", Some(ca.loopback().acceptor(&[alpn]))).await
    }

    async fn start_on(scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let registry = Registry::start().await.expect("loopback has a free port");
        let rules = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::new(RequestLog::default());
        let (shelf, acting, noting) = (registry.shelf(), Arc::clone(&rules), Arc::clone(&log));
        let answer = move |request: Request<_>| {
            let (request, _) = request.into_parts();
            let (seen, misbehaviour) = (noting.note(&request), chosen(&acting, &request));
            respond(Arc::clone(&shelf), request, seen, misbehaviour)
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start(address, tls, answer).await.expect("loopback has a free port");
        Self { registry, rules, log, server, scheme }
    }

    /// Its content, to push to.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// `http://127.0.0.1:port`, or with `https`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address())
    }

    /// From now on, requests like this are answered like that. The latest rule that fits counts.
    pub fn misbehave(&self, path: PathMatch, misbehaviour: Misbehaviour) {
        self.rules.lock().unwrap().push(Rule { path, misbehaviour, left: None });
    }

    /// The same, but only for the next `times` such requests.
    pub fn misbehave_times(&self, times: usize, path: PathMatch, misbehaviour: Misbehaviour) {
        self.rules.lock().unwrap().push(Rule { path, misbehaviour, left: Some(times) });
    }

    /// Honest again.
    pub fn behave(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// All requests so far, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.log.all()
    }

    /// How many requests of this kind came so far.
    pub fn count(&self, path: &PathMatch) -> usize {
        self.requests().iter().filter(|seen| path.fits(&seen.method, &seen.path)).count()
    }

    pub fn forget_requests(&self) {
        self.log.clear();
    }
}

impl PathMatch {
    pub fn any() -> Self {
        What::Any.into()
    }

    /// `/v2/` itself.
    pub fn ping() -> Self {
        Self::path("/v2/")
    }

    /// Exactly this path, without its query.
    pub fn path(path: &str) -> Self {
        What::Exact(path.to_owned()).into()
    }

    /// Any path with this text in it.
    pub fn containing(text: &str) -> Self {
        What::Containing(text.to_owned()).into()
    }

    pub fn any_blob() -> Self {
        Self::containing("/blobs/")
    }

    pub fn blob(digest: Digest) -> Self {
        What::Ending(format!("/blobs/{digest}")).into()
    }

    pub fn any_manifest() -> Self {
        Self::containing("/manifests/")
    }

    /// A manifest by tag or digest.
    pub fn manifest(reference: impl std::fmt::Display) -> Self {
        What::Ending(format!("/manifests/{reference}")).into()
    }

    pub fn referrers() -> Self {
        Self::containing("/referrers/")
    }

    pub fn tags() -> Self {
        What::Ending("/tags/list".to_owned()).into()
    }

    /// Only GET.
    #[must_use]
    pub fn get(self) -> Self {
        Self { method: Some(Method::GET), ..self }
    }

    /// Only HEAD.
    #[must_use]
    pub fn head(self) -> Self {
        Self { method: Some(Method::HEAD), ..self }
    }

    fn fits(&self, method: &Method, path: &str) -> bool {
        let path = path.split('?').next().unwrap_or_default();
        let what = match &self.what {
            What::Any => true,
            What::Exact(wanted) => path == wanted,
            What::Containing(text) => path.contains(text),
            What::Ending(end) => path.ends_with(end),
        };
        what && self.method.as_ref().is_none_or(|wanted| wanted == method)
    }
}

impl From<What> for PathMatch {
    fn from(what: What) -> Self {
        Self { what, method: None }
    }
}

fn chosen(rules: &Mutex<Vec<Rule>>, request: &Parts) -> Option<Misbehaviour> {
    let mut rules = rules.lock().unwrap();
    let fits = |rule: &&mut Rule| rule.left != Some(0) && rule.path.fits(&request.method, request.uri.path());
    let rule = rules.iter_mut().rev().find(fits)?;
    if let Some(left) = &mut rule.left {
        *left -= 1;
    }
    Some(rule.misbehaviour.clone())
}

async fn respond(
    shelf: Arc<Shelf>,
    mut request: Parts,
    seen: Seen,
    misbehaviour: Option<Misbehaviour>,
) -> io::Result<Response<Body>> {
    if matches!(misbehaviour, Some(Misbehaviour::WholeForPart)) {
        request.headers.remove(http::header::RANGE);
    }
    let honest = shelf.answer(&request);
    let answer = match misbehaviour {
        None => honest.map(whole),
        Some(misbehaviour) => misbehaviour.spoil(&request, honest).await?,
    };
    seen.answered(answer.status());
    Ok(answer)
}
