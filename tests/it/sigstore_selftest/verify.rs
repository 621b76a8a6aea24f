//! An independent judge: the Sigstore project's own verifier, without anything of ours but the conversion
//! from the classic layouts.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use assay::demo::{BuiltImage, ImageBuilder, SIGNATURE_ANNOTATION, Statement};
use assay::oci::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::Digest as _;
use sigstore_trust_root::TrustedRoot as ParsedRoot;
use sigstore_types::{Artifact, Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{Policy, PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier};

use crate::support::sigstore::{
    CERTIFICATE_ANNOTATION, CertificateRequest, Content, Key, LOG_ANNOTATION, Layout, SIGSTORE, Signatory, Signed,
    Stored, TIMESTAMP_ANNOTATION, TrustedRoot,
};

pub const REFERENCE: &str = "registry.test/acme/app";

static IMAGE: LazyLock<BuiltImage> = LazyLock::new(|| ImageBuilder::new("Hello").build());

/// What is signed in these tests.
pub fn image() -> &'static BuiltImage {
    &IMAGE
}

/// The digest of it.
pub fn subject() -> Digest {
    image().index.digest
}

pub fn provenance() -> Statement {
    Statement::attestation(subject(), "https://slsa.dev/provenance/v1", json!({ "buildDefinition": {} }))
}

/// Somebody with an honest certificate.
pub fn release() -> Signatory {
    SIGSTORE.issue(&CertificateRequest::email("release@acme.test"))
}

type Verified = Result<VerificationResult, String>;

/// A keyless signature, whoever made it.
pub fn verify(root: &TrustedRoot, signed: &Signed) -> Verified {
    verify_under(root, signed, &VerificationPolicy::any_identity())
}

/// A signature by a managed key.
pub fn verify_key(root: &TrustedRoot, key: &Key, signed: &Signed) -> Verified {
    verify_under(root, signed, &PublicKeyVerificationPolicy::new(DerPublicKey::new(key.public_der())))
}

pub fn verify_under(root: &TrustedRoot, signed: &Signed, policy: &impl Policy) -> Verified {
    let root = ParsedRoot::from_json(&root.json()).unwrap();
    let verifier = Verifier::new(&root).unwrap();
    let bundle = Bundle::from_json(&bundle(signed)).map_err(|error| error.to_string())?;
    let image = Sha256Hash::new(*sha256_of(subject()).first_chunk().unwrap());
    let artifact = match &signed.content {
        Content::Message(payload) => Artifact::from(payload.as_slice()),
        Content::Envelope { .. } => Artifact::from(image),
    };
    verifier.verify(artifact, &bundle, policy).map_err(|error| error.to_string())
}

/// Fails unless it is refused, and for this reason.
#[track_caller]
pub fn assert_refused(what: &str, verified: Verified, reason: &str) {
    match verified {
        Ok(_) => panic!("{what}: accepted"),
        Err(error) => assert!(error.contains(reason), "{what}: refused for another reason: {error}"),
    }
}

#[track_caller]
pub fn assert_accepted(what: &str, verified: Verified) -> VerificationResult {
    verified.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn sha256_of(digest: Digest) -> Vec<u8> {
    hex::decode(digest.hex()).unwrap()
}

fn bundle(signed: &Signed) -> String {
    let Stored { bytes, annotations, .. } = signed.stored();
    let (kind, content) = match signed.layout {
        Layout::Bundle(_) => return String::from_utf8(bytes).unwrap(),
        Layout::Classic => {
            let digest = STANDARD.encode(sha2::Sha256::digest(&bytes));
            let digest = json!({ "algorithm": "SHA2_256", "digest": digest });
            let signature = json!({ "messageDigest": digest, "signature": annotations[SIGNATURE_ANNOTATION] });
            ("messageSignature", signature)
        }
        Layout::ClassicAttestation => ("dsseEnvelope", serde_json::from_slice(&bytes).unwrap()),
    };
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "verificationMaterial": material(&annotations),
        kind: content,
    });
    bundle.to_string()
}

/// What stands in annotations, as a bundle 0.1 has it.
fn material(annotations: &BTreeMap<String, String>) -> Value {
    let mut material = match annotations.get(CERTIFICATE_ANNOTATION) {
        None => json!({ "publicKey": { "hint": "" } }),
        Some(pem) => {
            let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            json!({ "x509CertificateChain": { "certificates": [{ "rawBytes": base64 }] } })
        }
    };
    if let Some(text) = annotations.get(LOG_ANNOTATION) {
        material["tlogEntries"] = json!([entry(&serde_json::from_str(text).unwrap())]);
    }
    if let Some(text) = annotations.get(TIMESTAMP_ANNOTATION) {
        let timestamp: Value = serde_json::from_str(text).unwrap();
        let timestamps = json!([{ "signedTimestamp": timestamp["SignedRFC3161Timestamp"] }]);
        material["timestampVerificationData"] = json!({ "rfc3161Timestamps": timestamps });
    }
    material
}

fn entry(annotation: &Value) -> Value {
    let payload = &annotation["Payload"];
    let body: Value = serde_json::from_slice(&STANDARD.decode(payload["body"].as_str().unwrap()).unwrap()).unwrap();
    json!({
        "logIndex": payload["logIndex"].to_string(),
        "logId": { "keyId": STANDARD.encode(hex::decode(payload["logID"].as_str().unwrap()).unwrap()) },
        "kindVersion": { "kind": body["kind"], "version": body["apiVersion"] },
        "integratedTime": payload["integratedTime"].to_string(),
        "inclusionPromise": { "signedEntryTimestamp": annotation["SignedEntryTimestamp"] },
        "canonicalizedBody": payload["body"],
    })
}
