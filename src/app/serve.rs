//! `assay serve`: listeners, puller, and the order in which everything stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::clock::{Clock, SystemClock};
use crate::config::{Integrity, LogLevel, Server, Settings};
use crate::http::{self, AdminOptions, Certificate, Finished, ListenerOptions, LiveOptions, RegistryOptions};
use crate::oci::Registry;
use crate::pull::Puller;
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, InForceSeen, Metrics, RequestKind, RequestSeen, RootSeen, VerdictOutcome};
use crate::trust::TrustRoot;
use crate::upkeep::{EvictionOptions, Evictor, Reverify, Scrubber};

use super::descriptors;
use super::parts;
use super::reload::{Live, Reload};
use super::systemd::{Inherited, Manager};

/// Connections to the admin listener: a few probes and scrapers.
const ADMIN_CONNECTIONS: usize = 64;

/// How long a probe's or scraper's answer may go on once everything else has stopped.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

/// How long fetches may go on once the listeners are down: what is nearly here need not be fetched again.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// What serving depends on besides the settings.
pub(super) struct How<'a> {
    /// The file that the settings came from, which is read again when it changes.
    pub(super) config: Option<PathBuf>,
    /// If not empty, these take the place of the addresses in the settings.
    pub(super) listen: &'a [SocketAddr],
    /// Sockets that the service manager passed.
    pub(super) inherited: Inherited,
    /// Changes from which level on is logged.
    pub(super) level: &'a (dyn Fn(LogLevel) + Send + Sync),
}

/// Serves until SIGTERM or Ctrl-C. Stops in this order, each step with a deadline: stop accepting and drain
/// connections, stop the admin listener, let fetches end or drop their spools, close the ledger. A second signal ends
/// all of that at once.
pub(super) async fn serve(mut settings: Settings, how: How<'_>) -> anyhow::Result<Exit> {
    // First of all: until there is a handler, these signals end the program.
    let (hang_up, mut end) = (signal(SignalKind::hangup()).context("cannot handle SIGHUP")?, End::new()?);
    let as_written = settings.clone();
    if !how.listen.is_empty() {
        settings.server.listen = how.listen.to_vec();
        settings.server.inherited = false;
    }
    let tasks = Tasks::new();
    let manager = Manager::new(tasks.clone());
    let metrics = Arc::new(Metrics::new());
    let upstreams = parts::upstreams(&settings, Vec::new(), &metrics)?;
    let certificate = parts::certificate(&settings.server)?.map(Arc::new);
    let (space, reads) = (parts::space(&settings), parts::verify_reads(&settings));
    let kept = parts::open(&settings.cache.dir, space, reads, &metrics)?;
    let options = EvictionOptions { keep: settings.cache.keep.clone(), ..EvictionOptions::default() };
    let (store, ledger, clock) = (Arc::clone(&kept.store), kept.ledger.clone(), Arc::new(SystemClock));
    let mut evictor = Evictor::new(store, ledger, clock, metrics.space(), options);
    let wanted = parts::Wanted {
        kept: kept.clone(),
        policy: settings.policy.clone(),
        upstreams,
        limits: parts::limits(&settings),
        fetches_max: settings.limits.concurrent_fetches,
        metrics: Arc::clone(&metrics),
    };
    let puller = Arc::new(parts::puller(wanted, &tasks));
    let (stop, drained) = (CancellationToken::new(), CancellationToken::new());

    let admin = TcpListener::bind(settings.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {} ([admin] listen)", settings.admin_listen))?;
    let mut listeners = how.inherited.listeners(settings.server.inherited)?;
    for address in &settings.server.listen {
        let listener =
            http::listen(*address).with_context(|| format!("cannot listen on {address} ([server] listen)"))?;
        listeners.push(listener);
    }
    observe(&settings, certificate.as_deref(), &metrics);
    announce(&settings, &listeners);
    let max_requests = descriptors::allow(&settings, listeners.len());
    manager.ready("serving");
    keep_in_order(&settings.cache.integrity, &puller, kept, &metrics, (&tasks, &stop));

    let admin = http::serve_admin(
        admin,
        ListenerOptions { max_connections: ADMIN_CONNECTIONS, grace: ADMIN_GRACE, ..ListenerOptions::default() },
        AdminOptions { metrics: page_of(&metrics), stopping: stop.clone() },
        Arc::clone(&puller),
        tasks.clone(),
        drained.clone().cancelled_owned(),
    );
    let options =
        ListenerOptions { max_requests, ..listener_options(&settings.server, certificate.as_ref(), &metrics) };
    let answers = LiveOptions::from(registry_options(&settings, &metrics));
    let registry = futures_util::future::join_all(listeners.into_iter().map(|listener| {
        let (options, stop) = (options.clone(), stop.clone().cancelled_owned());
        http::serve(listener, options, answers.clone(), Arc::clone(&puller), tasks.clone(), stop)
    }));
    let registry = async {
        let calm = registry.await.into_iter().all(|calm| calm);
        drained.cancel();
        calm
    };
    let live = Live {
        puller: Arc::clone(&puller),
        registry: answers.clone(),
        certificate,
        level: how.level,
        metrics,
        manager: manager.clone(),
    };
    let reload = Reload::new(as_written, how.config, live).run(hang_up, stop.clone());
    let grace = settings.server.shutdown_grace;
    let orderly = async {
        let (calm, _, (), ()) = tokio::join!(registry, admin, reload, evictor.run(stop.clone()));
        if !calm {
            tracing::warn!("some responses were cut off: the grace period was over");
        }
        if !tasks.stop(LAST_GRACE).await {
            tracing::warn!("some fetches were dropped: they would have taken too long");
        }
    };
    let asked_twice = async {
        end.asked().await;
        tracing::info!("stopping");
        manager.stopping(grace.saturating_add(ADMIN_GRACE + LAST_GRACE));
        stop.cancel();
        end.asked().await;
    };
    let exit = tokio::select! {
        // Whatever is dropped here, the tasks are ended below or are over.
        () = orderly => Exit::Ok,
        () = asked_twice => {
            tracing::warn!("asked to stop a second time: what still runs is cut");
            Exit::Interrupted
        }
        never = manager.keep_alive() => match never {},
    };
    tasks.stop(Duration::ZERO).await;
    evictor.write_down().await;
    // The last ones who hold the ledger: now it is closed.
    drop((puller, evictor));
    tracing::info!("stopped");
    Ok(exit)
}

/// Starts the work that nobody waits for. It ends with the listeners.
fn keep_in_order(
    settings: &Integrity,
    puller: &Puller,
    parts::Kept { store, ledger }: parts::Kept,
    metrics: &Arc<Metrics>,
    (tasks, stop): (&Tasks, &CancellationToken),
) {
    let until_stop = |name, work: BoxFuture<'static, ()>| {
        let stop = stop.clone();
        // Dropped where it waits: nothing of it is half done then.
        tasks.spawn(name, async move { stop.run_until_cancelled(work).await.unwrap_or_default() });
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    if let Some(every) = settings.scrub {
        let (store, clock, metrics) = (Arc::clone(&store), Arc::clone(&clock), Arc::clone(metrics));
        until_stop("scrub", Box::pin(Scrubber { store, clock, metrics, every }.run()));
    }
    let (metrics, policy, every) = (Arc::clone(metrics), puller.policies(), settings.reverify);
    until_stop("reverify", Box::pin(Reverify { store, ledger, clock, metrics, policy, every }.run()));
}

/// What the operator must know at once.
fn announce(settings: &Settings, listeners: &[TcpListener]) {
    let modes = |mode: &str| settings.policy.rules().iter().filter(|rule| rule.enforcement().mode() == mode).count();
    let (enforce, audit, off) = (modes("enforce"), modes("audit"), modes("off"));
    tracing::info!(
        listen = ?listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect::<Vec<_>>(),
        admin = %settings.admin_listen,
        config = settings.name,
        upstreams = settings.upstreams.len(),
        enforce,
        audit,
        off,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    if enforce == 0 {
        tracing::warn!(
            "AUDIT ONLY: no rule is enforced, nothing is blocked. Write a [[policy]] with mode = \"enforce\"."
        );
    }
}

/// Shows what is in force.
pub(super) fn observe(settings: &Settings, certificate: Option<&Certificate>, metrics: &Metrics) {
    let demands = settings.policy.rules().iter().filter_map(|rule| rule.demand());
    let roots = demands.flat_map(|demand| &demand.roots).chain([&settings.default_root]);
    let seconds = |time: jiff::Timestamp| time.as_second();
    let root = |root: &TrustRoot| RootSeen {
        name: root.name().to_owned(),
        newest: root.newest_start().map(seconds),
        expires: root.expires().map(seconds),
    };
    let modes = settings.policy.rules().iter().map(|rule| rule.enforcement().mode());
    metrics.in_force(&InForceSeen {
        policies: modes.collect(),
        roots: roots.map(root).collect(),
        certificate_expires: certificate.and_then(|certificate| certificate.expires()).map(seconds),
    });
}

fn page_of(metrics: &Arc<Metrics>) -> Arc<dyn Fn() -> String + Send + Sync> {
    let metrics = Arc::clone(metrics);
    Arc::new(move || metrics.encode())
}

pub(super) fn registry_options(settings: &Settings, metrics: &Arc<Metrics>) -> RegistryOptions {
    let metrics = Arc::clone(metrics);
    RegistryOptions {
        default_upstream: settings.server.default_upstream.clone().unwrap_or_else(Registry::docker_hub),
        deny_reason: settings.server.deny_reason,
        access: settings.log.access,
        sink: Some(Arc::new(move |finished: &Finished<'_>| count(&metrics, finished))),
    }
}

fn count(metrics: &Metrics, finished: &Finished<'_>) {
    metrics.request(&RequestSeen {
        kind: RequestKind::from_word(finished.kind).unwrap_or(RequestKind::Other),
        method: finished.method,
        status: finished.status,
        verdict: finished.verdict.and_then(VerdictOutcome::from_word).unwrap_or(VerdictOutcome::None),
        reason: finished.reason,
        cache: finished.cache.and_then(CacheOutcome::from_word).unwrap_or(CacheOutcome::None),
        bytes: finished.bytes,
        duration: finished.duration,
    });
}

fn listener_options(
    server: &Server,
    certificate: Option<&Arc<Certificate>>,
    metrics: &Arc<Metrics>,
) -> ListenerOptions {
    ListenerOptions {
        max_connections: server.max_connections,
        grace: server.shutdown_grace,
        tls: certificate.map(|certificate| http::server_config(Arc::clone(certificate)).into()),
        metrics: Some(Arc::clone(metrics)),
        ..ListenerOptions::default()
    }
}

/// The signals that ask for the end.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl End {
    fn new() -> anyhow::Result<Self> {
        let handled = |kind| signal(kind).context("cannot handle SIGTERM and SIGINT");
        Ok(Self { terminate: handled(SignalKind::terminate())?, interrupt: handled(SignalKind::interrupt())? })
    }

    /// Cancel safe: both only wait.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
