//! Sigstore bundles, read so that no other reader can read them differently.

use serde::Deserialize;
use serde::de::IgnoredAny;
use sigstore_types::Bundle;

use crate::oci::strict_json;

/// Longest quotation of what is wrong, in characters.
const WHY_MAX: usize = 200;

/// Reads a bundle that all parsers read alike. The crate's own reader takes the first of two equal
/// keys, and the first of two fields that exclude each other; Go takes the last, or neither.
pub(super) fn read_bundle(bytes: &[u8]) -> Result<Bundle, String> {
    strict_json::check(bytes).map_err(said)?;
    let found: Alternatives = serde_json::from_slice(bytes).map_err(said)?;
    let material = found.verification_material;
    let one = |found: &[Option<IgnoredAny>]| found.iter().flatten().count() == 1;
    if !one(&[found.dsse_envelope, found.message_signature]) {
        return Err("it has to have one of `dsseEnvelope` and `messageSignature`".to_owned());
    }
    if !one(&[material.public_key, material.certificate, material.x509_certificate_chain]) {
        return Err("it has to have one of `publicKey`, `certificate` and `x509CertificateChain`".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(said)?;
    Bundle::from_json(text).map_err(said)
}

/// What is wrong, for people. It quotes bytes that nobody signed, so it is cut and made plain.
pub(super) fn said(error: impl std::fmt::Display) -> String {
    error.to_string().chars().take(WHY_MAX).flat_map(char::escape_debug).collect()
}

/// Of a bundle's fields that exclude each other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alternatives {
    dsse_envelope: Option<IgnoredAny>,
    message_signature: Option<IgnoredAny>,
    verification_material: MaterialAlternatives,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MaterialAlternatives {
    public_key: Option<IgnoredAny>,
    certificate: Option<IgnoredAny>,
    x509_certificate_chain: Option<IgnoredAny>,
}
