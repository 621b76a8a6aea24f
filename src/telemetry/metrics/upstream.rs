//! What upstreams are asked, and how they answer.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use crate::telemetry::outcome::UpstreamOutcome;

/// From a mirror next door to a registry that is about to be given up.
const ANSWER_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

pub(super) struct Upstreams {
    requests: Family<AnswerLabels, Counter>,
    seconds: Family<UpstreamLabels, Histogram, fn() -> Histogram>,
    bytes: Family<UpstreamLabels, Counter>,
}

/// Counts for one upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UpstreamMeter {
    upstream: String,
    metrics: Arc<Metrics>,
    bytes: Counter,
}

/// The name of an upstream comes from the configuration, so there are as many as an operator wrote since the start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    upstream: String,
    outcome: &'static str,
}

impl Upstreams {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("upstream_requests", "Requests to upstreams by how they were answered", requests.clone());
        let seconds = Family::new_with_constructor((|| Histogram::new(ANSWER_SECONDS)) as fn() -> Histogram);
        registry.register_with_unit(
            "upstream_request_duration",
            "Time from a request to the head of its answer, or to its failure",
            Unit::Seconds,
            seconds.clone(),
        );
        let bytes = Family::default();
        registry.register_with_unit(
            "upstream_received",
            "Body bytes that came from upstreams",
            Unit::Bytes,
            bytes.clone(),
        );
        Self { requests, seconds, bytes }
    }
}

impl Metrics {
    /// Counts for the upstream of this name, which must come from the configuration.
    pub fn upstream(self: &Arc<Self>, name: &str) -> UpstreamMeter {
        let labels = UpstreamLabels { upstream: name.to_owned() };
        let bytes = self.upstreams.bytes.get_or_create(&labels).clone();
        let meter = UpstreamMeter { upstream: labels.upstream, metrics: Arc::clone(self), bytes };
        for outcome in UpstreamOutcome::ALL {
            drop(self.upstreams.requests.get_or_create(&meter.answer(*outcome)));
        }
        meter
    }
}

impl UpstreamMeter {
    /// A request was answered, or came to nothing.
    pub fn request(&self, outcome: UpstreamOutcome, took: Duration) {
        let Upstreams { requests, seconds, .. } = &self.metrics.upstreams;
        requests.get_or_create(&self.answer(outcome)).inc();
        seconds.get_or_create(&UpstreamLabels { upstream: self.upstream.clone() }).observe(took.as_secs_f64());
    }

    /// So many bytes of a body have come.
    pub fn received(&self, bytes: usize) {
        self.bytes.inc_by(bytes as u64);
    }

    fn answer(&self, outcome: UpstreamOutcome) -> AnswerLabels {
        AnswerLabels { upstream: self.upstream.clone(), outcome: outcome.as_str() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn each_upstream_counts_by_outcome() {
        let metrics = Arc::new(Metrics::new());
        let meter = metrics.upstream("ghcr.io");
        for status in [200, 206, 307, 401, 403, 404, 416, 429, 500, 503, 101, 999] {
            meter.request(UpstreamOutcome::of_status(status), Duration::from_millis(2));
        }
        meter.request(UpstreamOutcome::TimedOut, Duration::from_secs(30));
        meter.received(1000);
        assert_snapshot!(about(&metrics, &["upstream"]), @r#"
        # HELP assay_upstream_received_bytes Body bytes that came from upstreams.
        # HELP assay_upstream_request_duration_seconds Time from a request to the head of its answer, or to its failure.
        # HELP assay_upstream_requests Requests to upstreams by how they were answered.
        assay_upstream_received_bytes_total{upstream="ghcr.io"} 1000
        assay_upstream_request_duration_seconds_bucket{le="+Inf",upstream="ghcr.io"} 13
        assay_upstream_request_duration_seconds_count{upstream="ghcr.io"} 13
        assay_upstream_request_duration_seconds_sum{upstream="ghcr.io"} 30.024
        assay_upstream_requests_total{upstream="ghcr.io",outcome="2xx"} 2
        assay_upstream_requests_total{upstream="ghcr.io",outcome="3xx"} 1
        assay_upstream_requests_total{upstream="ghcr.io",outcome="401"} 1
        assay_upstream_requests_total{upstream="ghcr.io",outcome="404"} 1
        assay_upstream_requests_total{upstream="ghcr.io",outcome="429"} 1
        assay_upstream_requests_total{upstream="ghcr.io",outcome="4xx"} 2
        assay_upstream_requests_total{upstream="ghcr.io",outcome="5xx"} 4
        assay_upstream_requests_total{upstream="ghcr.io",outcome="blocked"} 0
        assay_upstream_requests_total{upstream="ghcr.io",outcome="timed_out"} 1
        assay_upstream_requests_total{upstream="ghcr.io",outcome="unreachable"} 0
        "#);
    }
}
