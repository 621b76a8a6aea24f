//! Bundles about any artifact, checked against one signer (`verify_bundle`): as the gate checks them, without a rule.

use assay::oci::Digest;
use assay::trust::{Artifact, KeySigner, Matcher, Proven, Signer, Tlog, Trust, verify_bundle};
use jiff::{SignedDuration, Timestamp};

use super::case::{RELEASE, SECOND, STRANGER, WORKFLOW, identity, key, key_signer, trusted, workflow};
use crate::support::sigstore::{
    CertificateRequest, EntryKind, GITHUB, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Signatory, Signed,
};

const TEXT: &[u8] = b"anything at all";

fn signed_by(signatory: &Signatory) -> Vec<u8> {
    let signed = Signed::message(signatory, TEXT);
    signed.logged_as(EntryKind::HashedRekord001, &SIGSTORE.rekor_v1.restarted(), SIGNED_AT).stored().bytes
}

fn by_certificate() -> Vec<u8> {
    let request = CertificateRequest::github("acme/app", "release.yml", "refs/tags/v1.0.0").key(&RELEASE);
    signed_by(&SIGSTORE.issue(&request))
}

fn by_key() -> Vec<u8> {
    signed_by(&Signatory::of(&RELEASE))
}

/// Who is proven to have signed it, or the code of the reason why nobody is.
fn verify(bundle: &[u8], artifact: Artifact<'_>, signer: &Signer) -> Result<Proven, &'static str> {
    let root = trusted("root", &SIGSTORE.trusted_root());
    let trust = Trust { roots: std::slice::from_ref(&root), now: SIGNED_AT + SignedDuration::from_hours(24) };
    verify_bundle(bundle, artifact, signer, Tlog::Required, trust).map_err(|failure| failure.reason.code())
}

fn refused(bundle: &[u8], artifact: Artifact<'_>, signer: &Signer) -> &'static str {
    verify(bundle, artifact, signer).expect_err("nothing is proven")
}

#[test]
fn a_bundle_proves_who_signed_what_and_when() {
    let digest = Digest::of(TEXT);
    for (bundle, signer, identities) in
        [(by_certificate(), workflow(), Some(vec![WORKFLOW.to_owned()])), (by_key(), key(&RELEASE), None)]
    {
        for artifact in [Artifact::Bytes(TEXT), Artifact::Digest(digest)] {
            let proven = verify(&bundle, artifact, &signer).unwrap();
            assert_eq!(proven.certificate.map(|certificate| certificate.identities), identities);
            assert_eq!(proven.times, [SIGNED_AT]);
            assert_eq!(proven.root.as_deref(), Some("root"));
            assert_eq!(proven.log.unwrap().integrated_at, Some(SIGNED_AT));
        }
        for artifact in [Artifact::Bytes(b"something else"), Artifact::Digest(Digest::of(b"something else"))] {
            assert!(verify(&bundle, artifact, &signer).is_err(), "about something else");
        }
    }
}

#[test]
fn a_bundle_is_the_named_signers_or_nobodys() {
    let elsewhere = identity(Matcher::exact(GITHUB), Matcher::exact("https://github.com/evil/app"));
    let bytes = Artifact::Bytes(TEXT);
    assert!(verify(&by_certificate(), bytes, &workflow()).is_ok());
    assert_eq!(refused(&by_certificate(), bytes, &elsewhere), "WRONG_IDENTITY");
    assert_eq!(refused(&by_certificate(), bytes, &key(&RELEASE)), "UNTRUSTED_KEY");
    assert!(verify(&by_key(), bytes, &key(&RELEASE)).is_ok());
    assert!(verify(&by_key(), bytes, &key(&STRANGER)).is_err());
    assert_eq!(refused(&by_key(), bytes, &workflow()), "UNTRUSTED_KEY");
    let strangers = OTHER_SIGSTORE.issue(&CertificateRequest::github("acme/app", "release.yml", "refs/tags/v1.0.0"));
    assert_eq!(refused(&signed_by(&strangers), bytes, &workflow()), "UNTRUSTED_CERTIFICATE");
    assert_eq!(refused(b"{}", bytes, &workflow()), "MALFORMED_SIGNATURE");
}

#[test]
fn a_key_counts_when_it_was_used_in_its_time() {
    let until = |not_after: Timestamp| Signer::Key(KeySigner { not_after: Some(not_after), ..key_signer(&RELEASE) });
    assert!(verify(&by_key(), Artifact::Bytes(TEXT), &until(SIGNED_AT)).is_ok());
    assert_eq!(refused(&by_key(), Artifact::Bytes(TEXT), &until(SIGNED_AT - SECOND)), "KEY_OUTSIDE_VALIDITY");
}
