//! What upstream's answers mean for a pull.

use crate::oci::Repository;
use crate::trust::{Candidate, Found, Looked, Material, Search};
use crate::upstream::{self, LookOutcome, SignatureLimits, Upstream, UpstreamError, Wanted};

use super::error::PullError;

/// An upstream's failure as an outcome of the pull. 404 only from a 404.
pub(super) fn upstream_error(upstream: &Upstream, what: &str, error: &UpstreamError) -> PullError {
    let registry = upstream.registry().clone();
    match error {
        UpstreamError::NotFound { .. } => PullError::NotFound { registry, what: what.to_owned() },
        error => PullError::Upstream { registry, detail: with_causes(error), retry_after: error.retry_after() },
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

/// Looks for everything that may be a signature of `subject`.
pub(super) async fn search(
    upstream: &Upstream,
    repository: &Repository,
    subject: crate::oci::Digest,
    wanted: Wanted,
    limits: &SignatureLimits,
) -> Search {
    let collected = Box::pin(upstream.signatures(repository, subject, wanted, limits)).await;
    let candidates = collected.found.into_iter().filter_map(|found| {
        let material = material(found.material)?;
        Some(Candidate { place: found.place, material })
    });
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

fn material(material: upstream::Material) -> Option<Material> {
    match material {
        upstream::Material::Classic { payload, annotations } => Some(Material::Classic { payload, annotations }),
        upstream::Material::Bundle { bytes } => Some(Material::Bundle(bytes)),
        // To be connected: `trust::Material` does not know classic attestations yet.
        upstream::Material::ClassicAttestation { .. } => None,
    }
}
