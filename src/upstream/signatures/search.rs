//! One image's search: its places side by side, within one deadline.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::layers::{Budget, Kind};
use super::{Collected, LookOutcome, SignatureLimits, Wanted};
use crate::oci::{Descriptor, Digest, Manifest, ManifestError, Reference, Repository};
use crate::upstream::error::{UpstreamError, in_full};
use crate::upstream::source::Source;

/// How many documents of one image are fetched at one time.
const AT_ONCE: usize = 8;

/// One image's search.
pub(super) struct Search<'a> {
    pub(super) source: &'a Source,
    pub(super) repository: &'a Repository,
    pub(super) subject: Digest,
    pub(super) wanted: Wanted,
    pub(super) limits: &'a SignatureLimits,
    end: Instant,
    signatures: Budget,
    attestations: Budget,
    large: Budget,
}

impl Source {
    /// See `Upstream::signatures`.
    pub(in crate::upstream) async fn signatures(
        &self,
        repository: &Repository,
        subject: Digest,
        wanted: Wanted,
        limits: &SignatureLimits,
    ) -> Collected {
        let search = Search {
            source: self,
            repository,
            subject,
            wanted,
            limits,
            end: Instant::now() + limits.deadline,
            signatures: Budget::new(limits.layers),
            attestations: Budget::new(limits.layers),
            large: Budget::new(limits.attestations),
        };
        let attestations = async {
            match wanted.attestations {
                true => search.tag(Kind::Attestation).await,
                false => Collected::default(),
            }
        };
        let (mut all, signatures, attestations) =
            tokio::join!(search.referring(), search.tag(Kind::Signature), attestations);
        all.merge(signatures);
        all.merge(attestations);
        all
    }
}

impl Search<'_> {
    /// How many more layers of this kind may be looked at.
    pub(super) fn budget(&self, kind: Kind) -> &Budget {
        match kind {
            Kind::Signature => &self.signatures,
            Kind::Attestation => &self.attestations,
        }
    }

    /// Runs some looks side by side and adds them up, in order.
    pub(super) async fn each(&self, looks: Vec<impl Future<Output = Collected>>, mut sum: Collected) -> Collected {
        let mut done = stream::iter(looks).buffered(AT_ONCE);
        while let Some(one) = done.next().await {
            sum.merge(one);
        }
        sum
    }

    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Manifest, LookOutcome> {
        let fetch = async {
            match self.source.manifest_within(self.repository, reference, self.limits.manifest).await {
                // These are the right bytes, so they will never be a signature. What comes for a tag may
                // be anything, an error page too.
                Err(error @ UpstreamError::Manifest { .. })
                    if matches!(reference, Reference::Digest(_)) && !is_over_limit(&error) =>
                {
                    Ok(Err(LookOutcome::Unrelated(in_full(&error))))
                }
                fetched => fetched.map(Ok),
            }
        };
        self.in_time(fetch).await?
    }

    pub(super) async fn blob(&self, layer: &Descriptor, what: &str, limit: u64) -> Result<Bytes, LookOutcome> {
        within(what, layer.size, limit)?;
        let fetched = self.in_time(self.source.small_blob(self.repository, layer.claim(), limit));
        let no_room = || LookOutcome::Failed("too much signature material is being looked at just now".to_owned());
        self.limits.held.fetch(layer.size, fetched).await.ok_or_else(no_room)?
    }

    /// A bundle or an attestation. Only where attestations are asked for may it be large, and then not often.
    pub(super) async fn document(&self, layer: &Descriptor, what: &str) -> Result<Bytes, LookOutcome> {
        let limits = self.limits;
        if layer.size <= limits.bundle || !self.wanted.attestations {
            return self.blob(layer, what, limits.bundle).await;
        }
        within(what, layer.size, limits.attestation)?;
        let size = usize::try_from(layer.size).unwrap_or(usize::MAX);
        if self.large.take(size) < size {
            let detail = format!("{what} of {size} bytes; of large ones {} bytes are read", limits.attestations);
            return Err(LookOutcome::OverLimit(detail));
        }
        self.blob(layer, what, limits.attestation).await
    }

    /// Waits until the search's end, no longer.
    pub(super) async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, LookOutcome> {
        let late = || LookOutcome::Failed("deadline".to_owned());
        if Instant::now() >= self.end {
            return Err(late());
        }
        timeout_at(self.end, step).await.map_err(|_| late())?.map_err(|error| match &error {
            UpstreamError::NotFound { .. } => LookOutcome::Absent,
            error if is_over_limit(error) => LookOutcome::OverLimit(in_full(error)),
            error => LookOutcome::Failed(in_full(error)),
        })
    }
}

/// Whether what is there is only too much of it.
fn is_over_limit(error: &UpstreamError) -> bool {
    matches!(
        error,
        UpstreamError::TooLarge { .. }
            | UpstreamError::Manifest { source: ManifestError::TooLarge | ManifestError::TooMany(_), .. }
    )
}

/// Holds a claimed size against a limit, before anything is asked.
pub(super) fn within(what: &str, size: u64, limit: u64) -> Result<(), LookOutcome> {
    if size <= limit {
        return Ok(());
    }
    Err(LookOutcome::OverLimit(format!("{what} of {size} bytes, the limit is {limit}")))
}
