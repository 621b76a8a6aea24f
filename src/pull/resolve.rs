//! From a tag to content: once per request, and the tag is never used again after.

use std::sync::Arc;

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::oci::{Digest, Manifest, Reference, Repository, Tag};
use crate::tasks::Tasks;
use crate::upstream::{Upstream, UpstreamError};

use super::error::PullError;
use super::flight::Flights;
use super::from_upstream::upstream_error;
use super::keeping::Keeping;

/// What a tag stands for at this moment.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// What upstream says it is. Nothing is proven by it: the digest must pass the gate.
    pub(super) digest: Digest,
    /// The manifest itself, when it came along.
    pub(super) manifest: Option<Manifest>,
}

/// Asks upstream what tags stand for; one question for any crowd.
pub(super) struct Resolver {
    ledger: Ledger,
    keeping: Arc<Keeping>,
    clock: Arc<dyn Clock>,
    flights: Flights<(Repository, Tag), Result<Resolved, PullError>>,
}

impl Resolver {
    pub(super) fn new(ledger: Ledger, keeping: Arc<Keeping>, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        Self { ledger, keeping, clock, flights: Flights::new("resolve", tasks) }
    }

    /// Cancel safe.
    pub(super) async fn resolve(
        &self,
        upstream: &Arc<Upstream>,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Resolved, PullError> {
        let key = (repository.clone(), tag.clone());
        let work = || ask(self.ledger.clone(), Arc::clone(upstream), repository.clone(), tag.clone());
        self.flights.join(key, work).await.map_err(|_| PullError::Internal("the program is stopping".into()))?
    }

    /// Remembers where a tag pointed, so that next time a HEAD is enough.
    pub(super) async fn remember(&self, repository: &Repository, tag: &Tag, digest: Digest) {
        if matches!(self.ledger.tag(repository, tag).await, Ok(Some(known)) if known == digest) {
            return;
        }
        if let Err(error) = self.ledger.record_tag(repository, tag, digest, self.clock.now()).await {
            self.keeping.failed("tags", &error);
        }
    }
}

/// A tag that was seen before is asked by HEAD, which registries do not count and which sends
/// nothing that we have; a new one by GET, which saves a round trip.
async fn ask(ledger: Ledger, upstream: Arc<Upstream>, repository: Repository, tag: Tag) -> Result<Resolved, PullError> {
    let what = format!("{}:{tag}", repository.path());
    let fail = |error: UpstreamError| upstream_error(&upstream, &what, &error);
    let seen = ledger.tag(&repository, &tag).await.ok().flatten();
    if seen.is_some()
        && let Some(digest) = Box::pin(upstream.resolve(&repository, &tag)).await.map_err(fail)?
    {
        return Ok(Resolved { digest, manifest: None });
    }
    let manifest = super::from_upstream::fetch(&upstream, &repository, &Reference::Tag(tag)).await?;
    Ok(Resolved { digest: manifest.digest(), manifest: Some(manifest) })
}
