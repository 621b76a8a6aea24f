//! The seeds of the fuzz targets that judge: made by a private Sigstore whose keys nobody kept, and each of them allowed for
//! the image that it is about. Otherwise a target that sees nothing allowed would say nothing.
//!
//! To make new ones: `cargo test --test it fuzz_seeds -- --ignored`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use assay::demo::{Statement, classic_payload};
use assay::trust::{Material, TrustRoot};
use serde_json::{Value, json};

use crate::support::sigstore::{
    BundleVersion, CertificateRequest, Key, KeyKind, Layout, SIGNED_AT, SIGSTORE, Signatory, Signed,
};

#[expect(dead_code, reason = "the targets use the rest")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use fuzz::{annotated, gate, joined, said};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Name and content of each seed of a target.
fn seeds(target: &str) -> BTreeMap<String, Vec<u8>> {
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    let seeds = fs::read_dir(folder().join("seeds").join(target)).unwrap();
    seeds.map(|entry| read(entry.unwrap())).collect()
}

fn material(target: &str, seed: &[u8]) -> Material {
    let (first, annotations) = annotated(seed);
    let first = first.to_vec().into();
    match target {
        "bundle" => Material::Bundle(seed.to_vec().into()),
        "classic" => Material::Classic { payload: first, annotations },
        _ => Material::ClassicAttestation { envelope: first, annotations },
    }
}

#[test]
fn every_signed_seed_is_allowed_for_its_image_and_for_no_other() {
    for target in ["bundle", "classic", "attestation"] {
        for (name, seed) in seeds(target) {
            let material = material(target, &seed);
            assert!(gate::is_allowed(&gate::signed_image(), &material), "{target}/{name}");
            assert!(!gate::is_allowed(&gate::unsigned_image(), &material), "{target}/{name}");
        }
    }
}

#[test]
fn every_statement_is_taken_for_what_its_name_says() {
    for (name, seed) in seeds("statement") {
        let expected: &[&str] = match name.as_str() {
            "signature.json" => &["signature"],
            "provenance.json" | "provenance-v01.json" => &["attestation"],
            "payload.json" => &["payload"],
            _ => panic!("what is {name}?"),
        };
        assert_eq!(said::taken_for(&seed, &gate::signed_image()), expected, "{name}");
        assert!(said::taken_for(&seed, &gate::unsigned_image()).is_empty(), "{name}");
    }
}

#[test]
fn certificate_and_root_are_those_of_the_signed_seeds() {
    let bundle: Value = serde_json::from_slice(&seeds("bundle")["identity.json"]).unwrap();
    let certificate = &seeds("certificate")["identity.der"];
    assert_eq!(bundle["verificationMaterial"]["certificate"]["rawBytes"], base64(certificate));
    let root = TrustRoot::from_json("seed", &seeds("trusted_root")["private.json"]).unwrap();
    assert_eq!(root.fingerprint(), gate::TRUSTED.root.fingerprint());
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
#[ignore = "writes new seeds into fuzz/"]
fn write_new_ones() {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let key = Signatory::of(&Key::new(KeyKind::P256));
    let identity = SIGSTORE.issue(&CertificateRequest::email(gate::IDENTITY).issuer(gate::ISSUER));
    let pipeline = SIGSTORE.issue(&CertificateRequest::github("acme/app", "release.yml", "refs/tags/v1.0.0"));
    let subject = gate::signed_image().digest();
    let builder = json!({ "runDetails": { "builder": { "id": gate::BUILDER } } });
    let provenance = Statement::attestation(subject, gate::PROVENANCE, builder);
    let payload = classic_payload("registry.test/acme/app", subject);
    let stamped = |signed: Signed| signed.timestamped_by(&SIGSTORE.timestamps, SIGNED_AT);

    write("trusted/key.pem", key.key.public_pem().as_bytes());
    write("trusted/trusted_root.json", SIGSTORE.trusted_root_json().as_bytes());
    write("seeds/trusted_root/private.json", SIGSTORE.trusted_root_json().as_bytes());
    write("seeds/certificate/identity.der", identity.certificate.as_ref().unwrap());
    write("seeds/certificate/pipeline.der", pipeline.certificate.as_ref().unwrap());
    for (name, signed) in [
        ("bundle/identity.json", SIGSTORE.sign_bundle(&identity, subject)),
        ("bundle/identity-v01.json", SIGSTORE.sign_bundle(&identity, subject).version(BundleVersion::V01)),
        ("bundle/identity-rekor2.json", SIGSTORE.sign_bundle_v2(&identity, subject)),
        ("bundle/key.json", SIGSTORE.sign_bundle(&key, subject)),
        ("bundle/key-bare.json", Signed::statement(&key, &Statement::signature(subject))),
        ("bundle/provenance.json", stamped(SIGSTORE.attest(&identity, &provenance))),
        (
            "classic/identity",
            stamped(SIGSTORE.sign_classic(&identity, "registry.test/acme/app", subject)).chain_shown(),
        ),
        ("classic/key", SIGSTORE.sign_classic(&key, "registry.test/acme/app", subject)),
        ("classic/key-bare", Signed::classic(&key, payload.clone())),
        ("attestation/identity", stamped(SIGSTORE.attest_classic(&identity, &provenance))),
        ("attestation/key", SIGSTORE.attest_classic(&key, &provenance)),
        ("attestation/key-bare", Signed::statement(&key, &provenance).laid_out(Layout::ClassicAttestation)),
    ] {
        let stored = signed.stored();
        let bytes = match signed.layout {
            Layout::Bundle(_) => stored.bytes,
            Layout::Classic | Layout::ClassicAttestation => joined(&stored.bytes, &stored.annotations),
        };
        write(&format!("seeds/{name}"), &bytes);
    }
    let old = Statement { statement_type: "https://in-toto.io/Statement/v0.1".to_owned(), ..provenance.clone() };
    write("seeds/statement/signature.json", &Statement::signature(subject).bytes());
    write("seeds/statement/provenance.json", &provenance.bytes());
    write("seeds/statement/provenance-v01.json", &old.bytes());
    write("seeds/statement/payload.json", payload.as_bytes());
}
