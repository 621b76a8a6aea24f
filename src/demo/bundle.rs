//! Signatures as cosign 3 makes them: an in-toto statement in a DSSE envelope, in a Sigstore bundle, in
//! an OCI manifest that refers to the signed one.
//!
//! Three stages, each a struct with public fields: [`Statement`] (what is said), [`BundleSignature`] (who
//! says it) and [`Referrer`] (where it hangs). Tests change any of them on the way.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::oci::media_type::OCI_MANIFEST;
use crate::oci::{Descriptor, Digest};

use super::artefact::Artefact;
use super::document::Document;
use super::image::CREATED;
use super::signer::Signer;

/// The media type of a bundle, version 0.3.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The predicate type of a signature, as against attestations.
pub const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The payload type of an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";

/// An in-toto statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// `_type`.
    pub statement_type: String,
    /// `subject`, as JSON so that it can have any shape.
    pub subject: Value,
    /// `predicateType`.
    pub predicate_type: String,
    /// `predicate`.
    pub predicate: Value,
}

/// A signed payload on its way into a bundle.
#[derive(Clone, Debug)]
pub struct BundleSignature {
    /// The payload of the DSSE envelope.
    pub payload: Vec<u8>,
    /// The payload's type.
    pub payload_type: String,
    /// The envelope's signatures; honest bundles have one.
    pub signatures: Vec<Vec<u8>>,
    /// Which key.
    pub hint: String,
    /// The bundle's `mediaType`, also the layer's media type.
    pub media_type: String,
    /// What the manifest's annotation says that the predicate is. Nobody verifies it.
    pub predicate_annotation: String,
}

/// The manifest that ties bundles to their subject.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// What it is about.
    pub subject: Option<Descriptor>,
    /// `artifactType`.
    pub artifact_type: Option<String>,
    /// The config; honest ones are `{}`.
    pub config: Document,
    /// The bundles; honest manifests have one.
    pub layers: Vec<Document>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Statement {
    /// "This manifest is signed", as `cosign sign` says it.
    pub fn signature(subject: Digest) -> Self {
        Self::attestation(subject, SIGN_PREDICATE, json!({}))
    }

    /// Anything else about a manifest.
    pub fn attestation(subject: Digest, predicate_type: &str, predicate: Value) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: json!([{ "digest": { "sha256": subject.hex() }, "annotations": {} }]),
            predicate_type: predicate_type.to_owned(),
            predicate,
        }
    }

    /// Its JSON.
    pub fn bytes(&self) -> Vec<u8> {
        let statement = json!({
            "_type": self.statement_type,
            "subject": self.subject,
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        });
        statement.to_string().into_bytes()
    }
}

impl BundleSignature {
    /// An honest signature over a statement.
    pub fn of(signer: &Signer, statement: &Statement) -> Self {
        let signed = Self::over(signer, IN_TOTO, statement.bytes());
        Self { predicate_annotation: statement.predicate_type.clone(), ..signed }
    }

    /// A good signature over any payload of any type.
    pub fn over(signer: &Signer, payload_type: &str, payload: Vec<u8>) -> Self {
        Self {
            signatures: vec![signer.sign(&pae(payload_type, &payload))],
            payload,
            payload_type: payload_type.to_owned(),
            hint: signer.hint(),
            media_type: BUNDLE_TYPE.to_owned(),
            predicate_annotation: SIGN_PREDICATE.to_owned(),
        }
    }

    /// The bundle's JSON, without log entries and timestamps, as cosign writes it for a key without a log.
    pub fn json(&self) -> Value {
        let signatures: Vec<_> = self.signatures.iter().map(|s| json!({ "sig": STANDARD.encode(s) })).collect();
        json!({
            "mediaType": self.media_type,
            "verificationMaterial": { "publicKey": { "hint": self.hint } },
            "dsseEnvelope": {
                "payload": STANDARD.encode(&self.payload),
                "payloadType": self.payload_type,
                "signatures": signatures,
            },
        })
    }

    /// A manifest that holds this bundle and refers to `subject`.
    pub fn referrer(&self, subject: &Document) -> Referrer {
        let bundle = Document::json(self.media_type.clone(), &self.json());
        Referrer::holding(subject, bundle, &self.predicate_annotation)
    }
}

impl Referrer {
    /// A manifest that holds any bundle.
    pub fn holding(subject: &Document, bundle: Document, predicate_annotation: &str) -> Self {
        let annotations = [
            ("dev.sigstore.bundle.content", "dsse-envelope"),
            ("dev.sigstore.bundle.predicateType", predicate_annotation),
            ("org.opencontainers.image.created", CREATED),
        ];
        Self {
            subject: Some(subject.descriptor()),
            artifact_type: Some(bundle.media_type.clone()),
            config: Document::new(EMPTY_TYPE, "{}"),
            layers: vec![bundle],
            annotations: annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// The manifest and its blobs.
    pub fn artefact(self) -> Artefact {
        // cosign repeats the artefact type on the config's descriptor.
        let config = Descriptor { artifact_type: self.artifact_type.clone(), ..self.config.descriptor() };
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config,
            "layers": self.layers.iter().map(Document::descriptor).collect::<Vec<_>>(),
            "annotations": self.annotations,
        });
        if let Some(subject) = self.subject {
            manifest["subject"] = json!(subject);
        }
        if let Some(artifact_type) = self.artifact_type {
            manifest["artifactType"] = json!(artifact_type);
        }
        Artefact {
            manifest: Document::json(OCI_MANIFEST, &manifest),
            blobs: std::iter::once(self.config).chain(self.layers).collect(),
            tag: None,
        }
    }
}

/// DSSE's pre-authentication encoding: the bytes that are really signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sigstore_crypto::{SigningScheme, VerificationKey};
    use sigstore_types::{DerPublicKey, SignatureBytes};

    /// Written by cosign 3.1.3 (`sign --key --tlog-upload=false`), with the key below.
    const BUNDLE: &str = r#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"jF3spVBeKhwMj9vZXsLmHSgRjplPd9FeRNBLCA/fFkk="}},"dsseEnvelope":{"payload":"eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3QiOnsic2hhMjU2IjoiODc3MDNlZjc1YzgwNTAzZGI4ZmJiMjA1MThkMjBmOWI2NDlhZWY4NjJhNTExMjZkNjAyMjg4OTBjOTBhM2IwOCJ9LCJhbm5vdGF0aW9ucyI6e319XSwicHJlZGljYXRlVHlwZSI6Imh0dHBzOi8vc2lnc3RvcmUuZGV2L2Nvc2lnbi9zaWduL3YxIiwicHJlZGljYXRlIjp7fX0=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"MEYCIQDAAmM+/PRDa/PVvRWPNE1op4ka5utHk/0TqO3Tr64dygIhALx7+zepc40ZdX8+zeRkjVuqG33bQ+WhW4mIgZwW7O9y"}]}}"#;
    const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"},"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","size":659,"digest":"sha256:24fb180d6374337d25f6c195abe3dd092a3313ff001606821d7a6398e4a641df"}],"annotations":{"dev.sigstore.bundle.content":"dsse-envelope","dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1","org.opencontainers.image.created":"2026-11-22T19:10:40Z"},"subject":{"mediaType":"application/vnd.oci.image.index.v1+json","size":868,"digest":"sha256:87703ef75c80503db8fbb20518d20f9b649aef862a51126d60228890c90a3b08"},"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}"#;
    const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEB1HVeubNJ65JE8oPL2GV4yiY7v6D\n97Ad5PFqW5SwcbGd9hmFoMURRptV7LskgJYrRImgrqIdj9gxcd3K2NVciw==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn it_is_what_cosign_writes() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let theirs = read(BUNDLE);
        let theirs = theirs["dsseEnvelope"].clone();
        let decode = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
        let (payload, signature) = (decode(&theirs["payload"]), decode(&theirs["signatures"][0]["sig"]));
        let key = DerPublicKey::from_pem(PUBLIC_KEY).unwrap();

        let subject = "sha256:87703ef75c80503db8fbb20518d20f9b649aef862a51126d60228890c90a3b08".parse().unwrap();
        let statement = Statement::signature(subject);
        assert_eq!(
            serde_json::from_slice::<Value>(&statement.bytes()).unwrap(),
            serde_json::from_slice::<Value>(&payload).unwrap()
        );

        let copy = signature.clone();
        let signer = Signer::custom(key.as_bytes().to_vec(), move |_| copy.clone());
        assert_eq!(signer.public_key_pem(), PUBLIC_KEY);
        let ours = BundleSignature { payload: payload.clone(), ..BundleSignature::of(&signer, &statement) };
        assert_eq!(ours.json(), read(BUNDLE));

        let mut subject = Document::new("application/vnd.oci.image.index.v1+json", vec![0; 868]);
        subject.digest = statement.subject[0]["digest"]["sha256"].as_str().map(Digest::from_hex).unwrap().unwrap();
        let mut referrer = Referrer::holding(&subject, Document::new(BUNDLE_TYPE, BUNDLE), SIGN_PREDICATE);
        referrer.annotations.insert("org.opencontainers.image.created".to_owned(), "2026-11-22T19:10:40Z".to_owned());
        let manifest: Value = serde_json::from_slice(&referrer.artefact().manifest.bytes).unwrap();
        assert_eq!(manifest, read(MANIFEST));

        // And cosign signed what we would have signed.
        let key = VerificationKey::from_spki_with_scheme(&key, SigningScheme::EcdsaP256Sha256).unwrap();
        assert!(key.verify(pae(IN_TOTO, &payload), &SignatureBytes::new(signature)).is_ok());
    }

    #[test]
    fn every_part_can_be_another() {
        let signer = Signer::generate().unwrap();
        let image = Document::new("x", "image");
        let honest = signer.bundle(&image);
        let slsa = Statement::attestation(image.digest, "https://slsa.dev/provenance/v1", json!({}));
        let unsigned = BundleSignature { signatures: vec![], ..BundleSignature::of(&signer, &slsa) };
        let mut astray = BundleSignature::over(&signer, "text/plain", b"hello".to_vec()).referrer(&image);
        astray.subject = None;
        for other in [unsigned.referrer(&image).artefact(), astray.artefact()] {
            assert!(crate::oci::Manifest::parse(other.manifest.bytes.clone(), None).is_ok());
            assert_ne!(other.manifest.digest, honest.manifest.digest);
            assert_eq!(other.blobs.len(), 2);
        }
    }
}
