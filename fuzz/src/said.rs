//! A second opinion on what is signed: the naive reading of statements and payloads, for data with a good signature.

use std::sync::LazyLock;

use assay::demo::{self, BundleSignature, ClassicSignature, IN_TOTO};
use assay::oci::{Digest, Manifest};
use assay::trust::{Judgement, Material, PublicKey, Rule, Signer, Tlog};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value;

use super::gate;

/// Ed25519 signs the same the same way, so that what crashes once crashes again.
static KEY: LazyLock<demo::Signer> = LazyLock::new(|| {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed of 32 bytes");
    // The head of every Ed25519 key in DER (RFC 8410).
    let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let public = [&head, pair.public_key().as_ref()].concat();
    demo::Signer::custom(public, move |message| pair.sign(message).as_ref().to_vec())
});

/// A signature, and a provenance, each by this key and without a log.
static RULES: LazyLock<(Rule, Rule)> = LazyLock::new(|| {
    let key = PublicKey::from_pem(&KEY.public_key_pem()).expect("a public key");
    let signers: Vec<Signer> = vec![gate::key_signer(key)];
    (gate::rule(gate::signature(&signers, Tlog::Off)), gate::rule(gate::attestation(&signers)))
});

/// What the gate takes `data` for when it is well signed, as a statement and as a classic payload. Each must be what a
/// naive reader finds in it.
pub fn taken_for(data: &[u8], image: &Manifest) -> Vec<&'static str> {
    let statement = || {
        let bundle = BundleSignature::over(&KEY, IN_TOTO, data.to_vec()).json().to_string();
        Material::Bundle(bundle.into())
    };
    let payload = || {
        let ClassicSignature { payload, annotations, .. } = ClassicSignature::over(&KEY, data.to_vec());
        Material::Classic { payload, annotations }
    };
    let (signature, attestation) = &*RULES;
    let found: Value = serde_json::from_slice(data).unwrap_or_default();
    let digest = image.digest();
    let questions = [
        ("signature", statement(), signature, is_signature(&found, digest)),
        ("attestation", statement(), attestation, is_provenance(&found, digest)),
        ("payload", payload(), signature, is_payload(&found, digest)),
        ("payload as attestation", payload(), attestation, false),
    ];
    let allowed = |(what, material, rule, is_it): (_, Material, &Rule, bool)| {
        let allowed = matches!(gate::judged(image.clone(), material, rule), Judgement::Allow(_));
        assert!(is_it || !allowed, "allowed as {what}: {found}");
        allowed.then_some(what)
    };
    questions.into_iter().filter_map(allowed).collect()
}

fn is_signature(statement: &Value, digest: Digest) -> bool {
    statement["predicateType"] == "https://sigstore.dev/cosign/sign/v1"
        && statement["_type"] == "https://in-toto.io/Statement/v1"
        && names(statement, digest)
}

fn is_provenance(statement: &Value, digest: Digest) -> bool {
    let predicate = &statement["predicate"];
    let builders = [&predicate["builder"]["id"], &predicate["runDetails"]["builder"]["id"]];
    statement["predicateType"] == gate::PROVENANCE
        && ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"]
            .iter()
            .any(|t| statement["_type"] == *t)
        && builders.iter().any(|id| **id == gate::BUILDER)
        && names(statement, digest)
}

fn names(statement: &Value, digest: Digest) -> bool {
    let subjects = statement["subject"].as_array().map(Vec::as_slice).unwrap_or_default();
    subjects.iter().any(|subject| subject["digest"]["sha256"] == digest.hex().as_str())
}

fn is_payload(payload: &Value, digest: Digest) -> bool {
    let critical = &payload["critical"];
    critical["type"] == "cosign container image signature"
        && critical["image"]["docker-manifest-digest"] == digest.to_string().as_str()
}
