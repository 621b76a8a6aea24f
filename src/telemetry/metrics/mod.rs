//! Every metric, once: its name, what it counts, and which words label it. One file for each area.
//!
//! Labels come from closed lists only, so no client and no image can make the number of series grow.

mod configuration;
mod fills;
mod integrity;
mod keeping;
mod process;
mod requests;
mod space;
mod upstream;
mod verification;

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use configuration::{InForceSeen, RootSeen};
pub use requests::{OpenConnection, RequestSeen};
pub use space::SpaceMetrics;
pub use upstream::UpstreamMeter;

use configuration::Configuration;
use fills::Fills;
use integrity::Integrity;
use keeping::Keeping;
use process::Process;
use requests::Requests;
use upstream::Upstreams;
use verification::Verification;

/// All metrics. Counting is lock-free or nearly so, and never fails. How each area counts stands in its file.
pub struct Metrics {
    registry: Registry,
    process: Registry,
    requests: Requests,
    verification: Verification,
    fills: Fills,
    upstreams: Upstreams,
    keeping: Keeping,
    configuration: Configuration,
    integrity: Integrity,
    space: SpaceMetrics,
}

impl Metrics {
    /// All at zero. Outcomes that one alerts on are there from the start, so that their first
    /// occurrence is an increase.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("assay");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which version runs", build);
        Self {
            requests: Requests::register(&mut registry),
            verification: Verification::register(&mut registry),
            fills: Fills::register(&mut registry),
            upstreams: Upstreams::register(&mut registry),
            keeping: Keeping::register(&mut registry),
            configuration: Configuration::register(&mut registry),
            process: Process::registry(),
            integrity: Integrity::register(&mut registry),
            space: SpaceMetrics::register(&mut registry),
            registry,
        }
    }

    /// The OpenMetrics text, `# EOF` included.
    pub fn encode(&self) -> String {
        let mut page = String::new();
        text::encode_registry(&mut page, &self.process).expect("writing to a string cannot fail");
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Counts by outcome, with a series for each of `outcomes` from the start.
fn by_outcome(outcomes: impl Iterator<Item = &'static str>) -> Family<OutcomeLabels, Counter> {
    let family = Family::default();
    for outcome in outcomes {
        drop(family.get_or_create(&OutcomeLabels { outcome }));
    }
    family
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;

    use super::*;

    #[test]
    fn every_part_may_count() {
        fn shared<T: Send + Sync>() {}
        shared::<Metrics>();
    }

    #[test]
    fn the_page_says_which_version_runs_and_where_it_ends() {
        let page = Metrics::new().encode();
        let build = format!("assay_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
        assert!(page.contains(&build) && page.ends_with("# EOF\n"), "{page}");
    }

    /// The names that stand on a page or in a file of rules.
    fn names_in(text: &str) -> BTreeSet<&str> {
        let all = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        all.filter(|word| word.starts_with("assay_") || word.starts_with("process_")).collect()
    }

    /// How a metric that is registered may be called in full; a name that was registered says nothing of its kind.
    fn registered() -> Vec<Vec<String>> {
        let Metrics { registry, process, .. } = Metrics::new();
        // The registry offers no list, and its page leaves out what was not counted yet. Its debugging output has all.
        let debug = format!("{registry:?}");
        let one = Regex::new(r#"Descriptor \{ name: "(\w+)", help: "[^"]*", unit: (?:None|Some\((\w+)\)) \}"#).unwrap();
        let full = |found: regex::Captures<'_>| {
            let unit = found.get(2).map(|unit| format!("_{}", unit.as_str().to_lowercase())).unwrap_or_default();
            ["", "_total", "_info"].map(|kind| format!("assay_{}{unit}{kind}", &found[1])).to_vec()
        };
        let mut all: Vec<_> = one.captures_iter(&debug).map(full).collect();
        let mut page = String::new();
        text::encode_registry(&mut page, &process).unwrap();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        all.extend(lines.filter_map(|line| line.split(' ').next()).map(|name| vec![name.to_owned()]));
        all
    }

    fn is_registered(name: &str) -> bool {
        let base = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        registered().iter().flatten().any(|known| known == name || known == base)
    }

    #[test]
    fn every_metric_is_documented_and_every_documented_metric_exists() {
        let docs = include_str!("../../../docs/operations.md");
        let table: Vec<_> = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next()).collect();
        let documented = names_in(&table.join("\n")).into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        assert!(registered().len() > 20 && documented.contains("assay_build_info"), "{documented:?}");
        let silent: Vec<_> =
            registered().into_iter().filter(|names| !names.iter().any(|n| documented.contains(n))).collect();
        assert!(silent.is_empty(), "docs/operations.md says nothing of any of {silent:?}");
        let gone: Vec<_> = documented.iter().filter(|name| !is_registered(name)).collect();
        assert!(gone.is_empty(), "docs/operations.md has {gone:?}, which no metric is called");
    }

    #[test]
    fn alerts_and_dashboard_ask_for_metrics_that_exist() {
        let dashboard = include_str!("../../../deploy/grafana/assay.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        assert!(parsed["panels"].as_array().unwrap().len() > 20);
        let alerts = include_str!("../../../deploy/prometheus/alerts.yml");
        assert!(
            alerts.matches("- alert: ").count() > 15
                && alerts.matches("expr: ").count() == alerts.matches("- alert: ").count()
        );
        for (file, text) in [("alerts.yml", alerts), ("assay.json", dashboard)] {
            let names = names_in(text);
            assert!(names.len() > 15, "{file}: {names:?}");
            let unknown: Vec<_> = names.into_iter().filter(|name| !is_registered(name)).collect();
            assert!(unknown.is_empty(), "{file} asks for {unknown:?}, which no metric is called");
        }
    }

    #[test]
    fn every_alert_is_explained() {
        let docs = include_str!("../../../docs/operations.md");
        let alerts = include_str!("../../../deploy/prometheus/alerts.yml");
        let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
        let silent: Vec<_> = names.filter(|name| !docs.contains(&format!("| `{name}` |"))).collect();
        assert!(silent.is_empty(), "docs/operations.md says nothing of {silent:?}");
        let explained = docs.lines().filter_map(|line| line.strip_prefix("| `Assay")?.split('`').next());
        let gone: Vec<_> = explained.filter(|name| !alerts.contains(&format!("- alert: Assay{name}\n"))).collect();
        assert!(gone.is_empty(), "no alert is called {gone:?}");
    }

    /// What the page says of the metrics whose names begin so. Series of one metric come in any order; of a histogram's
    /// buckets the last is enough.
    pub(super) fn about(metrics: &Metrics, prefixes: &[&str]) -> String {
        let page = metrics.encode();
        let of = |line: &str, prefix: &str| line.trim_start_matches("# HELP ").starts_with(&format!("assay_{prefix}"));
        let wanted = |line: &&str| prefixes.iter().any(|prefix| of(line, prefix));
        let brief = |line: &&str| !line.contains("_bucket{") || line.contains("+Inf");
        let mut lines: Vec<_> = page.lines().filter(wanted).filter(brief).collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}
