//! What is in force, and since when.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Metrics, OutcomeLabels, by_outcome};
use crate::clock::{Clock as _, SystemClock};
use crate::telemetry::outcome::ReloadOutcome;

/// For what may be absent.
type NoLabels = [(&'static str, &'static str); 0];

pub(super) struct Configuration {
    reloads: Family<OutcomeLabels, Counter>,
    usable: Gauge,
    since: Gauge,
    policies: Family<ModeLabels, Gauge>,
    root_newest: Family<RootLabels, Gauge>,
    root_expires: Family<RootLabels, Gauge>,
    certificate_expires: Family<NoLabels, Gauge>,
}

/// What is in force now. Times are seconds since 1970.
#[derive(Clone, Debug)]
pub struct InForceSeen {
    /// The mode of each policy.
    pub policies: Vec<&'static str>,
    /// The trusted roots; the names come from the configuration.
    pub roots: Vec<RootSeen>,
    /// When the certificate of the listener ends, if there is one.
    pub certificate_expires: Option<i64>,
}

/// A trusted root.
#[derive(Clone, Debug)]
pub struct RootSeen {
    /// Its name in the configuration.
    pub name: String,
    /// When its newest part began to count.
    pub newest: Option<i64>,
    /// When nothing new can be verified with it any more.
    pub expires: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RootLabels {
    root: String,
}

impl Configuration {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reloads = by_outcome(ReloadOutcome::ALL.iter().map(|one| one.as_str()));
        registry.register("config_reloads", "Times that the configuration was read again", reloads.clone());
        let usable = Gauge::default();
        usable.set(1);
        registry.register(
            "config_last_reload_successful",
            "Whether the files as they are can be used, and so are in force",
            usable.clone(),
        );
        let since = Gauge::default();
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was put in force that is in force",
            since.clone(),
        );
        let policies = Family::default();
        registry.register("policies", "Policies in force", policies.clone());
        let root_newest = Family::default();
        registry.register(
            "trust_root_newest_start_timestamp_seconds",
            "When the newest authority or log of a trusted root began to count",
            root_newest.clone(),
        );
        let root_expires = Family::default();
        registry.register(
            "trust_root_expires_timestamp_seconds",
            "From when on nothing new can be verified with a trusted root",
            root_expires.clone(),
        );
        let certificate_expires = Family::default();
        registry.register(
            "tls_certificate_expires_timestamp_seconds",
            "When the certificate of the listener ends",
            certificate_expires.clone(),
        );
        Self { reloads, usable, since, policies, root_newest, root_expires, certificate_expires }
    }
}

impl Metrics {
    /// The configuration was read again.
    pub fn reload(&self, outcome: ReloadOutcome) {
        let Configuration { reloads, usable, .. } = &self.configuration;
        reloads.get_or_create(&OutcomeLabels { outcome: outcome.as_str() }).inc();
        usable.set(i64::from(outcome == ReloadOutcome::Ok));
    }

    /// This is in force from now on. What was in force before and is not now has no series any more.
    pub fn in_force(&self, seen: &InForceSeen) {
        let Configuration { since, policies, root_newest, root_expires, certificate_expires, .. } = &self.configuration;
        since.set(SystemClock.now().as_second());
        for mode in ["enforce", "audit", "off"] {
            let count = seen.policies.iter().filter(|one| **one == mode).count();
            policies.get_or_create(&ModeLabels { mode }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        root_newest.clear();
        root_expires.clear();
        for RootSeen { name, newest, expires } in &seen.roots {
            let labels = RootLabels { root: name.clone() };
            for (family, time) in [(root_newest, newest), (root_expires, expires)] {
                if let Some(time) = time {
                    family.get_or_create(&labels).set(*time);
                }
            }
        }
        certificate_expires.clear();
        if let Some(time) = seen.certificate_expires {
            certificate_expires.get_or_create(&[]).set(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::about;
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn reloads_count_by_outcome_and_the_last_one_can_be_seen() {
        let metrics = Metrics::new();
        let usable = || about(&metrics, &["config_last_reload_successful"]).ends_with(" 1");
        assert!(usable());
        metrics.reload(ReloadOutcome::Failed);
        assert!(!usable());
        metrics.reload(ReloadOutcome::Ok);
        assert!(usable());
        assert_snapshot!(about(&metrics, &["config_reloads"]), @r#"
        # HELP assay_config_reloads Times that the configuration was read again.
        assay_config_reloads_total{outcome="failed"} 1
        assay_config_reloads_total{outcome="ok"} 1
        "#);
    }

    #[test]
    fn what_is_no_longer_in_force_is_no_longer_shown() {
        let metrics = Metrics::new();
        let root = |name: &str, expires| RootSeen { name: name.to_owned(), newest: Some(1), expires };
        metrics.in_force(&InForceSeen {
            policies: vec!["off"],
            roots: vec![root("old", Some(2)), root("public-good", None)],
            certificate_expires: Some(3),
        });
        let before = about(&metrics, &["trust_root", "tls"]);
        assert!(before.contains("{root=\"old\"} 2") && before.contains("seconds{} 3"), "{before}");
        metrics.in_force(&InForceSeen {
            policies: vec!["enforce", "enforce", "audit"],
            roots: vec![root("public-good", None)],
            certificate_expires: None,
        });
        assert_snapshot!(about(&metrics, &["trust_root", "tls", "policies"]), @r#"
        # HELP assay_policies Policies in force.
        # HELP assay_trust_root_newest_start_timestamp_seconds When the newest authority or log of a trusted root began to count.
        assay_policies{mode="audit"} 1
        assay_policies{mode="enforce"} 2
        assay_policies{mode="off"} 0
        assay_trust_root_newest_start_timestamp_seconds{root="public-good"} 1
        "#);
    }
}
