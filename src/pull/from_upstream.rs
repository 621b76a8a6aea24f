//! What upstream's answers mean for a pull.

use futures_util::future::{BoxFuture, Either, select};

use crate::oci::{Claim, Digest, Manifest, Reference, Repository};
use crate::trust::{Candidate, Found, Looked, Material, Reason, Search};
use crate::upstream::{self, LookOutcome, SignatureLimits, Upstream, UpstreamError, Wanted};

use super::error::{PullError, Refusal};

/// An upstream's failure as an outcome of the pull. 404 only from a 404.
pub(super) fn upstream_error(upstream: &Upstream, what: &str, error: &UpstreamError) -> PullError {
    let registry = upstream.registry().clone();
    match error {
        UpstreamError::NotFound { .. } => PullError::NotFound { registry, what: what.to_owned() },
        error => PullError::Upstream {
            registry,
            detail: with_causes(error),
            away: error.away().is_some(),
            retry_after: error.retry_after(),
        },
    }
}

/// A blob that did not come, as an outcome of the pull.
pub(super) fn content_error(upstream: &Upstream, claim: Claim, error: UpstreamError) -> PullError {
    match error {
        UpstreamError::Lied { lie, .. } => {
            PullError::BadContent { registry: upstream.registry().clone(), digest: claim.digest, detail: lie }
        }
        error => upstream_error(upstream, &format!("blob {}", claim.digest), &error),
    }
}

/// The error and what lies behind it, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        // Libraries like to repeat what they wrap.
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Fetches a manifest. A document that two parsers could read differently is refused: it could be
/// verified as one thing and used as another.
pub(super) async fn fetch(
    upstream: &Upstream,
    repository: &Repository,
    reference: &Reference,
) -> Result<Manifest, PullError> {
    // Boxed, as every question to upstream: its steps would make each caller's future large.
    Box::pin(upstream.manifest(repository, reference)).await.map_err(|error| match (&error, reference) {
        (UpstreamError::Manifest { source, .. }, _) => PullError::Refused(Box::new(Refusal {
            repository: repository.clone(),
            asked: reference.to_string(),
            reason: Reason::UnsafeManifest,
            rule: None,
            detail: source.to_string(),
            next_step: Reason::UnsafeManifest.next_step().to_owned(),
            verdict: None,
        })),
        (UpstreamError::Lied { lie, .. }, Reference::Digest(digest)) => {
            PullError::BadContent { registry: upstream.registry().clone(), digest: *digest, detail: lie.clone() }
        }
        _ => upstream_error(upstream, &format!("{} {reference}", repository.path()), &error),
    })
}

/// Runs two questions side by side until the first is answered. The other goes on where it is awaited, and
/// is left undone where it is dropped. Until then it holds its places at upstream without getting on, so
/// one of both must follow at once.
pub(super) async fn beside<'a, A, B: Send + 'a>(
    first: impl Future<Output = A> + Unpin,
    other: BoxFuture<'a, B>,
) -> (A, BoxFuture<'a, B>) {
    match select(first, other).await {
        Either::Left((first, other)) => (first, other),
        Either::Right((done, first)) => (first.await, Box::pin(std::future::ready(done))),
    }
}

/// Looks for everything that may be a signature of `subject`.
pub(super) async fn search(
    upstream: &Upstream,
    repository: &Repository,
    subject: Digest,
    wanted: Wanted,
    limits: &SignatureLimits,
) -> Search {
    let collected = Box::pin(upstream.signatures(repository, subject, wanted, limits)).await;
    let candidates =
        collected.found.into_iter().map(|found| Candidate { place: found.place, material: material(found.material) });
    let looked_at = collected.looked_at.into_iter().map(|look| Looked {
        place: look.place,
        found: match look.outcome {
            LookOutcome::Found(n) => Found::Candidates(n),
            LookOutcome::Absent => Found::Nothing,
            LookOutcome::Unrelated(what) => Found::Unrelated(what),
            LookOutcome::Failed(why) => Found::Failed(why),
            LookOutcome::OverLimit(what) => Found::OverLimit(what),
        },
    });
    Search { candidates: candidates.collect(), looked_at: looked_at.collect() }
}

fn material(material: upstream::Material) -> Material {
    match material {
        upstream::Material::Classic { payload, annotations } => Material::Classic { payload, annotations },
        upstream::Material::ClassicAttestation { envelope, annotations } => {
            Material::ClassicAttestation { envelope, annotations }
        }
        upstream::Material::Bundle { bytes } => Material::Bundle(bytes),
    }
}
