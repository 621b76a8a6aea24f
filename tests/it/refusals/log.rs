//! Log entries: of another signature, of another log, of no log, or told something else than what is shown.

use std::sync::LazyLock;

use assay::demo::BUNDLE_TYPE;
use assay::trust::Reason::{
    InvalidSignature, MalformedSignature, MissingSigner, NoSigningTime, NotInLog, UntrustedKey,
};
use assay::trust::{Matcher, Require};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::case::{By, Case, Form, RELEASE, SECOND, STRANGER, identity, other, subject};
use super::row::{ALL, BUNDLES, BUNDLES_V1, HASHED, KEYLESS, KEYS, Row, TIMESTAMPED, TIMESTAMPED_KEYS, row, run};
use crate::support::sigstore::{
    ACCOUNTS, CertificateRequest, EntryKind, OTHER_SIGSTORE, SIGNED_AT, SIGSTORE, Signatory,
};

/// Somebody else with the same identity.
static OTHER_CERTIFICATE: LazyLock<Signatory> = LazyLock::new(|| {
    SIGSTORE.issue(&CertificateRequest::github("acme/app", "release.yml", "refs/tags/v1.0.0").key(&STRANGER))
});

/// Where kinds of entries say what: the hash, the signature, and who made it.
fn places(body: &Value) -> [&'static str; 3] {
    match (body["kind"].as_str().unwrap(), body["apiVersion"].as_str().unwrap()) {
        ("hashedrekord", "0.0.1") => {
            ["/spec/data/hash/value", "/spec/signature/content", "/spec/signature/publicKey/content"]
        }
        ("hashedrekord", _) => [
            "/spec/hashedRekordV002/data/digest",
            "/spec/hashedRekordV002/signature/content",
            "/spec/hashedRekordV002/signature/verifier",
        ],
        ("dsse", _) => ["/spec/payloadHash/value", "/spec/signatures/0/signature", "/spec/signatures/0/verifier"],
        _ => [
            "/spec/content/payloadHash/value",
            "/spec/content/envelope/signatures/0/sig",
            "/spec/content/envelope/signatures/0/publicKey",
        ],
    }
}

fn tell(body: &mut Value, place: usize, change: impl FnOnce(&Value) -> Value) {
    let place = places(body)[place];
    let told = body.pointer_mut(place).unwrap();
    *told = change(told);
}

fn another_hash(body: &mut Value) {
    tell(body, 0, |told| match told.as_str().unwrap().len() {
        64 => json!(other().hex()),
        _ => json!(STANDARD.encode(hex::decode(other().hex()).unwrap())),
    });
}

fn another_signature(body: &mut Value) {
    let twice = body["kind"] == "intoto";
    let signature = STANDARD.encode(RELEASE.sign(b"something else"));
    tell(body, 1, |_| json!(if twice { STANDARD.encode(signature) } else { signature }));
}

fn another_signer(body: &mut Value) {
    tell(body, 2, |told| match told {
        Value::Object(of_v2) => {
            let mut told = told.clone();
            let (kind, der) = match of_v2.contains_key("x509Certificate") {
                true => ("x509Certificate", OTHER_CERTIFICATE.certificate.clone().unwrap()),
                false => ("publicKey", STRANGER.public_der()),
            };
            told[kind]["rawBytes"] = json!(STANDARD.encode(der));
            told
        }
        pem => {
            let decoded = STANDARD.decode(pem.as_str().unwrap()).unwrap();
            let of_certificate = String::from_utf8(decoded).unwrap().contains("CERTIFICATE");
            let pem = OTHER_CERTIFICATE.certificate_pem().filter(|_| of_certificate);
            json!(STANDARD.encode(pem.unwrap_or_else(|| STRANGER.public_pem())))
        }
    });
}

fn entries_of(case: &mut Case) {
    case.edit = |signed, case| signed.swap_log_entry_with(&case.about(other()).signed());
}

fn entries_of_another_key(case: &mut Case) {
    case.edit = |signed, case| signed.swap_log_entry_with(&case.with_another_key().signed());
}

fn by_both(case: &mut Case) {
    case.trust([identity_of("release@acme.test"), identity_of("second@acme.test")]);
    case.demand.require = Require::All;
    case.request = CertificateRequest::email("release@acme.test");
}

fn identity_of(address: &str) -> assay::trust::Signer {
    identity(Matcher::exact(ACCOUNTS), Matcher::exact(address))
}

/// Entries of other signatures (CVE-2022-23649, CVE-2022-36056, CVE-2026-22703).
const SWAPPED: &[Row] = &[
    row(1, "the entry of another signature by the same certificate", KEYLESS, entries_of, NotInLog, "log: ").but(
        HASHED,
        NotInLog,
        "hash mismatch for hashedrekord entry",
    ),
    row(
        1,
        "the entry of a second signature over the same, by the same certificate",
        KEYLESS,
        |c| {
            c.edit = |signed, case| {
                let mut again = case.clone();
                again.edit = |signed, _| signed;
                // ECDSA never gives the same twice.
                signed.swap_log_entry_with(&again.signed())
            };
        },
        NotInLog,
        "match",
    ),
    row(1, "the entry of another certificate", KEYLESS, entries_of_another_key, NotInLog, "match"),
    row(
        1,
        "the entry of another certificate, a second later",
        KEYLESS,
        |c| {
            c.edit = |signed, case| {
                let mut later = case.with_another_key();
                later.logged_at = SIGNED_AT + SECOND;
                later.request = later.request.issued_at(SIGNED_AT);
                signed.swap_log_entry_with(&later.signed())
            };
        },
        NotInLog,
        "match",
    ),
    row(3, "the entry of another signature by the same key", KEYS, entries_of, NotInLog, "log: ").but(
        HASHED,
        NotInLog,
        "hash mismatch for hashedrekord entry",
    ),
    row(3, "the entry of another key", KEYS, entries_of_another_key, NotInLog, "match"),
    row(
        3,
        "the entry of a keyless signature",
        KEYS,
        |c| {
            c.edit = |signed, case| {
                let mut keyless = case.clone();
                keyless.by = By::Keyless;
                signed.swap_log_entry_with(&keyless.signed())
            };
        },
        NotInLog,
        "log: ",
    ),
];

/// Each entry must be of this signature: a second one could lend its time.
const MIXED: &[Row] = &[
    row(
        3,
        "an entry of another signature behind the good one",
        BUNDLES,
        |c| {
            c.edit = |mut signed, case| {
                signed.entries.extend(case.with_another_key().signed().entries);
                signed
            };
        },
        NotInLog,
        "match",
    ),
    row(
        3,
        "an entry of another signature before the good one",
        BUNDLES,
        |c| {
            c.edit = |mut signed, case| {
                signed.entries.splice(..0, case.with_another_key().signed().entries);
                signed
            };
        },
        NotInLog,
        "match",
    ),
    row(
        16,
        "an entry of a log that nobody knows behind the good one",
        BUNDLES,
        |c| {
            c.edit = |signed, case| match case.form {
                Form::RekorV2 => {
                    signed.logged_as(EntryKind::HashedRekord002, &OTHER_SIGSTORE.rekor_v2.restarted(), SIGNED_AT)
                }
                _ => signed.logged_as(EntryKind::Dsse001, &OTHER_SIGSTORE.rekor_v1.restarted(), SIGNED_AT),
            };
        },
        NotInLog,
        "log: ",
    ),
];

/// The log promised and proved, and what it was told is something else.
const TOLD: &[Row] = &[
    row(2, "another hash in the entry", ALL, |c| c.told = another_hash, NotInLog, "mismatch").but(
        HASHED,
        NotInLog,
        "hash mismatch for hashedrekord entry",
    ),
    row(2, "another signature in the entry", ALL, |c| c.told = another_signature, NotInLog, "does not match"),
    row(2, "another signer in the entry", ALL, |c| c.told = another_signer, NotInLog, "does not match"),
    row(2, "another hash in an intoto entry", BUNDLES_V1, |c| c.told = another_hash, NotInLog, "does not match")
        .given(|c| c.kind = Some(EntryKind::Intoto002)),
    row(
        2,
        "another signature in an intoto entry",
        BUNDLES_V1,
        |c| c.told = another_signature,
        NotInLog,
        "does not match",
    )
    .given(|c| c.kind = Some(EntryKind::Intoto002)),
    row(2, "another signer in an intoto entry", BUNDLES_V1, |c| c.told = another_signer, NotInLog, "does not match")
        .given(|c| c.kind = Some(EntryKind::Intoto002)),
    row(
        2,
        "the entry's text is changed afterwards",
        ALL,
        |c| c.edit = |signed, _| signed.edit_log_body(|body| body["spec"]["x"] = json!(1)),
        NotInLog,
        "SET verification failed|root hash mismatch|Merkle",
    ),
    row(15, "no hash in the entry", ALL, |c| c.told = |body| tell(body, 0, |_| json!("")), NotInLog, "log: "),
    row(
        15,
        "an empty signature in the entry",
        ALL,
        |c| c.told = |body| tell(body, 1, |_| json!("")),
        NotInLog,
        "log: ",
    ),
    row(
        15,
        "an entry version that nobody knows",
        ALL,
        |c| {
            c.told = |body| body["apiVersion"] = json!("0.0.9");
            c.edit = |signed, _| signed.edit_entry(|entry| entry.version = "0.0.9".to_owned());
        },
        MalformedSignature,
        "unsupported Rekor entry format: ",
    ),
    row(
        15,
        "an entry kind that nobody knows",
        ALL,
        |c| {
            c.told = |body| body["kind"] = json!("rekord");
            c.edit = |signed, _| signed.edit_entry(|entry| entry.kind = "rekord".to_owned());
        },
        MalformedSignature,
        "unsupported Rekor entry format: rekord",
    ),
    row(
        15,
        "the bundle says another version than the entry",
        BUNDLES,
        |c| c.edit = |signed, _| signed.edit_entry(|entry| entry.version = "0.0.9".to_owned()),
        MalformedSignature,
        "unsupported Rekor entry format: ",
    ),
    row(
        15,
        "a bundle version that nobody knows",
        BUNDLES,
        |c| {
            c.edit =
                |signed, _| signed.edit_bundle(|bundle| bundle["mediaType"] = json!(BUNDLE_TYPE.replace("0.3", "0.9")));
        },
        MalformedSignature,
        "0.9|media type",
    ),
];

const NOBODYS: &str = "signature: not made with a key of this rule";
const STAMP_OF_ANOTHER: &str = "Timestamp message hash mismatch";

/// Parts of an honest signature beside something else.
const COPIED: &[Row] = &[
    row(
        4,
        "the payload is rewritten to this image under the original signature",
        ALL,
        rewritten,
        InvalidSignature,
        "signature: ",
    )
    .but(KEYS, UntrustedKey, NOBODYS)
    .given(|c| *c = c.about(other()))
    .beside(|c| *c = c.about(subject())),
    row(
        4,
        "a broken signature",
        ALL,
        |c| c.edit = |signed, _| signed.break_signature(),
        InvalidSignature,
        "signature: ",
    )
    .but(KEYS, UntrustedKey, NOBODYS)
    .but(TIMESTAMPED, NoSigningTime, STAMP_OF_ANOTHER),
    row(
        4,
        "a garbage signature",
        ALL,
        |c| c.edit = |signed, _| signed.edit_signature(|signature| signature.fill(0xab)),
        InvalidSignature,
        "signature: ",
    )
    .but(KEYS, UntrustedKey, NOBODYS)
    .but(TIMESTAMPED, NoSigningTime, STAMP_OF_ANOTHER),
    row(
        4,
        "an empty signature",
        ALL,
        |c| c.edit = |signed, _| signed.edit_signature(Vec::clear),
        InvalidSignature,
        "signature: ",
    )
    .but(KEYS, UntrustedKey, NOBODYS)
    .but(TIMESTAMPED, NoSigningTime, STAMP_OF_ANOTHER),
    row(
        4,
        "a second signature over the same, by the same signer",
        ALL,
        |c| c.edit = |signed, _| signed.signed_again(),
        NotInLog,
        "signature in bundle does not match",
    )
    .but(TIMESTAMPED, NoSigningTime, STAMP_OF_ANOTHER)
    .but(TIMESTAMPED_KEYS, NoSigningTime, STAMP_OF_ANOTHER),
    row(
        2,
        "the certificate of somebody else with the same identity",
        KEYLESS,
        |c| c.edit = |signed, case| signed.swap_certificate_with(&case.with_another_key().signed()),
        InvalidSignature,
        "signature: ",
    ),
    row(
        2,
        "the certificate of the rule's identity beside a stranger's signature and entry",
        KEYLESS,
        |c| {
            c.edit = |signed, case| {
                signed.swap_certificate_with(&Case { edit: |s, _| s, ..Case::honest((case.form, case.by)) }.signed())
            }
        },
        InvalidSignature,
        "signature: ",
    )
    .given(|c| c.request = CertificateRequest::github("evil/app", "release.yml", "refs/tags/v1.0.0").key(&STRANGER))
    .beside(|c| c.request = Case::honest((c.form, c.by)).request),
];

fn rewritten(c: &mut Case) {
    c.edit = |signed, case| signed.swap_payload_with(&case.about(subject()).signed());
}

/// One entry, or one signature, is one, however often it stands there.
const TWICE: &[Row] = &[
    row(
        13,
        "one entry twice is not two signers",
        &[(Form::Bundle03, By::Keyless), (Form::RekorV2, By::Keyless)],
        |c| c.edit = |signed, _| signed.repeat_log_entry(2),
        MalformedSignature,
        "the same log entry stands there twice",
    )
    .given(by_both)
    .beside(|c| {
        let second = Case { request: CertificateRequest::email("second@acme.test"), ..c.clone() };
        c.beside.push(second.candidate());
    }),
    row(
        13,
        "one signature found twice is not two signers",
        KEYLESS,
        |c| c.beside.push(c.candidate()),
        MissingSigner,
        "not signed by second@acme.test",
    )
    .given(by_both)
    .beside(|c| {
        let second = Case { request: CertificateRequest::email("second@acme.test"), ..c.clone() };
        c.beside.push(second.candidate());
    }),
];

pub fn rows() -> Vec<Row> {
    [SWAPPED, MIXED, TOLD, COPIED, TWICE].concat()
}

#[test]
fn anothers_entry_is_no_entry() {
    run(SWAPPED);
    run(MIXED);
}

#[test]
fn an_entry_about_something_else_is_no_entry() {
    run(TOLD);
}

#[test]
fn what_is_copied_beside_something_else_counts_for_nothing() {
    run(COPIED);
}

#[test]
fn what_stands_there_twice_counts_once() {
    run(TWICE);
}
