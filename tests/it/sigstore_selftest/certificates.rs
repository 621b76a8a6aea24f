//! Everything that can be wrong with a certificate, each with its honest sibling.

use jiff::SignedDuration;
use sigstore_verify::VerificationPolicy;

use crate::sigstore_selftest::verify::{
    REFERENCE, assert_accepted, assert_refused, release, subject, verify, verify_under,
};
use crate::support::sigstore::{
    BundleVersion, CertificateRequest, END, Flaw, ISSUED_AT, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Signatory, Signed,
    Sigstore, Window,
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn request() -> CertificateRequest {
    CertificateRequest::email("release@acme.test")
}

/// The same signer in both layouts and both logs.
fn signed_by(who: &Signatory) -> [Signed; 3] {
    [
        SIGSTORE.sign_classic(who, REFERENCE, subject()),
        SIGSTORE.sign_bundle(who, subject()),
        SIGSTORE.sign_bundle_v2(who, subject()),
    ]
}

#[test]
fn every_flaw_is_refused_for_its_own_reason() {
    for (flaw, reason) in [
        (Flaw::WrongUsage, "RequiredEkuNotFound"),
        (Flaw::NoUsage, "RequiredEkuNotFound"),
        (Flaw::NoSct, "missing SCT"),
        (Flaw::TwoScts, "multiple SCTs"),
        (Flaw::SctByAnotherLog, "key not found"),
        (Flaw::SctOverAnother, "SCT signature verification failed: Verification error: ECDSA"),
        (Flaw::OtherAuthority, "InvalidSignatureForPublicKey"),
        (Flaw::SelfSigned, "UnknownIssuer"),
    ] {
        let flawed = SIGSTORE.issue(&request().flaw(flaw));
        for (signed, honest) in signed_by(&flawed).iter().zip(signed_by(&release())) {
            let root = SIGSTORE.trusted_root();
            let what = format!("{flaw:?} {:?}", signed.layout);
            assert_refused(&what, verify(&root, signed), reason);
            assert_accepted(&what, verify(&root, &honest));
        }
    }
}

#[test]
fn another_sigstore_of_the_same_names_counts_for_nothing() {
    let theirs = OTHER_SIGSTORE.issue(&request());
    let signed = SIGSTORE.sign_bundle(&theirs, subject());
    assert_refused("other", verify(&SIGSTORE.trusted_root(), &signed), "InvalidSignatureForPublicKey");
    assert_accepted("both", verify(&SIGSTORE.trusted_root().and(OTHER_SIGSTORE.trusted_root()), &signed));
}

#[test]
fn a_certificate_holds_while_it_holds() {
    for (what, request, reason) in [
        ("expired", request().lasting(SignedDuration::from_secs(4)), "CertExpired"),
        ("not yet valid", request().issued_at(SIGNED_AT + SECOND), "CertNotValidYet"),
    ] {
        for signed in signed_by(&SIGSTORE.issue(&request)) {
            assert_refused(what, verify(&SIGSTORE.trusted_root(), &signed), reason);
        }
    }
    for (what, request) in [
        ("in its last second", request().lasting(SignedDuration::from_secs(5))),
        ("in its first second", request().issued_at(SIGNED_AT)),
    ] {
        for signed in signed_by(&SIGSTORE.issue(&request)) {
            assert_accepted(what, verify(&SIGSTORE.trusted_root(), &signed));
        }
    }
}

#[test]
fn authorities_count_while_they_are_valid() {
    let signed = SIGSTORE.sign_bundle(&release(), subject());
    let root = |window| SIGSTORE.trusted_root().certificate_authority_valid(window);
    for (what, window) in
        [("ended", Window::until(SIGNED_AT - SECOND)), ("not begun", Window::since(SIGNED_AT + SECOND))]
    {
        assert_refused(what, verify(&root(window), &signed), "no trusted");
    }
    for (what, window) in [("ends now", Window::until(SIGNED_AT)), ("begins now", Window::since(SIGNED_AT))] {
        assert_accepted(what, verify(&root(window), &signed));
    }
}

#[test]
fn certificate_logs_count_while_they_are_valid() {
    let signed = SIGSTORE.sign_bundle(&release(), subject());
    let root = |window| SIGSTORE.trusted_root().certificate_log_valid(window);
    assert_refused("ended", verify(&root(Window::until(ISSUED_AT - SECOND)), &signed), "key not found");
    assert_refused("not begun", verify(&root(Window::since(ISSUED_AT + SECOND)), &signed), "key not found");
    assert_accepted("in time", verify(&root(Window::until(ISSUED_AT)), &signed));

    let logged_late = SIGSTORE.issue(&request().logged_at(SIGNED_AT));
    let signed = SIGSTORE.sign_bundle(&logged_late, subject());
    assert_refused("logged late", verify(&root(Window::until(ISSUED_AT)), &signed), "key not found");
    assert_accepted("logged in time", verify(&root(Window::until(SIGNED_AT)), &signed));
}

#[test]
fn an_intermediate_that_a_signature_brings_along_must_hold_too() {
    let old = Sigstore::with_intermediate_until(SIGNED_AT - SECOND);
    let new = Sigstore::with_intermediate_until(END);
    let verified = |sigstore: &Sigstore| {
        let signed = sigstore.sign_bundle(&sigstore.issue(&request()), subject()).version(BundleVersion::V01);
        let mut root = sigstore.trusted_root();
        // Only the root itself is trusted, so the intermediate is checked as any certificate is.
        root.certificate_authorities[0].chain.remove(0);
        verify(&root, &signed.chain_shown())
    };
    assert_refused("leaf outlives intermediate", verified(&old), "CertExpired");
    assert_accepted("intermediate holds", verified(&new));
}

#[test]
fn a_root_may_be_without_certificate_logs() {
    let signed = SIGSTORE.sign_bundle(&SIGSTORE.issue(&request().flaw(Flaw::NoSct)), subject());
    let root = SIGSTORE.trusted_root().without_certificate_logs();
    let without_sct = VerificationPolicy::any_identity().skip_sct();
    assert_accepted("not asked for", verify_under(&root, &signed, &without_sct));
    assert_refused("asked for", verify(&root, &signed), "missing SCT");
}

#[test]
fn a_root_may_know_timestamps_only() {
    let signed = Signed::statement(&release(), &assay::demo::Statement::signature(subject()));
    let signed = signed.timestamped_by(&SIGSTORE.timestamps, SIGNED_AT);
    let root = SIGSTORE.trusted_root().timestamps_only();
    let as_github = VerificationPolicy::any_identity().skip_sct().skip_tlog_unsafe();
    assert_accepted("timestamp", verify_under(&root, &signed, &as_github));
    assert_refused("none", verify_under(&root, &signed.without_timestamps(), &as_github), "at least one");
}
