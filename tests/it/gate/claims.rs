//! Good signatures of something else, in both layouts.

use assay::demo::{Statement, classic_payload, pae};
use assay::trust::Reason;
use serde_json::json;

use super::rows::{Row, both, bundle, classic, other, run, subject};
use super::world::{REPOSITORY, WORLD, edited};

/// What is validly signed, but says something else.
const CLAIMS: &[Row] = &[
    both(
        26,
        "another image's digest",
        |c| c.payload = edited(&c.payload, &subject(), &other().to_string()),
        |b| b.payload = Statement::signature(other()).bytes(),
        Reason::WrongSubject,
    ),
    both(
        26,
        "the digest of a manifest below the index",
        |c| c.payload = edited(&c.payload, &subject(), &WORLD.child().digest().to_string()),
        |b| b.payload = Statement::signature(WORLD.child().digest()).bytes(),
        Reason::WrongSubject,
    ),
    both(
        23,
        "the digest in upper case",
        |c| c.payload = edited(&c.payload, &WORLD.subject().hex(), &WORLD.subject().hex().to_uppercase()),
        |b| b.payload = edited(&b.payload, &WORLD.subject().hex(), &WORLD.subject().hex().to_uppercase()),
        Reason::WrongSubject,
    ),
    both(
        23,
        "the digest is called sha512",
        |c| c.payload = edited(&c.payload, "sha256:", "sha512:"),
        |b| b.payload = edited(&b.payload, "\"sha256\"", "\"sha512\""),
        Reason::WrongSubject,
    ),
    both(
        23,
        "the digest has too much or too little in front",
        |c| c.payload = edited(&c.payload, "sha256:", ""),
        |b| b.payload = edited(&b.payload, &WORLD.subject().hex(), &subject()),
        Reason::WrongSubject,
    ),
    both(
        23,
        "a space behind the digest",
        |c| c.payload = edited(&c.payload, &subject(), &format!("{} ", subject())),
        |b| b.payload = edited(&b.payload, &WORLD.subject().hex(), &format!("{} ", WORLD.subject().hex())),
        Reason::WrongSubject,
    ),
    both(
        23,
        "an empty digest",
        |c| c.payload = edited(&c.payload, &subject(), ""),
        |b| b.payload = edited(&b.payload, &WORLD.subject().hex(), ""),
        Reason::WrongSubject,
    ),
    bundle(
        26,
        "the digest as a subject's name",
        |b| {
            b.payload = edited(
                &Statement::signature(other()).bytes(),
                "{\"annotations\":",
                &format!("{{\"name\":\"{}\",\"annotations\":", subject()),
            )
        },
        Reason::WrongSubject,
    ),
    both(
        6,
        "another kind of claim",
        |c| c.payload = edited(&c.payload, "container image signature", "container image attestation"),
        |b| {
            b.payload =
                Statement::attestation(WORLD.subject(), "https://sigstore.dev/cosign/sign/v2", json!({})).bytes()
        },
        Reason::NotASignature,
    ),
    both(
        6,
        "the kind of claim in other case",
        |c| c.payload = edited(&c.payload, "cosign container", "Cosign container"),
        |b| b.payload = edited(&b.payload, "cosign/sign/v1", "cosign/Sign/v1"),
        Reason::NotASignature,
    ),
    both(
        6,
        "the kind of claim is empty",
        |c| c.payload = edited(&c.payload, "cosign container image signature", ""),
        |b| b.payload = edited(&b.payload, "https://sigstore.dev/cosign/sign/v1", ""),
        Reason::NotASignature,
    ),
    bundle(
        5,
        "a provenance by the right key",
        |b| {
            b.payload =
                Statement::attestation(WORLD.subject(), "https://slsa.dev/provenance/v1", json!({ "a": 1 })).bytes()
        },
        Reason::NotASignature,
    ),
    bundle(
        5,
        "a bill of materials by the right key",
        |b| b.payload = Statement::attestation(WORLD.subject(), "https://spdx.dev/Document", json!({})).bytes(),
        Reason::NotASignature,
    ),
    bundle(
        6,
        "a statement of version 0.1",
        |b| b.payload = edited(&b.payload, "in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"),
        Reason::NotASignature,
    ),
    bundle(6, "another payload type", |b| b.payload_type = "application/json".to_owned(), Reason::NotASignature),
    bundle(
        6,
        "the payload type with a parameter",
        |b| b.payload_type = "application/vnd.in-toto+json; charset=utf-8".to_owned(),
        Reason::NotASignature,
    ),
    bundle(
        6,
        "a classic payload in an envelope",
        |b| {
            b.payload_type = "application/vnd.dev.cosign.simplesigning.v1+json".to_owned();
            b.payload = classic_payload(REPOSITORY, WORLD.subject()).into_bytes();
        },
        Reason::NotASignature,
    ),
    classic(
        6,
        "a statement in the classic layout",
        |c| c.payload = Statement::signature(WORLD.subject()).bytes(),
        Reason::MalformedSignature,
    ),
    classic(
        6,
        "an envelope's signed bytes in the classic layout",
        |c| c.payload = pae("application/vnd.in-toto+json", &Statement::signature(WORLD.subject()).bytes()),
        Reason::MalformedSignature,
    ),
    classic(
        6,
        "the image itself in the classic layout",
        |c| c.payload = WORLD.image.index.bytes.to_vec(),
        Reason::MalformedSignature,
    ),
];

#[test]
fn a_good_signature_of_another_claim_is_refused() {
    run(CLAIMS);
}
