//! Verdicts: each step of a judgement, what it saw and how it ended.
//!
//! One value feeds the refusal text, `explain`, the ledger, the log and the metrics, so they cannot
//! disagree.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::oci::{Digest, Repository};

use super::policy::Fingerprint;
use super::verifier::LogEntry;

/// Longest detail of a check, in characters: more than any message shows. Details quote what was found, and anybody
/// who may push can write half a megabyte there, thirty times over, into each verdict and its record.
const DETAIL_MAX: usize = 2000;

/// What was decided about one manifest of one repository under one rule, and on what evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Where it was asked for. A verdict is worth nothing in another repository.
    pub repository: Repository,
    /// The manifest.
    pub digest: Digest,
    /// The rule that decided.
    pub rule: String,
    /// `enforce`, `audit` or `off`.
    pub mode: String,
    /// Of the rule and of its keys, at the time.
    pub fingerprint: Fingerprint,
    /// When.
    pub judged_at: Timestamp,
    /// How it ended.
    pub decision: Decision,
    /// Where signatures were looked for.
    pub looked_at: Vec<Looked>,
    /// Each candidate with each check that ran on it.
    pub candidates: Vec<CandidateReport>,
}

/// How a judgement ended. "Could not check" is never "unsigned".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Decision {
    /// Signed as the rule demands.
    Verified {
        /// By these.
        signers: Vec<SignerSeen>,
    },
    /// Looked at, and not signed as the rule demands.
    Refused {
        /// The kind of reason.
        reason: Reason,
        /// What was found, in words.
        detail: String,
    },
    /// Something needed could not be had, so nothing is known.
    Unknown {
        /// What could not be had.
        detail: String,
    },
    /// The rule is off: nothing was looked for.
    Unchecked,
    /// A signature, attestation or bill of materials, passed on so that clients can verify for
    /// themselves. Not an image, and checked not to be one.
    Artefact,
}

/// Why an image is refused. The codes are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// No rule is about this repository.
    NoPolicy,
    /// Nothing that could be a signature was found.
    NoSignature,
    /// A signature document cannot be read as one.
    MalformedSignature,
    /// There is a signature, by nobody whom the rule names.
    UntrustedKey,
    /// The signature does not fit what it stands beside: the bytes, the key or the certificate are others.
    InvalidSignature,
    /// The certificate was not issued, or not valid, under a trusted root.
    UntrustedCertificate,
    /// Nothing that can be trusted proves when it was signed.
    NoSigningTime,
    /// No transparency log of the trusted root has recorded it.
    NotInLog,
    /// Signed by somebody whom an issuer vouches for, and whom the rule does not name.
    WrongIdentity,
    /// On a list of what is never served.
    Denied,
    /// Signed longer ago than the rule allows.
    SignatureTooOld,
    /// Signed in a layout that the rule no longer accepts.
    FormatNotAccepted,
    /// Validly signed, without an annotation that the rule asks for.
    WrongAnnotation,
    /// Signed, and an attestation that the rule asks for is not there.
    MissingAttestation,
    /// There is such an attestation, and it says something else than the rule asks.
    WrongAttestation,
    /// The tag led to something that was signed later before.
    RolledBack,
    /// Signed by a named key outside the time in which that key is trusted.
    KeyOutsideValidity,
    /// Validly signed, but what is signed is no image signature (an attestation, for example).
    NotASignature,
    /// Validly signed, but about another digest.
    WrongSubject,
    /// Validly signed, but for another repository.
    WrongReference,
    /// Not all of the demanded signers have signed.
    MissingSigner,
    /// More signature material than is read; what was read does not suffice.
    OverLimit,
    /// Nothing verified in this repository names this digest.
    NotNamed,
    /// Under the tag of a signature artefact lies something else.
    NotAnArtefact,
    /// Upstream's document is no manifest that all clients read alike.
    UnsafeManifest,
}

impl Reason {
    /// The code as it stands in messages, logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoPolicy => "NO_POLICY",
            Self::NoSignature => "NO_SIGNATURE",
            Self::MalformedSignature => "MALFORMED_SIGNATURE",
            Self::UntrustedKey => "UNTRUSTED_KEY",
            Self::InvalidSignature => "INVALID_SIGNATURE",
            Self::UntrustedCertificate => "UNTRUSTED_CERTIFICATE",
            Self::NoSigningTime => "NO_SIGNING_TIME",
            Self::NotInLog => "NOT_IN_LOG",
            Self::WrongIdentity => "WRONG_IDENTITY",
            Self::Denied => "DENIED",
            Self::SignatureTooOld => "SIGNATURE_TOO_OLD",
            Self::FormatNotAccepted => "FORMAT_NOT_ACCEPTED",
            Self::WrongAnnotation => "WRONG_ANNOTATION",
            Self::MissingAttestation => "MISSING_ATTESTATION",
            Self::WrongAttestation => "WRONG_ATTESTATION",
            Self::RolledBack => "ROLLED_BACK",
            Self::KeyOutsideValidity => "KEY_OUTSIDE_VALIDITY",
            Self::NotASignature => "NOT_A_SIGNATURE",
            Self::WrongSubject => "WRONG_SUBJECT",
            Self::WrongReference => "WRONG_REFERENCE",
            Self::MissingSigner => "MISSING_SIGNER",
            Self::OverLimit => "OVER_LIMIT",
            Self::NotNamed => "NOT_NAMED",
            Self::NotAnArtefact => "NOT_AN_ARTEFACT",
            Self::UnsafeManifest => "UNSAFE_MANIFEST",
        }
    }

    /// What a person can do about it.
    pub fn next_step(self) -> &'static str {
        match self {
            Self::NoPolicy => "add a [[policy]] whose `images` covers it",
            Self::NoSignature => {
                "sign the index with `cosign sign`, or, if it is never signed, cover it by a [[policy]] of its own with mode = \"off\""
            }
            Self::MalformedSignature => "sign it again with a current cosign",
            Self::UntrustedKey => "check who signed it; if they may, add their key or identity to the rule",
            Self::InvalidSignature => "do not run it: signature and content do not belong together; sign it again",
            Self::UntrustedCertificate => {
                "check that the rule's trust_root is the one it was signed under, and that it is current: `assay trust show`"
            }
            Self::NoSigningTime => {
                "check that the rule's trust_root is the one it was signed under; if it is, sign it again with a log or a timestamp authority that this root names"
            }
            Self::NotInLog => {
                "check that the rule's trust_root is the one it was signed under; what is in no log must be signed with one, or for a key say tlog = \"off\" in the rule"
            }
            Self::WrongIdentity => "check who signed it; if they may, add their identity to the rule",
            Self::Denied => "somebody put it on the rule's deny list; ask them before taking it off",
            Self::SignatureTooOld => "have it built and signed again, or raise max_signature_age in the rule",
            Self::FormatNotAccepted => "sign it with a current cosign, or change accept_formats in the rule",
            Self::WrongAnnotation => "sign it with `cosign sign -a KEY=VALUE`, or change annotations in the rule",
            Self::MissingAttestation => {
                "see with `assay explain` what is attested, and by whom; attest it with `cosign attest --type TYPE`, by a signer whom the rule names for it"
            }
            Self::WrongAttestation => "check how it was built; if that is right, change the conditions in the rule",
            Self::RolledBack => {
                "find out why the tag went back; pull by digest if it should, or set rollback = \"warn\""
            }
            Self::KeyOutsideValidity => "sign it with the current key, or change not_before/not_after of this signer",
            Self::NotASignature => "sign the image itself: `cosign sign`, not only `cosign attest`",
            Self::WrongSubject => "sign this digest; the signature found is about another one",
            Self::WrongReference => "sign it under this repository, or change docker_reference in the rule",
            Self::MissingSigner => "have the missing signers sign it, or use require = \"any\"",
            Self::OverLimit => "remove superfluous signatures from the repository",
            Self::NotNamed => {
                "pull the image by its tag or index digest first, or sign this manifest too: `cosign sign --recursive`"
            }
            Self::NotAnArtefact => "pull images by their own tags",
            Self::UnsafeManifest => "push the image again with a current tool",
        }
    }
}

/// A place where signatures were looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// For example `referrers` or `tag sha256-….sig`.
    pub place: String,
    /// What was there.
    pub found: Found,
}

/// What was found in one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// So many candidates.
    Candidates(usize),
    /// Upstream says that there is nothing.
    Nothing,
    /// Something, but nothing that can be a signature.
    Unrelated(String),
    /// Could not be looked at.
    Failed(String),
    /// More than is read.
    OverLimit(String),
}

/// A signer as a verdict remembers them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignerSeen {
    /// The name in the rule.
    pub name: String,
    /// Stands for what the rule demands of this signer.
    pub id: Digest,
    /// Fingerprint of the key, for signers with a key.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<Digest>,
    /// Who signed as the certificate has it, for signers with an identity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// Who vouched for the identity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub issuer: Option<String>,
    /// What else the certificate says, by the names in [`super::CLAIMS`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub claims: BTreeMap<String, String>,
    /// The trusted root that it rests on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root: Option<String>,
    /// Where it was recorded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log: Option<LogEntry>,
    /// The earliest time that is proven for the signature.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_at: Option<Timestamp>,
}

/// An attestation that the rule asks for and that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttestationSeen {
    /// Stands for what was asked.
    pub demand: Digest,
    /// The predicate type.
    pub predicate_type: String,
    /// Who attested.
    pub signers: Vec<SignerSeen>,
}

/// What became of one candidate signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateReport {
    /// Where it lay.
    pub place: String,
    /// `classic` or `bundle`.
    pub format: String,
    /// The checks that ran, in order. A check that did not run is not here.
    pub checks: Vec<Check>,
    /// Who signed, if somebody did whom the rule names and every check passed.
    pub signers: Vec<SignerSeen>,
    /// Which attestations that the rule asks for it is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub attestations: Vec<AttestationSeen>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found, and what was expected where that differs.
    pub detail: String,
    /// The reason this counts as, if it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// Where the certificate is not as the rule demands, if that is what failed: `detail` in parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub difference: Option<Box<Difference>>,
}

/// A field of a certificate that is not as a signer of the rule demands. `Display` says it in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `issuer`, `identity`, or a name in [`super::CLAIMS`].
    pub field: String,
    /// What stands in the certificate, if anything does.
    pub found: Option<String>,
    /// What the rule wants there.
    pub expected: String,
    /// Where the found value stops to fit: a byte offset at a character's start, and its length where it only
    /// ends too early.
    pub at: usize,
    /// Who signed, where the field does not say so itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signed_by: Option<String>,
}

/// How a check ended. One that did not run is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As demanded.
    Passed,
    /// Not as demanded.
    Failed,
    /// Nothing demanded it; the detail says why.
    NotNeeded,
}

impl CandidateReport {
    /// Whether it is a signature or an attestation that counts.
    pub fn counts(&self) -> bool {
        !self.signers.is_empty() || !self.attestations.is_empty()
    }
}

impl Check {
    /// Whether it ended as demanded.
    pub fn passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }
}

/// A detail as it is kept: not endless, and without what steers a terminal or turns its text around.
pub(super) fn quotable(detail: &str) -> String {
    let steers = |c: char| {
        let marks =
            matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || marks
    };
    let (start, rest) = match detail.char_indices().nth(DETAIL_MAX) {
        Some((end, _)) => (detail.get(..end).unwrap_or_default(), "…"),
        None => (detail, ""),
    };
    let mut text = String::with_capacity(start.len());
    for c in start.chars() {
        match steers(c) {
            true => text.extend(c.escape_debug()),
            false => text.push(c),
        }
    }
    text + rest
}

impl Verdict {
    /// Signed as demanded, whatever the mode.
    pub fn is_verified(&self) -> bool {
        matches!(self.decision, Decision::Verified { .. })
    }

    /// The word for the outcome in logs, metrics and headers.
    pub fn outcome(&self) -> &'static str {
        match (&self.decision, self.mode.as_str()) {
            (Decision::Verified { .. }, _) => "verified",
            (Decision::Unchecked, _) => "off",
            (Decision::Artefact, _) => "artefact",
            (Decision::Refused { .. } | Decision::Unknown { .. }, "audit") => "audit",
            (Decision::Refused { .. }, _) => "refused",
            (Decision::Unknown { .. }, _) => "unknown",
        }
    }

    /// Who signed, for a line of text: identities as their certificates have them, and the names of keys. Empty when
    /// nobody was verified.
    pub fn signer_names(&self) -> String {
        let Decision::Verified { signers } = &self.decision else { return String::new() };
        let name = |signer: &SignerSeen| signer.identity.clone().unwrap_or_else(|| signer.name.clone());
        let mut names: Vec<String> = signers.iter().map(name).collect();
        names.dedup();
        names.join(", ")
    }

    /// Why it was, or in audit mode would have been, refused.
    pub fn refusal(&self) -> Option<(Reason, &str)> {
        match &self.decision {
            Decision::Refused { reason, detail } => Some((*reason, detail)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field, found, expected, at, signed_by } = self;
        match found {
            None => write!(f, "{field}: found nothing, expected `{expected}`")?,
            Some(found) => {
                write!(f, "{field}: found `{found}`, expected `{expected}` ")?;
                match found.get(*at..).filter(|rest| !rest.is_empty()) {
                    Some(rest) => write!(f, "(differs from `{rest}` on)")?,
                    None => f.write_str("(it ends too early)")?,
                }
            }
        }
        signed_by.as_ref().map_or(Ok(()), |identity| write!(f, "; signed by {identity}"))
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Candidates(1) => f.write_str("1 candidate"),
            Self::Candidates(n) => write!(f, "{n} candidates"),
            Self::Nothing => f.write_str("nothing there"),
            Self::Unrelated(what) => write!(f, "no signature: {what}"),
            Self::Failed(why) => write!(f, "could not look: {why}"),
            Self::OverLimit(what) => write!(f, "over the limit: {what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_bounded_and_steers_nothing() {
        let honest = r"found `Zoë's \.yml`, expected `^é$`";
        assert_eq!(quotable(honest), honest);
        assert_eq!(quotable("a\u{1b}[31m\u{9b}b\u{202e}c\n"), r"a\u{1b}[31m\u{9b}b\u{202e}c\n");
        assert_eq!(quotable(&"é".repeat(DETAIL_MAX)), "é".repeat(DETAIL_MAX));
        assert_eq!(quotable(&"é".repeat(DETAIL_MAX + 1)), "é".repeat(DETAIL_MAX) + "…");
    }
}
