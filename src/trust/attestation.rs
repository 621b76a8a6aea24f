//! Attestations that a rule asks for, and the simple conditions on what they say.

use serde_json::Value;

use crate::oci::Digest;

use super::demand::Require;
use super::identity::Matcher;
use super::signer::Signer;

/// cosign's short words for predicate types (`cosign verify-attestation --type`), and what they stand for.
pub const PREDICATE_TYPES: [(&str, &str); 10] = [
    ("custom", "https://cosign.sigstore.dev/attestation/v1"),
    ("slsaprovenance", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance02", "https://slsa.dev/provenance/v0.2"),
    ("slsaprovenance1", "https://slsa.dev/provenance/v1"),
    ("spdx", "https://spdx.dev/Document"),
    ("spdxjson", "https://spdx.dev/Document"),
    ("cyclonedx", "https://cyclonedx.org/bom"),
    ("link", "https://in-toto.io/Link/v1"),
    ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
    ("openvex", "https://openvex.dev/ns"),
];

/// The predicate type that cosign's short word stands for; any other text stands for itself.
pub fn predicate_type(word: &str) -> &str {
    PREDICATE_TYPES.iter().find(|(short, _)| *short == word).map_or(word, |(_, uri)| uri)
}

/// A signed statement that must be there besides the signature.
#[derive(Clone, Debug)]
pub struct AttestationDemand {
    /// The predicate type's URI, exactly.
    pub predicate_type: String,
    /// About what.
    pub about: About,
    /// One of the signers, or every one of them.
    pub require: Require,
    /// Who may attest. Never empty.
    pub signers: Vec<Signer>,
    /// What the predicate must say.
    pub conditions: Vec<Condition>,
}

/// What an attestation must be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// The digest that is signed: the index, or the manifest of an image without one.
    #[default]
    Index,
    /// Each platform's manifest that is served.
    Platform,
}

/// Something that a predicate must say.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What people call it.
    pub name: String,
    /// Where it may stand: JSON pointers (RFC 6901) into the predicate. `*` stands for every member of a list.
    pub pointers: Vec<String>,
    /// What one of the texts there must be.
    pub wanted: Matcher,
}

impl AttestationDemand {
    /// Stands for what is asked.
    pub fn id(&self) -> Digest {
        Digest::of(self.fingerprint().to_string().as_bytes())
    }

    /// What the predicate lacks, or `None` when every condition is met.
    pub(super) fn lack(&self, predicate: &Value) -> Option<String> {
        self.conditions.iter().find_map(|condition| condition.lack(predicate))
    }

    /// Changes with everything that it asks for besides the signers' own.
    pub(super) fn fingerprint(&self) -> Value {
        serde_json::json!({
            "type": self.predicate_type,
            "about": self.about,
            "require": self.require,
            "signers": self.signers.iter().map(|signer| signer.id()).collect::<Vec<_>>(),
            "conditions": format!("{:?}", self.conditions),
        })
    }
}

impl Condition {
    /// The builder of SLSA provenance, v0.2 and v1.
    pub fn builder_id(wanted: Matcher) -> Self {
        let pointers = vec!["/builder/id".to_owned(), "/runDetails/builder/id".to_owned()];
        Self { name: "builder_id".to_owned(), pointers, wanted }
    }

    /// The source that SLSA provenance says it was built from, v0.2 and v1.
    pub fn source_repository(wanted: Matcher) -> Self {
        let pointers = [
            "/invocation/configSource/uri",
            "/buildDefinition/externalParameters/workflow/repository",
            "/buildDefinition/externalParameters/source",
        ];
        let pointers = pointers.map(str::to_owned).to_vec();
        Self { name: "source_repository".to_owned(), pointers, wanted }
    }

    fn lack(&self, predicate: &Value) -> Option<String> {
        let found: Vec<&str> =
            self.pointers.iter().flat_map(|pointer| at(predicate, pointer)).filter_map(Value::as_str).collect();
        if found.iter().any(|text| self.wanted.matches(text)) {
            return None;
        }
        let found = match found.first() {
            Some(text) => format!("found `{text}`"),
            None => format!("found nothing at {}", self.pointers.join(" or ")),
        };
        Some(format!("{}: {found}, expected `{}`", self.name, self.wanted))
    }
}

/// Every value at a JSON pointer in which `*` stands for each member of a list.
fn at<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    match pointer.split_once("/*") {
        None => value.pointer(pointer).into_iter().collect(),
        Some((list, rest)) => {
            let members = value.pointer(list).and_then(Value::as_array);
            members.into_iter().flatten().flat_map(|member| at(member, rest)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_is_met_by_a_text_at_one_of_its_places() {
        let v1 = json!({"runDetails": {"builder": {"id": "https://builder.test/v1"}}});
        let v02 = json!({"builder": {"id": "https://builder.test/v1"}});
        let condition = Condition::builder_id(Matcher::exact("https://builder.test/v1"));
        assert_eq!(condition.lack(&v1), None);
        assert_eq!(condition.lack(&v02), None);
        for other in [json!({"builder": {"id": "https://builder.test/v2"}}), json!({"builder": {"id": 1}}), json!([])] {
            assert!(condition.lack(&other).is_some(), "{other}");
        }
    }

    #[test]
    fn short_words_are_cosigns() {
        assert_eq!(predicate_type("slsaprovenance"), "https://slsa.dev/provenance/v0.2");
        assert_eq!(predicate_type("https://slsa.dev/provenance/v1"), "https://slsa.dev/provenance/v1");
        assert_eq!(predicate_type("slsa"), "slsa", "no word of cosign's");
    }

    #[test]
    fn a_star_is_every_member_of_a_list() {
        let wanted = Matcher::exact("b");
        let condition = Condition { name: "where".to_owned(), pointers: vec!["/list/*/uri".to_owned()], wanted };
        assert_eq!(condition.lack(&json!({"list": [{"uri": "a"}, {"uri": "b"}]})), None);
        assert!(condition.lack(&json!({"list": [{"uri": "a"}]})).is_some());
        assert!(condition.lack(&json!({"list": {"uri": "b"}})).is_some(), "no list");
    }
}
