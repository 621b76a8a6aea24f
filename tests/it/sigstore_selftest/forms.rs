//! Every honest form: layouts, versions, logs, keys, identities.

use std::sync::LazyLock;

use assay::demo::{BUNDLE_TYPE, Document, Statement};
use assay::trust::Material;
use serde_json::Value;
use sigstore_crypto::{SigningScheme, VerificationKey};
use sigstore_types::{DerPublicKey, SignatureBytes};

use crate::sigstore_selftest::verify::{
    REFERENCE, assert_accepted, assert_refused, provenance, release, subject, verify, verify_key,
};
use crate::support::sigstore::{
    ACCOUNTS, BundleVersion, CertificateRequest, EntryKind, GITHUB, GITLAB, IssuerForm, Key, KeyKind, Layout,
    SIGNED_AT, SIGSTORE, San, Signatory, Signed,
};

/// One of each kind; making large RSA keys takes a second.
static KEYS: LazyLock<[Key; 6]> = LazyLock::new(|| {
    [KeyKind::P256, KeyKind::P384, KeyKind::P384Sha256, KeyKind::Rsa2048, KeyKind::Rsa4096, KeyKind::Ed25519]
        .map(Key::new)
});

/// All ways to sign that cosign has or had.
pub fn forms(by: &Signatory) -> Vec<(&'static str, Signed)> {
    let message = || Signed::message(by, "an artefact");
    let in_v1 = |kind| Signed::statement(by, &provenance()).logged_as(kind, &SIGSTORE.rekor_v1, SIGNED_AT);
    let classic = || SIGSTORE.sign_classic(by, REFERENCE, subject());
    let bundle = || SIGSTORE.sign_bundle(by, subject());
    vec![
        ("classic", classic()),
        ("classic, chain", classic().chain_shown()),
        ("classic, timestamp", classic().timestamped_by(&SIGSTORE.timestamps, SIGNED_AT)),
        ("classic attestation", SIGSTORE.attest_classic(by, &provenance())),
        ("bundle 0.1", bundle().version(BundleVersion::V01)),
        ("bundle 0.1, chain", bundle().version(BundleVersion::V01).chain_shown()),
        ("bundle 0.1, promise only", bundle().version(BundleVersion::V01).without_proof()),
        ("bundle 0.2", bundle().version(BundleVersion::V02)),
        ("bundle 0.3", bundle()),
        ("bundle 0.3, other spelling", bundle().version(BundleVersion::V03Parameter)),
        ("bundle 0.3, timestamp", bundle().timestamped_by(&SIGSTORE.timestamps, SIGNED_AT)),
        ("bundle 0.3, zeros", bundle().zeros_written()),
        ("bundle 0.3, intoto", in_v1(EntryKind::Intoto002)),
        ("bundle 0.3, attestation", SIGSTORE.attest(by, &provenance())),
        ("Rekor v2", SIGSTORE.sign_bundle_v2(by, subject())),
        ("Rekor v2, attestation", SIGSTORE.attest_v2(by, &provenance())),
        ("message", message().logged_by(&SIGSTORE.rekor_v1, SIGNED_AT)),
        (
            "message, Rekor v2",
            message().logged_by(&SIGSTORE.rekor_v2, SIGNED_AT).timestamped_by(&SIGSTORE.timestamps, SIGNED_AT),
        ),
    ]
}

#[test]
fn every_honest_form_is_accepted() {
    for (form, signed) in forms(&release()) {
        let result = assert_accepted(form, verify(&SIGSTORE.trusted_root(), &signed));
        assert_eq!(result.identity().map(|name| name.as_str()), Some("release@acme.test"), "{form}");
        assert_eq!(result.issuer(), Some(ACCOUNTS), "{form}");
        assert!(result.sct_verified() && result.tlog_verified(), "{form}");
        assert!(result.verified_timestamps().iter().all(|time| *time == SIGNED_AT), "{form}");
    }
}

#[test]
fn every_honest_form_by_a_managed_key_is_accepted() {
    let signatory = Signatory::with_key(KeyKind::P256);
    let stranger = Signatory::with_key(KeyKind::P256);
    for (form, signed) in forms(&signatory) {
        let root = SIGSTORE.trusted_root();
        assert_accepted(form, verify_key(&root, &signatory.key, &signed));
        assert_refused(form, verify_key(&root, &stranger.key, &signed), "verification failed");
    }
}

#[test]
fn every_kind_of_key_signs() {
    for key in KEYS.iter() {
        let kind = key.kind();
        let who = SIGSTORE.issue(&CertificateRequest::email("release@acme.test").key(key));
        for (form, signed) in every_kind_signs(kind, &who) {
            assert_accepted(&format!("{kind:?} {form}"), verify(&SIGSTORE.trusted_root(), &signed));
        }
        let managed = Signatory::of(key);
        for (form, signed) in every_kind_signs(kind, &managed) {
            let verified = verify_key(&SIGSTORE.trusted_root(), &managed.key, &signed);
            assert_accepted(&format!("managed {kind:?} {form}"), verified);
        }
    }
}

/// Payloads are always hashed with SHA-256, envelopes with the key's own hash.
fn every_kind_signs(kind: KeyKind, who: &Signatory) -> Vec<(&'static str, Signed)> {
    let mut forms = vec![];
    if kind != KeyKind::P384 {
        forms.push(("classic", SIGSTORE.sign_classic(who, REFERENCE, subject())));
    }
    if kind != KeyKind::P384Sha256 {
        forms.push(("bundle", SIGSTORE.sign_bundle(who, subject())));
    }
    forms
}

/// A limit of this verifier: the servers take other keys, too.
#[test]
fn rekor_v2_is_verified_for_p256_only() {
    for key in KEYS.iter() {
        let (kind, who) = (key.kind(), Signatory::of(key));
        let verified = verify_key(&SIGSTORE.trusted_root(), &who.key, &SIGSTORE.sign_bundle_v2(&who, subject()));
        let what = format!("{kind:?}");
        match kind {
            KeyKind::P256 => drop(assert_accepted(&what, verified)),
            KeyKind::P384Sha256 => assert_refused(&what, verified, "verification failed"),
            _ => assert_refused(&what, verified, "expected `PKIX_ECDSA_P256_SHA_256`"),
        }
    }
}

#[test]
fn a_managed_key_needs_no_log() {
    for key in KEYS.iter() {
        let (kind, who) = (key.kind(), Signatory::of(key));
        let scheme = match kind {
            KeyKind::P256 => SigningScheme::EcdsaP256Sha256,
            KeyKind::P384 => SigningScheme::EcdsaP384Sha384,
            KeyKind::P384Sha256 => SigningScheme::EcdsaP384Sha256,
            KeyKind::Rsa2048 | KeyKind::Rsa4096 => SigningScheme::RsaPkcs1Sha256,
            KeyKind::Ed25519 => SigningScheme::Ed25519,
        };
        let signed = Signed::statement(&who, &Statement::signature(subject()));
        let key = DerPublicKey::from_pem(&who.key.public_pem()).unwrap();
        let key = VerificationKey::from_spki_with_scheme(&key, scheme).unwrap();
        let verify = |signed: &Signed| {
            key.verify(signed.content.signed_bytes(), &SignatureBytes::from_bytes(signed.signature()))
        };
        assert!(verify(&signed).is_ok(), "{kind:?}");
        assert!(verify(&signed.replace_in_payload("predicate", "predicament")).is_err(), "{kind:?}");
        assert_eq!(who.key.signer().public_key_der(), who.key.public_der(), "{kind:?}");
    }
}

#[test]
fn certificates_say_who_it_is() {
    let identity = |request: CertificateRequest| {
        let signed = SIGSTORE.sign_bundle(&SIGSTORE.issue(&request), subject());
        let result = assert_accepted("identity", verify(&SIGSTORE.trusted_root(), &signed));
        (
            result.identity().map(|name| name.as_str().to_owned()),
            result.issuer().map(str::to_owned),
            result.certificate().unwrap().ci_claims.clone(),
        )
    };
    let email = || CertificateRequest::email("release@acme.test");
    let text = |text: &str| Some(text.to_owned());

    let (name, issuer, claims) = identity(CertificateRequest::github("acme/app", "release.yml", "refs/tags/v1.0.0"));
    let workflow = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0";
    assert_eq!((name, issuer), (text(workflow), text(GITHUB)));
    assert_eq!(claims.source_repository_uri, text("https://github.com/acme/app"));
    assert_eq!(claims.source_repository_ref, text("refs/tags/v1.0.0"));
    assert_eq!(claims.source_repository_owner_uri, text("https://github.com/acme"));
    assert_eq!(claims.build_config_uri, text(workflow));
    assert_eq!(claims.build_trigger, text("push"));
    assert_eq!(claims.deprecated_github.workflow_repository, text("acme/app"));
    assert_eq!(claims.deprecated_github.workflow_ref, text("refs/tags/v1.0.0"));

    let (name, issuer, claims) = identity(CertificateRequest::gitlab("acme/app", "refs/heads/main"));
    let pipeline = "https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main";
    assert_eq!((name, issuer), (text(pipeline), text(GITLAB)));
    assert_eq!(claims.source_repository_uri, text("https://gitlab.com/acme/app"));
    assert_eq!(claims.token_subject, text("project_path:acme/app:ref_type:branch:ref:main"));
    assert!(claims.deprecated_github.is_empty());

    for form in [IssuerForm::Both, IssuerForm::Old, IssuerForm::New] {
        assert_eq!(identity(email().issuer_form(form)).1, text(ACCOUNTS), "{form:?}");
    }
    assert_eq!(identity(email().issuer_form(IssuerForm::Missing)).1, None);
    assert_eq!(identity(email().also_named(San::Uri("https://x.test".into()))).0, text("release@acme.test"));
    // This verifier does not read names of other kinds; they are there all the same.
    assert_eq!(identity(CertificateRequest::username("alice!acme.test")).0, None);
    let username = SIGSTORE.issue(&CertificateRequest::username("alice!acme.test"));
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(contains(&username.certificate.unwrap(), b"alice!acme.test"));
}

#[test]
fn the_first_entry_of_a_log_leaves_zeros_out() {
    let log = SIGSTORE.rekor_v1.emptied();
    let signed =
        || Signed::statement(&release(), &Statement::signature(subject())).logged_by(&log.emptied(), SIGNED_AT);
    let entry = |signed: &Signed| {
        let bundle: Value = serde_json::from_slice(&signed.stored().bytes).unwrap();
        bundle["verificationMaterial"]["tlogEntries"][0].clone()
    };
    let (left_out, written) = (signed(), signed().zeros_written());
    for part in [&entry(&left_out), &entry(&left_out)["inclusionProof"]] {
        assert!(part["logIndex"].is_null() && part["hashes"].is_null());
    }
    assert_eq!(entry(&written)["logIndex"], "0");
    assert_eq!(entry(&written)["inclusionProof"]["hashes"], serde_json::json!([]));
    for (form, signed) in [("left out", left_out), ("written", written)] {
        assert_accepted(form, verify(&SIGSTORE.trusted_root(), &signed));
    }
}

#[test]
fn attestations_lie_as_cosign_lays_them() {
    let signed = SIGSTORE.attest_classic(&release(), &provenance());
    assert_eq!(signed.layout, Layout::ClassicAttestation);
    let layer = signed.classic_layer();
    assert_eq!(layer.media_type, "application/vnd.dsse.envelope.v1+json");
    let names: Vec<_> = layer.annotations.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "dev.cosignproject.cosign/signature",
            "dev.sigstore.cosign/bundle",
            "dev.sigstore.cosign/certificate",
            "dev.sigstore.cosign/chain",
            "predicateType",
        ]
    );
    assert_eq!(layer.annotations["dev.cosignproject.cosign/signature"], "");
    assert_eq!(layer.annotations["predicateType"], "https://slsa.dev/provenance/v1");
}

#[test]
fn the_registry_and_the_gate_get_the_same() {
    let index = Document::new("application/vnd.oci.image.index.v1+json", "an index");
    let classic = SIGSTORE.sign_classic(&release(), REFERENCE, index.digest);
    let layer = classic.classic_layer();
    match classic.candidate().material {
        Material::Classic { payload, annotations } => {
            assert_eq!((payload, annotations), (layer.payload, layer.annotations))
        }
        other => panic!("{other:?}"),
    }
    let bundle = SIGSTORE.sign_bundle(&release(), index.digest);
    let referrer = bundle.referrer(&index);
    assert_eq!(referrer.blobs[1].media_type, BUNDLE_TYPE);
    match bundle.candidate().material {
        Material::Bundle(bytes) => assert_eq!(bytes, referrer.blobs[1].bytes),
        other => panic!("{other:?}"),
    }
}
