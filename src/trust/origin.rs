//! What the Sigstore verifier leaves open about where and when a signature was made.
//!
//! It checks a log entry against any log of the root, a log's window only where the log signs the time, of an authority's
//! certificates only that they lead to the signer's, and no timestamp against the present.

use jiff::{SignedDuration, Timestamp};
use sigstore_types::bundle::{TransparencyLogEntry, VerificationMaterialContent};
use sigstore_types::{Bundle, Checkpoint, KindVersion, TimeRange};
use sigstore_verify::crypto::VerificationKey;
use sigstore_verify::trust_root::TrustedRoot;
use x509_cert::Certificate as X509;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};

use super::checkpoint;
use super::timestamp;
use super::verdict::Reason;
use super::verifier::Failure;

/// How far a timestamp may lie ahead of our clock: machines in one network differ by less.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Longest chain from a signer's certificate; Fulcio's has one intermediate.
const CHAIN_MAX: usize = 5;

/// The logs and authorities of a trusted root, taken apart for these checks.
pub(super) struct Origins {
    logs: Vec<Log>,
    authorities: Vec<Authority>,
}

struct Log {
    id: Vec<u8>,
    key: VerificationKey,
    window: Option<TimeRange>,
}

struct Authority {
    chain: Vec<Issuer>,
    window: Option<TimeRange>,
}

/// Of a certificate what is needed to find out who issued it, and when that was valid.
#[derive(Clone)]
struct Issuer {
    subject: Vec<u8>,
    issuer: Vec<u8>,
    key_id: Option<Vec<u8>>,
    issuer_key_id: Option<Vec<u8>>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Origins {
    /// Of a root that the verifier can use.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn of(root: &TrustedRoot) -> Result<Self, String> {
        let log = |log: &sigstore_verify::trust_root::TransparencyLog| {
            let key = VerificationKey::from_spki(&log.public_key.raw_bytes).map_err(|error| error.to_string())?;
            Ok(Log { id: log.log_id.key_id.as_bytes().to_vec(), key, window: log.public_key.valid_for })
        };
        let authority = |authority: &sigstore_verify::trust_root::CertificateAuthority| {
            let certificates = authority.cert_chain.certificates.iter();
            let chain =
                certificates.map(|one| Issuer::read(one.raw_bytes.as_bytes())).collect::<Result<_, String>>()?;
            Ok(Authority { chain, window: authority.valid_for })
        };
        Ok(Self {
            logs: root.tlogs.iter().map(log).collect::<Result<_, String>>()?,
            authorities: root.certificate_authorities.iter().map(authority).collect::<Result<_, String>>()?,
        })
    }

    /// Checks where and when a verified signature was made. `times` are those proven for it, in ascending order.
    pub(super) fn check(
        &self,
        bundle: &Bundle,
        times: &[Timestamp],
        logged: bool,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if let Some(future) = times.iter().find(|time| now.checked_add(CLOCK_SKEW).is_ok_and(|latest| **time > latest))
        {
            let detail = format!("{future} is in the future; now is {now}");
            return Err(Failure::new("signing time", Reason::NoSigningTime, detail));
        }
        let tokens = &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps;
        for token in tokens {
            timestamp::check(token.signed_timestamp.as_bytes())
                .map_err(|why| Failure::new("signing time", Reason::NoSigningTime, format!("a timestamp: {why}")))?;
        }
        if logged {
            // Where nothing proves the time, the moment of the check counts, as it does for a key's own time.
            let time = times.first().copied().unwrap_or(now);
            let entries = &bundle.verification_material.tlog_entries;
            for (at, entry) in entries.iter().enumerate() {
                self.in_its_log(entry, time)?;
                let unsigned = entry.integrated_time.filter(|time| *time != Timestamp::UNIX_EPOCH);
                if let (KindVersion::HashedRekordV002, Some(time)) = (&entry.kind_version, unsigned) {
                    let detail = format!("the entry says {time}, and the second Rekor signs no time");
                    return Err(Failure::new("log", Reason::MalformedSignature, detail));
                }
                let same =
                    |other: &TransparencyLogEntry| (&other.log_id, other.log_index) == (&entry.log_id, entry.log_index);
                if entries.iter().skip(at + 1).any(same) {
                    let detail = "the same log entry stands there twice";
                    return Err(Failure::new("log", Reason::MalformedSignature, detail));
                }
            }
        }
        self.issued(bundle, times)
    }

    /// The entry is in the log that it names, which was in use then.
    fn in_its_log(&self, entry: &TransparencyLogEntry, time: Timestamp) -> Result<(), Failure> {
        let fail = |detail: String| Err(Failure::new("log", Reason::NotInLog, detail));
        let id = entry.log_id.key_id.as_bytes();
        let Some(log) = self.logs.iter().find(|log| log.id == id) else {
            return fail(format!("the trusted root names no log {}", hex::encode(id)));
        };
        if !log.window.is_none_or(|window| window.contains(time)) {
            return fail(format!("log {} was not in use at {time}, as the trusted root has it", hex::encode(id)));
        }
        let Some(proof) = &entry.inclusion_proof else { return Ok(()) };
        let checkpoint = Checkpoint::from_text(proof.checkpoint.envelope());
        let signed = checkpoint.is_ok_and(|checkpoint| {
            let ours = |signature: &sigstore_types::checkpoint::CheckpointSignature| {
                id.starts_with(signature.key_id.as_bytes())
                    && log.key.verify(checkpoint.signed_data(), &signature.signature).is_ok()
            };
            // Checkpoints of Rekor v2 may have witnesses; cosign refuses them on those of v1, which are told by the tree's number.
            match checkpoint.origin().contains(" - ") {
                true => checkpoint.signatures().iter().all(ours),
                false => checkpoint.signatures().iter().any(ours),
            }
        });
        if !proof.checkpoint.envelope().is_empty() {
            checkpoint::check(proof.checkpoint.envelope())
                .map_err(|why| Failure::new("log", Reason::MalformedSignature, why))?;
        }
        if signed { Ok(()) } else { fail("the checkpoint is not signed by the log that the entry names".to_owned()) }
    }

    /// Every certificate above the signer's was valid, too, at each of the times.
    fn issued(&self, bundle: &Bundle, times: &[Timestamp]) -> Result<(), Failure> {
        let malformed = |why| Failure::new("certificate", Reason::UntrustedCertificate, why);
        let certificates: Vec<&[u8]> = match &bundle.verification_material.content {
            VerificationMaterialContent::Certificate(leaf) => vec![leaf.raw_bytes.as_bytes()],
            VerificationMaterialContent::X509CertificateChain { certificates } => {
                certificates.iter().map(|one| one.raw_bytes.as_bytes()).collect()
            }
            _ => return Ok(()),
        };
        let brought: Vec<Issuer> = certificates
            .iter()
            .take(CHAIN_MAX)
            .map(|der| Issuer::read(der))
            .collect::<Result<_, String>>()
            .map_err(malformed)?;
        let Some((leaf, intermediates)) = brought.split_first() else { return Ok(()) };
        let by_any = |time| self.authorities.iter().any(|authority| authority.issued(leaf, intermediates, time));
        match times.iter().find(|time| !by_any(**time)) {
            None => Ok(()),
            Some(time) => Err(malformed(format!("an authority above it was not valid at {time}"))),
        }
    }
}

impl Authority {
    /// Whether a chain leads from the certificate to the end of ours, and all of it is valid at the time.
    fn issued(&self, leaf: &Issuer, brought: &[Issuer], time: Timestamp) -> bool {
        let above = |below: &Issuer, among: &[Issuer]| among.iter().find(|one| one.issued(below)).cloned();
        let (mut below, mut reached) = (leaf.clone(), false);
        for _ in 0..CHAIN_MAX {
            if reached && below.subject == below.issuer {
                break;
            }
            let (next, ours) = match above(&below, &self.chain) {
                Some(next) => (next, true),
                // A root may name an intermediate as the end.
                None if reached => break,
                None => match above(&below, brought) {
                    Some(next) => (next, false),
                    None => return false,
                },
            };
            if !next.is_valid_at(time) {
                return false;
            }
            (below, reached) = (next, reached || ours);
        }
        reached && self.window.is_none_or(|window| window.contains(time))
    }
}

impl Issuer {
    fn read(der: &[u8]) -> Result<Self, String> {
        let text = |error: x509_cert::der::Error| error.to_string();
        let parsed = X509::from_der(der).map_err(text)?.tbs_certificate;
        let moment = |time: &x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).map_err(|error| error.to_string())?;
            Timestamp::from_second(seconds).map_err(|error| error.to_string())
        };
        let own = parsed.get::<SubjectKeyIdentifier>().map_err(text)?.map(|(_, id)| id.0.as_bytes().to_vec());
        let above = parsed.get::<AuthorityKeyIdentifier>().map_err(text)?.and_then(|(_, id)| id.key_identifier);
        Ok(Self {
            subject: parsed.subject.to_der().map_err(text)?,
            issuer: parsed.issuer.to_der().map_err(text)?,
            key_id: own,
            issuer_key_id: above.map(|id| id.as_bytes().to_vec()),
            not_before: moment(&parsed.validity.not_before)?,
            not_after: moment(&parsed.validity.not_after)?,
        })
    }

    /// Whether this is the certificate that issued the other, by names and key identifiers: that its key
    /// signed it was verified before.
    fn issued(&self, other: &Self) -> bool {
        let keys_differ = matches!((&self.key_id, &other.issuer_key_id), (Some(ours), Some(theirs)) if ours != theirs);
        self.subject == other.issuer && !keys_differ
    }

    fn is_valid_at(&self, time: Timestamp) -> bool {
        time >= self.not_before && time <= self.not_after
    }
}
