//! An upstream: a registry or a folder, and what may be asked of either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::body::BlobStream;
use super::client::{Client, blob_time};
use super::error::UpstreamError;
use super::layout::Layout;
use super::listing::TagPage;
use super::options::Freshness;
use super::referrers::{Annotations, Referrers};
use super::signatures::{Collected, SignatureLimits, Wanted};
use crate::oci::{Claim, Digest, MANIFEST_MAX, Manifest, Reference, Registry, Repository, Tag};

/// A configured upstream. What comes back are claims: a manifest or small blob asked by digest has that
/// digest, but nobody has vouched for it yet.
#[derive(Debug)]
pub struct Upstream {
    registry: Registry,
    instance: u64,
    came_by_reload: bool,
    source: Arc<Source>,
    signatures_in: Option<Elsewhere>,
    freshness: Freshness,
}

/// Where content really comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// Over the network.
    Registry(Box<Client>),
    /// An OCI image layout. It holds one image or a few, and asks nobody which repository is meant.
    Folder(Layout),
}

/// A repository that holds the signatures of others.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) source: Arc<Source>,
    pub(super) repository: Repository,
}

impl Upstream {
    pub(super) fn new(
        registry: Registry,
        source: Arc<Source>,
        signatures_in: Option<Elsewhere>,
        freshness: Freshness,
    ) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let instance = MADE.fetch_add(1, Ordering::Relaxed);
        Self { registry, instance, came_by_reload: false, source, signatures_in, freshness }
    }

    /// The same, made by a reload of the configuration or not.
    pub(super) fn by_reload(self, came_by_reload: bool) -> Self {
        Self { came_by_reload, ..self }
    }

    /// Whether a reload of the configuration made it: what one of its name said before may be wrong here.
    pub fn came_by_reload(&self) -> bool {
        self.came_by_reload
    }

    /// Tells it from others of the same name, which were there under another configuration: no answer of one of them
    /// is an answer of another.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    pub(super) fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Whether it is made of these very parts.
    pub(super) fn is_made_of(&self, source: &Arc<Source>, signatures_in: Option<&Elsewhere>) -> bool {
        let same_place = match (&self.signatures_in, signatures_in) {
            (None, None) => true,
            (Some(mine), Some(other)) => {
                Arc::ptr_eq(&mine.source, &other.source) && mine.repository == other.repository
            }
            _ => false,
        };
        Arc::ptr_eq(&self.source, source) && same_place
    }

    /// The name under which it is configured.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How old an answer about a tag may be.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// How long to wait for an answer about a repository where an older one could do: a few seconds, or nothing while
    /// upstream is known to be away.
    pub fn patience(&self, repository: &Repository) -> Duration {
        match self.source.as_ref() {
            Source::Registry(client) => client.circuit.patience(repository.path()),
            Source::Folder(_) => Duration::MAX,
        }
    }

    /// The answer, if it comes within [`Self::patience`]. If it does not, others wait less for the same repository.
    pub async fn in_patience<T>(&self, repository: &Repository, answer: impl Future<Output = T>) -> Option<T> {
        let patience = self.patience(repository);
        let answer = tokio::time::timeout(patience, answer).await.ok();
        // Who had none cannot tell.
        if let (None, false, Source::Registry(client)) = (&answer, patience.is_zero(), self.source.as_ref()) {
            client.circuit.was_quiet(repository.path());
        }
        answer
    }

    /// Whether it fails, so that one question at a time goes out to it and the others fail at once.
    pub fn is_suspended(&self) -> bool {
        matches!(self.source.as_ref(), Source::Registry(client) if client.circuit.is_open())
    }

    /// How often what failed there is tried again.
    pub fn retries(&self) -> usize {
        match self.source.as_ref() {
            Source::Registry(client) => usize::try_from(client.retries).unwrap_or(usize::MAX),
            Source::Folder(_) => 0,
        }
    }

    /// The folder, if it is one.
    pub fn layout(&self) -> Option<&Layout> {
        match self.source.as_ref() {
            Source::Folder(layout) => Some(layout),
            Source::Registry(_) => None,
        }
    }

    /// The repository in which the signatures of all its images are looked for, if that is set.
    pub fn signatures_in(&self) -> Option<&Repository> {
        self.signatures_in.as_ref().map(|elsewhere| &elsewhere.repository)
    }

    /// Asks which digest a tag has now (HEAD). `None` when upstream answers without a sha256 digest.
    ///
    /// # Errors
    /// `NotFound` when there is no such tag; see [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub async fn resolve(&self, repository: &Repository, tag: &Tag) -> Result<Option<Digest>, UpstreamError> {
        match self.source.as_ref() {
            Source::Registry(client) => client.resolve(repository, tag).await,
            Source::Folder(layout) => layout.resolve(tag).map(Some),
        }
    }

    /// Fetches a manifest of at most [`MANIFEST_MAX`] bytes. Asked by digest, it has that digest.
    ///
    /// # Errors
    /// `Lied` when the bytes hash to something else, `TooLarge`, `Manifest` when they are none that we
    /// serve; see [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Manifest, UpstreamError> {
        self.source.manifest_within(repository, reference, MANIFEST_MAX as u64).await
    }

    /// Starts to fetch a blob; returns when the headers are here. The bytes are counted, **not** hashed:
    /// that is the spool's work. The stream has the time of [`blob_time`].
    ///
    /// # Errors
    /// As [`Upstream::blob_from`].
    pub async fn blob(&self, repository: &Repository, claim: Claim) -> Result<BlobStream, UpstreamError> {
        self.blob_from(repository, claim, 0, Instant::now() + blob_time(claim.size), || ()).await
    }

    /// Starts to fetch a blob from byte `from` on, to be done by `deadline`.
    ///
    /// # Errors
    /// `Lied` at once when another length than `claim.size` or another beginning than `from` is announced,
    /// or the content is encoded; see [`UpstreamError`] and [`BlobStream`]. May wait for one of 64 places,
    /// and calls `on_turn` when it has one. Cancel safe.
    pub async fn blob_from(
        &self,
        repository: &Repository,
        claim: Claim,
        from: u64,
        deadline: Instant,
        on_turn: impl FnOnce() + Send,
    ) -> Result<BlobStream, UpstreamError> {
        match self.source.as_ref() {
            Source::Registry(client) => client.blob_from(repository, claim, from, deadline, on_turn).await,
            Source::Folder(layout) => {
                on_turn();
                layout.blob_from(claim, from, deadline).await
            }
        }
    }

    /// Fetches a whole blob into memory; its size and digest are those of `claim`.
    ///
    /// # Errors
    /// `TooLarge`, without asking, when `claim.size` is more than `max`; `Lied` when the content does not
    /// fit the claim; see [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub async fn small_blob(&self, repository: &Repository, claim: Claim, max: u64) -> Result<Bytes, UpstreamError> {
        self.source.small_blob(repository, claim, max).await
    }

    /// Asks for everything that refers to `subject` (distribution spec, "Listing Referrers"), without a
    /// filter: registries report types differently. Follows up to 4 pages and takes up to `max` entries.
    /// `None` means that the registry has no such list, not that the list is empty.
    ///
    /// # Errors
    /// See [`UpstreamError`]; a page may take 30 s. Cancel safe.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: Digest,
        max: usize,
    ) -> Result<Option<Referrers>, UpstreamError> {
        self.source.referrers(repository, subject, max, Annotations::All).await
    }

    /// Asks for tags: at most `n`, those behind `last`.
    ///
    /// # Errors
    /// `TooLarge` for a page of more than 4 MiB, `Lied` when it is no list of tags; see
    /// [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub async fn tags(
        &self,
        repository: &Repository,
        n: Option<u32>,
        last: Option<&Tag>,
    ) -> Result<TagPage, UpstreamError> {
        match self.source.as_ref() {
            Source::Registry(client) => client.tags(repository, n, last).await,
            Source::Folder(layout) => Ok(layout.tags(n, last)),
        }
    }

    /// Fetches everything that may be a signature of `subject`, from all places at once: beside the
    /// image, or in the one repository that this upstream keeps its signatures in.
    ///
    /// Never fails as a whole: each place has its own outcome. Ends at `limits.deadline`; what was found
    /// by then is kept, and what was not done is `Failed`. Cancel safe.
    pub async fn signatures(
        &self,
        repository: &Repository,
        subject: Digest,
        wanted: Wanted,
        limits: &SignatureLimits,
    ) -> Collected {
        match &self.signatures_in {
            None => self.source.signatures(repository, subject, wanted, limits).await,
            Some(Elsewhere { source, repository }) => {
                source.signatures(repository, subject, wanted, limits).await.located(repository)
            }
        }
    }
}

impl Source {
    pub(super) async fn manifest_within(
        &self,
        repository: &Repository,
        reference: &Reference,
        limit: u64,
    ) -> Result<Manifest, UpstreamError> {
        match self {
            Self::Registry(client) => client.manifest_within(repository, reference, limit).await,
            Self::Folder(layout) => layout.manifest_within(reference, limit).await,
        }
    }

    pub(super) async fn small_blob(
        &self,
        repository: &Repository,
        claim: Claim,
        max: u64,
    ) -> Result<Bytes, UpstreamError> {
        match self {
            Self::Registry(client) => client.small_blob(repository, claim, max).await,
            Self::Folder(layout) => layout.small_blob(claim, max).await,
        }
    }

    pub(super) async fn referrers(
        &self,
        repository: &Repository,
        subject: Digest,
        max: usize,
        keep: Annotations,
    ) -> Result<Option<Referrers>, UpstreamError> {
        match self {
            Self::Registry(client) => client.referrers(repository, subject, max, keep).await,
            Self::Folder(layout) => layout.referrers(subject, max).map(Some),
        }
    }

    /// Whether a registry answered lately that it has no referrers API.
    pub(super) fn lately_without_referrers(&self) -> bool {
        match self {
            Self::Registry(client) => client.without_referrers.happened(),
            Self::Folder(_) => false,
        }
    }
}
