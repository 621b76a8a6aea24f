//! Every check on one candidate, in order, up to the first that fails.

use jiff::Timestamp;
use serde_json::Value;
use sigstore_types::{Bundle, SignatureContent};

use crate::oci::{Digest, ImageName, Repository};

use super::attestation::AttestationDemand;
use super::candidate::{Candidate, Material};
use super::certificate::Certificate;
use super::classic;
use super::demand::Demand;
use super::key::KeySigner;
use super::signer::{IdentitySigner, Signer};
use super::statement::{COSIGN_SIGN_V1, Statement};
use super::verdict::{AttestationSeen, CandidateReport, Check, Difference, Outcome, Reason, SignerSeen, quotable};
use super::verifier::{self, Artifact, Failure, Proven, Tlog, Trust};

/// What the candidate is checked against.
pub(super) struct Subject<'a> {
    pub repository: &'a Repository,
    pub digest: Digest,
    pub demand: &'a Demand,
    /// Attestations that are asked for about this digest.
    pub attestations: Vec<&'a AttestationDemand>,
    pub now: Timestamp,
}

/// Runs the checks in order and stops at the first that fails: what comes later would look at
/// bytes that nobody vouched for.
pub(super) fn examine(candidate: &Candidate, subject: &Subject<'_>) -> CandidateReport {
    let mut checks = Checks(Vec::new());
    let (signers, attestations) = match Examination::run(candidate, subject, &mut checks) {
        Ok(found) => (found.signers, found.attestations),
        Err(failure) => {
            checks.fail(failure);
            (Vec::new(), Vec::new())
        }
    };
    CandidateReport {
        place: candidate.place.clone(),
        format: candidate.material.format().to_owned(),
        checks: checks.0,
        signers,
        attestations,
    }
}

struct Checks(Vec<Check>);

impl Checks {
    fn pass(&mut self, name: &str, detail: impl Into<String>) {
        self.add(name, Outcome::Passed, detail.into(), None);
    }

    fn add(&mut self, name: &str, outcome: Outcome, detail: String, reason: Option<Reason>) {
        self.0.push(Check { name: name.to_owned(), outcome, detail: quotable(&detail), reason, difference: None });
    }

    fn fail(&mut self, failure: Failure) {
        let Failure { check, reason, detail, difference } = failure;
        let (name, reason) = (check.to_owned(), Some(reason));
        self.0.push(Check { name, outcome: Outcome::Failed, detail: quotable(&detail), reason, difference });
    }

    fn steps(&mut self, proven: &Proven) {
        for step in &proven.steps {
            let outcome = if step.needed { Outcome::Passed } else { Outcome::NotNeeded };
            self.add(step.name, outcome, step.detail.clone(), None);
        }
    }
}

/// Whom a good candidate counts for.
#[derive(Default)]
struct Found {
    signers: Vec<SignerSeen>,
    attestations: Vec<AttestationSeen>,
}

/// A candidate whose layout was read.
struct Examination<'a> {
    subject: &'a Subject<'a>,
    bundle: Bundle,
    /// The bytes that are signed.
    signed: Vec<u8>,
    signature: Vec<u8>,
    content: Content<'a>,
}

enum Content<'a> {
    /// The payload of a classic image signature; read after its signature was verified.
    Payload(&'a [u8]),
    /// A statement, or what is wrong with it: told after the signature was verified.
    Statement(Result<Statement, Failure>),
}

/// What a candidate can be good for, and who may have signed it then.
struct Purpose<'a> {
    attestation: Option<&'a AttestationDemand>,
    signers: &'a [Signer],
}

impl<'a> Examination<'a> {
    fn run(candidate: &'a Candidate, subject: &'a Subject<'a>, checks: &mut Checks) -> Result<Found, Failure> {
        accepted(&candidate.material, subject.demand)?;
        let examination = Self::open(&candidate.material, subject, checks)?;
        let purposes = examination.purposes();
        let signers = examination.authenticate(&purposes, checks)?;
        examination.content(&purposes, checks)?;
        examination.count(&purposes, &signers, checks)
    }

    fn open(material: &'a Material, subject: &'a Subject<'a>, checks: &mut Checks) -> Result<Self, Failure> {
        match material {
            Material::Classic { payload, annotations } => {
                if payload.len() > classic::PAYLOAD_MAX {
                    let detail = format!("{} bytes, more than {}", payload.len(), classic::PAYLOAD_MAX);
                    return Err(Failure::new("payload size", Reason::OverLimit, detail));
                }
                let bundle = classic::as_bundle(payload, annotations, subject.demand.tlog)?;
                let signature = classic::signature(annotations)?;
                Ok(Self { subject, bundle, signed: payload.to_vec(), signature, content: Content::Payload(payload) })
            }
            Material::ClassicAttestation { envelope, annotations } => {
                if envelope.len() > verifier::BUNDLE_MAX {
                    let detail = format!("{} bytes, more than {}", envelope.len(), verifier::BUNDLE_MAX);
                    return Err(Failure::new("envelope size", Reason::OverLimit, detail));
                }
                Self::of_bundle(classic::attestation_as_bundle(envelope, annotations, subject.demand.tlog)?, subject)
            }
            Material::Bundle(bytes) => {
                let bundle = verifier::read(bytes)?;
                checks.pass("bundle", bundle.media_type().as_str());
                Self::of_bundle(bundle, subject)
            }
        }
    }

    fn of_bundle(bundle: Bundle, subject: &'a Subject<'a>) -> Result<Self, Failure> {
        let SignatureContent::DsseEnvelope(envelope) = &bundle.content else {
            let detail = "signs plain bytes, not a statement about an image";
            return Err(Failure::new("envelope", Reason::NotASignature, detail));
        };
        let (signed, signature) = (envelope.pae(), envelope.signature.sig.as_bytes().to_vec());
        let content = Content::Statement(Statement::read(envelope));
        Ok(Self { subject, bundle, signed, signature, content })
    }

    /// What the signature could be good for, judged by what it says itself: who may have signed depends
    /// on it. Empty when it is good for nothing here.
    fn purposes(&self) -> Vec<Purpose<'a>> {
        let signature = Purpose { attestation: None, signers: &self.subject.demand.signers };
        match &self.content {
            Content::Statement(Ok(statement)) if !statement.is_signature() => self
                .subject
                .attestations
                .iter()
                .filter(|demand| demand.predicate_type == statement.predicate_type)
                .map(|demand| Purpose { attestation: Some(*demand), signers: &demand.signers })
                .collect(),
            _ => vec![signature],
        }
    }

    /// Proves who signed. One signer or more whom a purpose names, or the check failed.
    fn authenticate(&self, purposes: &[Purpose<'a>], checks: &mut Checks) -> Result<Vec<SignerSeen>, Failure> {
        // Good for nothing here, and yet it tells more when one knows whose it is.
        let named: Vec<&Signer> = match purposes {
            [] => self.subject.demand.signers.iter().collect(),
            some => some.iter().flat_map(|purpose| purpose.signers).collect(),
        };
        if verifier::has_certificate(&self.bundle) {
            self.by_certificate(&named, checks)
        } else {
            self.by_key(&named, checks)
        }
    }

    fn by_certificate(&self, named: &[&Signer], checks: &mut Checks) -> Result<Vec<SignerSeen>, Failure> {
        let identities: Vec<&IdentitySigner> = named.iter().filter_map(|signer| signer.identity()).collect();
        if identities.is_empty() {
            let detail = "made with a certificate (keyless), but the rule names keys";
            return Err(Failure::new("signer", Reason::UntrustedKey, detail));
        }
        let demand = self.subject.demand;
        let proven = verifier::with_certificate(&self.bundle, self.artifact(), demand.tlog, self.trust())
            .map_err(|failure| self.in_words(failure))?;
        checks.steps(&proven);
        let certificate = proven.certificate.clone().unwrap_or_default();
        denied(&certificate, demand)?;
        let differences: Vec<(&IdentitySigner, Option<Difference>)> =
            identities.iter().map(|signer| (*signer, signer.difference(&certificate))).collect();
        let signers: Vec<SignerSeen> = differences
            .iter()
            .filter(|(_, difference)| difference.is_none())
            .map(|(signer, _)| self.seen_identity(signer, &certificate, &proven))
            .collect();
        if signers.is_empty() {
            return Err(wrong_identity(&certificate, differences.into_iter().filter_map(|(_, d)| d).collect()));
        }
        let identity = signers.first().and_then(|seen| seen.identity.clone()).unwrap_or_default();
        checks.pass("identity", format!("{identity} (issuer {})", certificate.issuer.as_deref().unwrap_or("unknown")));
        self.young_enough(&proven, checks)?;
        Ok(signers)
    }

    fn by_key(&self, named: &[&Signer], checks: &mut Checks) -> Result<Vec<SignerSeen>, Failure> {
        let keys: Vec<&KeySigner> = named.iter().filter_map(|signer| signer.key()).collect();
        let made: Vec<&KeySigner> =
            keys.iter().filter(|signer| signer.key.verifies(&self.signed, &self.signature)).copied().collect();
        let Some(first) = made.first() else { return Err(nobodys_key(named)) };
        let names = made.iter().map(|signer| signer.name.as_str()).collect::<Vec<_>>().join(", ");
        checks.pass("signature", format!("made with {names}"));
        // They are one key, perhaps under several names, so what the log says of one it says of all.
        let proven = self.logged(first, checks)?;
        let valid: Vec<SignerSeen> = made
            .iter()
            .filter(|signer| signer.is_valid_at_all(&proven.times, self.subject.now))
            .map(|signer| self.seen_key(signer, &proven))
            .collect();
        if valid.is_empty() {
            return Err(outside_validity(&made, &proven, self.subject.now));
        }
        self.young_enough(&proven, checks)?;
        Ok(valid)
    }

    /// What the transparency log says about a signature by a key, as far as the rule asks.
    fn logged(&self, signer: &KeySigner, checks: &mut Checks) -> Result<Proven, Failure> {
        let demand = self.subject.demand;
        let not_needed = |checks: &mut Checks, why: &str| {
            checks.add("log", Outcome::NotNeeded, why.to_owned(), None);
            Ok(Proven::default())
        };
        let entries = self.bundle.verification_material.tlog_entries.len();
        match demand.tlog {
            Tlog::Off => not_needed(checks, "the rule says tlog = \"off\""),
            Tlog::Optional if entries == 0 => {
                not_needed(checks, "there is no entry, and the rule says tlog = \"optional\"")
            }
            Tlog::Required | Tlog::Optional => {
                match verifier::with_logged_key(&self.bundle, self.artifact(), &signer.key, self.trust()) {
                    Ok(proven) => {
                        checks.steps(&proven);
                        Ok(proven)
                    }
                    Err(failure) if demand.tlog == Tlog::Required => Err(self.in_words(failure)),
                    // Whoever can put a wrong entry there can also leave it out.
                    Err(failure) => not_needed(checks, &format!("the rule says tlog = \"optional\", and {failure}")),
                }
            }
        }
    }

    fn trust(&self) -> Trust<'a> {
        Trust { roots: &self.subject.demand.roots, now: self.subject.now }
    }

    fn artifact(&self) -> Artifact<'_> {
        match &self.content {
            Content::Payload(payload) => Artifact::Bytes(payload),
            Content::Statement(_) => Artifact::Digest(self.subject.digest),
        }
    }

    /// The verifier says only that a statement is about something else; we say about what.
    fn in_words(&self, failure: Failure) -> Failure {
        match &self.content {
            Content::Statement(Ok(statement)) if failure.reason == Reason::WrongSubject => {
                statement.about(self.subject.digest).err().unwrap_or(failure)
            }
            Content::Statement(Err(malformed)) if failure.reason == Reason::MalformedSignature => malformed.clone(),
            _ => failure,
        }
    }

    fn young_enough(&self, proven: &Proven, checks: &mut Checks) -> Result<(), Failure> {
        let Some(age) = self.subject.demand.max_signature_age else { return Ok(()) };
        let too_old = |detail: String| Err(Failure::new("signature age", Reason::SignatureTooOld, detail));
        let Some(signed) = proven.times.first() else {
            return too_old("nothing proves when it was made, and the rule has max_signature_age".to_owned());
        };
        let limit = match (age.as_hours() / 24, age.as_secs() % (24 * 60 * 60)) {
            (days, 0) => format!("{days} days"),
            _ => format!("{age:#}"),
        };
        if self.subject.now.duration_since(*signed) > age {
            return too_old(format!("made at {signed}, more than {limit} ago"));
        }
        checks.pass("signature age", format!("made at {signed}, within {limit}"));
        Ok(())
    }

    /// Checks what is said, now that it is known who says it.
    fn content(&self, purposes: &[Purpose<'a>], checks: &mut Checks) -> Result<(), Failure> {
        let digest = self.subject.digest;
        match &self.content {
            Content::Payload(payload) => {
                let claims = classic::claims(payload)?;
                checks.pass("payload type", "cosign container image signature");
                classic::is_about(&claims, digest)?;
                checks.pass("subject", digest.to_string());
                self.reference(Some(&claims.reference), checks)?;
                self.annotations(claims.optional.as_ref(), checks)
            }
            Content::Statement(Err(failure)) => Err(failure.clone()),
            Content::Statement(Ok(statement)) => {
                // An attestation by the right signer is no signature: cosign takes it for one, we do not.
                if purposes.is_empty() {
                    let detail = format!("found `{}`, expected `{COSIGN_SIGN_V1}`", statement.predicate_type);
                    return Err(Failure::new("predicate type", Reason::NotASignature, detail));
                }
                checks.pass("predicate type", statement.predicate_type.as_str());
                let annotations = statement.about(digest)?;
                checks.pass("subject", digest.to_string());
                if !statement.is_signature() {
                    return Ok(());
                }
                self.reference(None, checks)?;
                self.annotations(annotations, checks)
            }
        }
    }

    /// The publisher's repository, where the rule wants it to be this one.
    fn reference(&self, signed: Option<&str>, checks: &mut Checks) -> Result<(), Failure> {
        let wanted = self.subject.demand.docker_reference.expected(self.subject.repository);
        let Some(expected) = wanted else { return Ok(()) };
        let fail = |detail: String| Err(Failure::new("docker-reference", Reason::WrongReference, detail));
        let Some(text) = signed else {
            return fail("a bundle names no repository, and the rule asks for one".to_owned());
        };
        let found = text.parse::<ImageName>().map(|name| name.repository.to_string());
        if found.as_deref() != Ok(expected.as_str()) {
            return fail(format!("signed for `{text}`, expected `{expected}`"));
        }
        checks.pass("docker-reference", expected);
        Ok(())
    }

    fn annotations(&self, signed: Option<&Value>, checks: &mut Checks) -> Result<(), Failure> {
        for (key, wanted) in &self.subject.demand.annotations {
            let found = signed.and_then(|value| value.get(key)).and_then(Value::as_str);
            if found != Some(wanted) {
                let found = found.map_or("nothing".to_owned(), |text| format!("`{text}`"));
                let detail = format!("`{key}`: found {found}, expected `{wanted}`");
                return Err(Failure::new("annotations", Reason::WrongAnnotation, detail));
            }
            checks.pass("annotations", format!("{key}={wanted}"));
        }
        Ok(())
    }

    /// For which purposes these signers count.
    fn count(&self, purposes: &[Purpose<'a>], seen: &[SignerSeen], checks: &mut Checks) -> Result<Found, Failure> {
        let mut found = Found::default();
        let mut lacking = None;
        for purpose in purposes {
            let of_purpose = |seen: &&SignerSeen| purpose.signers.iter().any(|signer| signer.id() == seen.id);
            let signers: Vec<SignerSeen> = seen.iter().filter(of_purpose).cloned().collect();
            let (Some(demand), Content::Statement(Ok(statement))) = (purpose.attestation, &self.content) else {
                found.signers.extend(signers);
                continue;
            };
            match demand.lack(&statement.predicate) {
                Some(lack) => lacking = Some(lack),
                None if signers.is_empty() => {}
                None => {
                    for condition in &demand.conditions {
                        checks.pass(&condition.name, condition.wanted.as_str());
                    }
                    found.attestations.push(AttestationSeen {
                        demand: demand.id(),
                        predicate_type: demand.predicate_type.clone(),
                        signers,
                    });
                }
            }
        }
        match lacking {
            Some(lack) if found.attestations.is_empty() => {
                Err(Failure::new("predicate", Reason::WrongAttestation, lack))
            }
            _ => Ok(found),
        }
    }

    fn seen_key(&self, signer: &KeySigner, proven: &Proven) -> SignerSeen {
        let fingerprint = signer.key.fingerprint();
        SignerSeen { key: Some(fingerprint), ..seen(&signer.name, fingerprint, proven) }
    }

    fn seen_identity(&self, signer: &IdentitySigner, certificate: &Certificate, proven: &Proven) -> SignerSeen {
        let id = Signer::Identity(signer.clone()).id();
        let identity = certificate.identities.iter().find(|identity| signer.identity.matches(identity)).cloned();
        SignerSeen {
            identity,
            issuer: certificate.issuer.clone(),
            claims: certificate.claims.clone(),
            ..seen(&signer.name, id, proven)
        }
    }
}

fn seen(name: &str, id: Digest, proven: &Proven) -> SignerSeen {
    SignerSeen {
        name: name.to_owned(),
        id,
        key: None,
        identity: None,
        issuer: None,
        claims: std::collections::BTreeMap::new(),
        root: proven.root.clone(),
        log: proven.log.clone(),
        signed_at: proven.times.first().copied(),
    }
}

fn accepted(material: &Material, demand: &Demand) -> Result<(), Failure> {
    let accepted = match material {
        Material::Classic { .. } | Material::ClassicAttestation { .. } => demand.formats.classic,
        Material::Bundle(_) => demand.formats.bundle,
    };
    if accepted {
        return Ok(());
    }
    let detail = format!("the rule does not accept the {} layout", material.format());
    Err(Failure::new("format", Reason::FormatNotAccepted, detail))
}

fn denied(certificate: &Certificate, demand: &Demand) -> Result<(), Failure> {
    let found = demand.denied_identities.iter().find_map(|denied| {
        certificate.identities.iter().find(|identity| denied.matches(identity)).map(|identity| (identity, denied))
    });
    let Some((identity, denied)) = found else { return Ok(()) };
    let detail = format!("{identity} is denied by the rule (`{denied}`)");
    Err(Failure::new("identity", Reason::Denied, detail))
}

fn wrong_identity(certificate: &Certificate, differences: Vec<Difference>) -> Failure {
    // The field that is compared last comes closest, and in it the longest common beginning.
    let rank = |d: &Difference| (["issuer", "identity"].iter().position(|name| *name == d.field).unwrap_or(2), d.at);
    let others = differences.len().saturating_sub(1);
    let nearest = differences.into_iter().max_by_key(rank);
    let Some(difference) = nearest else {
        return Failure::new("identity", Reason::WrongIdentity, "the rule names nobody");
    };
    let signed_by = certificate.identities.first().filter(|_| difference.field != "identity").cloned();
    let mut failure = Failure::wrong_identity(Difference { signed_by, ..difference });
    if others > 0 {
        failure.detail.push_str(&format!(" (and {others} more signers do not fit)"));
    }
    failure
}

fn nobodys_key(named: &[&Signer]) -> Failure {
    let names: Vec<&str> = named.iter().map(|signer| signer.name()).collect();
    let expected = if names.is_empty() {
        "the rule names no signers".to_owned()
    } else {
        format!("expected {}", names.join(" or "))
    };
    let detail = match named.iter().any(|signer| signer.key().is_some()) || names.is_empty() {
        true => format!("not made with a key of this rule ({expected})"),
        false => format!("made with a key, but the rule names identities ({expected})"),
    };
    Failure::new("signature", Reason::UntrustedKey, detail)
}

fn outside_validity(made: &[&KeySigner], proven: &Proven, now: Timestamp) -> Failure {
    let show = |t: Option<Timestamp>| t.map_or("…".to_owned(), |t| t.to_string());
    let windows: Vec<String> = made
        .iter()
        .map(|signer| {
            format!("{} is trusted from {} to {}", signer.name, show(signer.not_before), show(signer.not_after))
        })
        .collect();
    let when = match proven.times.first() {
        Some(time) => format!("it was used at {time}"),
        None => format!("now is {now}"),
    };
    Failure::new("key validity", Reason::KeyOutsideValidity, format!("{}; {when}", windows.join("; ")))
}
