//! One running fetch per content of a repository, whatever the number of clients. It outlives its first client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::TryFutureExt as _;

use crate::oci::{Claim, Digest, Repository};
use crate::store::{DiskStore, Failure, Incoming, Progress, Spool, SpoolError};
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, FillOutcome, Metrics};
use crate::upstream::{FairPlaces, UpstreamError};

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

/// How much is fetched at once, and how long it is remembered that upstream has none.
pub(super) struct Most {
    pub(super) fetches: usize,
    pub(super) absent_for: Duration,
}

/// All running fetches.
#[derive(Clone)]
pub(super) struct Fills {
    /// By repository, too: a repository that answers slowly, or has no such content, must not do so for
    /// another.
    running: Running,
    failures: moka::sync::Cache<Fetched, PullError>,
    /// What upstream said a moment ago that it does not have.
    absent: moka::sync::Cache<Fetched, PullError>,
    suspects: moka::sync::Cache<Digest, ()>,
    store: Arc<DiskStore>,
    keeping: Arc<Keeping>,
    /// Shared out in turn: neither a crowd for one repository nor an upstream that hangs holds up the others.
    places: FairPlaces,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

impl Fills {
    /// So many fetches run at once; the others wait in turn.
    pub(super) fn new(
        store: Arc<DiskStore>,
        keeping: Arc<Keeping>,
        most: Most,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let memory = || moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR);
        let suspects = moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR).build();
        Self {
            running: Arc::default(),
            failures: memory().build(),
            absent: moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(most.absent_for).build(),
            suspects,
            store,
            keeping,
            places: FairPlaces::for_several(most.fetches),
            metrics,
            tasks,
        }
    }

    /// Joins the running fetch of this content, or starts one. `None` when the disk takes nothing.
    ///
    /// # Errors
    /// That upstream said a moment ago that it has no such content.
    pub(super) fn join(&self, source: Source) -> Result<Option<(Incoming, CacheOutcome)>, PullError> {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        let key = (source.repository.clone(), source.claim);
        if let Some(absent) = self.absent.get(&key) {
            return Err(absent);
        }
        if let Some(incoming) = running.get(&key)
            && !matches!(incoming.progress(), Progress::Failed(_))
        {
            self.metrics.follower_joined();
            return Ok(Some((incoming.clone(), CacheOutcome::Join)));
        }
        let spool = match self.store.begin(source.claim) {
            Ok(spool) => spool,
            Err(error) => {
                self.keeping.failed("content", &error);
                return Ok(None);
            }
        };
        let incoming = spool.incoming();
        running.insert(key.clone(), incoming.clone());
        drop(running);

        let fills = self.clone();
        let landing = Landing { key, running: Arc::clone(&self.running) };
        self.tasks.spawn("fill", async move {
            let place = fills.places.take(&source.repository).await;
            let finish_line = spool.finish_line();
            fills.run(source, spool).await;
            // Off the list before those who wait for it hear: they may want a fetch of their own.
            drop((landing, place));
            drop(finish_line);
        });
        Ok(Some((incoming, CacheOutcome::Fill)))
    }

    /// Whether a fetch of this content is running: whoever joins it needs no room.
    pub(super) fn is_running(&self, repository: &Repository, claim: Claim) -> bool {
        self.running.lock().expect("no holder of this lock panics").contains_key(&(repository.clone(), claim))
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
        let fetched = (repository.clone(), *claim);
        if matches!(error, PullError::NotFound { .. }) {
            self.absent.insert(fetched.clone(), error.clone());
        }
        self.failures.insert(fetched, error);
        spool.fail(Failure::GivenUp(text.into()));
    }
}

enum Cause {
    Spool(SpoolError),
    Upstream(UpstreamError),
}

async fn fill(source: &Source, spool: &mut Spool) -> Result<(), Cause> {
    let mut arriving = source.open().await.map_err(Cause::Upstream)?;
    let mut arrived = arriving.next().await.map_err(Cause::Upstream)?;
    while let Some(pieces) = arrived {
        let (written, next) = (spool.write(pieces), arriving.next());
        ((), arrived) = tokio::try_join!(written.map_err(Cause::Spool), next.map_err(Cause::Upstream))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Registry;
    use crate::upstream::{NetworkOptions, Proxy, UpstreamOptions, Upstreams};

    /// It takes connections and never answers, and more is asked of it than there are places.
    #[tokio::test]
    async fn an_upstream_that_never_answers_leaves_places_to_others() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = Registry::start().await.unwrap();
        let content = good.put_blob("app", "good");
        let options = |name: &str, address: std::net::SocketAddr| {
            UpstreamOptions::new(name.parse().unwrap(), format!("http://{address}").parse().unwrap())
        };
        let all = vec![options("silent.test", silent.local_addr().unwrap()), options("good.test", good.address())];
        let network = NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
        let upstreams = Upstreams::new(all, network).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(DiskStore::open(folder.path()).unwrap());
        let (metrics, most) = (Arc::<Metrics>::default(), Most { fetches: 4, absent_for: Duration::ZERO });
        let keeping = Arc::new(Keeping::new(Arc::clone(&metrics)));
        let fills = Fills::new(store, keeping, most, Arc::clone(&metrics), Tasks::new());
        let join = |registry: &str, claim| {
            let repository: Repository = format!("{registry}/app").parse().unwrap();
            let upstream = upstreams.get(repository.registry()).unwrap();
            fills.join(Source { upstream, repository, claim, metrics: Arc::clone(&metrics) }).unwrap().unwrap().0
        };
        let held: Vec<_> = (0..8u8).map(|n| join("silent.test", Claim { digest: Digest::of(&[n]), size: 1 })).collect();
        let mut arrives = join("good.test", Claim { digest: content, size: 4 });
        let sealed = tokio::time::timeout(Duration::from_secs(10), arrives.sealed()).await;
        assert!(sealed.expect("the silent one holds every place").is_ok());
        assert!(held.iter().all(|one| matches!(one.progress(), Progress::Writing(0))));
    }
}
