//! What clients ask, what they get, and from where.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use crate::telemetry::outcome::{CacheOutcome, RequestKind, VerdictOutcome};

/// From a cached manifest (under a millisecond) to a large blob over a slow line.
const REQUEST_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0];

pub(super) struct Requests {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    bytes: Family<KindLabels, Counter>,
    served_from: Family<CacheLabels, Counter>,
    served_bytes: Family<CacheLabels, Counter>,
    connections: Gauge,
    connections_full: Counter,
    share_exceeded: Family<KindLabels, Counter>,
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
    /// Why it was refused, or in audit mode would have been: one of the closed list of codes.
    pub reason: Option<&'static str>,
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

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("requests", "Requests of clients that are over", requests.clone());
        let seconds = Family::new_with_constructor((|| Histogram::new(REQUEST_SECONDS)) as fn() -> Histogram);
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to the last byte of its answer",
            Unit::Seconds,
            seconds.clone(),
        );
        let bytes = Family::default();
        registry.register_with_unit("response", "Body bytes sent to clients", Unit::Bytes, bytes.clone());
        let served_from = Family::default();
        registry.register("served", "Answered requests by where the content came from", served_from.clone());
        let served_bytes = Family::default();
        registry.register_with_unit(
            "served",
            "Body bytes sent to clients by where the content came from",
            Unit::Bytes,
            served_bytes.clone(),
        );
        let connections = Gauge::default();
        registry.register("open_connections", "Connections of clients that are open", connections.clone());
        let connections_full = Counter::default();
        let help = "Times that as many connections were open as may be, so that the next client waits";
        registry.register("connections_full", help, connections_full.clone());
        let share_exceeded = Family::default();
        let help = "Connections that had to wait and requests put off because one client had its share of them";
        registry.register("client_share_exceeded", help, share_exceeded.clone());
        Self { requests, seconds, bytes, served_from, served_bytes, connections, connections_full, share_exceeded }
    }
}

impl Metrics {
    /// A request is over.
    pub fn request(&self, seen: &RequestSeen) {
        let (kind, of) = (seen.kind.as_str(), &self.requests);
        of.requests.get_or_create(&RequestLabels { kind, method: seen.method, status: seen.status }).inc();
        of.seconds.get_or_create(&KindLabels { kind }).observe(seen.duration.as_secs_f64());
        of.bytes.get_or_create(&KindLabels { kind }).inc_by(seen.bytes);
        if seen.cache != CacheOutcome::None {
            let labels = CacheLabels { kind, cache: seen.cache.as_str() };
            of.served_from.get_or_create(&labels).inc();
            of.served_bytes.get_or_create(&labels).inc_by(seen.bytes);
        }
        self.verdict(seen.verdict, seen.reason);
    }

    /// As many connections are open as may be: the next client waits.
    pub fn connections_full(&self) {
        self.requests.connections_full.inc();
    }

    /// One client has its share of what all have: a `connection` waits, or a `request` was put off.
    pub fn share_exceeded(&self, kind: &'static str) {
        self.requests.share_exceeded.get_or_create(&KindLabels { kind }).inc();
    }

    /// A client has connected.
    pub fn connection_opened(&self) -> OpenConnection {
        self.requests.connections.inc();
        OpenConnection(self.requests.connections.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn a_request_counts_by_kind_status_and_origin() {
        let metrics = Metrics::new();
        metrics.request(&RequestSeen {
            kind: RequestKind::Manifest,
            method: "GET",
            status: 200,
            verdict: VerdictOutcome::Verified,
            reason: None,
            cache: CacheOutcome::Hit,
            bytes: 1234,
            duration: Duration::from_millis(3),
        });
        let (_open, closed) = (metrics.connection_opened(), metrics.connection_opened());
        drop(closed);
        assert_snapshot!(about(&metrics, &["request", "response", "served", "open"]), @r#"
        # HELP assay_open_connections Connections of clients that are open.
        # HELP assay_request_duration_seconds Time from a request's head to the last byte of its answer.
        # HELP assay_requests Requests of clients that are over.
        # HELP assay_response_bytes Body bytes sent to clients.
        # HELP assay_served Answered requests by where the content came from.
        # HELP assay_served_bytes Body bytes sent to clients by where the content came from.
        assay_open_connections 1
        assay_request_duration_seconds_bucket{le="+Inf",kind="manifest"} 1
        assay_request_duration_seconds_count{kind="manifest"} 1
        assay_request_duration_seconds_sum{kind="manifest"} 0.003
        assay_requests_total{kind="manifest",method="GET",status="200"} 1
        assay_response_bytes_total{kind="manifest"} 1234
        assay_served_bytes_total{kind="manifest",cache="hit"} 1234
        assay_served_total{kind="manifest",cache="hit"} 1
        "#);
        assert!(metrics.encode().contains("assay_verdicts_total{outcome=\"verified\"} 1\n"));
    }
}
