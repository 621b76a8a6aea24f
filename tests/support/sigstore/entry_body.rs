//! What transparency logs are told about a signature, as cosign tells them: one function for each kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha384};

use super::entry::EntryKind;
use super::key::KeyKind;
use super::sha256;
use super::signed::{Content, Signed};

/// The entry's body, before it is written canonically.
pub(super) fn body(kind: EntryKind, signed: &Signed) -> Value {
    let (name, version) = kind.name_and_version();
    let spec = match kind {
        EntryKind::HashedRekord001 => hashed_rekord_001(signed),
        EntryKind::HashedRekord002 => hashed_rekord_002(signed),
        EntryKind::Dsse001 => dsse_001(signed),
        EntryKind::Intoto002 => intoto_002(signed),
    };
    json!({ "apiVersion": version, "kind": name, "spec": spec })
}

fn hashed_rekord_001(signed: &Signed) -> Value {
    json!({
        "data": { "hash": hash(&signed.content.signed_bytes()) },
        "signature": {
            "content": STANDARD.encode(signed.signature()),
            "publicKey": { "content": signed.signatory.verifier_v1() },
        },
    })
}

/// With the hash that the key signs over.
fn hashed_rekord_002(signed: &Signed) -> Value {
    let signed_bytes = signed.content.signed_bytes();
    let (algorithm, digest) = match signed.signatory.key.kind() {
        KeyKind::P384 => ("SHA2_384", Sha384::digest(&signed_bytes).to_vec()),
        _ => ("SHA2_256", sha256(&signed_bytes).to_vec()),
    };
    json!({
        "hashedRekordV002": {
            "data": { "algorithm": algorithm, "digest": STANDARD.encode(digest) },
            "signature": {
                "content": STANDARD.encode(signed.signature()),
                "verifier": signed.signatory.verifier_v2(),
            },
        },
    })
}

fn dsse_001(signed: &Signed) -> Value {
    let verifier = signed.signatory.verifier_v1();
    let signature = |bytes: &Vec<u8>| json!({ "signature": STANDARD.encode(bytes), "verifier": verifier });
    json!({
        "envelopeHash": hash(&signed.envelope_text()),
        "payloadHash": hash(signed.content.payload()),
        "signatures": signed.signatures.iter().map(signature).collect::<Vec<_>>(),
    })
}

/// The signature is encoded twice. Real bodies have it so.
fn intoto_002(signed: &Signed) -> Value {
    let verifier = signed.signatory.verifier_v1();
    let twice = |bytes: &Vec<u8>| STANDARD.encode(STANDARD.encode(bytes));
    let signature = |bytes: &Vec<u8>| json!({ "publicKey": verifier, "sig": twice(bytes) });
    let payload_type = match &signed.content {
        Content::Envelope { payload_type, .. } => payload_type.as_str(),
        Content::Message(_) => panic!("`intoto` entries are about envelopes"),
    };
    json!({
        "content": {
            "envelope": {
                "payloadType": payload_type,
                "signatures": signed.signatures.iter().map(signature).collect::<Vec<_>>(),
            },
            "hash": hash(&signed.envelope_text()),
            "payloadHash": hash(signed.content.payload()),
        },
    })
}

fn hash(bytes: &[u8]) -> Value {
    json!({ "algorithm": "sha256", "value": hex::encode(sha256(bytes)) })
}
