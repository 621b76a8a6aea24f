//! Every metric, once: its name, what it counts, and which words label it.
//!
//! Labels come from closed lists only, so no client and no image can make the number of series grow.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::outcome::{CacheOutcome, FillOutcome, ReloadOutcome, RequestKind, RollbackOutcome, VerdictOutcome};

/// From a cached manifest (under a millisecond) to a large blob over a slow line.
const REQUEST_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0];
/// A check is a few requests upstream; it is given up after some ten seconds.
const CHECK_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

/// All metrics. Counting is lock-free or nearly so, and never fails.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    response_bytes: Family<KindLabels, Counter>,
    served_from: Family<CacheLabels, Counter>,
    verdicts: Family<OutcomeLabels, Counter>,
    check_seconds: Histogram,
    fills_started: Counter,
    fills_finished: Family<OutcomeLabels, Counter>,
    followers: Counter,
    resumed: Counter,
    passed_through: Counter,
    keeping: Gauge,
    connections: Gauge,
    rollbacks: Family<OutcomeLabels, Counter>,
    reloads: Family<OutcomeLabels, Counter>,
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub struct RequestSeen {
    /// What it asked for.
    pub kind: RequestKind,
    /// `GET`, `HEAD` or `other`: never what the client wrote.
    pub method: &'static str,
    /// The status we sent.
    pub status: u16,
    /// How it was judged.
    pub verdict: VerdictOutcome,
    /// Where the content came from.
    pub cache: CacheOutcome,
    /// Bytes of the body that were handed to the connection.
    pub bytes: u64,
    /// From its head to its end.
    pub duration: Duration,
}

/// An open connection; it counts until it is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    kind: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    kind: &'static str,
    cache: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl Metrics {
    /// All at zero. Outcomes that one alerts on are there from the start, so that their first
    /// occurrence is an increase.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("assay");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which version runs", build);

        let requests = Family::default();
        registry.register("requests", "Requests of clients that are over", requests.clone());
        let request_seconds = Family::new_with_constructor((|| Histogram::new(REQUEST_SECONDS)) as fn() -> Histogram);
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to the last byte of its answer",
            Unit::Seconds,
            request_seconds.clone(),
        );
        let response_bytes = Family::default();
        registry.register_with_unit("response", "Body bytes sent to clients", Unit::Bytes, response_bytes.clone());
        let served_from = Family::default();
        registry.register("served", "Answered requests by where the content came from", served_from.clone());
        let verdicts = Family::default();
        registry.register("verdicts", "Requests by how the image was judged", verdicts.clone());
        let check_seconds = Histogram::new(CHECK_SECONDS);
        registry.register_with_unit(
            "signature_check_duration",
            "Time to find and check the signatures of one manifest",
            Unit::Seconds,
            check_seconds.clone(),
        );
        let fills_started = Counter::default();
        registry.register("fills_started", "Fetches of blobs that were started", fills_started.clone());
        let fills_finished = Family::default();
        registry.register("fills_finished", "Fetches of blobs by how they ended", fills_finished.clone());
        let followers = Counter::default();
        registry.register("fill_followers", "Requests that joined a fetch already running", followers.clone());
        let resumed = Counter::default();
        registry.register("fetches_resumed", "Times that an interrupted fetch of a blob went on", resumed.clone());
        let passed_through = Counter::default();
        registry.register("passed_through", "Blobs passed on without being kept", passed_through.clone());
        let keeping = Gauge::default();
        keeping.set(1);
        registry.register(
            "keeping",
            "1: what is pulled is kept; 0: the disk failed, it passes through",
            keeping.clone(),
        );
        let connections = Gauge::default();
        registry.register("open_connections", "Connections of clients that are open", connections.clone());
        let rollbacks = Family::default();
        registry.register("rollbacks", "Requests for tags that went back in time", rollbacks.clone());
        let reloads = Family::default();
        registry.register("config_reloads", "Times that the configuration was read again", reloads.clone());

        start_at_zero(&verdicts, VerdictOutcome::ALL.iter().map(|one| one.as_str()));
        start_at_zero(&fills_finished, FillOutcome::ALL.iter().map(|one| one.as_str()));
        start_at_zero(&rollbacks, RollbackOutcome::ALL.iter().map(|one| one.as_str()));
        start_at_zero(&reloads, ReloadOutcome::ALL.iter().map(|one| one.as_str()));
        Self {
            registry,
            requests,
            request_seconds,
            response_bytes,
            served_from,
            verdicts,
            check_seconds,
            fills_started,
            fills_finished,
            followers,
            resumed,
            passed_through,
            keeping,
            connections,
            rollbacks,
            reloads,
        }
    }

    /// A request is over.
    pub fn request(&self, seen: &RequestSeen) {
        let kind = seen.kind.as_str();
        self.requests.get_or_create(&RequestLabels { kind, method: seen.method, status: seen.status }).inc();
        self.request_seconds.get_or_create(&KindLabels { kind }).observe(seen.duration.as_secs_f64());
        self.response_bytes.get_or_create(&KindLabels { kind }).inc_by(seen.bytes);
        if seen.cache != CacheOutcome::None {
            self.served_from.get_or_create(&CacheLabels { kind, cache: seen.cache.as_str() }).inc();
        }
        if seen.verdict != VerdictOutcome::None {
            self.verdicts.get_or_create(&OutcomeLabels { outcome: seen.verdict.as_str() }).inc();
        }
    }

    /// The signatures of one manifest were looked for and checked, whatever came of it.
    pub fn signature_check(&self, took: Duration) {
        self.check_seconds.observe(took.as_secs_f64());
    }

    /// A fetch of a blob was started.
    pub fn fill_started(&self) {
        self.fills_started.inc();
    }

    /// A fetch of a blob is over.
    pub fn fill_finished(&self, outcome: FillOutcome) {
        self.fills_finished.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// A request joined a running fetch.
    pub fn follower_joined(&self) {
        self.followers.inc();
    }

    /// An interrupted fetch goes on.
    pub fn fetch_resumed(&self) {
        self.resumed.inc();
    }

    /// A blob is passed on without being kept.
    pub fn passing_through(&self) {
        self.passed_through.inc();
    }

    /// Whether what is pulled can be kept now.
    pub fn keeping(&self, can: bool) {
        self.keeping.set(i64::from(can));
    }

    /// A tag that was asked for has gone back in time.
    pub fn rollback(&self, outcome: RollbackOutcome) {
        self.rollbacks.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// The configuration was read again.
    pub fn reload(&self, outcome: ReloadOutcome) {
        self.reloads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// A client has connected.
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// The OpenMetrics text, `# EOF` included.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode(&mut page, &self.registry).expect("writing to a string cannot fail");
        page
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn start_at_zero(family: &Family<OutcomeLabels, Counter>, outcomes: impl Iterator<Item = &'static str>) {
    for outcome in outcomes.filter(|outcome| *outcome != VerdictOutcome::None.as_str()) {
        drop(family.get_or_create(&OutcomeLabels { outcome }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn every_part_may_count() {
        fn shared<T: Send + Sync>() {}
        shared::<Metrics>();
    }

    #[test]
    fn each_metric_has_a_name_a_help_text_and_bounded_labels() {
        let metrics = Metrics::new();
        metrics.request(&RequestSeen {
            kind: RequestKind::Manifest,
            method: "GET",
            status: 200,
            verdict: VerdictOutcome::Verified,
            cache: CacheOutcome::Hit,
            bytes: 1234,
            duration: Duration::from_millis(3),
        });
        metrics.signature_check(Duration::from_millis(80));
        metrics.fill_started();
        metrics.fill_finished(FillOutcome::Rejected);
        metrics.follower_joined();
        metrics.fetch_resumed();
        metrics.passing_through();
        metrics.keeping(false);
        metrics.rollback(RollbackOutcome::Warned);
        metrics.reload(ReloadOutcome::Failed);
        let (_open, closed) = (metrics.connection_opened(), metrics.connection_opened());
        drop(closed);
        let page = metrics.encode().replace(env!("CARGO_PKG_VERSION"), "VERSION");
        let brief = page.lines().filter(|line| !line.contains("_bucket{") || line.contains("+Inf"));
        // Series of one metric come in any order.
        let mut brief: Vec<_> = brief.collect();
        brief.sort_unstable();
        assert_snapshot!(brief.join("\n"), @r#"
    # EOF
    # HELP assay_build Which version runs.
    # HELP assay_config_reloads Times that the configuration was read again.
    # HELP assay_fetches_resumed Times that an interrupted fetch of a blob went on.
    # HELP assay_fill_followers Requests that joined a fetch already running.
    # HELP assay_fills_finished Fetches of blobs by how they ended.
    # HELP assay_fills_started Fetches of blobs that were started.
    # HELP assay_keeping 1: what is pulled is kept; 0: the disk failed, it passes through.
    # HELP assay_open_connections Connections of clients that are open.
    # HELP assay_passed_through Blobs passed on without being kept.
    # HELP assay_request_duration_seconds Time from a request's head to the last byte of its answer.
    # HELP assay_requests Requests of clients that are over.
    # HELP assay_response_bytes Body bytes sent to clients.
    # HELP assay_rollbacks Requests for tags that went back in time.
    # HELP assay_served Answered requests by where the content came from.
    # HELP assay_signature_check_duration_seconds Time to find and check the signatures of one manifest.
    # HELP assay_verdicts Requests by how the image was judged.
    # TYPE assay_build info
    # TYPE assay_config_reloads counter
    # TYPE assay_fetches_resumed counter
    # TYPE assay_fill_followers counter
    # TYPE assay_fills_finished counter
    # TYPE assay_fills_started counter
    # TYPE assay_keeping gauge
    # TYPE assay_open_connections gauge
    # TYPE assay_passed_through counter
    # TYPE assay_request_duration_seconds histogram
    # TYPE assay_requests counter
    # TYPE assay_response_bytes counter
    # TYPE assay_rollbacks counter
    # TYPE assay_served counter
    # TYPE assay_signature_check_duration_seconds histogram
    # TYPE assay_verdicts counter
    # UNIT assay_request_duration_seconds seconds
    # UNIT assay_response_bytes bytes
    # UNIT assay_signature_check_duration_seconds seconds
    assay_build_info{version="VERSION"} 1
    assay_config_reloads_total{outcome="failed"} 1
    assay_config_reloads_total{outcome="ok"} 0
    assay_fetches_resumed_total 1
    assay_fill_followers_total 1
    assay_fills_finished_total{outcome="failed"} 0
    assay_fills_finished_total{outcome="rejected"} 1
    assay_fills_finished_total{outcome="sealed"} 0
    assay_fills_started_total 1
    assay_keeping 0
    assay_open_connections 1
    assay_passed_through_total 1
    assay_request_duration_seconds_bucket{le="+Inf",kind="manifest"} 1
    assay_request_duration_seconds_count{kind="manifest"} 1
    assay_request_duration_seconds_sum{kind="manifest"} 0.003
    assay_requests_total{kind="manifest",method="GET",status="200"} 1
    assay_response_bytes_total{kind="manifest"} 1234
    assay_rollbacks_total{outcome="refused"} 0
    assay_rollbacks_total{outcome="warned"} 1
    assay_served_total{kind="manifest",cache="hit"} 1
    assay_signature_check_duration_seconds_bucket{le="+Inf"} 1
    assay_signature_check_duration_seconds_count 1
    assay_signature_check_duration_seconds_sum 0.08
    assay_verdicts_total{outcome="artefact"} 0
    assay_verdicts_total{outcome="audit"} 0
    assay_verdicts_total{outcome="off"} 0
    assay_verdicts_total{outcome="refused"} 0
    assay_verdicts_total{outcome="unknown"} 0
    assay_verdicts_total{outcome="verified"} 1
    "#);
    }
}
