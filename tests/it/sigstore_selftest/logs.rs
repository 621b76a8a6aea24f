//! Everything that can be wrong with log entries, and with what they must agree with.

use assay::demo::Statement;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::sigstore_selftest::verify::{
    REFERENCE, assert_accepted, assert_refused, release, subject, verify, verify_key,
};
use crate::support::sigstore::{EntryKind, KeyKind, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Signatory, Signed, Window};

const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn classic() -> Signed {
    SIGSTORE.sign_classic(&release(), REFERENCE, subject())
}

fn bundle() -> Signed {
    SIGSTORE.sign_bundle(&release(), subject())
}

fn bundle_v2() -> Signed {
    SIGSTORE.sign_bundle_v2(&release(), subject())
}

#[track_caller]
fn refused(what: &str, signed: &Signed, reason: &str) {
    assert_refused(what, verify(&SIGSTORE.trusted_root(), signed), reason);
}

#[track_caller]
fn accepted(what: &str, signed: &Signed) {
    assert_accepted(what, verify(&SIGSTORE.trusted_root(), signed));
}

#[test]
fn the_siblings_are_accepted() {
    for (what, signed) in [("classic", classic()), ("bundle", bundle()), ("bundle, Rekor v2", bundle_v2())] {
        accepted(what, &signed);
    }
}

#[test]
fn anothers_entry_is_refused() {
    for (what, honest, other) in [
        ("classic", classic(), classic()),
        ("bundle", bundle(), bundle()),
        ("bundle, Rekor v2", bundle_v2(), bundle_v2()),
    ] {
        refused(what, &honest.swap_log_entry_with(&other), "not match");
    }
}

#[test]
fn anothers_parts_are_refused() {
    for (what, signed, reason) in [
        ("classic signature", classic().swap_signature_with(&classic()), "signature verification failed"),
        ("signature", bundle().swap_signature_with(&bundle()), "verification failed"),
        ("classic certificate", classic().swap_certificate_with(&classic()), "verification failed"),
        ("certificate", bundle().swap_certificate_with(&bundle()), "verification failed"),
        ("classic payload", classic().replace_in_payload("acme", "evil"), "verification failed"),
        ("payload", bundle().replace_in_payload("predicate", "predicament"), "verification failed"),
        ("broken signature", bundle().break_signature(), "verification failed"),
        ("timestamps", bundle_v2().swap_timestamps_with(&bundle_v2()), "mismatch"),
    ] {
        refused(what, &signed, reason);
    }
}

#[test]
fn a_log_that_was_told_something_else_is_refused() {
    type Edit = fn(&mut Value);
    let classic_edits: [(&str, Edit, &str); 3] = [
        ("hash", |body| body["spec"]["data"]["hash"]["value"] = json!("00".repeat(32)), "hash mismatch"),
        (
            "signature",
            |body| body["spec"]["signature"]["content"] = json!("AAAA"),
            "signature in bundle does not match",
        ),
        (
            "certificate",
            |body| body["spec"]["signature"]["publicKey"]["content"] = json!(other_certificate()),
            "certificate in bundle does not match",
        ),
    ];
    for (what, edit, reason) in classic_edits {
        let told = |edit: Edit| {
            Signed::classic(&release(), "payload").logged_saying(
                EntryKind::HashedRekord001,
                &SIGSTORE.rekor_v1,
                SIGNED_AT,
                edit,
            )
        };
        refused(what, &told(edit), reason);
        accepted(what, &told(|_| {}));
    }
    let v2_edits: [(&str, Edit, &str); 2] = [
        ("hash", |body| body["spec"]["hashedRekordV002"]["data"]["digest"] = json!(STANDARD_ZEROS), "hash mismatch"),
        (
            "signature",
            |body| body["spec"]["hashedRekordV002"]["signature"]["content"] = json!("AAAA"),
            "signature in bundle does not match",
        ),
    ];
    for (what, edit, reason) in v2_edits {
        let told = |edit: Edit| {
            Signed::statement(&release(), &Statement::signature(subject()))
                .logged_saying(EntryKind::HashedRekord002, &SIGSTORE.rekor_v2, SIGNED_AT, edit)
                .timestamped_by(&SIGSTORE.timestamps, SIGNED_AT)
        };
        refused(what, &told(edit), reason);
        accepted(what, &told(|_| {}));
    }
}

/// 32 zeros in base64.
const STANDARD_ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// As Rekor v1 writes it.
fn other_certificate() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(release().certificate_pem().unwrap())
}

#[test]
fn promises_and_proofs_must_hold() {
    for (what, signed, reason) in [
        ("classic without promise", classic().without_log_entry(), "promise"),
        ("classic with a broken promise", classic().break_promise(), "SET verification failed"),
        ("without any entry", bundle().without_log_entry(), "must have an inclusion proof"),
        ("broken promise", bundle().break_promise(), "SET verification failed"),
        ("neither promise nor timestamp", bundle().without_promise(), "no verified timestamp"),
        ("without proof", bundle().without_proof(), "must have an inclusion proof"),
        ("broken proof", bundle().break_proof(), "root hash mismatch"),
        ("checkpoint by another log", bundle().checkpoint_by(&OTHER_SIGSTORE.rekor_v1), "No matching Rekor key"),
        ("body changed", bundle().edit_log_body(|body| body["spec"]["x"] = json!(1)), "SET verification failed"),
        ("index changed", bundle().edit_entry(|entry| entry.log_index += 1), "SET verification failed"),
        ("time changed", bundle().set_integrated_time(SIGNED_AT + SECOND), "SET verification failed"),
        ("v2 without proof", bundle_v2().without_proof(), "must have an inclusion proof"),
        ("v2 with a broken proof", bundle_v2().break_proof(), "root hash mismatch"),
        (
            "v2 with another log's checkpoint",
            bundle_v2().checkpoint_by(&OTHER_SIGSTORE.rekor_v2),
            "No matching Rekor key",
        ),
        ("v2 body changed", bundle_v2().edit_log_body(|body| body["spec"]["x"] = json!(1)), "root hash mismatch"),
    ] {
        refused(what, &signed, reason);
    }
}

#[test]
fn a_time_that_the_log_promised_counts() {
    let moved = |at| bundle().set_integrated_time(at).promised_again_by(&SIGSTORE.rekor_v1);
    accepted("a second later", &moved(SIGNED_AT + SECOND));
    refused("an hour later", &moved(SIGNED_AT + SignedDuration::from_hours(1)), "CertExpired");
    refused("in the future", &moved("2100-01-01T00:00:00Z".parse().unwrap()), "future");
}

#[test]
fn an_unknown_log_is_refused() {
    let release = release();
    let theirs = |signed: Signed| signed.without_log_entry().logged_by(&OTHER_SIGSTORE.rekor_v1, SIGNED_AT);
    let theirs_v2 = bundle_v2().without_log_entry().logged_by(&OTHER_SIGSTORE.rekor_v2, SIGNED_AT);
    for (what, signed, reason) in [
        ("classic", theirs(SIGSTORE.sign_classic(&release, REFERENCE, subject())), "No log key"),
        ("bundle", theirs(SIGSTORE.sign_bundle(&release, subject())), "No log key"),
        ("bundle, Rekor v2", theirs_v2, "No matching Rekor key"),
    ] {
        refused(what, &signed, reason);
        let mut root = SIGSTORE.trusted_root();
        root.transparency_logs.extend(OTHER_SIGSTORE.trusted_root().transparency_logs);
        assert_accepted(what, verify(&root, &signed));
    }
}

#[test]
fn logs_count_while_they_are_valid() {
    let root = |window| SIGSTORE.trusted_root().transparency_logs_valid(window);
    assert_refused("ended", verify(&root(Window::until(SIGNED_AT - SECOND)), &bundle()), "No log key valid");
    assert_accepted("ends now", verify(&root(Window::until(SIGNED_AT)), &bundle()));
}

#[test]
fn a_managed_key_is_bound_to_its_entry() {
    let who = Signatory::with_key(KeyKind::P256);
    let root = SIGSTORE.trusted_root();
    let elsewhere = "registry.test/acme/other";
    for (what, honest, other, reason) in [
        (
            "classic",
            SIGSTORE.sign_classic(&who, REFERENCE, subject()),
            SIGSTORE.sign_classic(&who, elsewhere, subject()),
            "artifact hash mismatch",
        ),
        (
            "bundle",
            SIGSTORE.sign_bundle(&who, subject()),
            SIGSTORE.sign_bundle(&who, subject()),
            "signature in bundle does not match",
        ),
        (
            "bundle, Rekor v2",
            SIGSTORE.sign_bundle_v2(&who, subject()),
            SIGSTORE.sign_bundle_v2(&who, subject()),
            "signature in bundle does not match",
        ),
    ] {
        assert_accepted(what, verify_key(&root, &who.key, &honest));
        let swapped = honest.clone().swap_log_entry_with(&other);
        assert_refused(what, verify_key(&root, &who.key, &swapped), reason);
        assert_refused(what, verify(&root, &honest), "no signing certificate");
    }
    let keyless = SIGSTORE.sign_bundle(&release(), subject());
    assert_refused(
        "certificate for a key",
        verify_key(&root, &keyless.signatory.key, &keyless),
        "contains a certificate",
    );
}

#[test]
fn envelopes_have_one_signature() {
    accepted("one", &bundle());
    refused("none", &bundle().without_signatures(), "found 0");
    refused("two", &bundle().repeat_signature(), "found 2");
}

#[test]
fn edits_reach_the_bundle() {
    let edited = bundle().edit_bundle(|bundle| bundle["dsseEnvelope"]["payloadType"] = json!("text/plain"));
    refused("payload type", &edited, "unsupported DSSE payload type");
    let edited = bundle().edit_bundle_text(|text| {
        text.replacen('{', r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","#, 1).into_bytes()
    });
    refused("duplicate key", &edited, "duplicate");
    let classic = classic().annotation("a", "b").without_annotation("dev.sigstore.cosign/chain");
    let annotations = classic.stored().annotations;
    assert_eq!(annotations["a"], "b");
    assert!(!annotations.contains_key("dev.sigstore.cosign/chain"));
}
