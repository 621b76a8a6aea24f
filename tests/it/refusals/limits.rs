//! More than is looked at (CVE-2023-46737, CVE-2024-45395 and their class): refused for that, and just below it allowed.

use assay::trust::Reason::{MalformedSignature, OverLimit, UntrustedCertificate};
use assay::trust::{BUNDLE_MAX, PAYLOAD_MAX, PROOFS_MAX, SUBJECTS_MAX};
use serde_json::{Value, json};

use super::case::{Case, other, subject};
use super::row::{BUNDLES, CLASSIC, KEYLESS, Row, row, run};
use crate::support::sigstore::{LOG_ANNOTATION, SIGNED_AT, SIGSTORE, San, Signed};

fn subjects(case: &mut Case, count: usize) {
    let mut subjects = vec![json!({ "digest": { "sha256": other().hex() } }); count - 1];
    subjects.push(json!({ "digest": { "sha256": subject().hex() } }));
    case.says.subject = subjects.into();
}

/// One subject, known by so many digests.
fn digests(case: &mut Case, count: usize) {
    let mut digests: serde_json::Map<String, Value> =
        (1..count).map(|n| (format!("other{n}"), json!(other().hex()))).collect();
    digests.insert("sha256".to_owned(), json!(subject().hex()));
    case.says.subject = json!([{ "digest": digests }]);
}

fn names(case: &mut Case, count: usize) {
    let more = (1..count).map(|n| San::Email(format!("{n}@acme.test")));
    case.request.names.extend(more);
}

fn stamped_times(signed: Signed, times: usize) -> Signed {
    signed.without_timestamps().timestamped_by(&SIGSTORE.timestamps, SIGNED_AT).repeat_timestamps(times)
}

/// White space behind the last brace belongs to the document.
fn padded(mut text: Vec<u8>, size: usize) -> Vec<u8> {
    assert!(text.len() <= size);
    text.resize(size, b' ');
    text
}

const COUNTS: &[Row] = &[
    row(
        10,
        "five log entries",
        BUNDLES,
        |c| c.edit = |s, _| s.repeat_log_entry(PROOFS_MAX + 1),
        OverLimit,
        "more than 4 log entries or timestamps",
    ),
    row(
        10,
        "33 log entries",
        BUNDLES,
        |c| c.edit = |s, _| s.repeat_log_entry(33),
        OverLimit,
        "more than 4 log entries or timestamps",
    ),
    row(
        10,
        "five timestamps",
        BUNDLES,
        |c| c.edit = |s, _| stamped_times(s, PROOFS_MAX + 1),
        OverLimit,
        "more than 4 log entries or timestamps",
    )
    .beside(|c| c.edit = |s, _| stamped_times(s, PROOFS_MAX)),
    row(
        10,
        "33 timestamps",
        BUNDLES,
        |c| c.edit = |s, _| stamped_times(s, 33),
        OverLimit,
        "more than 4 log entries or timestamps",
    ),
    row(10, "65 subjects", BUNDLES, |c| subjects(c, SUBJECTS_MAX + 1), OverLimit, "65 subjects, more than 64")
        .beside(|c| subjects(c, SUBJECTS_MAX)),
    row(10, "1025 subjects", BUNDLES, |c| subjects(c, 1025), OverLimit, "1025 subjects, more than 64"),
    row(10, "33 digests of one subject", BUNDLES, |c| digests(c, 33), OverLimit, "33 digests")
        .beside(|c| digests(c, 32)),
    row(
        10,
        "17 names in a certificate",
        KEYLESS,
        |c| names(c, 17),
        UntrustedCertificate,
        "17 subject alternative names, more than 16",
    )
    .beside(|c| names(c, 16)),
];

const SIZES: &[Row] = &[
    row(
        9,
        "a bundle of more than 4 MiB",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle_text(|text| padded(text.into_bytes(), BUNDLE_MAX + 1)),
        OverLimit,
        "4194305 bytes, more than 4194304",
    )
    .beside(|c| c.edit = |s, _| s.edit_bundle_text(|text| padded(text.into_bytes(), BUNDLE_MAX))),
    row(
        9,
        "a payload of more than 64 KiB",
        CLASSIC,
        |c| c.written = |text| padded(text.to_vec(), PAYLOAD_MAX + 1),
        OverLimit,
        "65537 bytes, more than 65536",
    )
    .beside(|c| c.written = |text| padded(text.to_vec(), PAYLOAD_MAX)),
    row(
        9,
        "an annotation of more than 128 KiB",
        CLASSIC,
        |c| c.edit = |signed, _| signed_with_long_annotation(signed, 128 * 1024 + 1),
        OverLimit,
        "annotation `dev.sigstore.cosign/bundle` has 131073 bytes, more than 131072",
    )
    .beside(|c| c.edit = |signed, _| signed_with_long_annotation(signed, 128 * 1024)),
    row(
        10,
        "a bundle nested too deep",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle_text(|text| nested(&text, 1000)),
        MalformedSignature,
        "deep",
    ),
    row(
        10,
        "annotations nested too deep",
        CLASSIC,
        |c| {
            c.edit = |signed, _| {
                let text = signed.stored().annotations[LOG_ANNOTATION].clone();
                signed.annotation(LOG_ANNOTATION, &String::from_utf8(nested(&text, 1000)).unwrap())
            };
        },
        MalformedSignature,
        "deep",
    ),
];

/// The log entry with room between two members.
fn signed_with_long_annotation(signed: Signed, size: usize) -> Signed {
    let text = signed.stored().annotations[LOG_ANNOTATION].clone();
    let room = " ".repeat(size - text.len());
    signed.annotation(LOG_ANNOTATION, &text.replacen('{', &format!("{{{room}"), 1))
}

fn nested(text: &str, depth: usize) -> Vec<u8> {
    text.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(depth), "]".repeat(depth)), 1).into_bytes()
}

pub fn rows() -> Vec<Row> {
    [COUNTS, SIZES].concat()
}

#[test]
fn numbers_are_bounded() {
    run(COUNTS);
}

#[test]
fn sizes_are_bounded() {
    run(SIZES);
}

/// Nobody signed for it, and it would stand in every message and record.
#[test]
fn what_a_stranger_wrote_is_quoted_in_part() {
    let long = "x".repeat(300_000).leak();
    for shape in BUNDLES {
        let mut case = Case::honest(*shape);
        case.payload_type = long;
        let (code, detail) = case.outcome().unwrap_err();
        assert_eq!(code, "NOT_A_SIGNATURE");
        assert!(detail.contains("payload type: found `xxx") && detail.chars().count() < 2100, "{} bytes", detail.len());
    }
}
