//! One request, one answer: the only file that knows the HTTP client.
//!
//! The client follows no redirects, decodes nothing, keeps no cookies and sends no header but ours.
//! Certificates are always verified.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HeaderName, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use url::Url;

use super::circuit::SILENT_AFTER;
use super::error::{Asked, Cause, SetupError, UpstreamError};
use super::guard::{Guard, Purpose, Refused, host_of};
use super::options::{NetworkOptions, Proxy, UpstreamOptions};
use super::retry::retry_after;
use crate::telemetry::{UpstreamMeter, UpstreamOutcome};

/// Largest header list over HTTP/2; signed CDN locations are long, but not longer.
const HEADERS_MAX: u32 = 64 * 1024;
/// How soon a connection that nobody answers on is noticed, so that what is asked after an outage does not wait on one
/// from before: HTTP/2 is asked for a sign of life so often, and has as long for it; TCP twice that for what is sent.
const STILL_THERE: Duration = Duration::from_secs(5);
/// What a body's buffer starts with: a claimed length alone costs us no memory.
const FIRST_BUFFER: u64 = 64 * 1024;

/// The HTTP client of one upstream.
pub(super) struct Transport {
    client: reqwest::Client,
    guard: Arc<Guard>,
    read_timeout: Duration,
    header_timeout: Duration,
    meter: UpstreamMeter,
}

/// One request. GET and HEAD are all there is.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) url: &'a Url,
    pub(super) accept: Option<&'static str>,
    pub(super) authorization: Option<&'a HeaderValue>,
    /// Only the bytes from here on.
    pub(super) from: u64,
    /// Why the upstream may have named this URL; decides what a refused address is called.
    pub(super) purpose: Purpose,
}

/// An answer whose headers are here and whose body is not read yet. Dropping it ends the request.
pub(super) struct Answer {
    response: reqwest::Response,
    asked: Asked,
    read_timeout: Duration,
    meter: UpstreamMeter,
}

impl Transport {
    pub(super) fn new(
        options: &UpstreamOptions,
        network: &NetworkOptions,
        guard: Arc<Guard>,
        meter: UpstreamMeter,
    ) -> Result<Self, SetupError> {
        let registry = || options.registry.clone();
        let mut certificates = Vec::new();
        for pem in &options.ca {
            let read = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| SetupError::Ca { registry: registry(), source: Some(cause(error)) })?;
            if read.is_empty() {
                return Err(SetupError::Ca { registry: registry(), source: None });
            }
            certificates.extend(read);
        }
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| SetupError::Client { registry: registry(), source: cause(error) })
        };
        let client = if certificates.is_empty() {
            match build(builder(network, &guard)?) {
                // A machine without system certificates can still ask upstreams over plain HTTP; a
                // redirect of theirs to TLS then trusts nobody.
                Err(_) if options.url.scheme() == "http" => build(builder(network, &guard)?.tls_certs_only([])),
                built => built,
            }
        } else {
            build(builder(network, &guard)?.tls_certs_merge(certificates))
        }?;
        let header_timeout = network.connect_timeout.saturating_add(network.read_timeout);
        Ok(Self { client, guard, read_timeout: network.read_timeout, header_timeout, meter })
    }

    /// Sends one request and waits for the headers of its answer, whatever the status.
    ///
    /// # Errors
    /// `Unreachable`, `TimedOut` or `Blocked`. Cancel safe.
    pub(super) async fn send(&self, asked: &Asked, request: Request<'_>) -> Result<Answer, UpstreamError> {
        let mut counted = Counted { meter: &self.meter, started: Instant::now(), outcome: None };
        let answered = self.exchange(asked, request).await;
        counted.outcome = Some(match &answered {
            Ok(answer) => UpstreamOutcome::of_status(answer.status().as_u16()),
            Err(UpstreamError::TimedOut { .. }) => UpstreamOutcome::TimedOut,
            Err(UpstreamError::Blocked { .. }) => UpstreamOutcome::Blocked,
            Err(_) => UpstreamOutcome::Unreachable,
        });
        answered
    }

    async fn exchange(&self, asked: &Asked, request: Request<'_>) -> Result<Answer, UpstreamError> {
        let asked = asked.of(&host_of(request.url));
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(ACCEPT, HeaderValue::from_static(request.accept.unwrap_or("*/*")));
        if let Some(authorization) = request.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if request.from > 0 {
            let range = format!("bytes={}-", request.from);
            headers.insert(RANGE, HeaderValue::try_from(range).expect("digits are a header value"));
        }
        let sent = self.client.request(request.method, request.url.clone()).headers(headers).send();
        let response = match tokio::time::timeout(self.header_timeout, sent).await {
            Err(_) => return Err(UpstreamError::TimedOut { asked }),
            Ok(Err(error)) => return Err(self.failed(asked, request.url, request.purpose, error)),
            Ok(Ok(response)) => response,
        };
        if let Some(peer) = response.remote_addr() {
            self.guard.answered(request.url, peer);
        }
        Ok(Answer { response, asked, read_timeout: self.read_timeout, meter: self.meter.clone() })
    }

    fn failed(&self, asked: Asked, url: &Url, purpose: Purpose, error: reqwest::Error) -> UpstreamError {
        if let Some(refused) = find::<Refused>(&error) {
            return UpstreamError::Blocked { asked, why: self.guard.explain(url, purpose, refused) };
        }
        // No connection in time is no connection; that says more than silence.
        if error.is_timeout() && !error.is_connect() {
            return UpstreamError::TimedOut { asked };
        }
        if find::<rustls::Error>(&error).is_some_and(|tls| matches!(tls, rustls::Error::InvalidMessage(_))) {
            let hint = "it does not answer in TLS; does it speak plain HTTP? Then write http:// in its URL";
            return UpstreamError::Unreachable { asked, source: Arc::new(std::io::Error::other(hint)) };
        }
        UpstreamError::Unreachable { asked, source: cause(error) }
    }
}

/// Counts a request when it is over. One that is given up after a long wait, by whoever had a deadline, got no answer in
/// time; one that is dropped before says nothing about upstream.
struct Counted<'a> {
    meter: &'a UpstreamMeter,
    started: Instant,
    outcome: Option<UpstreamOutcome>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let waited = self.started.elapsed();
        let given_up = || (waited >= SILENT_AFTER).then_some(UpstreamOutcome::TimedOut);
        if let Some(outcome) = self.outcome.or_else(given_up) {
            self.meter.request(outcome, waited);
        }
    }
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A header that stands once and is plain text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers().get(name)?.to_str().ok()
    }

    /// What was asked, and who answered.
    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The length that the answer promises.
    pub(super) fn length(&self) -> Option<u64> {
        self.header(&CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// Where the body begins and how large the whole is (`*`: not said), as `Content-Range` has it.
    pub(super) fn content_range(&self) -> Option<(u64, Option<u64>)> {
        let (bounds, size) = self.header(&CONTENT_RANGE)?.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, _last) = bounds.split_once('-')?;
        let size = match size {
            "*" => None,
            size => Some(size.parse().ok()?),
        };
        Some((first.parse().ok()?, size))
    }

    /// Refuses encoded content: its bytes are not the bytes that a digest names, and decoding it would
    /// let a small answer become a large one.
    pub(super) fn refuse_encoded(self) -> Result<Self, UpstreamError> {
        let plain = |value: &HeaderValue| {
            value.to_str().is_ok_and(|text| {
                text.split(',').all(|coding| matches!(coding.trim().to_ascii_lowercase().as_str(), "" | "identity"))
            })
        };
        if self.headers().get_all(CONTENT_ENCODING).iter().all(plain) {
            return Ok(self);
        }
        Err(self.lied("sent with a content encoding, though plain content was asked for"))
    }

    pub(super) fn lied(&self, lie: impl Into<String>) -> UpstreamError {
        UpstreamError::Lied { asked: self.asked.clone(), lie: lie.into() }
    }

    /// What an answer with another status than the wanted one means.
    pub(super) fn refused(&self) -> UpstreamError {
        let asked = self.asked.clone();
        match self.status().as_u16() {
            404 => UpstreamError::NotFound { asked },
            401 => UpstreamError::Unauthorized { asked, why: "the login is not accepted".to_owned() },
            403 => UpstreamError::Forbidden { asked },
            429 => UpstreamError::RateLimited { asked, retry_after: retry_after(self.headers()) },
            status => UpstreamError::Unavailable { asked, status, retry_after: retry_after(self.headers()) },
        }
    }

    /// Reads the whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// `TooLarge` as soon as that is known, `Cut`, `TimedOut`. Cancel safe.
    pub(super) async fn read(mut self, limit: u64) -> Result<Bytes, UpstreamError> {
        let promised = self.length().unwrap_or(0);
        let too_large = |asked: &Asked| UpstreamError::TooLarge { asked: asked.clone(), limit };
        if promised > limit {
            return Err(too_large(&self.asked));
        }
        let first = usize::try_from(promised.min(FIRST_BUFFER)).unwrap_or_default();
        let mut body = BytesMut::with_capacity(first);
        loop {
            let chunk = match tokio::time::timeout(self.read_timeout, self.response.chunk()).await {
                Err(_) => return Err(UpstreamError::TimedOut { asked: self.asked }),
                Ok(Err(error)) => return Err(broken(self.asked, body.len() as u64, error)),
                Ok(Ok(None)) => return Ok(body.freeze()),
                Ok(Ok(Some(chunk))) => chunk,
            };
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(too_large(&self.asked));
            }
            self.meter.received(chunk.len());
            body.extend_from_slice(&chunk);
        }
    }

    /// The body as it comes. The errors' byte count is left to whoever counts.
    pub(super) fn into_chunks(self) -> impl Stream<Item = Result<Bytes, UpstreamError>> + Send + 'static {
        let (asked, meter) = (self.asked, self.meter);
        let chunks = self.response.bytes_stream().map_err(move |error| broken(asked.clone(), 0, error));
        chunks.inspect_ok(move |chunk| meter.received(chunk.len())).boxed()
    }
}

/// A body that did not end well.
fn broken(asked: Asked, seen: u64, error: reqwest::Error) -> UpstreamError {
    if error.is_timeout() {
        return UpstreamError::TimedOut { asked };
    }
    UpstreamError::Cut { asked, seen, source: Some(cause(error)) }
}

/// Without the URL: signed CDN locations carry their password in the query.
fn cause(error: reqwest::Error) -> Cause {
    Arc::new(error.without_url())
}

/// What all clients have in common. Trusts the system's certificates, unless told otherwise.
fn builder(network: &NetworkOptions, guard: &Arc<Guard>) -> Result<reqwest::ClientBuilder, SetupError> {
    let builder = reqwest::Client::builder()
        .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(network.connect_timeout)
        .http2_max_header_list_size(HEADERS_MAX)
        .http2_keep_alive_interval(STILL_THERE)
        .http2_keep_alive_timeout(STILL_THERE)
        .tcp_user_timeout(2 * STILL_THERE)
        .dns_resolver(Resolver(Arc::clone(guard)));
    Ok(match &network.proxy {
        Proxy::Env => builder,
        Proxy::None => builder.no_proxy(),
        Proxy::Url(url) => {
            let proxy = reqwest::Proxy::all(url.clone())
                .map_err(|error| SetupError::Proxy { source: cause(error) })?
                .no_proxy(reqwest::NoProxy::from_env());
            builder.proxy(proxy)
        }
    })
}

fn find<'a, T: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a T> {
    let mut source = Some(error);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        // What an I/O error wraps is not its source: its source is the source of that.
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        source = wrapped.map_or_else(|| cause.source(), |inner| Some(inner as &(dyn std::error::Error + 'static)));
    }
    None
}

/// The guard, as the client's resolver. What it refuses is never dialled.
struct Resolver(Arc<Guard>);

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let guard = Arc::clone(&self.0);
        Box::pin(async move {
            let found = guard.resolve(name.as_str()).await?;
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[tokio::test(start_paused = true)]
    async fn a_question_that_is_given_up_counts_when_it_waited_long() {
        let metrics = Arc::<Metrics>::default();
        let meter = metrics.upstream("reg.example");
        let timed_out = |count: u32| {
            let line = format!(r#"{{upstream="reg.example",outcome="timed_out"}} {count}"#);
            metrics.encode().contains(&line)
        };
        for (waits, count) in [(SILENT_AFTER - Duration::from_millis(1), 0), (SILENT_AFTER, 1)] {
            let given_up = Counted { meter: &meter, started: Instant::now(), outcome: None };
            tokio::time::sleep(waits).await;
            drop(given_up);
            assert!(timed_out(count), "{waits:?}\n{}", metrics.encode());
        }
    }
}
