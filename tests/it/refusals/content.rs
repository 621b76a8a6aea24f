//! What is signed: unreadable, about something else, no signature at all, or signed by too many or by nobody.

use assay::trust::Reason::{MalformedSignature, NoSignature, NotASignature, OverLimit, WrongAnnotation, WrongSubject};
use assay::trust::{Found, Looked};
use serde_json::{Value, json};

use super::case::{Case, Form, IMAGE, PROVENANCE, nothing_at, other, platform, subject};
use super::row::{ALL, BUNDLES, CLASSIC, KEY_BUNDLES, KEYLESS_BUNDLES, Row, row, run};

fn about(case: &mut Case, digest: assay::oci::Digest) {
    *case = case.about(digest);
}

fn subject_is(case: &mut Case, subject: Value) {
    case.says.subject = subject;
}

fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

fn changed(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
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

/// Signed by the right person, and unreadable or read in two ways (CVE-2026-39395).
const UNREADABLE: &[Row] = &[
    row(7, "no JSON", ALL, |c| c.written = |_| b"signed!".to_vec(), MalformedSignature, "expected value"),
    row(7, "empty", ALL, |c| c.written = |_| Vec::new(), MalformedSignature, "EOF while parsing"),
    row(7, "null", ALL, |c| c.written = |_| b"null".to_vec(), MalformedSignature, "null"),
    row(7, "an empty object", ALL, |c| c.written = |_| b"{}".to_vec(), MalformedSignature, "missing field"),
    row(
        7,
        "a list of it",
        ALL,
        |c| c.written = |t| [b"[", t, b"]"].concat(),
        MalformedSignature,
        "invalid|unknown field `critical`",
    ),
    row(7, "cut short", ALL, |c| c.written = |t| t[..t.len() - 1].to_vec(), MalformedSignature, "EOF while parsing"),
    row(7, "cut in half", ALL, |c| c.written = |t| t[..t.len() / 2].to_vec(), MalformedSignature, "EOF while parsing"),
    row(
        7,
        "a byte-order mark",
        ALL,
        |c| c.written = |t| [b"\xef\xbb\xbf", t].concat(),
        MalformedSignature,
        "expected value",
    ),
    row(
        7,
        "something behind it",
        ALL,
        |c| c.written = |t| [t, b"{}"].concat(),
        MalformedSignature,
        "trailing characters",
    ),
    row(
        7,
        "no UTF-8",
        ALL,
        |c| c.written = |t| [b"{\"x\":\"\xff\",", &t[1..]].concat(),
        MalformedSignature,
        "not UTF-8",
    ),
    row(
        7,
        "a member twice",
        ALL,
        |c| c.written = |t| [b"{\"x\":1,\"x\":2,", &t[1..]].concat(),
        MalformedSignature,
        "`x`",
    ),
    row(
        7,
        "nested too deep",
        ALL,
        |c| c.written = |t| [b"{\"x\":", &b"[".repeat(40)[..], &b"]".repeat(40), b",", &t[1..]].concat(),
        MalformedSignature,
        "deep",
    ),
    row(
        7,
        "no subject",
        BUNDLES,
        |c| c.written = |t| changed(t, |s| drop(s.as_object_mut().unwrap().remove("subject"))),
        MalformedSignature,
        "missing field `subject`",
    ),
    row(7, "the subject is null", BUNDLES, |c| subject_is(c, Value::Null), MalformedSignature, "null"),
    row(
        7,
        "the subject is an object",
        BUNDLES,
        |c| subject_is(c, json!({ "digest": { "sha256": subject().hex() } })),
        MalformedSignature,
        "map",
    ),
    row(
        7,
        "a subject without digest",
        BUNDLES,
        |c| subject_is(c, json!([{ "name": "app" }])),
        MalformedSignature,
        "missing field `digest`",
    ),
    row(
        7,
        "a digest that is null",
        BUNDLES,
        |c| subject_is(c, json!([{ "digest": null }])),
        MalformedSignature,
        "null",
    ),
    row(
        7,
        "a digest that is a number",
        BUNDLES,
        |c| subject_is(c, json!([{ "digest": { "sha256": 7 } }])),
        MalformedSignature,
        "integer",
    ),
    row(
        7,
        "no subjects",
        BUNDLES,
        |c| subject_is(c, json!([])),
        MalformedSignature,
        "in-toto statement has no subjects",
    ),
    row(
        7,
        "the subject twice",
        BUNDLES,
        |c| c.written = |t| edited(t, r#""subject":["#, r#""subject":[],"subject":["#),
        MalformedSignature,
        "`subject`",
    ),
    row(
        7,
        "the subject in another spelling beside it",
        BUNDLES,
        |c| c.written = |t| edited(t, r#""subject":["#, r#""Subject":[],"subject":["#),
        MalformedSignature,
        "ubject`",
    ),
    row(
        7,
        "critical is null",
        CLASSIC,
        |c| c.written = |t| changed(t, |p| p["critical"] = Value::Null),
        MalformedSignature,
        "null",
    ),
    row(
        7,
        "no image",
        CLASSIC,
        |c| c.written = |t| changed(t, |p| drop(p["critical"].as_object_mut().unwrap().remove("image"))),
        MalformedSignature,
        "missing field `image`",
    ),
    row(
        7,
        "an unknown member of critical",
        CLASSIC,
        |c| c.written = |t| changed(t, |p| p["critical"]["x"] = json!(1)),
        MalformedSignature,
        "unknown field `x`",
    )
    .beside(|c| c.written = |t| changed(t, |p| p["optional"] = json!({ "x": 1 }))),
    row(
        7,
        "the digest twice",
        CLASSIC,
        |c| {
            c.written = |t| {
                edited(t, r#""docker-manifest-digest":"#, r#""docker-manifest-digest":"x","docker-manifest-digest":"#)
            }
        },
        MalformedSignature,
        "docker-manifest-digest",
    ),
    row(
        7,
        "the digest is a list",
        CLASSIC,
        |c| c.written = |t| changed(t, |p| p["critical"]["image"]["docker-manifest-digest"] = json!([subject()])),
        MalformedSignature,
        "sequence",
    ),
];

/// Bundles and envelopes that say more, less or something else than they should.
const BUNDLE_TEXTS: &[Row] = &[
    row(17, "no DSSE signature", BUNDLES, |c| c.edit = |s, _| s.without_signatures(), MalformedSignature, "found 0"),
    row(17, "two DSSE signatures", BUNDLES, |c| c.edit = |s, _| s.repeat_signature(), MalformedSignature, "found 2"),
    row(
        17,
        "two DSSE signatures, the first good",
        BUNDLES,
        |c| {
            c.edit = |mut signed, _| {
                signed.signatures.push(vec![1]);
                signed
            };
        },
        MalformedSignature,
        "found 2",
    ),
    row(
        17,
        "two DSSE signatures, the second good",
        BUNDLES,
        |c| {
            c.edit = |mut signed, _| {
                signed.signatures.insert(0, vec![1]);
                signed
            };
        },
        MalformedSignature,
        "found 2",
    ),
    row(
        7,
        "an unknown member of the bundle",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle(|b| b["unknown"] = json!(1)),
        MalformedSignature,
        "unknown",
    ),
    row(
        7,
        "an unknown member of the verification material",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle(|b| b["verificationMaterial"]["unknown"] = json!(1)),
        MalformedSignature,
        "unknown",
    ),
    row(
        7,
        "an unknown member of a log entry",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle(|b| b["verificationMaterial"]["tlogEntries"][0]["unknown"] = json!(1)),
        MalformedSignature,
        "unknown",
    ),
    row(
        7,
        "an unknown member of an inclusion proof",
        BUNDLES,
        |c| {
            c.edit = |s, _| {
                s.edit_bundle(|b| b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["unknown"] = json!(1))
            };
        },
        MalformedSignature,
        "unknown",
    ),
    row(
        7,
        "an unknown member of the envelope",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle(|b| b["dsseEnvelope"]["unknown"] = json!(1)),
        MalformedSignature,
        "unknown",
    ),
    row(
        7,
        "an unknown member of the envelope's signature",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle(|b| b["dsseEnvelope"]["signatures"][0]["unknown"] = json!(1)),
        MalformedSignature,
        "unknown",
    ),
    row(
        7,
        "a member of the bundle twice",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle_text(|text| text.replacen('{', r#"{"dsseEnvelope":{},"#, 1).into_bytes()),
        MalformedSignature,
        "`dsseEnvelope`",
    ),
    row(
        7,
        "a member of the bundle in another spelling beside it",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle_text(|text| text.replacen('{', r#"{"DsseEnvelope":{},"#, 1).into_bytes()),
        MalformedSignature,
        "sseEnvelope`",
    ),
    row(
        7,
        "something behind the bundle",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle_text(|text| format!("{text}{{}}").into_bytes()),
        MalformedSignature,
        "trailing characters",
    )
    .beside(|c| c.edit = |s, _| s.edit_bundle_text(|text| format!("{text}\n").into_bytes())),
    row(
        7,
        "the bundle is cut short",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle_text(|text| text[..text.len() - 1].as_bytes().to_vec()),
        MalformedSignature,
        "EOF while parsing",
    ),
    row(
        31,
        "a certificate and a key",
        BUNDLES,
        |c| {
            c.edit = |s, _| {
                s.edit_bundle(|b| {
                    let material = &mut b["verificationMaterial"];
                    match material["publicKey"].is_null() {
                        true => material["publicKey"] = json!({ "hint": "" }),
                        false => material["certificate"] = json!({ "rawBytes": "MIIB" }),
                    }
                })
            };
        },
        MalformedSignature,
        "it has to have one of `publicKey`, `certificate`, `x509CertificateChain`",
    ),
    row(
        31,
        "neither a certificate nor a key",
        BUNDLES,
        |c| {
            c.edit = |s, _| {
                s.edit_bundle(|b| {
                    let material = b["verificationMaterial"].as_object_mut().unwrap();
                    material.retain(|name, _| {
                        !["publicKey", "certificate", "x509CertificateChain"].contains(&name.as_str())
                    });
                })
            };
        },
        MalformedSignature,
        "it has to have one of `publicKey`, `certificate`, `x509CertificateChain`",
    ),
    row(
        7,
        "an envelope and a message signature",
        BUNDLES,
        |c| c.edit = |s, _| s.edit_bundle(|b| b["messageSignature"] = json!({ "signature": "MEUC" })),
        MalformedSignature,
        "it has to have one of `dsseEnvelope`, `messageSignature`",
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
    [NO_SIGNATURES, UNREADABLE, BUNDLE_TEXTS, SUBJECTS, ANNOTATIONS].concat()
}

#[test]
fn what_is_no_signature_counts_as_none() {
    run(NO_SIGNATURES);
}

#[test]
fn what_cannot_be_read_is_no_signature() {
    run(UNREADABLE);
}

#[test]
fn a_bundle_says_one_thing() {
    run(BUNDLE_TEXTS);
}

#[test]
fn a_signature_is_about_what_it_names() {
    run(SUBJECTS);
}

#[test]
fn annotations_must_be_signed() {
    run(ANNOTATIONS);
}
