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
use super::resume::{ENOUGH, Source};

/// How long content that turned out bad is fetched without passing it on before the end. The client
/// whose response was cut asks again at once, and then gets a readable answer, or good content.
const SUSPECT_FOR: Duration = Duration::from_secs(60);

/// Whoever comes when nothing arrived for so long starts a fetch of its own: after an outage without a word the old one
/// hears nothing until its read timeout, though upstream is well again.
pub(super) const SILENT_FOR: Duration = Duration::from_secs(5);

/// Most fetches of one content at a time. A third would take places and room for what comes with neither of two.
const AT_ONCE: usize = 2;

/// Most contents whose failure is remembered.
const REMEMBERED: u64 = 4096;

/// What is fetched, and from where.
type Fetched = (Repository, Claim);
/// The latest comes last.
type Running = Arc<Mutex<HashMap<Fetched, Vec<Incoming>>>>;

/// How much is fetched at once, how long it is remembered that upstream has none, and how long one that is silent is
/// joined.
pub(super) struct Most {
    pub(super) fetches: usize,
    pub(super) absent_for: Duration,
    pub(super) silent_for: Duration,
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
    silent_for: Duration,
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
            silent_for: most.silent_for,
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
        let fetches = running.get(&key).map_or(&[][..], Vec::as_slice);
        let latest = fetches.last().filter(|latest| !matches!(latest.progress(), Progress::Failed(_))).cloned();
        let join = |incoming: Incoming| {
            self.metrics.follower_joined();
            Ok(Some((incoming, CacheOutcome::Join)))
        };
        // Nothing has to go for a second one.
        let may_begin = |latest: &Incoming| {
            latest.silent_for() >= self.silent_for && fetches.len() < AT_ONCE && self.store.has_room(source.claim)
        };
        if let Some(latest) = latest.filter(|latest| !may_begin(latest)) {
            return join(latest);
        }
        let spool = match self.store.begin(source.claim) {
            Ok(spool) => spool,
            Err(error) => {
                self.keeping.failed("content", &error);
                return Ok(None);
            }
        };
        let incoming = spool.incoming();
        running.entry(key.clone()).or_default().push(incoming.clone());
        drop(running);

        let fills = self.clone();
        let landing = Landing { key, incoming: incoming.clone(), running: Arc::clone(&self.running) };
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

    /// Whether a fetch of this content is running: whoever joins it needs no room, and for whoever starts another nothing
    /// has to go.
    pub(super) fn is_running(&self, repository: &Repository, claim: Claim) -> bool {
        let running = self.running.lock().expect("no holder of this lock panics");
        running.contains_key(&(repository.clone(), claim))
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
    let mut arriving = source.open(ENOUGH, || spool.is_asked_for()).await.map_err(Cause::Upstream)?;
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
    incoming: Incoming,
    running: Running,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        if let Some(fetches) = running.get_mut(&self.key) {
            fetches.retain(|listed| !listed.is_same(&self.incoming));
            if fetches.is_empty() {
                running.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Registry;
    use crate::size::Size;
    use crate::store::Limits;
    use crate::telemetry::SpaceMetrics;
    use crate::upstream::{NetworkOptions, Proxy, UpstreamOptions, Upstreams};

    const NEVER: Duration = Duration::from_secs(60);

    fn options(name: &str, address: std::net::SocketAddr) -> UpstreamOptions {
        UpstreamOptions::new(name.parse().unwrap(), format!("http://{address}").parse().unwrap())
    }

    /// Joins the fetch of a claim of `<registry>/app`.
    fn joining(
        upstreams: Vec<UpstreamOptions>,
        silent_for: Duration,
        folder: &tempfile::TempDir,
    ) -> (Fills, impl Fn(&str, Claim) -> (Incoming, CacheOutcome)) {
        joining_in(upstreams, silent_for, DiskStore::open(folder.path()).unwrap(), 64)
    }

    fn joining_in(
        upstreams: Vec<UpstreamOptions>,
        silent_for: Duration,
        store: DiskStore,
        fetches_max: usize,
    ) -> (Fills, impl Fn(&str, Claim) -> (Incoming, CacheOutcome)) {
        let network = NetworkOptions { proxy: Proxy::None, fetches_max, ..NetworkOptions::default() };
        let upstreams = Upstreams::new(upstreams, network).unwrap();
        let store = Arc::new(store);
        let metrics = Arc::<Metrics>::default();
        let most = Most { fetches: 4, absent_for: Duration::ZERO, silent_for };
        let keeping = Arc::new(Keeping::new(Arc::clone(&metrics)));
        let fills = Fills::new(store, keeping, most, Arc::clone(&metrics), Tasks::new());
        let joined = fills.clone();
        let join = move |registry: &str, claim| {
            let repository: Repository = format!("{registry}/app").parse().unwrap();
            let upstream = upstreams.get(repository.registry()).unwrap();
            let source = Source { upstream, repository, claim, metrics: Arc::clone(&metrics) };
            joined.join(source).unwrap().unwrap()
        };
        (fills, join)
    }

    async fn is_sealed(mut incoming: Incoming) -> bool {
        tokio::time::timeout(Duration::from_secs(10), incoming.sealed()).await.is_ok_and(|sealed| sealed.is_ok())
    }

    async fn falls_silent(incoming: &Incoming, silent_for: Duration) {
        let silent = async {
            while incoming.silent_for() < silent_for {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), silent).await.expect("it says nothing");
    }

    /// It takes connections and never answers, and more is asked of it than there are places.
    #[tokio::test]
    async fn an_upstream_that_never_answers_leaves_places_to_others() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = Registry::start().await.unwrap();
        let content = good.put_blob("app", "good");
        let folder = tempfile::tempdir().unwrap();
        let all = vec![options("silent.test", silent.local_addr().unwrap()), options("good.test", good.address())];
        let (_, join) = joining(all, NEVER, &folder);
        let held: Vec<_> =
            (0..8u8).map(|n| join("silent.test", Claim { digest: Digest::of(&[n]), size: 1 }).0).collect();
        let (arrives, _) = join("good.test", Claim { digest: content, size: 4 });
        assert!(is_sealed(arrives).await, "the silent one holds every place");
        assert!(held.iter().all(|one| matches!(one.progress(), Progress::Writing(0))));
    }

    /// As behind a network that was away without a word: what was asked meanwhile is never answered, what is asked
    /// afterwards is.
    #[tokio::test]
    async fn who_comes_to_a_fetch_that_is_silent_gets_another() {
        let good = Registry::start().await.unwrap();
        let claim = Claim { digest: good.put_blob("app", "good"), size: 4 };
        let network = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = network.local_addr().unwrap();
        let tasks = Tasks::new();
        tasks.clone().spawn("network", async move {
            let (_lost, _) = network.accept().await.unwrap();
            while let (Ok((mut client, _)), Ok(mut server)) =
                (network.accept().await, tokio::net::TcpStream::connect(good.address()).await)
            {
                tasks.spawn("line", async move { drop(tokio::io::copy_bidirectional(&mut client, &mut server).await) });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let silent_for = Duration::from_millis(500);
        let (fills, join) = joining(vec![options("far.test", address)], silent_for, &folder);
        let (first, outcome) = join("far.test", claim);
        assert_eq!(outcome, CacheOutcome::Fill);
        let (joined, outcome) = join("far.test", claim);
        assert_eq!((outcome, joined.is_same(&first)), (CacheOutcome::Join, true), "it may well answer yet");
        falls_silent(&first, silent_for).await;
        assert!(fills.is_running(&"far.test/app".parse().unwrap(), claim), "nothing has to go for another");
        let (second, outcome) = join("far.test", claim);
        assert_eq!((outcome, second.is_same(&first)), (CacheOutcome::Fill, false));
        assert!(is_sealed(second).await);
        assert!(matches!(first.progress(), Progress::Writing(0)), "it still waits");
    }

    /// However many come, and however long it is silent.
    #[tokio::test]
    async fn a_silent_upstream_is_asked_twice_for_one_content_and_no_more() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let silent_for = Duration::from_millis(50);
        let all = vec![options("silent.test", silent.local_addr().unwrap())];
        let (_, join) = joining(all, silent_for, &folder);
        let claim = Claim { digest: Digest::of(b"x"), size: 1 };
        let mut joined = Vec::new();
        for _ in 0..4 {
            let (incoming, outcome) = join("silent.test", claim);
            falls_silent(&incoming, silent_for).await;
            joined.push((incoming, outcome));
        }
        let outcomes: Vec<_> = joined.iter().map(|(_, outcome)| *outcome).collect();
        let (fill, join) = (CacheOutcome::Fill, CacheOutcome::Join);
        assert_eq!(outcomes, [fill, fill, join, join]);
        assert!(joined[3].0.is_same(&joined[1].0) && !joined[1].0.is_same(&joined[0].0));
    }

    #[tokio::test]
    async fn where_there_is_no_room_for_it_twice_the_silent_fetch_is_waited_for() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent_for = Duration::from_millis(50);
        let claim = Claim { digest: Digest::of(b"x"), size: 1000 };
        for (room, outcome) in [(1500, CacheOutcome::Join), (2500, CacheOutcome::Fill)] {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits { max_size: Size::Bytes(room), min_free: Size::Bytes(0) };
            let store = DiskStore::open_within(folder.path(), limits, SpaceMetrics::default()).unwrap();
            let all = vec![options("silent.test", silent.local_addr().unwrap())];
            let (_, join) = joining_in(all, silent_for, store, 64);
            let (first, _) = join("silent.test", claim);
            falls_silent(&first, silent_for).await;
            assert_eq!(join("silent.test", claim).1, outcome, "with room for {room}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_is_not_silent() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let all = vec![options("silent.test", silent.local_addr().unwrap())];
        let (folder, silent_for) = (tempfile::tempdir().unwrap(), Duration::from_millis(50));
        let (_, join) = joining_in(all, silent_for, DiskStore::open(folder.path()).unwrap(), 1);
        let claim = |n: u8| Claim { digest: Digest::of(&[n]), size: 1 };
        let (asked, _) = join("silent.test", claim(1));
        falls_silent(&asked, silent_for).await;
        let (waiting, _) = join("silent.test", claim(2));
        tokio::time::sleep(2 * silent_for).await;
        assert_eq!(waiting.silent_for(), Duration::ZERO, "nobody was asked for it");
    }
}
