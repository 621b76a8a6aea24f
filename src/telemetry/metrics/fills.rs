//! Fetches of blobs.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Metrics, OutcomeLabels, by_outcome};
use crate::telemetry::outcome::FillOutcome;

pub(super) struct Fills {
    started: Counter,
    finished: Family<OutcomeLabels, Counter>,
    followers: Counter,
    resumed: Counter,
}

impl Fills {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let started = Counter::default();
        registry.register("fills_started", "Fetches of blobs that were started", started.clone());
        let finished = by_outcome(FillOutcome::ALL.iter().map(|one| one.as_str()));
        registry.register("fills_finished", "Fetches of blobs by how they ended", finished.clone());
        let followers = Counter::default();
        registry.register("fill_followers", "Requests that joined a fetch already running", followers.clone());
        let resumed = Counter::default();
        registry.register("fills_resumed", "Times that an interrupted fetch of a blob went on", resumed.clone());
        Self { started, finished, followers, resumed }
    }
}

impl Metrics {
    /// A fetch of a blob was started.
    pub fn fill_started(&self) {
        self.fills.started.inc();
    }

    /// A fetch of a blob is over.
    pub fn fill_finished(&self, outcome: FillOutcome) {
        self.fills.finished.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }

    /// An interrupted fetch goes on.
    pub fn fill_resumed(&self) {
        self.fills.resumed.inc();
    }

    /// A request joined a running fetch.
    pub fn follower_joined(&self) {
        self.fills.followers.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn fetches_count_from_start_to_end() {
        let metrics = Metrics::new();
        metrics.fill_started();
        metrics.fill_finished(FillOutcome::Rejected);
        metrics.follower_joined();
        metrics.fill_resumed();
        assert_snapshot!(about(&metrics, &["fill"]), @r#"
        # HELP assay_fill_followers Requests that joined a fetch already running.
        # HELP assay_fills_finished Fetches of blobs by how they ended.
        # HELP assay_fills_resumed Times that an interrupted fetch of a blob went on.
        # HELP assay_fills_started Fetches of blobs that were started.
        assay_fill_followers_total 1
        assay_fills_finished_total{outcome="failed"} 0
        assay_fills_finished_total{outcome="rejected"} 1
        assay_fills_finished_total{outcome="sealed"} 0
        assay_fills_resumed_total 1
        assay_fills_started_total 1
        "#);
    }
}
