//! The gate and that verifier agree on what is honest, and on every flaw of a certificate.

use assay::oci::Manifest;
use assay::trust::{
    Demand, Enforcement, IdentitySigner, Judgement, KeySigner, Matcher, PublicKey, Rule, Search, Signer, TrustRoot,
    judge,
};

use crate::sigstore_selftest::forms::forms;
use crate::sigstore_selftest::verify::{image, release, subject};
use crate::support::sigstore::{ACCOUNTS, CertificateRequest, Flaw, Key, KeyKind, SIGSTORE, Signatory, Signed};

const NOT_A_SIGNATURE: &str = "NOT_A_SIGNATURE";
const UNTRUSTED_CERTIFICATE: &str = "UNTRUSTED_CERTIFICATE";

/// The reason for the refusal, or `allowed`.
fn outcome(signer: Signer, signed: &Signed) -> &'static str {
    let root = TrustRoot::from_json("private", SIGSTORE.trusted_root_json().as_bytes()).unwrap();
    let demand = Demand { signers: vec![signer], roots: vec![root], ..Demand::default() };
    let rule = Rule::new("acme".to_owned(), vec![], Enforcement::Enforce(demand));
    let search = Search { candidates: vec![signed.candidate()], looked_at: vec![] };
    let index = Manifest::parse(image().index.bytes.clone(), None).unwrap();
    let repository = "registry.test/acme/app".parse().unwrap();
    match judge(index, &repository, &rule, &search, "2026-11-01T00:00:00Z".parse().unwrap()) {
        Judgement::Allow(_) => "allowed",
        Judgement::Refuse(verdict) => verdict.refusal().unwrap().0.code(),
        Judgement::Unknown(_) => "unknown",
    }
}

fn identity() -> Signer {
    Signer::Identity(IdentitySigner::new(Matcher::exact(ACCOUNTS), Matcher::exact("release@acme.test")))
}

fn key(key: &Key) -> Signer {
    let key = PublicKey::from_pem(&key.public_pem()).unwrap();
    Signer::Key(KeySigner { name: "release".to_owned(), key, not_before: None, not_after: None })
}

#[test]
fn every_honest_signature_of_an_image_is_allowed() {
    let managed = Signatory::with_key(KeyKind::P256);
    for (by, signer) in [(release(), identity()), (managed.clone(), key(&managed.key))] {
        for (form, signed) in forms(&by) {
            let signs_something_else = ["message", "attestation", "intoto"].iter().any(|other| form.contains(other));
            let expected = if signs_something_else { NOT_A_SIGNATURE } else { "allowed" };
            assert_eq!(outcome(signer.clone(), &signed), expected, "{form}, {}", signer.name());
        }
    }
}

#[test]
fn every_flawed_certificate_is_refused() {
    let request = || CertificateRequest::email("release@acme.test");
    for flaw in [
        Flaw::WrongUsage,
        Flaw::NoUsage,
        Flaw::NoSct,
        Flaw::TwoScts,
        Flaw::SctByAnotherLog,
        Flaw::SctOverAnother,
        Flaw::OtherAuthority,
        Flaw::SelfSigned,
    ] {
        let flawed = SIGSTORE.issue(&request().flaw(flaw));
        assert_eq!(outcome(identity(), &SIGSTORE.sign_bundle(&flawed, subject())), UNTRUSTED_CERTIFICATE, "{flaw:?}");
    }
    assert_eq!(outcome(identity(), &SIGSTORE.sign_bundle(&SIGSTORE.issue(&request()), subject())), "allowed");
}
