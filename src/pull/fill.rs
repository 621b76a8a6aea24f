//! One running fetch per content of a repository, whatever the number of clients. It outlives its first client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::oci::{Claim, Digest, Repository};
use crate::store::{DiskStore, Failure, Incoming, Progress, Spool, SpoolError};
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, FillOutcome, Metrics};
use crate::upstream::UpstreamError;

use super::error::PullError;
use super::from_upstream::content_error;
use super::keeping::Keeping;
use super::resume::Source;

/// How long content that turned out bad is fetched without passing it on before the end. The client
/// whose response was cut asks again at once, and then gets a readable answer, or good content.
const SUSPECT_FOR: Duration = Duration::from_secs(60);

/// Most contents whose failure is remembered.
const REMEMBERED: u64 = 4096;

/// What is fetched, and from where.
type Fetched = (Repository, Claim);
type Running = Arc<Mutex<HashMap<Fetched, Incoming>>>;

/// All running fetches.
#[derive(Clone)]
pub(super) struct Fills {
    /// By repository, too: a repository that answers slowly, or has no such content, must not do so for
    /// another.
    running: Running,
    failures: moka::sync::Cache<Fetched, PullError>,
    suspects: moka::sync::Cache<Digest, ()>,
    store: Arc<DiskStore>,
    keeping: Arc<Keeping>,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

impl Fills {
    /// At most `most` fetches run at once; the others wait in turn.
    pub(super) fn new(
        store: Arc<DiskStore>,
        keeping: Arc<Keeping>,
        most: usize,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let memory = || moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR);
        let suspects = moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR).build();
        Self {
            running: Arc::default(),
            failures: memory().build(),
            suspects,
            store,
            keeping,
            places: Arc::new(Semaphore::new(most)),
            metrics,
            tasks,
        }
    }

    /// Joins the running fetch of this content, or starts one. `None` when the disk takes nothing.
    pub(super) fn join(&self, source: Source) -> Option<(Incoming, CacheOutcome)> {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        let key = (source.repository.clone(), source.claim);
        if let Some(incoming) = running.get(&key)
            && !matches!(incoming.progress(), Progress::Failed(_))
        {
            self.metrics.follower_joined();
            return Some((incoming.clone(), CacheOutcome::Join));
        }
        let spool = self.store.begin(source.claim).map_err(|error| self.keeping.failed("content", &error)).ok()?;
        let incoming = spool.incoming();
        running.insert(key.clone(), incoming.clone());
        drop(running);

        let fills = self.clone();
        let landing = Landing { key, running: Arc::clone(&self.running) };
        self.tasks.spawn("fill", async move {
            // The semaphore is never closed, so this waits for a place and for nothing else.
            let place = Arc::clone(&fills.places).acquire_owned().await;
            let finish_line = spool.finish_line();
            fills.run(source, spool).await;
            // Off the list before those who wait for it hear: they may want a fetch of their own.
            drop((landing, place));
            drop(finish_line);
        });
        Some((incoming, CacheOutcome::Fill))
    }

    /// Whether this content turned out bad a moment ago. Then nothing of it should leave before its seal.
    pub(super) fn is_suspect(&self, digest: Digest) -> bool {
        self.suspects.contains_key(&digest)
    }

    /// Why the fetch of this content failed.
    pub(super) fn failure(&self, repository: &Repository, claim: Claim, why: &Arc<str>) -> PullError {
        self.failures.get(&(repository.clone(), claim)).unwrap_or_else(|| PullError::Internal(Arc::clone(why)))
    }

    async fn run(self, source: Source, mut spool: Spool) {
        self.metrics.fill_started();
        let claim = source.claim;
        let sealed = match fill(&source, &mut spool).await {
            Ok(()) => spool.seal().await.map_err(|unsealed| (Cause::Spool(unsealed.error), unsealed.spool)),
            Err(cause) => Err((cause, spool)),
        };
        match sealed {
            Ok(sealed) => {
                self.suspects.invalidate(&claim.digest);
                self.failures.invalidate(&(source.repository, claim));
                self.metrics.fill_finished(FillOutcome::Sealed);
                match self.store.commit(sealed).await {
                    Ok(()) => self.keeping.kept(),
                    // Readers have the bytes through their own handle; only the next pull pays.
                    Err(error) => self.keeping.failed("content", &error),
                }
            }
            Err((Cause::Spool(error @ SpoolError::Io { .. }), spool)) => {
                self.keeping.failed("content", &error);
                self.metrics.fill_finished(FillOutcome::Failed);
                // Says nothing about the content: each reader goes on by itself.
                spool.fail(Failure::Disk(error.to_string().into()));
            }
            Err((cause, spool)) => self.give_up(&source, cause, spool),
        }
    }

    fn give_up(&self, source: &Source, cause: Cause, spool: Spool) {
        let Source { upstream, repository, claim, .. } = source;
        let error = match cause {
            Cause::Spool(error) => PullError::BadContent {
                registry: upstream.registry().clone(),
                digest: claim.digest,
                detail: error.to_string(),
            },
            Cause::Upstream(error) => content_error(upstream, *claim, error),
        };
        if matches!(error, PullError::BadContent { .. }) {
            self.suspects.insert(claim.digest, ());
        }
        self.metrics.fill_finished(match error {
            PullError::BadContent { .. } => FillOutcome::Rejected,
            _ => FillOutcome::Failed,
        });
        let text = error.to_string();
        tracing::warn!(digest = %claim.digest, registry = %upstream.registry(), error = %text, "fetch failed; nothing kept");
        // Written down before the readers wake up and look.
        self.failures.insert((repository.clone(), *claim), error);
        spool.fail(Failure::GivenUp(text.into()));
    }
}

enum Cause {
    Spool(SpoolError),
    Upstream(UpstreamError),
}

async fn fill(source: &Source, spool: &mut Spool) -> Result<(), Cause> {
    let mut arriving = source.open().await.map_err(Cause::Upstream)?;
    while let Some(pieces) = arriving.next().await.map_err(Cause::Upstream)? {
        spool.write(pieces).await.map_err(Cause::Spool)?;
    }
    Ok(())
}

/// Takes the fetch off the list, also when its task is dropped where it waits.
struct Landing {
    key: Fetched,
    running: Running,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.running.lock().expect("no holder of this lock panics").remove(&self.key);
    }
}
