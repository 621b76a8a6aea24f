//! Keys: their own time, who is who, several signers, and what the rule wants of logs, layouts and ages.

use assay::trust::Reason::{
    FormatNotAccepted, InvalidSignature, KeyOutsideValidity, MissingSigner, NotInLog, SignatureTooOld,
    UntrustedCertificate, UntrustedKey,
};
use assay::trust::{Formats, Require, Signer, Tlog};
use jiff::{SignedDuration, Timestamp};

use super::case::{By, Case, Form, RELEASE, SECOND, STRANGER, Shape, key, key_signer, workflow};
use super::row::{ALL, BUNDLES, CLASSIC, KEYLESS, KEYS, Row, row, run};
use crate::support::sigstore::{Key, KeyKind, SIGNED_AT, SIGSTORE, Signed};

fn valid(case: &mut Case, not_before: Option<Timestamp>, not_after: Option<Timestamp>) {
    let signer = key_signer(&RELEASE);
    case.trust([Signer::Key(assay::trust::KeySigner { not_before, not_after, ..signer })]);
}

/// With the log's or a timestamp's time.
const TIMED_KEYS: &[Shape] = &[
    (Form::Classic, By::Key),
    (Form::Bundle01, By::Key),
    (Form::Bundle02, By::Key),
    (Form::Bundle03, By::Key),
    (Form::Stamped, By::Key),
    (Form::RekorV2, By::Key),
];

fn unlogged(signed: Signed, _: &Case) -> Signed {
    signed.without_log_entry().without_timestamps()
}

/// CVE-2026-54787: what a key signed outside its time does not count.
const VALIDITY: &[Row] = &[
    row(
        12,
        "a key whose time had ended",
        TIMED_KEYS,
        |c| valid(c, None, Some(SIGNED_AT - SECOND)),
        KeyOutsideValidity,
        "it was used at 2026-06-01T12:00:05Z",
    )
    .beside(|c| valid(c, None, Some(SIGNED_AT))),
    row(
        12,
        "a key whose time had not begun",
        TIMED_KEYS,
        |c| valid(c, Some(SIGNED_AT + SECOND), None),
        KeyOutsideValidity,
        "it was used at 2026-06-01T12:00:05Z",
    )
    .beside(|c| valid(c, Some(SIGNED_AT), None)),
    row(
        12,
        "logged in the key's time, timestamped after it",
        &[(Form::Stamped, By::Key), (Form::RekorV2, By::Key)],
        |c| c.stamped_at = SIGNED_AT + SECOND,
        KeyOutsideValidity,
        "release is trusted from … to 2026-06-01T12:00:05Z",
    )
    .given(|c| valid(c, None, Some(SIGNED_AT))),
    row(
        12,
        "timestamped in the key's time, logged after it",
        &[(Form::Stamped, By::Key)],
        |c| c.logged_at = SIGNED_AT + SECOND,
        KeyOutsideValidity,
        "release is trusted from … to 2026-06-01T12:00:05Z",
    )
    .given(|c| valid(c, None, Some(SIGNED_AT))),
    row(
        12,
        "nothing proves when it was used, and its time is over",
        &[(Form::RekorV2, By::Key)],
        |c| valid(c, None, Some(SIGNED_AT)),
        KeyOutsideValidity,
        "now is 2026-07-01T12:00:05Z",
    )
    .given(|c| c.edit = |signed, _| signed.without_timestamps())
    .beside(|c| valid(c, None, Some(c.now))),
    row(
        12,
        "no log is looked at, and the key's time is over",
        KEYS,
        |c| valid(c, None, Some(SIGNED_AT)),
        KeyOutsideValidity,
        "now is 2026-07-01T12:00:05Z",
    )
    .given(|c| c.demand.tlog = Tlog::Off)
    .beside(|c| valid(c, None, Some(c.now))),
];

fn by_certificate(case: &mut Case) {
    case.by = By::Keyless;
}

fn by_key(case: &mut Case) {
    case.by = By::Key;
}

/// A certificate is no key and a key no certificate, even where one holds the other.
const CONFUSION: &[Row] = &[
    row(
        31,
        "signed with a certificate, where the rule names its key",
        KEYS,
        by_certificate,
        UntrustedKey,
        "made with a certificate (keyless), but the rule names keys",
    ),
    row(
        31,
        "signed with a key, where the rule names the identity that has it",
        KEYLESS,
        by_key,
        UntrustedKey,
        "made with a key, but the rule names identities",
    ),
    row(
        31,
        "the certificate is taken out",
        KEYLESS,
        |c| c.edit = |signed, _| signed.without_certificate(),
        UntrustedKey,
        "made with a key, but the rule names identities",
    ),
    row(
        31,
        "the certificate is taken out, where the rule names its key",
        HASHED_KEYS,
        |c| {
            by_certificate(c);
            c.edit = |signed, _| signed.without_certificate();
        },
        NotInLog,
        "log: ",
    )
    .beside(by_key),
    row(
        31,
        "a certificate is put beside the signature of a key",
        KEYLESS,
        |c| {
            by_key(c);
            c.edit = |signed, case| {
                let keyless = Case { by: By::Keyless, edit: |signed, _| signed, ..case.clone() };
                signed.swap_certificate_with(&keyless.signed())
            };
        },
        NotInLog,
        "log: ",
    )
    .beside(by_certificate),
    row(
        31,
        "a stranger's key",
        KEYS,
        |c| c.key = STRANGER.clone(),
        UntrustedKey,
        "not made with a key of this rule (expected release)",
    ),
    row(
        31,
        "a stranger's key, no log looked at",
        KEYS,
        |c| c.key = STRANGER.clone(),
        UntrustedKey,
        "not made with a key of this rule (expected release)",
    )
    .given(|c| c.demand.tlog = Tlog::Off),
    row(
        31,
        "the certificate is taken out, where the rule names its key and the log a certificate",
        DSSE_KEYS,
        |c| {
            by_certificate(c);
            c.edit = |signed, _| signed.without_certificate();
        },
        NotInLog,
        "the log entry records another signer than the key",
    ),
];

/// Logged as an envelope.
const DSSE_KEYS: &[Shape] = &[(Form::Bundle03, By::Key)];
/// Logged as a hash.
const HASHED_KEYS: &[Shape] = &[(Form::Classic, By::Key), (Form::RekorV2, By::Key)];

/// What the rule says about logs.
const LOGS: &[Row] = &[
    row(
        3,
        "a key without a log entry, where one is required",
        KEYS_WITHOUT_LOG,
        |c| c.demand.tlog = Tlog::Required,
        NotInLog,
        "there is no transparency log entry",
    )
    .given(|c| c.edit = unlogged)
    .beside(|c| c.demand.tlog = Tlog::Optional),
    row(
        3,
        "a key without a log entry, where one is required and none is looked at elsewhere",
        KEYS_WITHOUT_LOG,
        |c| c.demand.tlog = Tlog::Required,
        NotInLog,
        "there is no transparency log entry",
    )
    .given(|c| c.edit = unlogged)
    .beside(|c| c.demand.tlog = Tlog::Off),
    row(
        3,
        "a key with the entry of another signature, where one is required",
        KEYS,
        |c| c.demand.tlog = Tlog::Required,
        NotInLog,
        "match",
    )
    .given(|c| c.edit = |signed, case| signed.swap_log_entry_with(&case.with_another_key().signed()))
    .beside(|c| c.demand.tlog = Tlog::Optional),
    row(
        3,
        "a key with a timestamp alone, where a log entry is required",
        &[(Form::Stamped, By::Key), (Form::RekorV2, By::Key)],
        |c| c.edit = |signed, _| signed.without_log_entry(),
        NotInLog,
        "there is no transparency log entry",
    ),
    row(
        3,
        "a certificate without a log entry, where one is optional",
        KEYLESS,
        |c| {
            c.edit = |signed, _| {
                let signed = signed.without_log_entry().without_timestamps();
                signed.timestamped_by(&SIGSTORE.timestamps, SIGNED_AT)
            };
        },
        NotInLog,
        "no transparency log entry",
    )
    .given(|c| c.demand.tlog = Tlog::Optional),
    row(
        3,
        "a certificate without a log entry, where none is looked at for keys",
        KEYLESS,
        |c| {
            c.edit = |signed, _| {
                let signed = signed.without_log_entry().without_timestamps();
                signed.timestamped_by(&SIGSTORE.timestamps, SIGNED_AT)
            };
        },
        NotInLog,
        "no transparency log entry",
    )
    .given(|c| c.demand.tlog = Tlog::Off),
    row(
        3,
        "a key, where the rule has no trusted root",
        KEYS,
        |c| c.roots.clear(),
        UntrustedCertificate,
        "the rule has no trusted root",
    ),
];

const KEYS_WITHOUT_LOG: &[Shape] = &[
    (Form::Classic, By::Key),
    (Form::Bundle02, By::Key),
    (Form::Bundle03, By::Key),
    (Form::Stamped, By::Key),
    (Form::RekorV2, By::Key),
];

/// Signed by a key and by an identity.
fn both(case: &mut Case) {
    case.trust([key(&RELEASE), workflow()]);
}

/// The same in the same form by the other kind of signer.
fn and_by_the_other(case: &mut Case) {
    let by = match case.by {
        By::Key => By::Keyless,
        By::Keyless => By::Key,
    };
    let other = Case { by, beside: vec![], ..case.clone() };
    case.beside.push(other.candidate());
}

const SIGNERS: &[Row] = &[
    row(
        31,
        "all of a key and an identity, by one of them",
        ALL,
        |c| c.demand.require = Require::All,
        MissingSigner,
        "not signed by ",
    )
    .given(both)
    .beside(|c| c.demand.require = Require::Any),
    row(31, "all of a key and an identity, by both", ALL, |_| {}, MissingSigner, "not signed by ")
        .given(|c| {
            both(c);
            c.demand.require = Require::All;
        })
        .beside(and_by_the_other),
    row(
        31,
        "all of a key and an identity, the second about another image",
        ALL,
        |c| {
            let by = if c.by == By::Key { By::Keyless } else { By::Key };
            let other = Case { by, beside: vec![], ..c.about(super::case::other()) };
            c.beside.push(other.candidate());
        },
        MissingSigner,
        "not signed by ",
    )
    .given(|c| {
        both(c);
        c.demand.require = Require::All;
    })
    .beside(and_by_the_other),
    row(31, "any of nobody", ALL, |c| c.demand.signers.clear(), UntrustedKey, "rule names").given(both),
];

fn only(case: &mut Case, classic: bool, bundle: bool) {
    case.demand.formats = Formats { classic, bundle };
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

const TERMS: &[Row] = &[
    row(
        25,
        "the classic layout, where only bundles count",
        CLASSIC,
        |c| only(c, false, true),
        FormatNotAccepted,
        "does not accept the classic layout",
    )
    .beside(|c| only(c, true, false)),
    row(
        25,
        "a bundle, where only the classic layout counts",
        BUNDLES,
        |c| only(c, true, false),
        FormatNotAccepted,
        "does not accept the bundle layout",
    )
    .beside(|c| only(c, false, true)),
    row(
        24,
        "older than the rule allows",
        ALL,
        |c| c.now = SIGNED_AT + DAY * 30 + SECOND,
        SignatureTooOld,
        "made at 2026-06-01T12:00:05Z, more than 30 days ago",
    )
    .given(|c| c.demand.max_signature_age = Some(DAY * 30))
    .beside(|c| c.now = SIGNED_AT + DAY * 30),
    row(
        24,
        "older than the week that the rule allows",
        KEYS,
        |c| c.now = SIGNED_AT + DAY * 7 + SECOND,
        SignatureTooOld,
        "more than 7 days ago",
    )
    .given(|c| c.demand.max_signature_age = Some(DAY * 7))
    .beside(|c| c.now = SIGNED_AT + DAY * 7),
    row(
        24,
        "older than the day and a half that the rule allows",
        KEYS,
        |c| c.now = SIGNED_AT + DAY + DAY / 2 + SECOND,
        SignatureTooOld,
        "more than 36h ago",
    )
    .given(|c| c.demand.max_signature_age = Some(DAY + DAY / 2))
    .beside(|c| c.now = SIGNED_AT + DAY + DAY / 2),
    row(
        24,
        "of unknown age, where the rule bounds it",
        &[(Form::RekorV2, By::Key)],
        |c| c.edit = |signed, _| signed.without_timestamps(),
        SignatureTooOld,
        "nothing proves when it was made",
    )
    .given(|c| c.demand.max_signature_age = Some(DAY * 30)),
    row(
        24,
        "of unknown age, as no log is looked at",
        KEYS,
        |c| c.demand.tlog = Tlog::Off,
        SignatureTooOld,
        "nothing proves when it was made",
    )
    .given(|c| c.demand.max_signature_age = Some(DAY * 30)),
];

/// What an honest signature of such a key would be accepted for, but for limits of the verifier that are documented
/// (`docs/decisions/0001`): refused, and with the same bytes by another kind of key allowed.
const KNOWN_LIMITS: &[Row] = &[
    row(
        31,
        "P-384 over SHA-256 in a logged bundle",
        &[(Form::Bundle03, By::Key), (Form::Stamped, By::Key)],
        |c| of_kind(c, KeyKind::P384Sha256),
        InvalidSignature,
        "signature: ",
    )
    .beside(|c| of_kind(c, KeyKind::P384)),
    row(
        31,
        "P-384 over SHA-384 in a logged classic signature",
        &[(Form::Classic, By::Key)],
        |c| of_kind(c, KeyKind::P384),
        InvalidSignature,
        "signature: ",
    )
    .beside(|c| of_kind(c, KeyKind::P384Sha256)),
    row(
        31,
        "P-384 in the second Rekor",
        &[(Form::RekorV2, By::Key)],
        |c| of_kind(c, KeyKind::P384),
        NotInLog,
        "expected `PKIX_ECDSA_P256_SHA_256`",
    ),
    row(
        31,
        "Ed25519 in the second Rekor",
        &[(Form::RekorV2, By::Key)],
        |c| of_kind(c, KeyKind::Ed25519),
        NotInLog,
        "expected `PKIX_ECDSA_P256_SHA_256`",
    ),
    row(
        31,
        "RSA in the second Rekor",
        &[(Form::RekorV2, By::Key)],
        |c| of_kind(c, KeyKind::Rsa2048),
        NotInLog,
        "expected `PKIX_ECDSA_P256_SHA_256`",
    ),
    row(
        31,
        "without a log all of them count",
        &[(Form::Classic, By::Key), (Form::Bundle03, By::Key), (Form::RekorV2, By::Key)],
        |c| c.key = STRANGER.clone(),
        UntrustedKey,
        "not made with a key of this rule",
    )
    .given(|c| {
        of_kind(c, KeyKind::P384Sha256);
        c.demand.tlog = Tlog::Off;
    }),
];

fn of_kind(case: &mut Case, kind: KeyKind) {
    case.key = Key::new(kind);
    case.trust([key(&case.key)]);
}

pub fn rows() -> Vec<Row> {
    [VALIDITY, CONFUSION, LOGS, SIGNERS, TERMS, KNOWN_LIMITS].concat()
}

#[test]
fn a_key_counts_in_its_time() {
    run(VALIDITY);
}

#[test]
fn a_key_is_no_certificate() {
    run(CONFUSION);
}

#[test]
fn a_log_is_asked_for_as_the_rule_says() {
    run(LOGS);
}

#[test]
fn all_of_the_signers_are_all() {
    run(SIGNERS);
}

#[test]
fn layouts_and_ages_are_asked_for_as_the_rule_says() {
    run(TERMS);
}

#[test]
fn known_limits_refuse() {
    run(KNOWN_LIMITS);
}
