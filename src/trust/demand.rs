//! What a rule demands of an image's signatures and attestations.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::oci::{Digest, Registry, Repository};

use super::attestation::{About, AttestationDemand};
use super::gate::met;
use super::identity::Matcher;
use super::root::TrustRoot;
use super::signer::Signer;
use super::verdict::SignerSeen;
use super::verifier::Tlog;

/// Who must have signed, and how.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    /// One of the signers, or every one of them.
    pub require: Require,
    /// The signers. Empty only in audit mode.
    pub signers: Vec<Signer>,
    /// Whether signatures must be in a transparency log.
    pub tlog: Tlog,
    /// Trusted roots; a signature counts under any of them. Bare keys need none.
    pub roots: Vec<TrustRoot>,
    /// Whether the repository that a signature names must be this one.
    pub docker_reference: DockerReference,
    /// Which layouts count.
    pub formats: Formats,
    /// What must stand in the signature as cosign's `-a` writes it.
    pub annotations: BTreeMap<String, String>,
    /// Signatures that are proven to be older do not count.
    pub max_signature_age: Option<SignedDuration>,
    /// Identities whose signatures do not count, whoever else the rule names.
    pub denied_identities: Vec<Matcher>,
    /// What else must be attested.
    pub attestations: Vec<AttestationDemand>,
    /// The attestations are all that is asked for, and the image itself need not be signed. For
    /// `assay verify --attestation`; no configuration can say so. Without an attestation about
    /// [`About::Index`] it changes nothing.
    pub attestations_only: bool,
}

/// What stands for each part of a demand, in its order. Making them takes longer than all else that is done for a
/// manifest whose verdict is in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    pub(super) signers: Vec<Digest>,
    /// Of each attestation: its own, and its signers'.
    pub(super) attestations: Vec<(Digest, Vec<Digest>)>,
}

/// How many of the signers must have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// At least one.
    #[default]
    Any,
    /// Every one.
    All,
}

/// The layouts in which cosign writes signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formats {
    /// The tags `sha256-<hex>.sig` and `.att`.
    pub classic: bool,
    /// Sigstore bundles.
    pub bundle: bool,
}

/// What to make of the `docker-reference` in a classic signature.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DockerReference {
    /// Do not look at it, as cosign does.
    #[default]
    Ignore,
    /// It must name the repository that is asked. Bundles carry no reference and so cannot satisfy it.
    Repository,
    /// It must name this repository, wherever the image is asked.
    Exact(Repository),
    /// As `Repository`, after the prefix `ours` of the asked repository was replaced by `signed`.
    /// Prefixes end at a `/`: `ghcr.io/acme` is none of `ghcr.io/acme-evil/app`.
    Remap {
        /// Prefix of the repository as it is asked here.
        ours: String,
        /// Prefix under which the publisher signed it.
        signed: String,
    },
}

impl Default for Formats {
    fn default() -> Self {
        Self { classic: true, bundle: true }
    }
}

impl Demand {
    /// Whether attestations about platforms are asked for.
    pub fn asks_of_platforms(&self) -> bool {
        self.attestations.iter().any(|demand| demand.about == About::Platform)
    }

    /// Whether the signers that are there suffice.
    pub(super) fn is_met(&self, is_there: impl Fn(&Signer, Digest) -> bool) -> bool {
        !self.asks_for_a_signature() || met(self.require, self.signers.iter().map(|one| (one, one.id())), is_there)
    }

    /// Whether the image itself must be signed. What asks for nothing at all still asks for that.
    pub fn asks_for_a_signature(&self) -> bool {
        !(self.attestations_only && self.attestations.iter().any(|demand| demand.about == About::Index))
    }

    /// What stands for each signer and attestation that it names.
    pub(super) fn ids(&self) -> Ids {
        let of = |signers: &[Signer]| signers.iter().map(Signer::id).collect::<Vec<_>>();
        let attestations = self.attestations.iter().map(|asked| (asked.id(), of(&asked.signers)));
        Ids { signers: of(&self.signers), attestations: attestations.collect() }
    }

    /// The names of the signers who are not there.
    pub(super) fn lacking(&self, seen: &[SignerSeen]) -> Vec<&str> {
        let has = |signer: &&Signer| !seen.iter().any(|one| one.id == signer.id());
        self.signers.iter().filter(has).map(Signer::name).collect()
    }

    /// Everybody whom it names, for whatever.
    fn everybody(&self) -> impl Iterator<Item = &Signer> {
        self.signers.iter().chain(self.attestations.iter().flat_map(|demand| &demand.signers))
    }

    /// The keys, certificates and logs that it relies on.
    pub(super) fn trust_fingerprint(&self) -> Digest {
        let ids = self.everybody().map(|signer| signer.id().to_string());
        let roots = self.roots.iter().map(|root| root.fingerprint().to_string());
        Digest::of(ids.chain(roots).collect::<Vec<_>>().join("\n").as_bytes())
    }

    /// Everything else that it says.
    pub(super) fn rule_fingerprint(&self) -> serde_json::Value {
        serde_json::json!({
            "require": self.require,
            "tlog": self.tlog,
            "docker_reference": format!("{:?}", self.docker_reference),
            "formats": self.formats,
            "annotations": self.annotations,
            "max_signature_age": self.max_signature_age.map(|age| age.as_secs()),
            "denied_identities": format!("{:?}", self.denied_identities),
            "attestations": self.attestations.iter().map(AttestationDemand::fingerprint).collect::<Vec<_>>(),
            "attestations_only": self.attestations_only,
            "windows": self.everybody().map(window).collect::<Vec<_>>(),
        })
    }
}

fn window(signer: &Signer) -> Option<(Option<String>, Option<String>)> {
    match signer {
        Signer::Key(key) => Some((key.not_before.map(|t| t.to_string()), key.not_after.map(|t| t.to_string()))),
        Signer::Identity(_) => None,
    }
}

impl DockerReference {
    /// The repository that a signature on an image of `asked` must name; `None` when any will do.
    pub fn expected(&self, asked: &Repository) -> Option<String> {
        let asked = asked.to_string();
        match self {
            Self::Ignore => None,
            Self::Repository => Some(asked),
            Self::Exact(repository) => Some(repository.to_string()),
            Self::Remap { ours, signed } => {
                let rest = asked
                    .strip_prefix(&canonical_prefix(ours))
                    .filter(|rest| matches!(rest.get(..1), None | Some("/")));
                let Some(rest) = rest else { return Some(asked) };
                let mapped = canonical_prefix(signed) + rest;
                Some(mapped.parse::<Repository>().map_or(mapped, |repository| repository.to_string()))
            }
        }
    }
}

/// The beginning of repository names, up to a whole component, written as we write names: `index.docker.io/acme/`
/// means `docker.io/acme`.
fn canonical_prefix(text: &str) -> String {
    let text = text.trim_end_matches('/');
    let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    host.parse::<Registry>().map_or_else(|_| text.to_owned(), |registry| format!("{registry}{path}"))
}
