//! Sigstore bundles, read so that no other reader can read them differently.

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};
use sigstore_types::Bundle;

use crate::oci::strict_json;

/// Longest quotation of what is wrong, in characters.
const WHY_MAX: usize = 200;

/// Reads a bundle that all parsers read alike. The crate's own reader takes the first of two equal
/// keys, and the first of two fields that exclude each other; Go takes the last, or neither. It also skips fields that it
/// does not know, where Go refuses them.
pub(super) fn read_bundle(bytes: &[u8]) -> Result<Bundle, String> {
    strict_json::check(bytes).map_err(said)?;
    let shape: Shape = serde_json::from_slice(bytes).map_err(said)?;
    let material = shape.verification_material;
    let one = |found: &[bool]| found.iter().filter(|there| **there).count() == 1;
    if !one(&[shape.dsse_envelope.is_some(), shape.message_signature.is_some()]) {
        return Err("it has to have one of `dsseEnvelope` and `messageSignature`".to_owned());
    }
    if !one(&[material.public_key.is_some(), material.certificate.is_some(), material.x509_certificate_chain.is_some()])
    {
        return Err("it has to have one of `publicKey`, `certificate` and `x509CertificateChain`".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(said)?;
    Bundle::from_json(text).map_err(said)
}

/// Checks that a DSSE envelope has no fields but its own.
pub(super) fn check_envelope(bytes: &[u8]) -> Result<(), String> {
    strict_json::check(bytes)?;
    serde_json::from_slice::<Envelope>(bytes).map(|_| ()).map_err(said)
}

/// What is wrong, for people. It quotes bytes that nobody signed, so it is cut and made plain.
pub(super) fn said(error: impl std::fmt::Display) -> String {
    error.to_string().chars().take(WHY_MAX).flat_map(char::escape_debug).collect()
}

/// All fields that a bundle may have, and what the crate's reader does not insist on about their values.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Shape {
    media_type: IgnoredAny,
    verification_material: Material,
    dsse_envelope: Option<Envelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Material {
    public_key: Option<PublicKey>,
    certificate: Option<Certificate>,
    x509_certificate_chain: Option<Chain>,
    tlog_entries: Option<Vec<LogEntry>>,
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct PublicKey {
    hint: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Certificate {
    raw_bytes: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct LogEntry {
    log_index: Option<IgnoredAny>,
    log_id: Option<LogId>,
    kind_version: Option<KindVersion>,
    integrated_time: Option<IgnoredAny>,
    inclusion_promise: Option<Promise>,
    inclusion_proof: Option<Proof>,
    canonicalized_body: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct LogId {
    key_id: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct KindVersion {
    kind: IgnoredAny,
    version: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Promise {
    signed_entry_timestamp: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Proof {
    log_index: Option<IgnoredAny>,
    root_hash: Option<Hash>,
    tree_size: Option<IgnoredAny>,
    hashes: Option<Vec<Hash>>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Checkpoint {
    envelope: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Timestamps {
    rfc3161_timestamps: Option<Vec<Timestamp>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Timestamp {
    signed_timestamp: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct Envelope {
    payload: IgnoredAny,
    payload_type: IgnoredAny,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct EnvelopeSignature {
    sig: IgnoredAny,
    keyid: Option<NoKeyId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct MessageSignature {
    message_digest: Option<MessageDigest>,
    signature: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read for its shape only")]
struct MessageDigest {
    algorithm: IgnoredAny,
    digest: IgnoredAny,
}

/// A SHA-256 hash in base64. The crate's reader takes hexadecimal digits, too, which are base64 of something else.
struct Hash;

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.trim_end_matches('=').len() {
            43 => Ok(Self),
            _ => Err(D::Error::custom("a hash in a log entry is not base64 of 32 bytes")),
        }
    }
}

/// An empty text. A hint at the key is nobody's word, and readers differ in what they make of one that does not fit.
struct NoKeyId;

impl<'de> Deserialize<'de> for NoKeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(Self),
            _ => Err(D::Error::custom("a signature names a `keyid`")),
        }
    }
}
