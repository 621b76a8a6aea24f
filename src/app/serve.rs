//! `assay serve`: listeners, puller, and the order in which everything stops.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::Exit;
use crate::clock::{Clock, SystemClock};
use crate::config::{Integrity, Server, Settings};
use crate::http::{self, AdminOptions, Finished, ListenerOptions, RegistryOptions};
use crate::oci::Registry;
use crate::pull::Puller;
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, Metrics, RequestKind, RequestSeen, VerdictOutcome};
use crate::upkeep::{EvictionOptions, Evictor, Reverify, Scrubber};

use super::parts;
use super::reload::Reload;

/// Connections to the admin listener: a few probes and scrapers.
const ADMIN_CONNECTIONS: usize = 64;

/// How long the tasks that are left may take to end once the listeners are down.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or Ctrl-C. Stops in this order, each step with a deadline: stop accepting and
/// drain connections, let fetches end or drop their spools, close the ledger.
///
/// `config` is the file that the settings came from, which is read again when it changes; `listen`, if it is
/// not empty, takes the place of the addresses in it.
pub(super) async fn serve(
    mut settings: Settings,
    config: Option<PathBuf>,
    listen: &[SocketAddr],
) -> anyhow::Result<Exit> {
    // First of all: until there is a handler, this signal ends the program.
    let hang_up = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let as_written = settings.clone();
    if !listen.is_empty() {
        settings.server.listen = listen.to_vec();
    }
    let tasks = Tasks::new();
    let upstreams = parts::upstreams(&settings, Vec::new())?;
    let metrics = Arc::new(Metrics::new());
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
    let stop = CancellationToken::new();

    let admin = TcpListener::bind(settings.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {} ([admin] listen)", settings.admin_listen))?;
    let mut listeners = Vec::new();
    for address in &settings.server.listen {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} ([server] listen)"))?;
        listeners.push(listener);
    }
    announce(&settings);
    keep_in_order(&settings.cache.integrity, &puller, kept, &metrics, (&tasks, &stop));

    let admin = http::serve_admin(
        admin,
        ListenerOptions { max_connections: ADMIN_CONNECTIONS, ..ListenerOptions::default() },
        admin_options(&metrics),
        Arc::clone(&puller),
        tasks.clone(),
        stop.clone().cancelled_owned(),
    );
    let options = listener_options(&settings.server, &metrics)?;
    let registry = futures_util::future::join_all(listeners.into_iter().map(|listener| {
        let (options, registry) = (options.clone(), registry_options(&settings, &metrics));
        let stop = stop.clone().cancelled_owned();
        http::serve(listener, options, registry, Arc::clone(&puller), tasks.clone(), stop)
    }));
    let asked_to_stop = async {
        wait_for_signal().await;
        tracing::info!("stopping");
        stop.cancel();
    };
    let reload = Reload::new(as_written, config, Arc::clone(&puller), Arc::clone(&metrics));
    let reload = reload.run(hang_up, stop.clone());
    let evicting = evictor.run(stop.clone());
    let (registry, _, (), (), ()) = tokio::join!(registry, admin, asked_to_stop, reload, evicting);
    for outcome in registry {
        if !outcome {
            tracing::warn!("some responses were cut off: the grace period was over");
        }
    }
    tasks.stop(LAST_GRACE).await;
    evictor.write_down().await;
    Ok(Exit::Ok)
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
fn announce(settings: &Settings) {
    let modes = |mode: &str| settings.policy.rules().iter().filter(|rule| rule.enforcement().mode() == mode).count();
    let (enforce, audit, off) = (modes("enforce"), modes("audit"), modes("off"));
    tracing::info!(
        listen = ?settings.server.listen,
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

fn admin_options(metrics: &Arc<Metrics>) -> AdminOptions {
    let metrics = Arc::clone(metrics);
    AdminOptions { metrics: Arc::new(move || metrics.encode()) }
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
        cache: finished.cache.and_then(CacheOutcome::from_word).unwrap_or(CacheOutcome::None),
        bytes: finished.bytes,
        duration: finished.duration,
    });
}

fn listener_options(server: &Server, metrics: &Arc<Metrics>) -> anyhow::Result<ListenerOptions> {
    let tls = match &server.tls {
        None => None,
        Some(tls) => {
            let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
            Some(http::server_config(&read(&tls.cert)?, &read(&tls.key)?).context("[server.tls]")?.into())
        }
    };
    let metrics = Some(Arc::clone(metrics));
    Ok(ListenerOptions {
        max_connections: server.max_connections,
        grace: server.shutdown_grace,
        tls,
        metrics,
        ..ListenerOptions::default()
    })
}

async fn wait_for_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("signal handlers can be installed");
    tokio::select! {
        // Both only wait.
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
