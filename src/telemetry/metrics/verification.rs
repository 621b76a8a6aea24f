//! How images were judged.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Metrics, OutcomeLabels, by_outcome};
use crate::telemetry::outcome::{RollbackOutcome, VerdictOutcome};

/// A check is a few requests upstream; it is given up after some ten seconds.
const CHECK_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

pub(super) struct Verification {
    verdicts: Family<OutcomeLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    check_seconds: Histogram,
    rollbacks: Family<OutcomeLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    outcome: &'static str,
    reason: &'static str,
}

impl Verification {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let judged = VerdictOutcome::ALL.iter().filter(|one| **one != VerdictOutcome::None);
        let verdicts = by_outcome(judged.map(|one| one.as_str()));
        registry.register("verdicts", "Requests by how the image was judged", verdicts.clone());
        let refusals = Family::default();
        registry.register("refusals", "Requests that a rule refuses, by reason", refusals.clone());
        let check_seconds = Histogram::new(CHECK_SECONDS);
        registry.register_with_unit(
            "signature_check_duration",
            "Time to find and check the signatures of one manifest",
            Unit::Seconds,
            check_seconds.clone(),
        );
        let rollbacks = by_outcome(RollbackOutcome::ALL.iter().map(|one| one.as_str()));
        registry.register("rollbacks", "Requests for tags that went back in time", rollbacks.clone());
        Self { verdicts, refusals, check_seconds, rollbacks }
    }
}

impl Metrics {
    /// A request was judged so.
    pub(super) fn verdict(&self, outcome: VerdictOutcome, reason: Option<&'static str>) {
        let (of, word) = (&self.verification, outcome.as_str());
        if outcome != VerdictOutcome::None {
            of.verdicts.get_or_create(&OutcomeLabels { outcome: word }).inc();
        }
        if let (VerdictOutcome::Refused | VerdictOutcome::Audit, Some(reason)) = (outcome, reason) {
            of.refusals.get_or_create(&RefusalLabels { outcome: word, reason }).inc();
        }
    }

    /// The signatures of one manifest were looked for and checked, whatever came of it.
    pub fn signature_check(&self, took: Duration) {
        self.verification.check_seconds.observe(took.as_secs_f64());
    }

    /// A tag that was asked for has gone back in time.
    pub fn rollback(&self, outcome: RollbackOutcome) {
        self.verification.rollbacks.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn verdicts_count_by_outcome() {
        let metrics = Metrics::new();
        metrics.verdict(VerdictOutcome::Refused, Some("NO_SIGNATURE"));
        metrics.verdict(VerdictOutcome::Audit, Some("NO_SIGNATURE"));
        metrics.verdict(VerdictOutcome::Verified, None);
        metrics.verdict(VerdictOutcome::None, None);
        metrics.signature_check(Duration::from_millis(80));
        metrics.rollback(RollbackOutcome::Warned);
        assert_snapshot!(about(&metrics, &["verdicts", "refusals", "signature_check", "rollbacks"]), @r#"
        # HELP assay_refusals Requests that a rule refuses, by reason.
        # HELP assay_rollbacks Requests for tags that went back in time.
        # HELP assay_signature_check_duration_seconds Time to find and check the signatures of one manifest.
        # HELP assay_verdicts Requests by how the image was judged.
        assay_refusals_total{outcome="audit",reason="NO_SIGNATURE"} 1
        assay_refusals_total{outcome="refused",reason="NO_SIGNATURE"} 1
        assay_rollbacks_total{outcome="refused"} 0
        assay_rollbacks_total{outcome="warned"} 1
        assay_signature_check_duration_seconds_bucket{le="+Inf"} 1
        assay_signature_check_duration_seconds_count 1
        assay_signature_check_duration_seconds_sum 0.08
        assay_verdicts_total{outcome="artefact"} 0
        assay_verdicts_total{outcome="audit"} 1
        assay_verdicts_total{outcome="off"} 0
        assay_verdicts_total{outcome="refused"} 1
        assay_verdicts_total{outcome="unknown"} 0
        assay_verdicts_total{outcome="verified"} 1
        "#);
    }
}
