//! Which recorded manifests name a digest, in the order in which they are worth trying.

use crate::ledger::Ledger;
use crate::oci::Digest;
use crate::store::DiskStore;

use super::from_upstream::with_causes;
use super::question::Question;

/// How many are tried: so many of the best, and so many of those that are stored.
const TRIED_MAX: usize = 16;

/// How many are looked at for that.
const SEEN_MAX: u32 = 256;

/// Those first that are stored: what was evicted would have to be fetched again, which costs time and needs upstream. A
/// ledger that does not answer costs look-ups, not safety.
pub(super) async fn named_by(store: &DiskStore, ledger: &Ledger, question: &Question) -> Vec<Digest> {
    let seen = match ledger.parents(&question.repository, question.digest, SEEN_MAX).await {
        Ok(seen) => seen,
        Err(error) => {
            tracing::error!(error = %with_causes(&error), "the ledger could not be read");
            return Vec::new();
        }
    };
    let best: Vec<_> = seen.iter().copied().take(TRIED_MAX).collect();
    let mut tried = store.stored_first(seen).await;
    let others = tried.split_off(tried.len().min(TRIED_MAX));
    tried.extend(others.into_iter().filter(|digest| best.contains(digest)));
    tried
}
