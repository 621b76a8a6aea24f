//! Assay itself, in this process, in front of a test upstream: the same parts as `assay serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assay::clock::{Clock, SystemClock};
use assay::demo::Signer;
use assay::http::{ListenerOptions, RegistryOptions, serve};
use assay::ledger::Ledger;
use assay::pull::{Puller, PullerParts};
use assay::store::{DiskStore, Limits};
use assay::tasks::Tasks;
use assay::telemetry::{Metrics, SpaceMetrics};
use assay::trust::{self, Demand, Enforcement, KeySigner, Pattern, Policy, PublicKey, Rule, Tlog};
use assay::upkeep::{EvictionOptions, Evictor};
use assay::upstream::{Freshness, NetworkOptions, Proxy as HttpProxy, SignatureLimits, UpstreamOptions, Upstreams};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::cache_folder::path_of;
use super::nasty::NastyUpstream;

/// The name under which tests ask for the upstream.
pub const REGISTRY: &str = "test.assay";

/// How a test's Assay is set up.
pub struct Setup {
    pub policy: Policy,
    pub network: NetworkOptions,
    pub limits: SignatureLimits,
    pub ca: Vec<Vec<u8>>,
    /// How much may be stored. Without it, nothing is evicted.
    pub space: Option<(Limits, EvictionOptions)>,
    pub freshness: Freshness,
    pub absent_for: Duration,
    pub clock: Arc<dyn Clock>,
}

/// A running Assay. Dropped, it stops at once, as if killed.
pub struct Proxy {
    pub address: SocketAddr,
    pub puller: Arc<Puller>,
    folder: Arc<TempDir>,
    stop: CancellationToken,
    tasks: Tasks,
    serving: tokio::task::JoinHandle<bool>,
    evicting: Option<tokio::task::JoinHandle<Evictor>>,
    pub store: Arc<DiskStore>,
    pub ledger: Ledger,
    pub metrics: Arc<Metrics>,
}

/// A rule about everything in [`REGISTRY`], for one key.
pub fn signed_by(signer: &Signer) -> Policy {
    Policy::new(vec![rule("test", "**", Enforcement::Enforce(demand(&[signer])))], None)
}

pub fn rule(name: &str, paths: &str, enforcement: Enforcement) -> Rule {
    Rule::new(name.to_owned(), vec![Pattern::parse(&format!("{REGISTRY}/{paths}")).unwrap()], enforcement)
}

pub fn demand(signers: &[&Signer]) -> Demand {
    let signer = |(n, signer): (usize, &&Signer)| {
        trust::Signer::Key(KeySigner {
            name: format!("key-{n}.pub"),
            key: PublicKey::from_pem(&signer.public_key_pem()).unwrap(),
            not_before: None,
            not_after: None,
        })
    };
    let signers = signers.iter().enumerate().map(signer).collect();
    Demand { signers, tlog: Tlog::Off, ..Demand::default() }
}

impl Setup {
    pub fn new(policy: Policy) -> Self {
        // Short, so that a test about silence is short.
        let network = NetworkOptions {
            proxy: HttpProxy::None,
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(2),
            retries: 1,
            ..NetworkOptions::default()
        };
        Self {
            policy,
            network,
            limits: SignatureLimits { deadline: Duration::from_secs(4), ..SignatureLimits::default() },
            ca: Vec::new(),
            space: None,
            // Nothing is used again, so that what a test changes counts at once. See `freshness.rs` and `outage.rs`.
            freshness: Freshness { tag_ttl: Duration::ZERO, stale_if_error: Duration::ZERO },
            absent_for: Duration::ZERO,
            clock: Arc::new(SystemClock),
        }
    }

    pub async fn start(self, upstream: &NastyUpstream) -> Proxy {
        self.start_in(upstream, Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// What answers, without a listener in front.
    pub fn puller(self, upstream: &NastyUpstream, folder: &Path, tasks: &Tasks) -> Puller {
        let (store, ledger) = open(folder, Limits::NONE, SpaceMetrics::default());
        self.puller_on(upstream, store, ledger, Arc::default(), tasks)
    }

    fn puller_on(
        self,
        upstream: &NastyUpstream,
        store: Arc<DiskStore>,
        ledger: Ledger,
        metrics: Arc<Metrics>,
        tasks: &Tasks,
    ) -> Puller {
        let mut options = UpstreamOptions::new(REGISTRY.parse().unwrap(), upstream.url().parse().unwrap());
        options.ca = self.ca;
        options.freshness = self.freshness;
        Puller::new(PullerParts {
            policy: Arc::new(self.policy),
            upstreams: Arc::new(Upstreams::new(vec![options], self.network).unwrap()),
            store,
            ledger,
            clock: self.clock,
            tasks: tasks.clone(),
            limits: self.limits,
            fetches_max: 64,
            absent_for: self.absent_for,
            metrics,
        })
    }

    /// Starts on a cache folder that an earlier one used.
    pub async fn start_in(self, upstream: &NastyUpstream, folder: Arc<TempDir>) -> Proxy {
        let tasks = Tasks::new();
        let metrics = Arc::new(Metrics::new());
        let space = self.space.clone();
        let limits = space.as_ref().map_or(Limits::NONE, |(limits, _)| *limits);
        let (store, ledger) = open(folder.path(), limits, metrics.space());
        let (kept, known, counted) = (Arc::clone(&store), ledger.clone(), Arc::clone(&metrics));
        let puller = Arc::new(self.puller_on(upstream, kept, known, counted, &tasks));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let registry = RegistryOptions {
            default_upstream: REGISTRY.parse().unwrap(),
            deny_reason: true,
            access: false,
            sink: None,
        };
        let options = ListenerOptions { grace: Duration::ZERO, ..ListenerOptions::default() };
        let answering = Arc::clone(&puller);
        let serving =
            tokio::spawn(serve(listener, options, registry, answering, tasks.clone(), stop.clone().cancelled_owned()));
        let evicting = space.map(|(_, options)| {
            let (store, ledger, stop) = (Arc::clone(&store), ledger.clone(), stop.clone());
            let mut evictor = Evictor::new(store, ledger, Arc::new(SystemClock), metrics.space(), options);
            tokio::spawn(async move {
                evictor.run(stop).await;
                evictor
            })
        });
        Proxy { address, puller, folder, stop, tasks, serving, evicting, store, ledger, metrics }
    }
}

fn open(folder: &Path, limits: Limits, metrics: SpaceMetrics) -> (Arc<DiskStore>, Ledger) {
    let store = Arc::new(DiskStore::open_within(folder, limits, metrics).unwrap());
    (store, Ledger::open(&folder.join("ledger.sqlite")).unwrap())
}

impl Proxy {
    /// Assay with a rule about everything for one key.
    pub async fn start(upstream: &NastyUpstream, signer: &Signer) -> Self {
        Setup::new(signed_by(signer)).start(upstream).await
    }

    /// Stops it and gives the cache folder back.
    pub async fn stop(self) -> Arc<TempDir> {
        self.stop.cancel();
        let _ = self.serving.await;
        self.tasks.stop(Duration::from_secs(1)).await;
        if let Some(evicting) = self.evicting {
            evicting.await.unwrap().write_down().await;
        }
        self.folder
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Files that are not content under its digest: what a failed fetch might have left.
    pub fn spooled(&self) -> usize {
        std::fs::read_dir(self.folder().join("spool")).unwrap().count()
    }

    /// Whether content is stored.
    pub fn has(&self, digest: assay::oci::Digest) -> bool {
        path_of(self.folder(), digest).exists()
    }

    /// A client has its last byte some milliseconds before the file has its name, and before the next comes.
    pub async fn published(&self, digest: assay::oci::Digest) {
        let named = async {
            while !self.has(digest) || self.store.spooled() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), named).await.expect("what was served whole is published");
    }

    pub fn manifest_path(&self, repository: &str, reference: impl std::fmt::Display) -> String {
        format!("/v2/{REGISTRY}/{repository}/manifests/{reference}")
    }

    pub fn blob_path(&self, repository: &str, digest: assay::oci::Digest) -> String {
        format!("/v2/{REGISTRY}/{repository}/blobs/{digest}")
    }
}
