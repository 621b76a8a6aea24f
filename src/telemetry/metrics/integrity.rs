//! The cache folder: whether what is in it is still right, and still allowed.

use jiff::Timestamp;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, OutcomeLabels, by_outcome};
use crate::telemetry::outcome::{CachedOutcome, ScrubOutcome};

pub(super) struct Integrity {
    scrubbed: Counter,
    findings: Family<OutcomeLabels, Counter>,
    scrub_finished: Gauge,
    cached_images: Family<OutcomeLabels, Gauge>,
    reverified: Gauge,
}

impl Integrity {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let scrubbed = Counter::default();
        registry.register_with_unit("scrubbed", "Stored bytes that were hashed again", Unit::Bytes, scrubbed.clone());
        let findings = by_outcome(ScrubOutcome::ALL.iter().map(|one| one.as_str()));
        registry.register("scrub_findings", "Files that were not as they should be", findings.clone());
        let scrub_finished = Gauge::default();
        let help = "When everything stored had been hashed again";
        registry.register_with_unit("scrub_finished_timestamp", help, Unit::Seconds, scrub_finished.clone());
        let cached_images = Family::default();
        let help = "Cached images by what their recorded signatures prove today";
        registry.register("cached_images", help, cached_images.clone());
        let reverified = Gauge::default();
        let help = "When all cached images had been proven again";
        registry.register_with_unit("reverified_timestamp", help, Unit::Seconds, reverified.clone());
        Self { scrubbed, findings, scrub_finished, cached_images, reverified }
    }
}

impl Metrics {
    /// So many stored bytes were hashed again.
    pub fn scrubbed(&self, bytes: u64) {
        self.integrity.scrubbed.inc_by(bytes);
    }

    /// A file was not as it should be.
    pub fn scrub_found(&self, what: ScrubOutcome) {
        self.integrity.findings.get_or_create(&OutcomeLabels { outcome: what.as_str() }).inc();
    }

    /// Everything stored had been hashed again at that time.
    pub fn scrub_finished(&self, at: Timestamp) {
        self.integrity.scrub_finished.set(at.as_second());
    }

    /// All cached images had been proven again at that time.
    pub fn reverified(&self, counts: &[(CachedOutcome, u64)], at: Timestamp) {
        for (outcome, count) in counts {
            let gauge = self.integrity.cached_images.get_or_create(&OutcomeLabels { outcome: outcome.as_str() });
            gauge.set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.integrity.reverified.set(at.as_second());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn what_upkeep_found_is_counted() {
        let metrics = Metrics::new();
        let at: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        metrics.scrubbed(1000);
        metrics.scrub_found(ScrubOutcome::Changed);
        metrics.scrub_finished(at);
        metrics.reverified(&[(CachedOutcome::Stands, 2), (CachedOutcome::Fails, 1)], at);
        assert_snapshot!(about(&metrics, &["scrub", "cached", "reverified"]), @r#"
        # HELP assay_cached_images Cached images by what their recorded signatures prove today.
        # HELP assay_reverified_timestamp_seconds When all cached images had been proven again.
        # HELP assay_scrub_findings Files that were not as they should be.
        # HELP assay_scrub_finished_timestamp_seconds When everything stored had been hashed again.
        # HELP assay_scrubbed_bytes Stored bytes that were hashed again.
        assay_cached_images{outcome="fails"} 1
        assay_cached_images{outcome="stands"} 2
        assay_reverified_timestamp_seconds 1795392000
        assay_scrub_findings_total{outcome="changed"} 1
        assay_scrub_findings_total{outcome="foreign"} 0
        assay_scrub_findings_total{outcome="unreadable"} 0
        assay_scrub_finished_timestamp_seconds 1795392000
        assay_scrubbed_bytes_total 1000
        "#);
    }
}
