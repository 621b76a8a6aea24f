//! Signature material with one thing wrong, in both layouts.

use assay::demo::{BUNDLE_TYPE, pae};
use assay::trust::Reason;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::rows::{Row, both, bundle, other, run, subject};
use super::world::{ALLOWED, Bundle, Scene, WORLD, edited};

/// ECDSA with r = s = 0 in DER.
const ZEROS: [u8; 8] = [0x30, 6, 2, 1, 0, 2, 1, 0];

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

fn entry() -> Value {
    json!({
        "logIndex": "1",
        "logId": { "keyId": STANDARD.encode([7; 32]) },
        "kindVersion": { "kind": "hashedrekord", "version": "0.0.1" },
        "integratedTime": "1700000000",
        "canonicalizedBody": STANDARD.encode("{}"),
        "inclusionProof": {
            "logIndex": "1", "treeSize": "2", "rootHash": STANDARD.encode([7; 32]), "hashes": [],
            "checkpoint": { "envelope": "log\n2\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n— log BwcHBwcH\n" },
        },
    })
}

/// A bundle may hold this much that we do not look at, and no more.
fn with_entries(bundle: &mut Value, count: usize) {
    bundle["verificationMaterial"]["tlogEntries"] = vec![entry(); count].into();
}

fn with_timestamps(bundle: &mut Value, count: usize) {
    let one = json!({ "signedTimestamp": STANDARD.encode("token") });
    bundle["verificationMaterial"]["timestampVerificationData"] = json!({ "rfc3161Timestamps": vec![one; count] });
}

const SIGNATURES: &[Row] = &[
    both(
        4,
        "the digest is rewritten under the original signature",
        |c| c.shown = Some(edited(&c.payload, &subject(), &other().to_string())),
        |b| b.shown = Some(edited(&b.payload, &WORLD.subject().hex(), &other().hex())),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "another payload's signature by the same key",
        |c| c.signed_with(&c.signer.sign(b"{}")),
        |b| b.sign_other(b"{}"),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "the signature is of the other layout's bytes",
        |c| c.signed_with(&c.signer.sign(&pae("application/vnd.in-toto+json", &c.payload))),
        |b| b.signatures = Some(vec![b.signer.sign(&b.payload)]),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "the signature is garbage",
        |c| c.signed_with(&[0xab; 71]),
        |b| b.signatures = Some(vec![vec![0xab; 71]]),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "the signature is cut short",
        |c| c.signed_with(&c.signer.sign(&c.payload)[..60]),
        |b| b.signatures = Some(vec![b.signer.sign(&pae(&b.payload_type, &b.payload))[..60].to_vec()]),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "something follows the signature",
        |c| c.signed_with(&[c.signer.sign(&c.payload), vec![0]].concat()),
        |b| b.signatures = Some(vec![[b.signer.sign(&pae(&b.payload_type, &b.payload)), vec![0]].concat()]),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "the signature is empty",
        |c| c.signed_with(&[]),
        |b| b.signatures = Some(vec![vec![]]),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "r = s = 0",
        |c| c.signed_with(&ZEROS),
        |b| b.signatures = Some(vec![ZEROS.to_vec()]),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "r = s = 0 without DER",
        |c| c.signed_with(&[0; 64]),
        |b| b.signatures = Some(vec![vec![0; 64]]),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "the signature is no base64",
        |c| c.signature = Some("so, so".to_owned()),
        |b| b.json = |json| json["dsseEnvelope"]["signatures"][0]["sig"] = json!("so, so"),
        Reason::MalformedSignature,
    ),
    both(
        4,
        "no signature at all",
        |c| c.signature = Some(String::new()),
        |b| b.json = |json| json["dsseEnvelope"]["signatures"][0]["sig"] = json!(""),
        Reason::UntrustedKey,
    ),
    both(
        4,
        "signed by a stranger",
        |c| c.signer = &WORLD.stranger,
        |b| b.signer = &WORLD.stranger,
        Reason::UntrustedKey,
    ),
    bundle(
        4,
        "signed by a stranger who points at our key",
        |b| {
            b.signer = &WORLD.stranger;
            b.json = |json| json["verificationMaterial"]["publicKey"]["hint"] = json!(WORLD.release.hint());
        },
        Reason::UntrustedKey,
    ),
    both(
        31,
        "made with a certificate",
        |c| drop(c.annotations.insert("dev.sigstore.cosign/certificate".to_owned(), CERTIFICATE.to_owned())),
        |b| b.json = |json| json["verificationMaterial"] = json!({ "certificate": { "rawBytes": "MIIB" } }),
        Reason::UntrustedKey,
    ),
    bundle(
        31,
        "made with a chain of certificates",
        |b| {
            b.json = |json| {
                let chain = json!({ "certificates": [{ "rawBytes": "MIIB" }] });
                json["verificationMaterial"] = json!({ "x509CertificateChain": chain });
            }
        },
        Reason::UntrustedKey,
    ),
    bundle(
        31,
        "a key and a certificate",
        |b| b.json = |json| json["verificationMaterial"]["certificate"] = json!({ "rawBytes": "MIIB" }),
        Reason::MalformedSignature,
    ),
    bundle(17, "no DSSE signature", |b| b.signatures = Some(vec![]), Reason::MalformedSignature),
    bundle(
        17,
        "two DSSE signatures, the first good",
        |b| b.signatures = Some(vec![b.signer.sign(&pae(&b.payload_type, &b.payload)), vec![1]]),
        Reason::MalformedSignature,
    ),
    bundle(
        17,
        "two DSSE signatures, the second good",
        |b| b.signatures = Some(vec![vec![1], b.signer.sign(&pae(&b.payload_type, &b.payload))]),
        Reason::MalformedSignature,
    ),
    bundle(
        17,
        "an envelope and a message signature",
        |b| b.json = |json| json["messageSignature"] = json!({ "signature": "MEUC" }),
        Reason::MalformedSignature,
    ),
    bundle(
        15,
        "a message signature over the index itself",
        |b| {
            b.json = |json| {
                let envelope = json.as_object_mut().unwrap().remove("dsseEnvelope");
                assert!(envelope.is_some());
                let signature = STANDARD.encode(WORLD.release.sign(&WORLD.image.index.bytes));
                let digest = STANDARD.encode(hex::decode(WORLD.subject().hex()).unwrap());
                let digest = json!({ "algorithm": "SHA2_256", "digest": digest });
                json["messageSignature"] = json!({ "messageDigest": digest, "signature": signature });
            }
        },
        Reason::NotASignature,
    ),
    bundle(10, "five log entries", |b| b.json = |json| with_entries(json, 5), Reason::OverLimit),
    bundle(10, "five timestamps", |b| b.json = |json| with_timestamps(json, 5), Reason::OverLimit),
    bundle(7, "the bundle is no JSON", |b| b.text = |_| b"bundle".to_vec(), Reason::MalformedSignature),
    bundle(7, "the bundle is empty", |b| b.text = |_| Vec::new(), Reason::MalformedSignature),
    bundle(
        7,
        "the bundle is cut short",
        |b| b.text = |text| text.as_bytes()[..text.len() - 1].to_vec(),
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "the bundle has a byte-order mark",
        |b| b.text = |text| format!("\u{feff}{text}").into_bytes(),
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "something follows the bundle",
        |b| b.text = |text| format!("{text}{{}}").into_bytes(),
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "the envelope stands twice",
        |b| {
            b.text = |text| {
                edited(
                    text.as_bytes(),
                    "{",
                    r#"{"dsseEnvelope":{"payload":"","payloadType":"","signatures":[{"sig":""}]},"#,
                )
            }
        },
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "the envelope stands twice, the good one first",
        |b| {
            b.text = |text| {
                let text = text.strip_suffix('}').unwrap();
                format!(r#"{text},"dsseEnvelope":{{"payload":"","payloadType":"","signatures":[{{"sig":""}}]}}}}"#)
                    .into_bytes()
            }
        },
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "the envelope's payload stands twice",
        |b| b.text = |text| edited(text.as_bytes(), r#""payload":"#, r#""payload":"","payload":"#),
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "a key that nobody reads stands twice",
        |b| b.text = |text| edited(text.as_bytes(), "{", r#"{"x":1,"x":2,"#),
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "a media type in another spelling beside the honest one",
        |b| b.text = |text| edited(text.as_bytes(), "{", r#"{"MediaType":"x","#),
        Reason::MalformedSignature,
    ),
    bundle(
        15,
        "a bundle version that nobody knows",
        |b| b.json = |json| json["mediaType"] = json!(BUNDLE_TYPE.replace("0.3", "9.0")),
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "no verification material",
        |b| b.json = |json| drop(json.as_object_mut().unwrap().remove("verificationMaterial")),
        Reason::MalformedSignature,
    ),
    bundle(
        7,
        "the envelope's payload is no base64",
        |b| b.json = |json| json["dsseEnvelope"]["payload"] = json!("so, so"),
        Reason::MalformedSignature,
    ),
];

#[test]
fn a_signature_with_one_thing_wrong_is_refused() {
    run(SIGNATURES);
}

#[test]
fn material_that_is_not_looked_at_is_bounded() {
    let mut material = Bundle::honest();
    material.json = |json| {
        with_entries(json, 4);
        with_timestamps(json, 4);
    };
    assert_eq!(Scene::with([material.candidate()]).outcome(), ALLOWED);
}
