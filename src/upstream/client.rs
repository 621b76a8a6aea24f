//! A registry over the network, and what may be asked of it: reading, and nothing else.
//!
//! Every body is bounded before it is read, and every wait has an end. What comes back are claims: a
//! manifest or small blob asked by digest has that digest, but nobody has vouched for it yet.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::auth::Auth;
use super::body::{BlobStream, Pace, Span};
use super::call::Ask;
use super::circuit::Circuit;
use super::credentials::Logins;
use super::error::{Asked, SetupError, UpstreamError};
use super::fair::FairPlaces;
use super::guard::{Guard, host_of};
use super::options::{NetworkOptions, UpstreamOptions};
use super::referrers::Lately;
use super::transport::{Answer, Transport};
use crate::oci::{Claim, Digest, Manifest, ManifestError, Reference, Registry, Repository, Tag, media_type};
use crate::telemetry::Metrics;

/// Most questions that wait for a place: who waits behind them would be too late for a client. What asks goes on when its
/// client has left, so without an end thousands of clients would take gigabytes.
pub(super) const WAITING_MAX: usize = 8192;
/// The time that any blob has, plus a second for each [`BLOB_BYTES_PER_SECOND`]. Slower is no service,
/// but an attack or a broken line.
const BLOB_TIME_BASE: Duration = Duration::from_secs(5 * 60);
const BLOB_BYTES_PER_SECOND: u64 = 32 * 1024;
/// However large a blob says it is.
const BLOB_TIME_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Of what an upstream says, in an error.
const SHOWN: usize = 100;

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A registry that is asked over HTTP.
pub(super) struct Client {
    registry: Registry,
    url: Url,
    read_timeout: Duration,
    /// Counted apart from small things: long downloads must not hold up tag checks.
    blobs: FairPlaces,
    pub(super) transport: Arc<Transport>,
    pub(super) guard: Arc<Guard>,
    pub(super) auth: Auth,
    pub(super) retries: u32,
    pub(super) requests: FairPlaces,
    /// With those that wait for a place.
    pub(super) crowd: Semaphore,
    pub(super) circuit: Circuit,
    pub(super) without_referrers: Lately,
}

impl Client {
    /// Checks the settings and makes the HTTP client. Nothing is dialled.
    pub(super) fn new(
        mut options: UpstreamOptions,
        network: &NetworkOptions,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, SetupError> {
        check_url(&options)?;
        options.url.set_path(options.url.path().trim_end_matches('/').to_owned().as_str());
        let guard = Arc::new(Guard::new(&options, &network.proxy)?);
        let transport = Arc::new(Transport::new(
            &options,
            network,
            Arc::clone(&guard),
            metrics.upstream(options.registry.as_str()),
        )?);
        let logins = Logins::new(&options.credentials, &options.registry);
        let auth = Auth::new(
            options.registry.clone(),
            options.url.clone(),
            Arc::clone(&transport),
            Arc::clone(&guard),
            logins,
        );
        Ok(Self {
            circuit: Circuit::new(&options.registry),
            registry: options.registry,
            url: options.url,
            read_timeout: network.read_timeout,
            blobs: FairPlaces::new(network.fetches_max),
            transport,
            guard,
            auth,
            retries: network.retries,
            requests: FairPlaces::new(network.requests_max),
            crowd: Semaphore::new(network.requests_max.saturating_add(WAITING_MAX)),
            without_referrers: Lately::default(),
        })
    }

    /// Asks which digest a tag has now (HEAD). `None` when upstream answers without a sha256 digest.
    ///
    /// # Errors
    /// `NotFound` when there is no such tag; see [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub(super) async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError> {
        let mut ask = self.ask_manifest(repository, &Reference::Tag(tag.clone()));
        ask.method = Method::HEAD;
        self.call(&ask, |answer| async move {
            Ok(answer.header(&DOCKER_CONTENT_DIGEST).and_then(|text| text.trim().parse().ok()))
        })
        .await
    }

    /// Fetches a manifest of at most `limit` bytes. Asked by digest, it has that digest.
    ///
    /// # Errors
    /// `Lied` when the bytes hash to something else, `TooLarge`, `Manifest` when they are none that we
    /// serve; see [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub(super) async fn manifest_within(
        &self,
        repository: &Repository,
        reference: &Reference,
        limit: u64,
    ) -> Result<Manifest, UpstreamError> {
        let ask = self.ask_manifest(repository, reference);
        let want = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(_) => None,
        };
        self.call(&ask, |answer| read_manifest(answer, want, limit)).await
    }

    /// Starts to fetch a blob from byte `from` on; returns when the headers are here. The bytes are counted,
    /// **not** hashed: that is for whoever reads them. Each try asks the registry itself: the place that it
    /// sent us to the last time may have moved or expired.
    ///
    /// # Errors
    /// `Lied` at once when another length than `claim.size` or another beginning than `from` is announced,
    /// or the content is encoded; `TimedOut` at `deadline`; see [`UpstreamError`] and [`BlobStream`]. May
    /// wait for its turn, and calls `on_turn` when it comes. Cancel safe.
    pub(super) async fn blob_from(
        &self,
        repository: &Repository,
        claim: Claim,
        from: u64,
        deadline: Instant,
        on_turn: impl FnOnce() + Send,
    ) -> Result<BlobStream, UpstreamError> {
        let ask = Ask { from, ..self.ask_blob(repository, claim) };
        let place = timeout_at(deadline, self.blobs.take(repository))
            .await
            .map_err(|_| UpstreamError::TimedOut { asked: ask.asked.clone() })?;
        on_turn();
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = self.call_for_stream(&ask, left).await?;
        let begins = begins_at(&answer, claim, from)?;
        let asked = answer.asked().clone();
        let pace = Pace { stall_after: self.read_timeout, deadline, place: Some(place) };
        let wanted = Span { begins, from, size: claim.size };
        Ok(BlobStream::new(asked, answer.into_chunks().boxed(), wanted, pace))
    }

    /// Fetches a whole blob into memory; its size and digest are those of `claim`.
    ///
    /// # Errors
    /// `TooLarge`, without asking, when `claim.size` is more than `max`; `Lied` when the content does not
    /// fit the claim; see [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub(super) async fn small_blob(
        &self,
        repository: &Repository,
        claim: Claim,
        max: u64,
    ) -> Result<Bytes, UpstreamError> {
        let ask = self.ask_blob(repository, claim);
        if claim.size > max {
            return Err(UpstreamError::TooLarge { asked: ask.asked, limit: max });
        }
        self.call(&ask, |answer| read_small(answer, claim)).await
    }

    /// A question below `/v2/<name>/`.
    pub(super) fn ask<'a>(
        &self,
        repository: &'a Repository,
        below: std::fmt::Arguments<'_>,
        accept: &'static str,
        what: std::fmt::Arguments<'_>,
    ) -> Ask<'a> {
        debug_assert_eq!(repository.registry(), &self.registry, "asked the wrong upstream");
        let mut url = self.url.clone();
        let prefix = self.url.path().trim_end_matches('/');
        url.set_path(&format!("{prefix}/v2/{}/{below}", repository.path()));
        let asked = Asked::new(what, host_of(&self.url));
        Ask { repository, method: Method::GET, url, accept, asked, from: 0 }
    }

    fn ask_manifest<'a>(&self, repository: &'a Repository, reference: &Reference) -> Ask<'a> {
        let separator = if matches!(reference, Reference::Tag(_)) { ':' } else { '@' };
        self.ask(
            repository,
            format_args!("manifests/{reference}"),
            media_type::ACCEPT_MANIFESTS,
            format_args!("manifest {repository}{separator}{reference}"),
        )
    }

    fn ask_blob<'a>(&self, repository: &'a Repository, claim: Claim) -> Ask<'a> {
        let digest = claim.digest;
        self.ask(repository, format_args!("blobs/{digest}"), "*/*", format_args!("blob {repository}@{digest}"))
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("registry", &self.registry).field("url", &self.url.as_str()).finish()
    }
}

fn check_url(options: &UpstreamOptions) -> Result<(), SetupError> {
    let url = &options.url;
    let problem = if !matches!(url.scheme(), "http" | "https") {
        "must start with https:// or http://"
    } else if url.host().is_none() {
        "names no host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not hold a user name or password; use credentials"
    } else if url.query().is_some() || url.fragment().is_some() {
        "must not have a query or fragment"
    } else {
        return Ok(());
    };
    Err(SetupError::Url { registry: options.registry.clone(), problem })
}

/// How long a blob of this size may take altogether: 5 minutes, plus a second for each 32 KiB.
pub fn blob_time(size: u64) -> Duration {
    BLOB_TIME_BASE.saturating_add(Duration::from_secs(size / BLOB_BYTES_PER_SECOND)).min(BLOB_TIME_MAX)
}

async fn read_manifest(answer: Answer, want: Option<Digest>, limit: u64) -> Result<Manifest, UpstreamError> {
    let asked = answer.asked().clone();
    // A type that is not even text must not pass for a missing one.
    let sent_as = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).map(String::from_utf8_lossy);
    let sent_as = sent_as.map(std::borrow::Cow::into_owned);
    let bytes = answer.read(limit).await?;
    if let Some(want) = want {
        let got = Digest::of(&bytes);
        if got != want {
            return Err(UpstreamError::Lied { asked, lie: format!("sends content that hashes to {got}") });
        }
    }
    Manifest::parse(bytes, sent_as.as_deref()).map_err(|source| match (source, sent_as) {
        // Says nothing about the image. What came for a digest has that digest: it is what was asked for.
        (ManifestError::Json(_), Some(sent_as)) if want.is_none() && is_page(&sent_as) => {
            UpstreamError::NoManifest { asked, sent_as: sent_as.chars().take(SHOWN).collect() }
        }
        (source, _) => UpstreamError::Manifest { asked, source },
    })
}

/// Whether a media type is one for people to read.
fn is_page(sent_as: &str) -> bool {
    sent_as.trim_start().get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
}

async fn read_small(answer: Answer, claim: Claim) -> Result<Bytes, UpstreamError> {
    check_length(&answer, claim)?;
    let asked = answer.asked().clone();
    let bytes = answer.read(claim.size).await.map_err(|error| match error {
        UpstreamError::TooLarge { asked, limit } => {
            UpstreamError::Lied { asked, lie: format!("sends more than the {limit} bytes that its descriptor says") }
        }
        error => error,
    })?;
    if (bytes.len() as u64) < claim.size {
        return Err(UpstreamError::Cut { asked, seen: bytes.len() as u64, source: None });
    }
    let got = Digest::of(&bytes);
    if got != claim.digest {
        return Err(UpstreamError::Lied { asked, lie: format!("sends content that hashes to {got}") });
    }
    Ok(bytes)
}

/// Where the answer begins to a question for the bytes from `from` on: there, or at the beginning.
fn begins_at(answer: &Answer, claim: Claim, from: u64) -> Result<u64, UpstreamError> {
    if answer.status() != StatusCode::PARTIAL_CONTENT {
        check_length(answer, claim)?;
        return Ok(0);
    }
    match answer.content_range() {
        Some((first, size)) if first == from && size.is_none_or(|size| size == claim.size) => Ok(from),
        _ => Err(answer.lied(format!("was asked for the bytes from {from} on of {}, and sends others", claim.size))),
    }
}

fn check_length(answer: &Answer, claim: Claim) -> Result<(), UpstreamError> {
    match answer.length() {
        Some(length) if length != claim.size => {
            Err(answer.lied(format!("announces {length} bytes, but its descriptor says {}", claim.size)))
        }
        _ => Ok(()),
    }
}
