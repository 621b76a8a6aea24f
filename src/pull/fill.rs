//! One running fetch per content of a repository, whatever the number of clients. It outlives its first client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Semaphore;

use crate::oci::{Claim, Digest, Repository};
use crate::store::{DiskStore, Incoming, Progress, Spool, SpoolError};
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, FillOutcome, Metrics};
use crate::upstream::{Upstream, UpstreamError};

use super::error::PullError;
use super::from_upstream::upstream_error;
use super::places::Places;

/// How long content that turned out bad is fetched without passing it on before the end. The client
/// whose response was cut asks again at once, and then gets a readable answer, or good content.
const SUSPECT_FOR: Duration = Duration::from_secs(60);

/// Most contents whose failure is remembered.
const REMEMBERED: u64 = 4096;

/// Pieces of a response that are written in one go when they are there already.
const PIECES_AT_ONCE: usize = 32;

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
    places: Arc<Semaphore>,
    /// Of these places, what one upstream may take: a blob may come for hours, and goes on when its clients have left.
    shares: Arc<Places>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

impl Fills {
    /// At most `most` fetches run at once; the others wait in turn. Of several upstreams, each leaves a quarter of the
    /// places to the others.
    pub(super) fn new(
        store: Arc<DiskStore>,
        most: usize,
        upstreams: usize,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let share = if upstreams > 1 { most.saturating_sub(most.div_ceil(4)).max(1) } else { most };
        let memory = || moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR);
        let suspects = moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR).build();
        Self {
            running: Arc::default(),
            failures: memory().build(),
            suspects,
            store,
            places: Arc::new(Semaphore::new(most)),
            shares: Arc::new(Places::new(share)),
            metrics,
            tasks,
        }
    }

    /// Joins the running fetch of this content, or starts one.
    pub(super) fn join(
        &self,
        upstream: Arc<Upstream>,
        repository: &Repository,
        claim: Claim,
    ) -> Result<(Incoming, CacheOutcome), PullError> {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        let key = (repository.clone(), claim);
        if let Some(incoming) = running.get(&key)
            && !matches!(incoming.progress(), Progress::Failed(_))
        {
            self.metrics.follower_joined();
            return Ok((incoming.clone(), CacheOutcome::Join));
        }
        let spool = self.store.begin(claim).map_err(|error| internal(&error))?;
        let incoming = spool.incoming();
        running.insert(key.clone(), incoming.clone());
        drop(running);

        let (fills, repository) = (self.clone(), repository.clone());
        let landing = Landing { key, running: Arc::clone(&self.running) };
        self.tasks.spawn("fill", async move {
            let share = fills.shares.take(upstream.registry()).await;
            // The semaphore is never closed, so this waits for a place and for nothing else.
            let place = Arc::clone(&fills.places).acquire_owned().await;
            let finish_line = spool.finish_line();
            fills.run(upstream, repository, spool).await;
            // Off the list before those who wait for it hear: they may want a fetch of their own.
            drop((landing, place, share));
            drop(finish_line);
        });
        Ok((incoming, CacheOutcome::Fill))
    }

    /// Whether this content turned out bad a moment ago. Then nothing of it should leave before its seal.
    pub(super) fn is_suspect(&self, digest: Digest) -> bool {
        self.suspects.contains_key(&digest)
    }

    /// Why the fetch of this content failed.
    pub(super) fn failure(&self, repository: &Repository, claim: Claim, why: &Arc<str>) -> PullError {
        self.failures.get(&(repository.clone(), claim)).unwrap_or_else(|| PullError::Internal(Arc::clone(why)))
    }

    async fn run(self, upstream: Arc<Upstream>, repository: Repository, mut spool: Spool) {
        self.metrics.fill_started();
        let claim = spool.want();
        let sealed = match fill(&upstream, &repository, &mut spool).await {
            Ok(()) => spool.seal().await.map_err(|unsealed| (Cause::Spool(unsealed.error), unsealed.spool)),
            Err(cause) => Err((cause, spool)),
        };
        match sealed {
            Ok(sealed) => {
                self.suspects.invalidate(&claim.digest);
                self.failures.invalidate(&(repository, claim));
                self.metrics.fill_finished(FillOutcome::Sealed);
                if let Err(error) = self.store.commit(sealed).await {
                    // Readers have the bytes through their own handle; only the next pull pays.
                    tracing::error!(digest = %claim.digest, %error, "fetched content could not be kept");
                }
            }
            Err((cause, spool)) => self.give_up(&upstream, (repository, claim), cause, spool),
        }
    }

    fn give_up(&self, upstream: &Upstream, fetched: Fetched, cause: Cause, spool: Spool) {
        let claim = fetched.1;
        let error = match cause {
            Cause::Spool(SpoolError::Io { path, source }) => {
                tracing::error!(path = %path.display(), error = %source, "cannot write to the cache folder");
                internal(&source)
            }
            Cause::Spool(error) => self.bad(upstream, claim, error.to_string()),
            Cause::Upstream(UpstreamError::Lied { lie, .. }) => self.bad(upstream, claim, lie),
            Cause::Upstream(error) => upstream_error(upstream, &format!("blob {}", claim.digest), &error),
        };
        self.metrics.fill_finished(match error {
            PullError::BadContent { .. } => FillOutcome::Rejected,
            _ => FillOutcome::Failed,
        });
        let text = error.to_string();
        tracing::warn!(digest = %claim.digest, registry = %upstream.registry(), error = %text, "fetch failed; nothing kept");
        // Written down before the readers wake up and look.
        self.failures.insert(fetched, error);
        spool.fail(&text);
    }

    fn bad(&self, upstream: &Upstream, claim: Claim, detail: String) -> PullError {
        self.suspects.insert(claim.digest, ());
        PullError::BadContent { registry: upstream.registry().clone(), digest: claim.digest, detail }
    }
}

enum Cause {
    Spool(SpoolError),
    Upstream(UpstreamError),
}

async fn fill(upstream: &Upstream, repository: &Repository, spool: &mut Spool) -> Result<(), Cause> {
    let stream = Box::pin(upstream.blob(repository, spool.want())).await.map_err(Cause::Upstream)?;
    let mut stream = stream.ready_chunks(PIECES_AT_ONCE);
    while let Some(pieces) = stream.next().await {
        let mut good = Vec::with_capacity(pieces.len());
        let mut broken = None;
        for piece in pieces {
            match piece {
                Ok(piece) => good.push(piece),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        spool.write(good).await.map_err(Cause::Spool)?;
        if let Some(error) = broken {
            return Err(Cause::Upstream(error));
        }
    }
    Ok(())
}

fn internal(error: &dyn std::error::Error) -> PullError {
    PullError::Internal(error.to_string().into())
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
        let fills = Fills::new(store, 4, upstreams.registries().count(), Arc::default(), Tasks::new());
        let join = |registry: &str, claim| {
            let repository: Repository = format!("{registry}/app").parse().unwrap();
            fills.join(upstreams.get(repository.registry()).unwrap(), &repository, claim).unwrap().0
        };
        let held: Vec<_> = (0..8u8).map(|n| join("silent.test", Claim { digest: Digest::of(&[n]), size: 1 })).collect();
        let mut arrives = join("good.test", Claim { digest: content, size: 4 });
        let sealed = tokio::time::timeout(Duration::from_secs(10), arrives.sealed()).await;
        assert!(sealed.expect("the silent one holds every place").is_ok());
        assert!(held.iter().all(|one| matches!(one.progress(), Progress::Writing(0))));
    }
}
