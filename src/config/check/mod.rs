//! From the file's shape to settings: what each key means, and whether it makes sense.
//!
//! A check that finds something says so to the [`Report`] and goes on with any value: settings are
//! handed out only when nothing was reported.

mod attestation;
mod cache;
mod demand;
mod expression;
mod file;
mod integrity;
mod lookalike;
mod pattern;
mod policy;
mod sample;
mod server;
mod signer;
mod terms;
mod trust;
mod upstream;
mod value;

use std::time::Duration;

use toml::Spanned;

use super::file::{File, Limits, Log, Network, PolicyDefault};
use super::finding::{Problems, Warning};
use super::read::Read;
use super::report::Report;
use super::settings::{self, LogFormat, LogLevel, Proxy, Settings};

/// For the signatures of one image: a few small requests. Clients wait about 30 s for a manifest.
const SIGNATURE_DEADLINE: Duration = Duration::from_secs(10);
/// Enough to fill a fast line; each costs a connection, a file and its buffers.
const CONCURRENT_FETCHES: u32 = 64;
/// More would only queue up over there.
const PER_UPSTREAM: u32 = 64;
const ADMIN_LISTEN: &str = "127.0.0.1:5051";

/// Checks everything.
pub(super) fn settings(name: &str, read: Read<'_>) -> Result<(Settings, Vec<Warning>), Problems> {
    let Read { file, mut report, overrides } = read;
    if file.version.is_none() {
        report.missing("", "version", 0..0).help("write `version = 1` at the top: the format of this file");
    }
    let File { server, upstream, network, trust, policy, policy_default, cache, admin, log, limits, .. } = file;
    let upstreams = upstream::all(upstream, &mut report);
    let server = server::server(server.0, &upstreams, &mut report);
    let network = self::network(network.0, &mut report);
    let roots = trust::Roots::of(trust.0, &mut report);
    let rules = policy::rules(policy, &upstreams, &roots, &mut report);
    let no_rule_hint = self::policy_default(policy_default.0, &mut report);
    let cache = cache::cache(cache.0, &upstreams, &mut report);
    let admin_listen = server::admin(admin.0.listen.as_ref(), ADMIN_LISTEN, &server, &mut report);
    let limits = self::limits(limits.0, &mut report);
    let default_root = roots.default();
    let files = report.files();
    let warnings = report.finish()?;
    let policy = crate::trust::Policy::new(rules, no_rule_hint);
    let name = name.to_owned();
    let upstreams = upstreams.into_iter().map(Spanned::into_inner).collect();
    let log = self::log(&log.0);
    let all = Settings {
        name,
        overrides,
        server,
        upstreams,
        network,
        policy,
        default_root,
        files,
        cache,
        admin_listen,
        log,
        limits,
    };
    Ok((all, warnings))
}

fn network(written: Network, report: &mut Report<'_>) -> settings::Network {
    let proxy = written.proxy.map_or(Proxy::Env, |text| match text.get_ref().as_str() {
        "env" => Proxy::Env,
        "none" => Proxy::None,
        _ => value::origin(&text, &["http", "https"], report).map_or(Proxy::None, Proxy::Url),
    });
    settings::Network {
        proxy,
        connect_timeout: value::waiting(written.connect_timeout.as_ref(), Duration::from_secs(5), report),
        read_timeout: value::waiting(written.read_timeout.as_ref(), Duration::from_secs(30), report),
        // More than a client waits for is work for nobody.
        retries: value::within(written.retries.as_ref(), 3, 0..=10, report),
    }
}

fn limits(written: Limits, report: &mut Report<'_>) -> settings::Limits {
    let fetches = value::within(written.concurrent_fetches.as_ref(), CONCURRENT_FETCHES, 1..=10_000, report);
    let mut places = |written: Option<&Spanned<u32>>| value::within(written, PER_UPSTREAM, 1..=10_000, report) as usize;
    let fetches_per_upstream = places(written.fetches_per_upstream.as_ref());
    let requests_per_upstream = places(written.requests_per_upstream.as_ref());
    settings::Limits {
        signature_deadline: value::waiting(written.signature_deadline.as_ref(), SIGNATURE_DEADLINE, report),
        concurrent_fetches: fetches as usize,
        fetches_per_upstream,
        requests_per_upstream,
    }
}

fn log(written: &Log) -> settings::Log {
    settings::Log {
        format: written.format.unwrap_or(LogFormat::Auto),
        level: written.level.unwrap_or(LogLevel::Info),
        access: written.access.unwrap_or(true),
    }
}

fn policy_default(written: PolicyDefault, report: &mut Report<'_>) -> Option<String> {
    if let Some(mode) = written.mode
        && mode.get_ref() != "enforce"
    {
        report
            .error(mode.span(), "can only be \"enforce\": an image that no policy covers is always refused")
            .help("to let more through, add a [[policy]] with mode = \"audit\" that names it");
    }
    let deny = written.deny?;
    // It becomes part of a JSON message and of a status line.
    if deny.get_ref().chars().any(char::is_control) || deny.get_ref().chars().count() > 300 {
        report.error(deny.span(), "must be one line of at most 300 characters");
    }
    Some(deny.into_inner())
}
