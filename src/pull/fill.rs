//! One running fetch per content of a repository, whatever the number of clients. It outlives its first client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;

use crate::oci::{Claim, Digest, Repository};
use crate::store::{DiskStore, Incoming, Progress, Spool, SpoolError};
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, FillOutcome, Metrics};
use crate::upstream::{FairPlaces, Upstream, UpstreamError};

use super::error::PullError;
use super::from_upstream::upstream_error;

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
    /// Shared out in turn: neither a crowd for one repository nor an upstream that hangs holds up the others.
    places: FairPlaces,
    metrics: Arc<Metrics>,
    tasks: Tasks,
}

impl Fills {
    /// So many fetches run at once; the others wait in turn.
    pub(super) fn new(store: Arc<DiskStore>, most: Most, metrics: Arc<Metrics>, tasks: Tasks) -> Self {
        let memory = || moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR);
        let suspects = moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(SUSPECT_FOR).build();
        Self {
            running: Arc::default(),
            failures: memory().build(),
            absent: moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(most.absent_for).build(),
            suspects,
            store,
            places: FairPlaces::for_several(most.fetches),
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
        if let Some(absent) = self.absent.get(&key) {
            return Err(absent);
        }
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
            let place = fills.places.take(&repository).await;
            let finish_line = spool.finish_line();
            fills.run(upstream, repository, spool).await;
            // Off the list before those who wait for it hear: they may want a fetch of their own.
            drop((landing, place));
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
        if matches!(error, PullError::NotFound { .. }) {
            self.absent.insert(fetched.clone(), error.clone());
        }
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
