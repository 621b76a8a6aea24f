//! Documents that cannot be read, or that two readers could read differently, whoever signed them.

use assay::trust::Reason::MalformedSignature;
use serde_json::{Value, json};

use super::case::subject;
use super::content::{changed, edited, subject_is};
use super::row::{ALL, BUNDLES, CLASSIC, Row, row, run};

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
        "a list of a signature's members in its place",
        BUNDLES,
        |c| {
            c.edit = |s, _| {
                s.edit_bundle(|b| {
                    let signature = &mut b["dsseEnvelope"]["signatures"][0];
                    *signature = json!([signature["sig"], ""]);
                })
            };
        },
        MalformedSignature,
        "`signatures` is a list where an object belongs",
    ),
    row(
        7,
        "a list of an object's members in its place",
        BUNDLES,
        |c| {
            c.edit = |s, _| {
                s.edit_bundle(|b| {
                    let id = &mut b["verificationMaterial"]["tlogEntries"][0]["logId"];
                    *id = json!([id["keyId"]]);
                })
            };
        },
        MalformedSignature,
        "`logId` is a list where an object belongs",
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
        |c| c.edit = |s, _| s.edit_bundle_text(|text| text.as_bytes()[..text.len() - 1].to_vec()),
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

pub fn rows() -> Vec<Row> {
    [UNREADABLE, BUNDLE_TEXTS].concat()
}

#[test]
fn what_cannot_be_read_is_no_signature() {
    run(UNREADABLE);
}

#[test]
fn a_bundle_says_one_thing() {
    run(BUNDLE_TEXTS);
}
