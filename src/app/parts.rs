//! From checked settings to the parts of a puller.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::{Clock, SystemClock};
use crate::config::{self, Settings};
use crate::http::Certificate;
use crate::ledger::Ledger;
use crate::pull::{ABSENT_FOR, Puller, PullerParts};
use crate::store::{DiskStore, Limits, VerifyReads};
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::trust::Policy;
use crate::upstream::{Credentials, Freshness, NetworkOptions, Proxy, SignatureLimits, UpstreamOptions, Upstreams};

/// The ledger's file in the cache folder.
const LEDGER: &str = "ledger.sqlite";

/// Fetches at once where no configuration says otherwise.
pub(super) const FETCHES_MAX: usize = 64;

/// What differs between the commands that need a puller.
pub(super) struct Wanted {
    pub(super) kept: Kept,
    pub(super) policy: Policy,
    pub(super) upstreams: Upstreams,
    pub(super) limits: SignatureLimits,
    pub(super) fetches_max: usize,
    pub(super) metrics: Arc<Metrics>,
}

/// What is kept in the cache folder, and what is remembered about it.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) store: Arc<DiskStore>,
    pub(super) ledger: Ledger,
}

/// Opens the cache folder.
pub(super) fn open(folder: &Path, limits: Limits, reads: VerifyReads, metrics: &Metrics) -> anyhow::Result<Kept> {
    let store = DiskStore::open_within(folder, limits, metrics.space()).with_context(|| {
        format!("cannot use the cache folder {} (another one: [cache] dir, or ASSAY_CACHE__DIR)", folder.display())
    })?;
    Ok(Kept { store: Arc::new(store.verifying(reads)), ledger: Ledger::open(&folder.join(LEDGER))? })
}

/// Puts a puller together.
pub(super) fn puller(wanted: Wanted, tasks: &Tasks) -> Puller {
    let Wanted { kept, policy, upstreams, limits, fetches_max, metrics } = wanted;
    Puller::new(PullerParts {
        policy: Arc::new(policy),
        upstreams: Arc::new(upstreams),
        store: kept.store,
        ledger: kept.ledger,
        clock: Arc::new(SystemClock) as Arc<dyn Clock>,
        tasks: tasks.clone(),
        limits,
        fetches_max,
        absent_for: ABSENT_FOR,
        metrics,
    })
}

/// How much the cache folder may take.
pub(super) fn space(settings: &Settings) -> Limits {
    Limits { max_size: settings.cache.max_size, min_free: settings.cache.min_free }
}

/// When stored content is hashed on its way out.
pub(super) fn verify_reads(settings: &Settings) -> VerifyReads {
    match settings.cache.integrity.verify_reads {
        config::VerifyReads::OnChange => VerifyReads::OnChange,
        config::VerifyReads::Always => VerifyReads::Always,
    }
}

/// The configured upstreams.
pub(super) fn upstreams(
    settings: &Settings,
    more: Vec<UpstreamOptions>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Upstreams> {
    let named: Vec<_> = more.iter().map(|one| one.registry.clone()).collect();
    let configured = settings.upstreams.iter().filter(|one| !named.contains(&one.registry)).map(upstream);
    Ok(Upstreams::counted(configured.chain(more).collect(), network(settings), Arc::clone(metrics))?)
}

/// The upstreams of a changed configuration. Those whose settings are the same stay as they are.
pub(super) fn renewed(settings: &Settings, before: &Upstreams) -> anyhow::Result<Upstreams> {
    Ok(before.renewed(settings.upstreams.iter().map(upstream).collect(), network(settings))?)
}

/// The listener's certificate, if it speaks TLS.
pub(super) fn certificate(server: &config::Server) -> anyhow::Result<Option<Certificate>> {
    let made = |tls: &config::Tls| Certificate::from_pem(tls.chain.as_bytes(), tls.key.expose().as_bytes());
    server.tls.as_ref().map(made).transpose().context("[server.tls]")
}

/// How much is looked at in search of signatures.
pub(super) fn limits(settings: &Settings) -> SignatureLimits {
    SignatureLimits { deadline: settings.limits.signature_deadline, ..SignatureLimits::default() }
}

fn upstream(written: &config::Upstream) -> UpstreamOptions {
    UpstreamOptions {
        ca: written.ca.clone().into_iter().collect(),
        credentials: match &written.credentials {
            config::Credentials::None => Credentials::None,
            config::Credentials::DockerConfig => Credentials::DockerConfig,
            config::Credentials::Login { username, password } => {
                Credentials::Basic { username: username.clone(), password: password.clone() }
            }
        },
        token_realms: written.token_realms.iter().map(ToString::to_string).collect(),
        redirect_hosts: written.redirect_hosts.iter().map(ToString::to_string).collect(),
        signatures_in: written.signatures_in.clone(),
        freshness: Freshness { tag_ttl: written.tag_ttl, stale_if_error: written.stale_if_error },
        ..UpstreamOptions::new(written.registry.clone(), written.url.clone())
    }
}

fn network(settings: &Settings) -> NetworkOptions {
    let (written, limits) = (&settings.network, &settings.limits);
    NetworkOptions {
        proxy: match &written.proxy {
            config::Proxy::Env => Proxy::Env,
            config::Proxy::None => Proxy::None,
            config::Proxy::Url(url) => Proxy::Url(url.clone()),
        },
        connect_timeout: written.connect_timeout,
        read_timeout: written.read_timeout,
        retries: written.retries,
        requests_max: limits.requests_per_upstream,
        fetches_max: limits.fetches_per_upstream,
    }
}
