//! Whether what is pulled can be kept.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;

pub(super) struct Keeping {
    now: Gauge,
    passed_through: Counter,
}

impl Keeping {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let now = Gauge::default();
        now.set(1);
        registry.register("keeping", "1: what is pulled is kept; 0: the disk failed, it passes through", now.clone());
        let passed_through = Counter::default();
        registry.register("passed_through", "Blobs passed on without being kept", passed_through.clone());
        Self { now, passed_through }
    }
}

impl Metrics {
    /// Whether what is pulled can be kept now.
    pub fn keeping(&self, can: bool) {
        self.keeping.now.set(i64::from(can));
    }

    /// A blob is passed on without being kept.
    pub fn passing_through(&self) {
        self.keeping.passed_through.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn a_disk_that_fails_shows() {
        let metrics = Metrics::new();
        assert!(about(&metrics, &["keeping"]).ends_with("assay_keeping 1"));
        metrics.keeping(false);
        metrics.passing_through();
        assert_snapshot!(about(&metrics, &["keeping", "passed"]), @r#"
        # HELP assay_keeping 1: what is pulled is kept; 0: the disk failed, it passes through.
        # HELP assay_passed_through Blobs passed on without being kept.
        assay_keeping 0
        assay_passed_through_total 1
        "#);
    }
}
