//! Candidate signatures in cosign's two layouts, and every check on them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sigstore_types::bundle::VerificationMaterialContent;
use sigstore_types::{DsseEnvelope, SignatureContent};

use crate::oci::{Digest, Repository, strict_json};

use super::bundle::read_bundle;
use super::key::KeySigner;
use super::policy::Demand;
use super::verdict::{CandidateReport, Check, Reason, SignerSeen};

/// Largest payload of a classic signature; cosign's have some 250 bytes.
pub const PAYLOAD_MAX: usize = 64 * 1024;
/// Largest Sigstore bundle; with certificate, log entry and timestamp they have some 10 KiB.
pub const BUNDLE_MAX: usize = 512 * 1024;
/// Most transparency log entries, and most timestamps, in a bundle that we look at.
pub const PROOFS_MAX: usize = 4;
/// Most subjects of a statement that we look at.
pub const SUBJECTS_MAX: usize = 64;

const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE_ANNOTATION: &str = "dev.sigstore.cosign/certificate";
const PAYLOAD_TYPE: &str = "cosign container image signature";
const DSSE_IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
const COSIGN_SIGN_V1: &str = "https://sigstore.dev/cosign/sign/v1";

/// Something that was found where a signature may lie. Nothing about it is proven.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Where it lay, for people.
    pub place: String,
    /// What it is.
    pub material: Material,
}

/// The two layouts that cosign writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Material {
    /// A payload layer of the tag `sha256-<hex>.sig` with its annotations.
    Classic {
        /// The signed bytes.
        #[serde(with = "as_base64")]
        payload: Bytes,
        /// Of the layer's descriptor; the signature is one of them.
        annotations: BTreeMap<String, String>,
    },
    /// A Sigstore bundle, as it lies in a referrer.
    Bundle(#[serde(with = "as_base64")] Bytes),
}

/// Bytes in records that people may open with a database tool.
mod as_base64 {
    use super::{Bytes, STANDARD};
    use base64::Engine as _;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}

/// What the candidate is checked against.
pub(super) struct Subject<'a> {
    pub repository: &'a Repository,
    pub digest: Digest,
    pub demand: &'a Demand,
    pub now: Timestamp,
}

/// Runs the checks in order and stops at the first that fails: what comes later would look at
/// bytes that nobody vouched for.
pub(super) fn examine(candidate: &Candidate, subject: &Subject<'_>) -> CandidateReport {
    let mut checks = Checks::default();
    let (format, signers) = match &candidate.material {
        Material::Classic { payload, annotations } => ("classic", classic(payload, annotations, subject, &mut checks)),
        Material::Bundle(bytes) => ("bundle", bundle(bytes, subject, &mut checks)),
    };
    CandidateReport {
        place: candidate.place.clone(),
        format: format.to_owned(),
        checks: checks.0,
        signers: signers.unwrap_or_default(),
    }
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn pass(&mut self, name: &str, detail: impl Into<String>) {
        self.0.push(Check { name: name.to_owned(), passed: true, detail: detail.into(), reason: None });
    }

    /// Returns `None`, so that `return checks.fail(…)` ends an examination.
    fn fail<T>(&mut self, name: &str, reason: Reason, detail: impl Into<String>) -> Option<T> {
        self.0.push(Check { name: name.to_owned(), passed: false, detail: detail.into(), reason: Some(reason) });
        None
    }
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference", default)]
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

fn classic(
    payload: &[u8],
    annotations: &BTreeMap<String, String>,
    subject: &Subject<'_>,
    checks: &mut Checks,
) -> Option<Vec<SignerSeen>> {
    use Reason::MalformedSignature as Malformed;
    if payload.len() > PAYLOAD_MAX {
        return checks.fail(
            "payload size",
            Reason::OverLimit,
            format!("{} bytes, more than {PAYLOAD_MAX}", payload.len()),
        );
    }
    if annotations.get(CERTIFICATE_ANNOTATION).is_some_and(|text| !text.trim().is_empty()) {
        return checks.fail(
            "signer",
            Reason::UntrustedKey,
            "made with a certificate (keyless), but the rule names keys",
        );
    }
    let Some(text) = annotations.get(SIGNATURE_ANNOTATION) else {
        return checks.fail("signature", Malformed, format!("annotation `{SIGNATURE_ANNOTATION}` is missing"));
    };
    // Go writers wrap base64 over lines, and Go readers skip the line ends.
    let unwrapped: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let Ok(signature) = STANDARD.decode(unwrapped) else {
        return checks.fail("signature", Malformed, "the signature is not base64");
    };
    let signers = signed_by(payload, &signature, subject, checks)?;

    if let Err(why) = strict_json::check(payload) {
        return checks.fail("payload", Malformed, why);
    }
    let claims: Payload = match serde_json::from_slice(payload) {
        Ok(claims) => claims,
        Err(why) => return checks.fail("payload", Malformed, why.to_string()),
    };
    let Critical { identity, image, kind } = claims.critical;
    if kind != PAYLOAD_TYPE {
        return checks.fail(
            "payload type",
            Reason::NotASignature,
            format!("found `{kind}`, expected `{PAYLOAD_TYPE}`"),
        );
    }
    checks.pass("payload type", PAYLOAD_TYPE);
    if image.docker_manifest_digest != subject.digest.to_string() {
        let detail = format!("signed is {}, asked is {}", image.docker_manifest_digest, subject.digest);
        return checks.fail("subject", Reason::WrongSubject, detail);
    }
    checks.pass("subject", subject.digest.to_string());
    reference(Some(&identity.docker_reference), subject, checks)?;
    Some(signers)
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    subject: Vec<StatementSubject>,
}

#[derive(Deserialize)]
struct StatementSubject {
    digest: BTreeMap<String, String>,
}

fn bundle(bytes: &[u8], subject: &Subject<'_>, checks: &mut Checks) -> Option<Vec<SignerSeen>> {
    use Reason::MalformedSignature as Malformed;
    if bytes.len() > BUNDLE_MAX {
        return checks.fail("bundle size", Reason::OverLimit, format!("{} bytes, more than {BUNDLE_MAX}", bytes.len()));
    }
    let bundle = match read_bundle(bytes) {
        Ok(bundle) => bundle,
        Err(why) => return checks.fail("bundle", Malformed, why),
    };
    checks.pass("bundle", bundle.media_type().as_str());
    let material = &bundle.verification_material;
    let timestamps = material.timestamp_verification_data.rfc3161_timestamps.len();
    if material.tlog_entries.len() > PROOFS_MAX || timestamps > PROOFS_MAX {
        return checks.fail(
            "bundle limits",
            Reason::OverLimit,
            format!("more than {PROOFS_MAX} log entries or timestamps"),
        );
    }
    if !matches!(material.content, VerificationMaterialContent::PublicKey { .. }) {
        return checks.fail(
            "signer",
            Reason::UntrustedKey,
            "made with a certificate (keyless), but the rule names keys",
        );
    }
    let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
        return checks.fail("envelope", Reason::NotASignature, "signs plain bytes, not a statement about an image");
    };
    let signers = signed_by(&envelope.pae(), envelope.signature.sig.as_bytes(), subject, checks)?;
    statement(envelope, subject, checks)?;
    reference(None, subject, checks)?;
    Some(signers)
}

fn statement(envelope: &DsseEnvelope, subject: &Subject<'_>, checks: &mut Checks) -> Option<()> {
    use Reason::MalformedSignature as Malformed;
    if envelope.payload_type != DSSE_IN_TOTO {
        let detail = format!("found `{}`, expected `{DSSE_IN_TOTO}`", envelope.payload_type);
        return checks.fail("payload type", Reason::NotASignature, detail);
    }
    let payload = envelope.payload.as_bytes();
    if let Err(why) = strict_json::check(payload) {
        return checks.fail("statement", Malformed, why);
    }
    let statement: Statement = match serde_json::from_slice(payload) {
        Ok(statement) => statement,
        Err(why) => return checks.fail("statement", Malformed, why.to_string()),
    };
    if statement.kind != STATEMENT_V1 {
        return checks.fail(
            "statement",
            Reason::NotASignature,
            format!("found `{}`, expected `{STATEMENT_V1}`", statement.kind),
        );
    }
    // An attestation by the right signer is no signature: cosign takes it for one, we do not.
    if statement.predicate_type != COSIGN_SIGN_V1 {
        let detail = format!("found `{}`, expected `{COSIGN_SIGN_V1}`", statement.predicate_type);
        return checks.fail("predicate type", Reason::NotASignature, detail);
    }
    checks.pass("predicate type", COSIGN_SIGN_V1);
    if statement.subject.len() > SUBJECTS_MAX {
        return checks.fail(
            "subject",
            Reason::OverLimit,
            format!("{} subjects, more than {SUBJECTS_MAX}", statement.subject.len()),
        );
    }
    let wanted = subject.digest.hex();
    let named: Vec<&str> =
        statement.subject.iter().filter_map(|s| s.digest.get("sha256")).map(String::as_str).collect();
    if !named.contains(&wanted.as_str()) {
        let detail = format!(
            "signed is {}, asked is {}",
            named.first().map_or("nothing".to_owned(), |hex| format!("sha256:{hex}")),
            subject.digest
        );
        return checks.fail("subject", Reason::WrongSubject, detail);
    }
    checks.pass("subject", subject.digest.to_string());
    Some(())
}

/// Every named signer whose key made this signature and is trusted now. One or more, or the check failed.
fn signed_by(message: &[u8], signature: &[u8], subject: &Subject<'_>, checks: &mut Checks) -> Option<Vec<SignerSeen>> {
    let made: Vec<&KeySigner> =
        subject.demand.signers.iter().filter(|signer| signer.key.verifies(message, signature)).collect();
    if made.is_empty() {
        let names: Vec<&str> = subject.demand.signers.iter().map(|signer| signer.name.as_str()).collect();
        let expected = if names.is_empty() {
            "the rule names no signers".to_owned()
        } else {
            format!("expected {}", names.join(" or "))
        };
        return checks.fail(
            "signature",
            Reason::UntrustedKey,
            format!("not made with a key of this rule ({expected})"),
        );
    }
    let valid: Vec<SignerSeen> = made
        .iter()
        .filter(|signer| signer.is_valid_at(subject.now))
        .map(|signer| SignerSeen { name: signer.name.clone(), key: signer.key.fingerprint() })
        .collect();
    if valid.is_empty() {
        let windows: Vec<String> = made
            .iter()
            .map(|s| {
                let show = |t: Option<Timestamp>| t.map_or("…".to_owned(), |t| t.to_string());
                format!("{} is trusted from {} to {}", s.name, show(s.not_before), show(s.not_after))
            })
            .collect();
        return checks.fail(
            "key validity",
            Reason::KeyOutsideValidity,
            format!("{}; now is {}", windows.join("; "), subject.now),
        );
    }
    checks.pass(
        "signature",
        format!("made with {}", valid.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")),
    );
    Some(valid)
}

/// The publisher's repository, where the rule wants it to be this one.
fn reference(signed: Option<&str>, subject: &Subject<'_>, checks: &mut Checks) -> Option<()> {
    let Some(expected) = subject.demand.docker_reference.expected(subject.repository) else { return Some(()) };
    let Some(text) = signed else {
        return checks.fail(
            "docker-reference",
            Reason::WrongReference,
            "a bundle names no repository, and the rule asks for one",
        );
    };
    let found = text.parse::<crate::oci::ImageName>().map(|name| name.repository.to_string());
    if found.as_deref() != Ok(expected.as_str()) {
        return checks.fail(
            "docker-reference",
            Reason::WrongReference,
            format!("signed for `{text}`, expected `{expected}`"),
        );
    }
    checks.pass("docker-reference", expected);
    Some(())
}
