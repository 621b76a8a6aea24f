//! Who names whom: the ledger, and beside it what the ledger could not write down.
//!
//! An image that was admitted while nothing could be written must be served whole: its platforms and blobs are
//! found through this. A wrong entry costs a look, nothing else, since a parent must be admitted itself.

use std::sync::Arc;

use moka::sync::Cache;

use crate::ledger::{Edges, Ledger, LedgerError};
use crate::oci::{Digest, Repository};
use crate::trust::{Decision, Fingerprint, Recorded};

use super::from_upstream::with_causes;
use super::keeping::Keeping;

/// How many digests are remembered with what names them while the ledger cannot be written; each takes some
/// 300 bytes. An image of two platforms has a dozen.
const UNWRITTEN_MAX: u64 = 50_000;

/// How many parents of one digest, and latest images of one repository, are remembered then.
const EACH_MAX: usize = 16;

/// The edges between what was admitted.
#[derive(Clone)]
pub(super) struct Lineage {
    ledger: Ledger,
    keeping: Arc<Keeping>,
    /// By child.
    parents: Cache<(Repository, Digest), Vec<Digest>>,
    /// What was served in its own right, latest first.
    tops: Cache<Repository, Vec<Digest>>,
}

impl Lineage {
    pub(super) fn new(ledger: Ledger, keeping: Arc<Keeping>) -> Self {
        let (parents, tops) = (Cache::new(UNWRITTEN_MAX), Cache::new(UNWRITTEN_MAX));
        Self { ledger, keeping, parents, tops }
    }

    /// Writes down a verdict with its evidence, and what the manifest names.
    pub(super) async fn record(&self, recorded: Recorded, edges: Edges) {
        let repository = recorded.verdict.repository.clone();
        let is_artefact = matches!(recorded.verdict.decision, Decision::Artefact);
        let Err(error) = self.ledger.record(recorded, edges.clone()).await else { return self.keeping.kept() };
        self.keeping.failed("verdicts", &error);
        self.remember(&repository, &edges);
        if let Some(top) = edges.parent.filter(|_| !is_artefact) {
            put_first(&self.tops, repository, top);
        }
    }

    /// Writes down what a manifest names that was verified through its parent.
    pub(super) async fn record_edges(&self, repository: &Repository, edges: Edges) {
        match self.ledger.record_edges(repository, edges.clone()).await {
            Ok(()) => self.keeping.kept(),
            Err(error) => {
                self.keeping.failed("verdicts", &error);
                self.remember(repository, &edges);
            }
        }
    }

    /// Which admitted manifests name this digest, at most `max` that are written down.
    pub(super) async fn parents(
        &self,
        repository: &Repository,
        child: Digest,
        under: Fingerprint,
        max: u32,
    ) -> Vec<Digest> {
        let written = self.ledger.parents(repository, child, under, max).await;
        let unwritten = self.parents.get(&(repository.clone(), child));
        join(written.unwrap_or_else(unreadable), unwritten)
    }

    /// What was served in its own right, at most `max` that are written down.
    pub(super) async fn tops(&self, repository: &Repository, max: u32) -> Vec<Digest> {
        let written = self.ledger.tops(repository, max).await;
        join(written.unwrap_or_else(unreadable), self.tops.get(repository))
    }

    fn remember(&self, repository: &Repository, edges: &Edges) {
        let Some(parent) = edges.parent else { return };
        for (child, _) in &edges.children {
            put_first(&self.parents, (repository.clone(), *child), parent);
        }
    }
}

fn put_first<K: Clone + Eq + std::hash::Hash + Send + Sync + 'static>(
    lists: &Cache<K, Vec<Digest>>,
    key: K,
    first: Digest,
) {
    let mut list = lists.get(&key).unwrap_or_default();
    list.retain(|digest| *digest != first);
    list.insert(0, first);
    list.truncate(EACH_MAX);
    lists.insert(key, list);
}

/// What is not written down is the latest.
fn join(written: Vec<Digest>, unwritten: Option<Vec<Digest>>) -> Vec<Digest> {
    let mut all = unwritten.unwrap_or_default();
    all.extend(written.into_iter().filter(|digest| !all.contains(digest)).collect::<Vec<_>>());
    all
}

/// A ledger that does not answer costs memory, not safety.
fn unreadable(error: LedgerError) -> Vec<Digest> {
    tracing::error!(error = %with_causes(&error), "the ledger could not be read");
    Vec::new()
}
