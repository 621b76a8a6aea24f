//! What is signed: about something else, or no signature at all.

use assay::trust::Reason::{MalformedSignature, NoSignature, NotASignature, OverLimit, WrongAnnotation, WrongSubject};
use assay::trust::{Found, Looked};
use serde_json::{Value, json};

use super::case::{Case, Form, IMAGE, PROVENANCE, nothing_at, other, platform, subject};
use super::row::{ALL, BUNDLES, CLASSIC, KEY_BUNDLES, KEYLESS_BUNDLES, Row, row, run};

fn about(case: &mut Case, digest: assay::oci::Digest) {
    *case = case.about(digest);
}

pub fn subject_is(case: &mut Case, subject: Value) {
    case.says.subject = subject;
}

pub fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

pub fn changed(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = serde_json::from_slice(bytes).unwrap();
    change(&mut json);
    json.to_string().into_bytes()
}

/// Signed by the right person as a signature of something that is none (CVE-2022-35929).
const NO_SIGNATURES: &[Row] = &[
    row(
        5,
        "provenance by the right signer",
        BUNDLES,
        |c| c.attest(PROVENANCE, json!({ "buildDefinition": {} })),
        NotASignature,
        "found `https://slsa.dev/provenance/v1`, expected `https://sigstore.dev/cosign/sign/v1`",
    ),
    row(
        5,
        "a bill of materials by the right signer",
        BUNDLES,
        |c| c.attest("https://spdx.dev/Document", json!({ "SPDXID": "SPDXRef-DOCUMENT" })),
        NotASignature,
        "found `https://spdx.dev/Document`",
    ),
    row(
        5,
        "a predicate type in other case",
        BUNDLES,
        |c| c.says.predicate_type = "https://sigstore.dev/Cosign/Sign/v1".to_owned(),
        NotASignature,
        "found `https://sigstore.dev/Cosign/Sign/v1`",
    ),
    row(5, "no predicate type", BUNDLES, |c| c.says.predicate_type = String::new(), NotASignature, "found ``"),
    row(
        5,
        "a statement of a version that nobody knows",
        BUNDLES,
        |c| c.says.statement_type = "https://in-toto.io/Statement/v9".to_owned(),
        NotASignature,
        "found `https://in-toto.io/Statement/v9`",
    ),
    row(
        5,
        "a signature in a statement of the old version",
        BUNDLES,
        |c| c.says.statement_type = "https://in-toto.io/Statement/v0.1".to_owned(),
        NotASignature,
        "found `https://in-toto.io/Statement/v0.1`",
    ),
    row(
        5,
        "an envelope of another type",
        KEY_BUNDLES,
        |c| c.payload_type = "application/json",
        NotASignature,
        "found `application/json`, expected `application/vnd.in-toto+json`",
    ),
    row(
        5,
        "an envelope of another type, with a certificate",
        KEYLESS_BUNDLES,
        |c| c.payload_type = "application/json",
        NotASignature,
        "application/json",
    ),
    row(
        5,
        "a payload of another type",
        CLASSIC,
        |c| c.written = |bytes| edited(bytes, "cosign container image signature", "atomic container signature"),
        NotASignature,
        "found `atomic container signature`, expected `cosign container image signature`",
    ),
    row(
        5,
        "a bundle that signs plain bytes",
        BUNDLES,
        |c| {
            c.edit = |signed, case| {
                let bytes = IMAGE.index.bytes.to_vec();
                let by = case.signatory();
                let message = crate::support::sigstore::Signed::message(&by, bytes).laid_out(signed.layout);
                let log = match case.form {
                    Form::RekorV2 => &case.sigstore.rekor_v2,
                    _ => &case.sigstore.rekor_v1,
                };
                message
                    .logged_by(&log.restarted(), case.logged_at)
                    .timestamped_by(&case.sigstore.timestamps, case.stamped_at)
            };
        },
        NotASignature,
        "signs plain bytes",
    ),
    row(
        5,
        "nothing at all",
        ALL,
        |c| {
            c.found = Some(vec![]);
            c.looked_at = vec![nothing_at("referrers"), nothing_at("tag .sig")];
        },
        NoSignature,
        "no signature found (looked at: referrers, tag .sig)",
    ),
    row(
        8,
        "nothing among what was read",
        ALL,
        |c| {
            c.found = Some(vec![]);
            let over = Found::OverLimit("only the first 32 referrers are looked at".to_owned());
            c.looked_at = vec![Looked { place: "referrers".to_owned(), found: over }];
        },
        OverLimit,
        "referrers: only the first 32 referrers are looked at",
    ),
];

/// Validly signed, about something else.
const SUBJECTS: &[Row] = &[
    row(26, "another image", ALL, |c| about(c, other()), WrongSubject, "signed is {other}, asked is {subject}"),
    row(
        26,
        "a platform of the index",
        ALL,
        |c| about(c, IMAGE.platforms[0].manifest.digest),
        WrongSubject,
        "signed is {platform}, asked is {subject}",
    ),
    row(
        26,
        "the index, where the platform is asked for",
        ALL,
        |c| about(c, subject()),
        WrongSubject,
        "signed is {subject}, asked is {platform}",
    )
    .given(|c| c.asked = platform())
    .beside(|c| about(c, IMAGE.platforms[0].manifest.digest)),
    row(
        26,
        "its digest in capitals",
        BUNDLES,
        |c| subject_is(c, json!([{ "digest": { "sha256": subject().hex().to_uppercase() } }])),
        WrongSubject,
        "signed is sha256:",
    ),
    row(
        26,
        "its digest in capitals, in a payload",
        CLASSIC,
        |c| c.written = |t| edited(t, &subject().hex(), &subject().hex().to_uppercase()),
        WrongSubject,
        "signed is sha256:",
    ),
    row(
        26,
        "its digest with the algorithm in front",
        BUNDLES,
        |c| subject_is(c, json!([{ "digest": { "sha256": subject().to_string() } }])),
        MalformedSignature,
        "invalid hex",
    ),
    row(
        26,
        "its digest without the algorithm, in a payload",
        CLASSIC,
        |c| c.written = |t| edited(t, "sha256:", ""),
        WrongSubject,
        "asked is {subject}",
    ),
    row(
        26,
        "its digest beside one of another algorithm that is no digest",
        BUNDLES,
        |c| subject_is(c, json!([{ "digest": { "sha256": subject().hex(), "sha1": "xy" } }])),
        MalformedSignature,
        "a digest of a subject is not hexadecimal",
    )
    .beside(|c| subject_is(c, json!([{ "digest": { "sha256": subject().hex(), "sha1": "00ff" } }]))),
    row(
        26,
        "its digest as another algorithm's",
        BUNDLES,
        |c| subject_is(c, json!([{ "digest": { "sha512": subject().hex() } }])),
        MalformedSignature,
        "SHA-512 hash must be 64 bytes, got 32",
    ),
    row(
        26,
        "its digest as a name",
        BUNDLES,
        |c| subject_is(c, json!([{ "name": subject().to_string(), "digest": { "sha256": other().hex() } }])),
        WrongSubject,
        "signed is {other}",
    )
    .beside(|c| subject_is(c, json!([{ "name": other().to_string(), "digest": { "sha256": subject().hex() } }]))),
    row(
        26,
        "none of two subjects",
        BUNDLES,
        |c| {
            let named = IMAGE.platforms[0].manifest.digest;
            subject_is(c, json!([{ "digest": { "sha256": other().hex() } }, { "digest": { "sha256": named.hex() } }]));
        },
        WrongSubject,
        "signed is {other}",
    )
    .beside(|c| {
        subject_is(c, json!([{ "digest": { "sha256": other().hex() } }, { "digest": { "sha256": subject().hex() } }]));
    }),
];

/// What cosign's `-a` writes.
const ANNOTATIONS: &[Row] = &[
    row(26, "an annotation that is not there", ALL, |_| {}, WrongAnnotation, "`env`: found nothing, expected `prod`")
        .given(|c| drop(c.demand.annotations.insert("env".to_owned(), "prod".to_owned())))
        .beside(|c| annotated(c, json!({ "env": "prod" }))),
    row(
        26,
        "an annotation that says something else",
        ALL,
        |c| annotated(c, json!({ "env": "test" })),
        WrongAnnotation,
        "`env`: found `test`, expected `prod`",
    )
    .given(|c| drop(c.demand.annotations.insert("env".to_owned(), "prod".to_owned())))
    .beside(|c| annotated(c, json!({ "env": "prod", "other": "x" }))),
    row(
        26,
        "an annotation that is no text",
        ALL,
        |c| annotated(c, json!({ "env": ["prod"] })),
        WrongAnnotation,
        "`env`: found nothing, expected `prod`",
    )
    .given(|c| drop(c.demand.annotations.insert("env".to_owned(), "prod".to_owned())))
    .beside(|c| annotated(c, json!({ "env": "prod" }))),
    row(
        26,
        "one annotation of two",
        ALL,
        |c| annotated(c, json!({ "env": "prod" })),
        WrongAnnotation,
        "`team`: found nothing, expected `core`",
    )
    .given(|c| {
        c.demand.annotations.insert("env".to_owned(), "prod".to_owned());
        c.demand.annotations.insert("team".to_owned(), "core".to_owned());
    })
    .beside(|c| annotated(c, json!({ "env": "prod", "team": "core" }))),
    row(
        26,
        "an annotation of another subject",
        BUNDLES,
        |c| {
            let theirs = json!({ "digest": { "sha256": other().hex() }, "annotations": { "env": "prod" } });
            subject_is(c, json!([theirs, { "digest": { "sha256": subject().hex() } }]));
        },
        WrongAnnotation,
        "`env`: found nothing, expected `prod`",
    )
    .given(|c| drop(c.demand.annotations.insert("env".to_owned(), "prod".to_owned())))
    .beside(|c| annotated(c, json!({ "env": "prod" }))),
];

fn annotated(case: &mut Case, annotations: Value) {
    case.says.subject[0]["annotations"] = annotations.clone();
    case.payload = changed(&case.payload, |payload| payload["optional"] = annotations);
}

pub fn rows() -> Vec<Row> {
    [NO_SIGNATURES, SUBJECTS, ANNOTATIONS].concat()
}

#[test]
fn what_is_no_signature_counts_as_none() {
    run(NO_SIGNATURES);
}

#[test]
fn a_signature_is_about_what_it_names() {
    run(SUBJECTS);
}

#[test]
fn annotations_must_be_signed() {
    run(ANNOTATIONS);
}
