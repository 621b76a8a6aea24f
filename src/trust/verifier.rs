//! From a bundle and a trusted root to what is proven about a signature.
//!
//! The only file that runs the Sigstore verifier (`root.rs` makes it, `origin.rs` checks what it leaves open). It checks the
//! certificate's chain and its log, the transparency log entry with proof, promise and checkpoint, the timestamps, the
//! signature, and that all of them are about one another. Who may sign is not asked here.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sigstore_types::bundle::{TransparencyLogEntry, VerificationMaterialContent};
use sigstore_types::{Bundle, KindVersion, MediaType, Sha256Hash};
use sigstore_verify::{Error, Policy, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};

use crate::oci::Digest;

use super::bundle::read_bundle;
use super::certificate::Certificate;
use super::key::PublicKey;
use super::root::{PartKind, TrustRoot};
use super::signer::Signer;
use super::verdict::{Difference, Reason};

/// Largest Sigstore bundle. Signatures have some 10 KiB with certificate, log entry and timestamp; attestations with a bill
/// of materials reach some MiB.
pub const BUNDLE_MAX: usize = 4 * 1024 * 1024;
/// Most transparency log entries, and most timestamps, in a bundle that we look at: each costs several
/// signature checks, and an honest bundle has one of each (CVE-2024-45395 and its class).
pub const PROOFS_MAX: usize = 4;

/// What a signature must be about.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Something with this digest.
    Digest(Digest),
}

/// Whether a signature must have been recorded in a transparency log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tlog {
    /// It must.
    #[default]
    Required,
    /// Keys: an entry that verifies proves the time; none is needed. Certificates: required.
    Optional,
    /// Keys: not looked at. Certificates: only with a root that names no log, where a timestamp authority takes its place.
    Off,
}

/// What is proven about a signature.
#[derive(Clone, Debug, Default)]
pub struct Proven {
    /// The certificate of the signer, whose chain was verified; absent for plain keys.
    pub certificate: Option<Certificate>,
    /// The trusted root that it rests on; absent for a bare key.
    pub root: Option<String>,
    /// Where it was recorded.
    pub log: Option<LogEntry>,
    /// When it existed, by logs and timestamp authorities; in ascending order.
    pub times: Vec<Timestamp>,
    /// The steps, for people.
    pub steps: Vec<Step>,
}

/// A step that was taken, or was not needed.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was checked.
    pub name: &'static str,
    /// Whether it had to be.
    pub needed: bool,
    /// What was found, or why it was not needed.
    pub detail: String,
}

/// Whose word counts, and when.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// A signature counts under any of them.
    pub roots: &'a [TrustRoot],
    /// The present.
    pub now: Timestamp,
}

/// Where a signature was recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// The log's URL as the trusted root has it.
    pub log: String,
    /// The entry's number in it.
    pub index: u64,
    /// The log's own time, where it signs one (Rekor v1).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub integrated_at: Option<Timestamp>,
}

/// Why nothing is proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{check}: {detail}")]
pub struct Failure {
    /// What was checked.
    pub check: &'static str,
    /// The kind of reason.
    pub reason: Reason,
    /// What was found.
    pub detail: String,
    /// The same in parts, where a certificate is not as demanded.
    pub difference: Option<Box<Difference>>,
}

impl Failure {
    pub(super) fn new(check: &'static str, reason: Reason, detail: impl Into<String>) -> Self {
        Self { check, reason, detail: detail.into(), difference: None }
    }

    pub(super) fn wrong_identity(difference: Difference) -> Self {
        let detail = difference.to_string();
        Self { difference: Some(Box::new(difference)), ..Self::new("identity", Reason::WrongIdentity, detail) }
    }

    /// How far the check came that failed here: with several roots, the furthest tells most.
    fn stage(&self) -> usize {
        const ORDER: [&str; 5] = ["bundle", "signing time", "certificate", "log", "signature"];
        ORDER.iter().position(|name| *name == self.check).unwrap_or(ORDER.len())
    }
}

/// Reads a bundle within the limits. Nothing about it is proven.
///
/// # Errors
/// When it is over a limit, or no bundle that all parsers read alike.
pub(super) fn read(bytes: &[u8]) -> Result<Bundle, Failure> {
    let over = |what: String| Failure::new("bundle limits", Reason::OverLimit, what);
    if bytes.len() > BUNDLE_MAX {
        return Err(over(format!("{} bytes, more than {BUNDLE_MAX}", bytes.len())));
    }
    let bundle = read_bundle(bytes).map_err(|why| Failure::new("bundle", Reason::MalformedSignature, why))?;
    let material = &bundle.verification_material;
    let timestamps = material.timestamp_verification_data.rfc3161_timestamps.len();
    if material.tlog_entries.len() > PROOFS_MAX || timestamps > PROOFS_MAX {
        return Err(over(format!("more than {PROOFS_MAX} log entries or timestamps")));
    }
    if bundle.media_type() != MediaType::Bundle0_1 && material.tlog_entries.iter().any(|e| e.inclusion_proof.is_none())
    {
        let why = "a log entry has no inclusion proof, which bundles have from version 0.2 on";
        return Err(Failure::new("bundle", Reason::MalformedSignature, why));
    }
    Ok(bundle)
}

/// Whether the signer has a certificate; else there is only a key.
pub(super) fn has_certificate(bundle: &Bundle) -> bool {
    !matches!(bundle.verification_material.content, VerificationMaterialContent::PublicKey { .. })
}

/// Proves that the holder of the bundle's certificate signed the artifact: under the first of the roots that can.
///
/// # Errors
/// The failure under the root with which it came furthest.
pub(super) fn with_certificate(
    bundle: &Bundle,
    artifact: Artifact<'_>,
    tlog: Tlog,
    trust: Trust<'_>,
) -> Result<Proven, Failure> {
    let der = bundle.signing_certificate().map(sigstore_types::DerCertificate::as_bytes).unwrap_or_default();
    let certificate =
        Certificate::from_der(der).map_err(|why| Failure::new("certificate", Reason::UntrustedCertificate, why))?;
    under_one(trust.roots, |root| {
        let log_is_needed = tlog != Tlog::Off || root.has(PartKind::TransparencyLog);
        let sct_is_needed = root.has(PartKind::CertificateTransparencyLog);
        // Where no log is asked, none is looked at: the root could not tell whose entry it is.
        let bundle = &if log_is_needed { Cow::Borrowed(bundle) } else { Cow::Owned(without_entries(bundle)) };
        logged(bundle, log_is_needed)?;
        if log_is_needed {
            timed(bundle)?;
        }
        let mut policy = VerificationPolicy::any_identity();
        if !log_is_needed {
            policy = policy.skip_tlog_unsafe();
        }
        if !sct_is_needed {
            policy = policy.skip_sct();
        }
        let mut proven = prove(bundle, artifact, &policy, root, log_is_needed, trust.now)?;
        let mut steps = vec![Step::taken(
            "certificate",
            format!("issued under the trusted root `{}`, valid when it signed", root.name()),
        )];
        steps.push(match sct_is_needed {
            true => Step::taken("certificate log", "its signed certificate timestamp verifies"),
            false => Step::not_needed("certificate log", "the trusted root names none"),
        });
        let what = if log_is_needed {
            "made with the certificate's key, and the log entry is about it"
        } else {
            "made with the certificate's key"
        };
        steps.push(Step::taken("signature", what));
        steps.append(&mut proven.steps);
        Ok(Proven { certificate: Some(certificate.clone()), steps, ..proven })
    })
}

/// Proves that the log recorded a signature by this key over the artifact.
///
/// # Errors
/// The failure under the root with which it came furthest.
pub(super) fn with_logged_key(
    bundle: &Bundle,
    artifact: Artifact<'_>,
    key: &PublicKey,
    trust: Trust<'_>,
) -> Result<Proven, Failure> {
    let policy = PublicKeyVerificationPolicy::new(key.der().clone());
    under_one(trust.roots, |root| {
        // Without this a timestamp would do: the verifier proves what is there.
        logged(bundle, true)?;
        let proven = prove(bundle, artifact, &policy, root, true, trust.now)?;
        recorded_for(bundle, key)?;
        Ok(proven)
    })
}

/// Checks a bundle about any artifact against one signer: what `cosign verify-blob` does.
///
/// # Errors
/// The first check that failed.
pub fn verify_bundle(
    bytes: &[u8],
    artifact: Artifact<'_>,
    signer: &Signer,
    tlog: Tlog,
    trust: Trust<'_>,
) -> Result<Proven, Failure> {
    let bundle = read(bytes)?;
    match (signer, has_certificate(&bundle)) {
        (Signer::Identity(signer), true) => {
            let proven = with_certificate(&bundle, artifact, tlog, trust)?;
            let certificate = proven.certificate.clone().unwrap_or_default();
            match signer.difference(&certificate) {
                None => Ok(proven),
                Some(difference) => Err(Failure::wrong_identity(difference)),
            }
        }
        (Signer::Key(signer), false) => {
            let proven = with_logged_key(&bundle, artifact, &signer.key, trust)?;
            match proven.times.iter().all(|time| signer.is_valid_at(*time)) {
                true => Ok(proven),
                false => Err(Failure::new("key validity", Reason::KeyOutsideValidity, "used outside its time")),
            }
        }
        (Signer::Key(_), true) => {
            Err(Failure::new("signer", Reason::UntrustedKey, "made with a certificate, expected a key"))
        }
        (Signer::Identity(_), false) => {
            Err(Failure::new("signer", Reason::UntrustedKey, "made with a key, expected an identity"))
        }
    }
}

/// Entries of kind `dsse` record who signed, which the verifier compares for certificates only: one that records a
/// certificate does not become a key's by taking the certificate out of the bundle.
fn recorded_for(bundle: &Bundle, key: &PublicKey) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Body {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        signatures: Vec<Recorded>,
    }
    #[derive(Deserialize)]
    struct Recorded {
        verifier: String,
    }
    let is_key = |recorded: &Recorded| {
        let pem = STANDARD.decode(&recorded.verifier).ok().and_then(|pem| String::from_utf8(pem).ok());
        pem.and_then(|pem| PublicKey::from_pem(&pem).ok()).is_some_and(|found| found.fingerprint() == key.fingerprint())
    };
    let entries = &bundle.verification_material.tlog_entries;
    let ours = entries.iter().filter(|entry| entry.kind_version == KindVersion::DsseV001).all(|entry| {
        let body = serde_json::from_slice::<Body>(entry.canonicalized_body.as_bytes());
        body.is_ok_and(|body| !body.spec.signatures.is_empty() && body.spec.signatures.iter().all(is_key))
    });
    if ours {
        Ok(())
    } else {
        Err(Failure::new("log", Reason::NotInLog, "the log entry records another signer than the key"))
    }
}

fn under_one(roots: &[TrustRoot], attempt: impl Fn(&TrustRoot) -> Result<Proven, Failure>) -> Result<Proven, Failure> {
    let mut furthest = None::<Failure>;
    for root in roots {
        match attempt(root) {
            Ok(proven) => return Ok(proven),
            Err(failure) if furthest.as_ref().is_none_or(|other| failure.stage() > other.stage()) => {
                furthest = Some(failure);
            }
            Err(_) => {}
        }
    }
    Err(furthest
        .unwrap_or_else(|| Failure::new("certificate", Reason::UntrustedCertificate, "the rule has no trusted root")))
}

/// Each log entry must carry something that can be checked, and one must be there if one is needed.
fn logged(bundle: &Bundle, needed: bool) -> Result<(), Failure> {
    let entries = &bundle.verification_material.tlog_entries;
    let fail = |detail: &str| Err(Failure::new("log", Reason::NotInLog, detail));
    if needed && entries.is_empty() {
        return fail("there is no transparency log entry");
    }
    match entries.iter().all(|entry| entry.inclusion_proof.is_some() || entry.inclusion_promise.is_some()) {
        true => Ok(()),
        false => fail("the log entry has neither an inclusion proof nor a signed entry timestamp"),
    }
}

/// The first Rekor signs the time together with the entry. A certificate counts in its few minutes only, and where the log
/// can say when it was used, the log has to, as for cosign: a timestamp alone takes its place only with the second Rekor.
fn timed(bundle: &Bundle) -> Result<(), Failure> {
    let says = |entry: &TransparencyLogEntry| {
        entry.kind_version == KindVersion::HashedRekordV002 || entry.inclusion_promise.is_some()
    };
    if bundle.verification_material.tlog_entries.iter().any(says) {
        return Ok(());
    }
    let why = "the log entry has no signed entry timestamp, which says when the certificate was used";
    Err(Failure::new("log", Reason::NotInLog, why))
}

/// Verifies a bundle under one root, and then where and when its signature was made.
fn prove(
    bundle: &Bundle,
    artifact: Artifact<'_>,
    policy: &impl Policy,
    root: &TrustRoot,
    log_is_needed: bool,
    now: Timestamp,
) -> Result<Proven, Failure> {
    let (bundle, result) = verified(bundle, root, |bundle| match artifact {
        Artifact::Bytes(bytes) => root.verifier().verify(bytes, bundle, policy),
        Artifact::Digest(digest) => root.verifier().verify(sha256(digest)?, bundle, policy),
    })?;
    let proven = proven(&bundle, root, &result, log_is_needed);
    root.origins().check(&bundle, &proven.times, log_is_needed, now)?;
    Ok(proven)
}

/// Verifies, leaving out timestamps of authorities that this root does not know: the verifier insists on every one, but
/// whoever can add a timestamp to a bundle can also take one out, so one more proves nothing and harms nothing.
fn verified<'a>(
    bundle: &'a Bundle,
    root: &TrustRoot,
    verify: impl Fn(&Bundle) -> Result<VerificationResult, Error>,
) -> Result<(Cow<'a, Bundle>, VerificationResult), Failure> {
    let first = match verify(bundle) {
        Ok(result) => return Ok((Cow::Borrowed(bundle), result)),
        Err(error) => error,
    };
    let timestamps = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
    if !matches!(first, Error::Timestamp(_)) || timestamps.is_empty() || !root.has(PartKind::TimestampAuthority) {
        return Err(failure_under(root, bundle, &first));
    }
    let alone = |at: usize| with_timestamps(bundle, |other| other == at);
    let known: Vec<bool> =
        (0..timestamps.len()).map(|at| !matches!(verify(&alone(at)), Err(Error::Timestamp(_)))).collect();
    let reduced = with_timestamps(bundle, |at| known.get(at).copied().unwrap_or_default());
    match verify(&reduced) {
        Ok(result) => Ok((Cow::Owned(reduced), result)),
        // What was wrong with the whole bundle tells more than what was wrong without parts of it.
        Err(_) => Err(failure_under(root, bundle, &first)),
    }
}

fn with_timestamps(bundle: &Bundle, keep: impl Fn(usize) -> bool) -> Bundle {
    let mut reduced = bundle.clone();
    let mut at = 0..;
    let timestamps = &mut reduced.verification_material.timestamp_verification_data.rfc3161_timestamps;
    timestamps.retain(|_| at.next().is_some_and(&keep));
    reduced
}

fn without_entries(bundle: &Bundle) -> Bundle {
    let mut reduced = bundle.clone();
    reduced.verification_material.tlog_entries.clear();
    reduced
}

fn proven(bundle: &Bundle, root: &TrustRoot, result: &VerificationResult, logged: bool) -> Proven {
    let mut steps = Vec::new();
    let mut times = result.verified_timestamps().to_vec();
    times.sort();
    let entry = bundle.verification_material.tlog_entries.first().filter(|_| logged);
    let log = entry.map(|entry| log_entry(entry, root));
    steps.push(match (&log, entry) {
        (Some(log), Some(entry)) => {
            Step::taken("log", format!("entry {} of {}, by {}", log.index, log.log, proofs(entry)))
        }
        _ => Step::not_needed("log", "the trusted root names none"),
    });
    let stamped = bundle.verification_material.timestamp_verification_data.rfc3161_timestamps.len();
    steps.push(match times.first() {
        Some(time) if stamped > 0 => Step::taken("signing time", format!("{time}, by {stamped} timestamp(s)")),
        Some(time) => Step::taken("signing time", format!("{time}, by the log")),
        None => Step::not_needed("signing time", "a key needs none"),
    });
    Proven { certificate: None, root: Some(root.name().to_owned()), log, times, steps }
}

fn log_entry(entry: &TransparencyLogEntry, root: &TrustRoot) -> LogEntry {
    let id = hex::encode(entry.log_id.key_id.as_bytes());
    let log = root.part_name(PartKind::TransparencyLog, &id).map_or_else(|| format!("log {id}"), str::to_owned);
    // A time that no promise signs is anybody's word.
    let integrated_at = entry.integrated_time.filter(|_| entry.inclusion_promise.is_some());
    LogEntry { log, index: entry.log_index.get(), integrated_at }
}

fn proofs(entry: &TransparencyLogEntry) -> &'static str {
    match (entry.inclusion_proof.is_some(), entry.inclusion_promise.is_some()) {
        (true, true) => "inclusion proof, checkpoint and signed entry timestamp",
        (true, false) => "inclusion proof and checkpoint",
        (false, _) => "signed entry timestamp",
    }
}

impl Step {
    fn taken(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, needed: true, detail: detail.into() }
    }

    fn not_needed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, needed: false, detail: detail.into() }
    }
}

fn sha256(digest: Digest) -> Result<Sha256Hash, Error> {
    Ok(Sha256Hash::from_hex(&digest.hex())?)
}

/// As [`failure`], but says so where the log is none of this root's: to the verifier that is a key it lacks.
fn failure_under(root: &TrustRoot, bundle: &Bundle, error: &Error) -> Failure {
    let ids = bundle.verification_material.tlog_entries.iter().map(|entry| hex::encode(entry.log_id.key_id.as_bytes()));
    let stranger = ids.into_iter().find(|id| root.part_name(PartKind::TransparencyLog, id).is_none());
    match (failure(error), stranger) {
        (Failure { reason: Reason::NotInLog, .. }, Some(id)) => {
            let detail = format!("it is in a log that the trusted root `{}` does not name (log {id})", root.name());
            Failure::new("log", Reason::NotInLog, detail)
        }
        (failure, _) => failure,
    }
}

/// The verifier's words for a failure, as one of our reasons.
fn failure(error: &Error) -> Failure {
    let (check, reason) = match error {
        Error::SignatureInvalid(_) => ("signature", Reason::InvalidSignature),
        // The same error for what a log entry says: the wrong part is the entry then.
        Error::ArtifactMismatch(why) if why.contains("hashedrekord") => ("log", Reason::NotInLog),
        Error::ArtifactMismatch(_) => ("subject", Reason::WrongSubject),
        Error::Certificate(_) | Error::IdentityMismatch { .. } | Error::IssuerMismatch { .. } => {
            ("certificate", Reason::UntrustedCertificate)
        }
        Error::TransparencyLog(_) => ("log", Reason::NotInLog),
        Error::Timestamp(_) => ("signing time", Reason::NoSigningTime),
        _ => ("bundle", Reason::MalformedSignature),
    };
    Failure::new(check, reason, super::bundle::said(error))
}
