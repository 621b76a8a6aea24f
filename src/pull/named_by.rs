//! Which recorded manifests name a digest, in the order in which they are worth trying.

use crate::oci::Digest;
use crate::store::DiskStore;

use super::lineage::Lineage;
use super::question::Question;

/// How many are tried: so many of the best, and so many of those that are stored.
const TRIED_MAX: usize = 16;

/// How many are looked at for that.
const SEEN_MAX: u32 = 256;

/// Those first that are stored: what was evicted would have to be fetched again, which costs time and needs upstream. A
/// ledger that does not answer costs look-ups, not safety.
pub(super) async fn named_by(store: &DiskStore, lineage: &Lineage, question: &Question) -> Vec<Digest> {
    let seen = lineage.parents(&question.repository, question.digest, question.rule.fingerprint(), SEEN_MAX).await;
    let best: Vec<_> = seen.iter().copied().take(TRIED_MAX).collect();
    let mut tried = store.stored_first(seen).await;
    let others = tried.split_off(tried.len().min(TRIED_MAX));
    tried.extend(others.into_iter().filter(|digest| best.contains(digest)));
    tried
}
