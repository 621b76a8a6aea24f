//! Rules: which repositories must have been signed by whom.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};

use crate::oci::{Digest, Registry, Repository};

use super::demand::{Demand, Ids};

/// Ordered rules. The first whose pattern matches a repository decides; where none matches, the
/// answer is no.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<Arc<Rule>>,
    /// Shown to people whose image no rule covers.
    no_rule_hint: Option<String>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    name: String,
    patterns: Vec<Pattern>,
    enforcement: Enforcement,
    terms: Terms,
    fingerprint: Fingerprint,
    ids: Ids,
}

/// What a rule says besides who must have signed.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Manifests that are never served, whoever signed them and whatever the mode.
    pub denied_digests: BTreeSet<Digest>,
    /// How far to look for an index that names a platform's manifest which nobody asked by its index.
    pub parent_search: Option<ParentSearch>,
    /// What to do when a tag leads to something that was signed earlier than what it led to before.
    pub rollback: Rollback,
}

/// Bounds on looking through a repository's tags for an index that names a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentSearch {
    /// Most tags that are looked at, newest first as far as names tell. Each costs one or two requests.
    pub tags: usize,
    /// Longest time altogether.
    pub deadline: Duration,
}

/// What to do when a tag goes back in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rollback {
    /// Nothing.
    #[default]
    Allow,
    /// Serve it, and say so in the log and the metrics.
    Warn,
    /// Refuse the tag; the digest stays servable.
    Refuse,
}

/// What becomes of an image that a rule matches.
#[derive(Clone, Debug)]
pub enum Enforcement {
    /// Serve what is signed as demanded, refuse the rest.
    Enforce(Demand),
    /// Serve everything, and record what would have been refused.
    Audit(Demand),
    /// Serve everything, look for nothing.
    Off(danger::Unsigned),
}

/// What is unsafe to choose, and must be written out to be chosen.
pub mod danger {
    /// "Serve this without any signature": made only from `mode = "off"` in a rule.
    #[derive(Clone, Copy, Debug)]
    pub struct Unsigned(());

    impl Unsigned {
        /// The operator wrote it out.
        pub fn as_written_by_the_operator() -> Self {
            Self(())
        }
    }
}

/// A pattern over whole repository names: `*` within one component, `**` across components.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

/// Why a pattern is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The glob does not parse.
    #[error("not a pattern: {0}")]
    Glob(String),
    /// It names a tag or a digest.
    #[error(
        "patterns name repositories, not tags or digests: a blob or a digest belongs to no tag, so a rule per tag could be walked around"
    )]
    Tag,
    /// It has no registry in front.
    #[error("write the registry too, for example `docker.io/{0}`")]
    NoRegistry(String),
}

/// Stands for a rule and the trust material it uses; a recorded verdict counts only under the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Fingerprint {
    /// Of everything the rule demands.
    pub rule: Digest,
    /// Of the keys it relies on.
    pub trust: Digest,
}

impl Policy {
    /// Rules in the order they are tried.
    pub fn new(rules: Vec<Rule>, no_rule_hint: Option<String>) -> Self {
        Self { rules: rules.into_iter().map(Arc::new).collect(), no_rule_hint }
    }

    /// The first rule that matches. `None` means: refuse.
    pub fn rule_for(&self, repository: &Repository) -> Option<&Arc<Rule>> {
        let name = repository.to_string();
        self.rules.iter().find(|rule| rule.patterns.iter().any(|pattern| pattern.matcher.is_match(&name)))
    }

    /// All rules, in order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// What the operator wants people to read whose image no rule covers.
    pub fn no_rule_hint(&self) -> Option<&str> {
        self.no_rule_hint.as_deref()
    }
}

impl Rule {
    /// A rule; its fingerprint is computed here.
    pub fn new(name: String, patterns: Vec<Pattern>, enforcement: Enforcement) -> Self {
        let terms = Terms::default();
        let fingerprint = Fingerprint::of(&enforcement, &terms);
        let ids = enforcement.demand().map(Demand::ids).unwrap_or_default();
        Self { name, patterns, enforcement, terms, fingerprint, ids }
    }

    /// The same rule with these terms.
    #[must_use]
    pub fn with_terms(self, terms: Terms) -> Self {
        let fingerprint = Fingerprint::of(&self.enforcement, &terms);
        Self { terms, fingerprint, ..self }
    }

    /// What it says besides who must have signed.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What becomes of images it matches.
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// The repositories it is for.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Changes with everything the rule demands, and with nothing else.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Who must have signed, unless the rule is off.
    pub fn demand(&self) -> Option<&Demand> {
        self.enforcement.demand()
    }

    /// What stands for each part of its demand.
    pub(super) fn ids(&self) -> &Ids {
        &self.ids
    }
}

impl Enforcement {
    /// The word for it in the configuration, logs and metrics.
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Enforce(_) => "enforce",
            Self::Audit(_) => "audit",
            Self::Off(_) => "off",
        }
    }

    fn demand(&self) -> Option<&Demand> {
        match self {
            Self::Enforce(demand) | Self::Audit(demand) => Some(demand),
            Self::Off(_) => None,
        }
    }
}

impl Fingerprint {
    fn of(enforcement: &Enforcement, terms: &Terms) -> Self {
        let demand = enforcement.demand();
        let rule = serde_json::json!({
            // Raise when the meaning of a check changes, so that older verdicts are judged again.
            "checks": 2,
            "mode": enforcement.mode(),
            "demand": demand.map(Demand::rule_fingerprint),
            "denied": terms.denied_digests,
        });
        let trust = demand.map_or_else(|| Digest::of(b""), Demand::trust_fingerprint);
        Self { rule: Digest::of(rule.to_string().as_bytes()), trust }
    }
}

impl Pattern {
    /// Reads a pattern such as `ghcr.io/acme/**`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (host, path) = text.split_once('/').ok_or_else(|| PatternError::NoRegistry(text.to_owned()))?;
        if path.contains(':') || path.contains('@') {
            return Err(PatternError::Tag);
        }
        let wild = host.contains(['*', '?', '[', '{']);
        if !wild && !crate::oci::is_host(host) && host.parse::<Registry>().is_err() {
            return Err(PatternError::NoRegistry(text.to_owned()));
        }
        let matcher = GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(false)
            .build()
            .map_err(|e| PatternError::Glob(e.kind().to_string()))?
            .compile_matcher();
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a repository's whole name fits.
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(name: &str, pattern: &str) -> Rule {
        let written = Enforcement::Off(danger::Unsigned::as_written_by_the_operator());
        Rule::new(name.to_owned(), vec![Pattern::parse(pattern).unwrap()], written)
    }

    fn repository(text: &str) -> Repository {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_matching_rule_decides_and_nothing_means_no() {
        let policy = Policy::new(vec![off("one", "ghcr.io/acme/*"), off("two", "ghcr.io/acme/**")], None);
        let name = |text| policy.rule_for(&repository(text)).map(|rule| rule.name().to_owned());
        assert_eq!(name("ghcr.io/acme/a"), Some("one".to_owned()));
        assert_eq!(name("ghcr.io/acme/a/b"), Some("two".to_owned()));
        assert_eq!(name("ghcr.io/acme-evil/a"), None);
        assert_eq!(name("evil.io/ghcr.io/acme/a"), None, "patterns match whole names");
        assert_eq!(name("docker.io/library/alpine"), None);
    }

    #[test]
    fn a_star_stays_within_one_component() {
        let pattern = Pattern::parse("*.acme.io/a*/x").unwrap();
        assert!(pattern.matches("eu.acme.io/ab/x"));
        assert!(!pattern.matches("eu.acme.io/ab/y/x"));
        assert!(!pattern.matches("evil.io/eu.acme.io/ab/x"));
    }

    #[test]
    fn patterns_over_tags_are_refused() {
        for bad in ["ghcr.io/acme/app:v*", "ghcr.io/acme/app@sha256:00"] {
            assert_eq!(Pattern::parse(bad).unwrap_err(), PatternError::Tag);
        }
        assert!(Pattern::parse("localhost:5000/app").is_ok(), "a port is no tag");
        assert!(Pattern::parse("alpine").is_err());
        let no_registry = PatternError::NoRegistry("-io/alpine".to_owned());
        assert_eq!(Pattern::parse("-io/alpine").unwrap_err(), no_registry);
        for good in ["docker.io/library/alpine", "*/library/alpine", "*.io/alpine", "registry.test/a", "127.0.0.1/a"] {
            assert_eq!(Pattern::parse(good).unwrap().as_str(), good);
        }
        assert!(matches!(Pattern::parse("ghcr.io/[").unwrap_err(), PatternError::Glob(_)));
    }
}
