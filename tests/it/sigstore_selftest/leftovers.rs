//! What that verifier accepts although the gate must not, or must look closer: each row is work for `trust`.
//!
//! A row that fails here has become stricter over there.

use assay::demo::Statement;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::sigstore_selftest::verify::{
    assert_accepted, assert_refused, provenance, release, subject, verify, verify_key,
};
use crate::support::sigstore::{
    BEGINNING, CertificateRequest, EntryKind, InclusionProof, IssuerForm, KeyKind, SIGNED_AT, SIGSTORE, San, Signatory,
    Signed, Sigstore, Window,
};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn bundle() -> Signed {
    SIGSTORE.sign_bundle(&release(), subject())
}

fn bundle_v2() -> Signed {
    SIGSTORE.sign_bundle_v2(&release(), subject())
}

fn saying(change: impl FnOnce(&mut Statement)) -> Signed {
    let mut statement = Statement::signature(subject());
    change(&mut statement);
    SIGSTORE.attest(&release(), &statement)
}

#[track_caller]
fn accepts(what: &str, signed: &Signed) {
    assert_accepted(what, verify(&SIGSTORE.trusted_root(), signed));
}

#[test]
fn authorities_that_a_root_names_are_not_checked_for_their_own_end() {
    let sigstore = Sigstore::with_intermediate_until(SIGNED_AT - SECOND);
    let release = sigstore.issue(&CertificateRequest::email("release@acme.test"));
    let signed = sigstore.sign_bundle(&release, subject());
    assert_accepted("leaf outlives the intermediate", verify(&sigstore.trusted_root(), &signed));
}

#[test]
fn only_promises_are_held_against_a_logs_window() {
    let ended = SIGSTORE.trusted_root().transparency_logs_valid(Window::until(SIGNED_AT - SECOND));
    let proof_only = bundle().without_promise().timestamped_by(&SIGSTORE.timestamps, SIGNED_AT);
    assert_accepted("Rekor v2 after its end", verify(&ended, &bundle_v2()));
    assert_accepted("Rekor v1 after its end", verify(&ended, &proof_only));
    assert_refused("with a promise", verify(&ended, &bundle()), "No log key valid");
    accepts("the time of the entry means nothing", &proof_only.set_integrated_time(BEGINNING));
}

#[test]
fn a_rekor_v2_entry_is_bound_by_its_tree_alone() {
    accepts("log id", &bundle_v2().edit_entry(|entry| entry.log_id = vec![7; 32]));
    accepts("another trusted log's tree head", &bundle_v2().checkpoint_by(&SIGSTORE.rekor_v1));
    accepts("a time", &bundle_v2().set_integrated_time(BEGINNING));
    let elsewhere = |proof: &mut InclusionProof| (proof.log_index, proof.tree_size) = (98, 99);
    accepts("place", &bundle_v2().edit_entry(|entry| elsewhere(entry.proof.as_mut().unwrap())));
}

#[test]
fn nothing_is_counted() {
    accepts("log entries", &bundle().repeat_log_entry(33));
    accepts("timestamps", &bundle_v2().repeat_timestamps(33));
    let ours = json!({ "digest": { "sha256": subject().hex() } });
    accepts("subjects", &saying(|statement| statement.subject = json!(vec![ours; 1025])));
}

#[test]
fn statements_are_read_for_their_subjects_only() {
    accepts("type", &saying(|statement| statement.statement_type = "x".to_owned()));
    accepts("predicate type", &saying(|statement| statement.predicate_type = "x".to_owned()));
    accepts("an attestation", &SIGSTORE.attest(&release(), &provenance()));
    let upper = subject().hex().to_uppercase();
    accepts("upper case", &saying(|statement| statement.subject = json!([{ "digest": { "sha256": upper } }])));
    accepts("payloads are not read", &Signed::classic(&release(), "{").logged_by(&SIGSTORE.rekor_v1, SIGNED_AT));
}

#[test]
fn bundles_may_say_more_than_they_should() {
    let unknown = |bundle: &mut Value| bundle["unknown"] = json!(1);
    accepts("unknown member", &bundle().edit_bundle(unknown));
    let key_too = |bundle: &mut Value| bundle["verificationMaterial"]["publicKey"] = json!({ "hint": "" });
    accepts("certificate and key", &bundle().edit_bundle(key_too));
    let undigested = |bundle: &mut Value| bundle["messageSignature"]["messageDigest"].take();
    let message = Signed::message(&release(), "an artefact").logged_by(&SIGSTORE.rekor_v1, SIGNED_AT);
    accepts("a message without its digest", &message.edit_bundle(move |bundle| drop(undigested(bundle))));
    let told = |body: &mut Value| body["spec"]["envelopeHash"]["value"] = json!("00".repeat(32));
    let signed = Signed::statement(&release(), &provenance());
    accepts("envelope hash", &signed.logged_saying(EntryKind::Dsse001, &SIGSTORE.rekor_v1, SIGNED_AT, told));
}

#[test]
fn identities_are_for_the_caller_to_judge() {
    let signed = |request: &CertificateRequest| SIGSTORE.sign_bundle(&SIGSTORE.issue(request), subject());
    let email = || CertificateRequest::email("release@acme.test");
    accepts("no issuer", &signed(&email().issuer_form(IssuerForm::Missing)));
    let two_issuers = email().issuer_form(IssuerForm::New).claim(1, "https://evil.test");
    accepts("two issuers", &signed(&two_issuers));
    accepts("no name that it reads", &signed(&CertificateRequest::username("release!acme.test")));
    accepts("two names", &signed(&email().also_named(San::Email("evil@evil.test".to_owned()))));
    accepts("a year", &signed(&email().lasting(SignedDuration::from_hours(24 * 365))));
    let logged_late = email().logged_at(SIGNED_AT + SignedDuration::from_hours(2));
    accepts("logged after its end", &signed(&logged_late));
}

#[test]
fn managed_keys_have_no_time() {
    let who = Signatory::with_key(KeyKind::P256);
    let root = SIGSTORE.trusted_root();
    let accepts = |what: &str, signed: &Signed| assert_accepted(what, verify_key(&root, &who.key, signed));
    let statement = Signed::statement(&who, &Statement::signature(subject()));
    accepts("at any time", &statement.clone().logged_by(&SIGSTORE.rekor_v1, BEGINNING));
    let untimed = accepts("at no time", &statement.logged_by(&SIGSTORE.rekor_v2, SIGNED_AT));
    assert!(untimed.verified_timestamps().is_empty());
    let hint = |bundle: &mut Value| bundle["verificationMaterial"]["publicKey"]["hint"] = json!("another");
    accepts("whatever the hint", &SIGSTORE.sign_bundle(&who, subject()).edit_bundle(hint));
}

/// cosign has an attestation's envelope timestamped in the classic layout, not its signature.
#[test]
fn timestamps_of_classic_attestations_need_care() {
    let signed = SIGSTORE.attest_classic(&release(), &provenance());
    let signature = signed.signature().to_vec();
    let over_signature = signed.clone().timestamped_over(&signature, &SIGSTORE.timestamps, SIGNED_AT);
    assert_accepted("over the signature", verify(&SIGSTORE.trusted_root(), &over_signature));
    let as_cosign = signed.timestamped_by(&SIGSTORE.timestamps, SIGNED_AT);
    assert_refused("over the envelope", verify(&SIGSTORE.trusted_root(), &as_cosign), "mismatch");
}
