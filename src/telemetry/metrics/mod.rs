//! Every metric, once: its name, what it counts, and which words label it. One file for each area.
//!
//! Labels come from closed lists only, so no client and no image can make the number of series grow.

mod configuration;
mod fills;
mod keeping;
mod requests;
mod verification;

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use requests::{OpenConnection, RequestSeen};

use configuration::Configuration;
use fills::Fills;
use keeping::Keeping;
use requests::Requests;
use verification::Verification;

/// All metrics. Counting is lock-free or nearly so, and never fails. How each area counts stands in its file.
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    verification: Verification,
    fills: Fills,
    keeping: Keeping,
    configuration: Configuration,
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
            keeping: Keeping::register(&mut registry),
            configuration: Configuration::register(&mut registry),
            registry,
        }
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
