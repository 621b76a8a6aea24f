//! Trusted roots: the authorities and logs whose word counts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use sigstore_types::TimeRange;
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{SIGSTORE_PRODUCTION_TRUSTED_ROOT, TrustedRoot};

use crate::oci::{Digest, strict_json};

use super::origin::Origins;

/// What the root that ships in the binary is called.
pub const PUBLIC_GOOD: &str = "public-good";

/// Largest `trusted_root.json` that is read; the public-good one has some 7 KiB.
pub const ROOT_MAX: u64 = 1024 * 1024;

/// Trust material that was checked to be usable: a parsed `trusted_root.json`. Cheap to clone.
#[derive(Clone)]
pub struct TrustRoot(Arc<Inner>);

struct Inner {
    name: String,
    fingerprint: Digest,
    parts: Vec<RootPart>,
    verifier: Verifier,
    origins: Origins,
}

/// One authority or log of a trusted root.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RootPart {
    /// What it is.
    pub kind: PartKind,
    /// Its name or URL, for people.
    pub name: String,
    /// Logs: the hex log ID. Authorities: the hex sha256 of their chain's first certificate.
    pub id: String,
    /// The hex sha256 of all that is trusted in it: the log's key, or every certificate of the chain.
    pub material: String,
    /// Not trusted for what happened before; without a bound if absent.
    pub valid_from: Option<Timestamp>,
    /// Not trusted for what happened after; without a bound if absent.
    pub valid_until: Option<Timestamp>,
}

/// The kinds of authorities and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// Issues signing certificates (Fulcio).
    CertificateAuthority,
    /// Records issued certificates.
    CertificateTransparencyLog,
    /// Records signatures (Rekor).
    TransparencyLog,
    /// Says when a signature existed (RFC 3161).
    TimestampAuthority,
}

/// Why a file is no usable trust material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// No trusted root, or one that two parsers could read differently.
    #[error("not a Sigstore trusted root: {0}")]
    Malformed(String),
    /// A key, certificate or window in it cannot be used.
    #[error("trust material that cannot be used: {0}")]
    Unusable(String),
    /// Nothing in it that a signature could be checked with.
    #[error("it names no certificate authority and no transparency log")]
    Empty,
}

impl TrustRoot {
    /// Reads a `trusted_root.json` and tries every key and certificate in it, so that what could never
    /// verify fails here and once.
    pub fn from_json(name: &str, text: &[u8]) -> Result<Self, RootError> {
        let malformed = |why: String| RootError::Malformed(why);
        strict_json::check(text).map_err(|why| malformed(why.to_string()))?;
        let parsed: TrustedRoot = serde_json::from_slice(text).map_err(|why| malformed(why.to_string()))?;
        if parsed.certificate_authorities.is_empty() && parsed.tlogs.is_empty() {
            return Err(RootError::Empty);
        }
        let verifier = Verifier::new(&parsed).map_err(|why| RootError::Unusable(why.to_string()))?;
        let origins = Origins::of(&parsed).map_err(RootError::Unusable)?;
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            fingerprint: Digest::of(text),
            parts: parts(&parsed),
            verifier,
            origins,
        })))
    }

    /// The root of the public Sigstore instance as it was when this program was built.
    ///
    /// # Errors
    /// Never with the file that ships; a test sees to it.
    pub fn public_good() -> Result<Self, RootError> {
        Self::from_json(PUBLIC_GOOD, Self::public_good_json())
    }

    /// The text of [`Self::public_good`].
    pub fn public_good_json() -> &'static [u8] {
        SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The sha256 of the file.
    pub fn fingerprint(&self) -> Digest {
        self.0.fingerprint
    }

    /// Every authority and log, in the order of the file.
    pub fn parts(&self) -> &[RootPart] {
        &self.0.parts
    }

    /// Whether it names anything of this kind. What a root does not name cannot be asked of a signature.
    pub fn has(&self, kind: PartKind) -> bool {
        self.0.parts.iter().any(|part| part.kind == kind)
    }

    /// When its newest part began to count: roughly, how old the root is.
    pub fn newest_start(&self) -> Option<Timestamp> {
        self.0.parts.iter().filter_map(|part| part.valid_from).max()
    }

    /// From when on nothing new can be verified with it: the first moment at which a kind of authority or log that it
    /// names has no part left that counts. `None`: no end is known.
    pub fn expires(&self) -> Option<Timestamp> {
        expires(&self.0.parts)
    }

    /// The name of the part with this id.
    pub(super) fn part_name(&self, kind: PartKind, id: &str) -> Option<&str> {
        self.0.parts.iter().find(|part| part.kind == kind && part.id == id).map(|part| part.name.as_str())
    }

    pub(super) fn origins(&self) -> &Origins {
        &self.0.origins
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRoot({}, {})", self.0.name, self.0.fingerprint)
    }
}

impl PartKind {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateAuthority => "certificate authority",
            Self::CertificateTransparencyLog => "certificate transparency log",
            Self::TransparencyLog => "transparency log",
            Self::TimestampAuthority => "timestamp authority",
        }
    }
}

fn parts(root: &TrustedRoot) -> Vec<RootPart> {
    let mut parts = Vec::new();
    for one in &root.certificate_authorities {
        let chain: Vec<_> = one.cert_chain.certificates.iter().map(|one| one.raw_bytes.as_bytes()).collect();
        let name = authority([&one.subject.organization, &one.subject.common_name], &one.uri);
        parts.push(part(PartKind::CertificateAuthority, name, chain_ids(&chain), one.valid_for));
    }
    for one in &root.ctlogs {
        let (key, kind) = (&one.public_key, PartKind::CertificateTransparencyLog);
        let ids = log_ids(one.log_id.key_id.as_bytes(), key.raw_bytes.as_bytes());
        parts.push(part(kind, one.base_url.clone(), ids, key.valid_for));
    }
    for one in &root.tlogs {
        let (key, kind) = (&one.public_key, PartKind::TransparencyLog);
        let ids = log_ids(one.log_id.key_id.as_bytes(), key.raw_bytes.as_bytes());
        parts.push(part(kind, one.base_url.clone(), ids, key.valid_for));
    }
    for one in &root.timestamp_authorities {
        let chain: Vec<_> = one.cert_chain.certificates.iter().map(|one| one.raw_bytes.as_bytes()).collect();
        let uri = one.uri.as_deref().unwrap_or_default();
        let name = authority([&one.subject.organization, &one.subject.common_name], uri);
        parts.push(part(PartKind::TimestampAuthority, name, chain_ids(&chain), one.valid_for));
    }
    parts
}

fn expires(parts: &[RootPart]) -> Option<Timestamp> {
    let mut last: BTreeMap<PartKind, Option<Timestamp>> = BTreeMap::new();
    for part in parts {
        let last = last.entry(part.kind).or_insert(part.valid_until);
        *last = last.zip(part.valid_until).map(|(one, other)| one.max(other));
    }
    last.into_values().flatten().min()
}

fn authority(subject: [&Option<String>; 2], uri: &str) -> String {
    let subject: Vec<&str> = subject.into_iter().flatten().map(String::as_str).collect();
    if subject.is_empty() { uri.to_owned() } else { format!("{} ({uri})", subject.join(" ")) }
}

/// Id and material. Every certificate of a chain is trusted, not only the first; in DER each says where it ends.
fn chain_ids(chain: &[&[u8]]) -> [String; 2] {
    [sha256(chain.first().copied().unwrap_or_default()), sha256(&chain.concat())]
}

/// Id and material.
fn log_ids(id: &[u8], key: &[u8]) -> [String; 2] {
    [hex::encode(id), sha256(key)]
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn part(kind: PartKind, name: String, [id, material]: [String; 2], window: Option<TimeRange>) -> RootPart {
    RootPart {
        kind,
        name,
        id,
        material,
        valid_from: window.map(|window| window.start),
        valid_until: window.and_then(|window| window.end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_that_ships_is_usable_and_complete() {
        let root = TrustRoot::public_good().unwrap();
        for kind in [
            PartKind::CertificateAuthority,
            PartKind::CertificateTransparencyLog,
            PartKind::TransparencyLog,
            PartKind::TimestampAuthority,
        ] {
            assert!(root.has(kind), "no {}", kind.as_str());
        }
    }

    #[test]
    fn a_root_ends_with_the_first_kind_of_which_nothing_is_left() {
        let part = |kind, until: Option<&str>| {
            let window =
                until.map(|until| TimeRange { start: Timestamp::UNIX_EPOCH, end: Some(until.parse().unwrap()) });
            part(kind, String::new(), [String::new(), String::new()], window)
        };
        let (soon, later, latest) =
            (Some("2030-01-01T00:00:00Z"), Some("2031-01-01T00:00:00Z"), Some("2032-01-01T00:00:00Z"));
        let (log, authority) = (PartKind::TransparencyLog, PartKind::CertificateAuthority);
        let ends = |parts: &[RootPart]| expires(parts).map(|time| time.to_string());
        assert_eq!(ends(&[part(log, None), part(authority, soon), part(authority, None)]), None);
        assert_eq!(ends(&[part(log, None), part(authority, soon), part(authority, later)]).as_deref(), later);
        assert_eq!(ends(&[part(log, latest), part(authority, soon), part(authority, later)]).as_deref(), later);
    }

    #[test]
    fn its_parts_are_told_apart_by_name_and_key() {
        let root = TrustRoot::public_good().unwrap();
        let ids: std::collections::BTreeSet<_> =
            root.parts().iter().map(|part| (part.kind.as_str(), &part.id)).collect();
        assert!(root.parts().len() > 4);
        assert_eq!(ids.len(), root.parts().len(), "an id names one part");
        assert!(root.parts().iter().all(|part| part.id.len() == 64));
        for (kind, name) in [
            ("certificate authority", "sigstore.dev sigstore (https://fulcio.sigstore.dev)"),
            ("transparency log", "https://rekor.sigstore.dev"),
        ] {
            assert!(root.parts().iter().any(|part| (part.kind.as_str(), part.name.as_str()) == (kind, name)), "{name}");
        }
    }

    #[test]
    fn what_could_never_verify_fails_when_it_is_read() {
        let text = String::from_utf8(TrustRoot::public_good_json().to_vec()).unwrap();
        assert!(TrustRoot::from_json("same", text.as_bytes()).is_ok());
        let twice = text.replacen("\"mediaType\"", "\"mediaType\": \"x\", \"mediaType\"", 1);
        assert!(matches!(TrustRoot::from_json("twice", twice.as_bytes()), Err(RootError::Malformed(_))));
        let no_key = text.replacen("\"rawBytes\": \"M", "\"rawBytes\": \"A", 1);
        assert_ne!(no_key, text);
        assert!(matches!(TrustRoot::from_json("key", no_key.as_bytes()), Err(RootError::Unusable(_))));
        let empty = br#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
        assert_eq!(TrustRoot::from_json("empty", empty).unwrap_err(), RootError::Empty);
    }
}
