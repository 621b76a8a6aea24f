//! What is in force, and since when.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Metrics, OutcomeLabels, by_outcome};
use crate::telemetry::outcome::ReloadOutcome;

pub(super) struct Configuration {
    reloads: Family<OutcomeLabels, Counter>,
}

impl Configuration {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reloads = by_outcome(ReloadOutcome::ALL.iter().map(|one| one.as_str()));
        registry.register("config_reloads", "Times that the configuration was read again", reloads.clone());
        Self { reloads }
    }
}

impl Metrics {
    /// The configuration was read again.
    pub fn reload(&self, outcome: ReloadOutcome) {
        self.configuration.reloads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn reloads_count_by_outcome() {
        let metrics = Metrics::new();
        metrics.reload(ReloadOutcome::Failed);
        assert_snapshot!(about(&metrics, &["config"]), @r#"
        # HELP assay_config_reloads Times that the configuration was read again.
        assay_config_reloads_total{outcome="failed"} 1
        assay_config_reloads_total{outcome="ok"} 0
        "#);
    }
}
