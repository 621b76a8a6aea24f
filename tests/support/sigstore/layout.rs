//! A signature as it lies in a registry: annotations and a layer, or a bundle.

use std::collections::BTreeMap;

use assay::demo::{Artefact, BUNDLE_TYPE, ClassicSignature, Document, Referrer, SIGN_PREDICATE, SIGNATURE_ANNOTATION};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::sha256;
use super::signatory::Signatory;
use super::signed::{BundleVersion, Content, Layout, Signed};

/// Annotations of both classic layouts, besides the signature.
pub const CERTIFICATE_ANNOTATION: &str = "dev.sigstore.cosign/certificate";
pub const CHAIN_ANNOTATION: &str = "dev.sigstore.cosign/chain";
pub const LOG_ANNOTATION: &str = "dev.sigstore.cosign/bundle";
pub const TIMESTAMP_ANNOTATION: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// On attestations only; nobody verifies it.
pub const PREDICATE_ANNOTATION: &str = "predicateType";

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ENVELOPE_TYPE: &str = "application/vnd.dsse.envelope.v1+json";

/// What the registry stores for one signature.
#[derive(Clone, Debug)]
pub struct Stored {
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
    /// Of the layer's descriptor; bundles have none.
    pub annotations: BTreeMap<String, String>,
}

impl BundleVersion {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::V01 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::V02 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::V03 => BUNDLE_TYPE,
            Self::V03Parameter => "application/vnd.dev.sigstore.bundle+json;version=0.3",
        }
    }

    /// Whether certificates stand in a chain.
    fn has_chain(self) -> bool {
        matches!(self, Self::V01 | Self::V02)
    }
}

impl Signed {
    /// The layer that holds it.
    pub fn stored(&self) -> Stored {
        match self.layout {
            Layout::Classic => Stored {
                media_type: PAYLOAD_TYPE,
                bytes: self.content.payload().clone(),
                annotations: self.annotations(),
            },
            Layout::ClassicAttestation => {
                Stored { media_type: ENVELOPE_TYPE, bytes: self.envelope_text(), annotations: self.annotations() }
            }
            Layout::Bundle(version) => Stored {
                media_type: version.media_type(),
                bytes: self.bundle_text(version),
                annotations: BTreeMap::new(),
            },
        }
    }

    /// The layer of a classic manifest, for `assay::demo::classic_artefact`.
    pub fn classic_layer(&self) -> ClassicSignature {
        let Stored { media_type, bytes, annotations } = self.stored();
        ClassicSignature { payload: bytes.into(), media_type: media_type.to_owned(), annotations }
    }

    /// The manifest that refers to `subject` and holds this bundle, with its blobs.
    pub fn referrer(&self, subject: &Document) -> Artefact {
        let Stored { media_type, bytes, .. } = self.stored();
        let predicate = self.predicate_type().unwrap_or_else(|| SIGN_PREDICATE.to_owned());
        Referrer::holding(subject, Document::new(media_type, bytes), &predicate).artefact()
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut put = |name: &str, text: String| found.insert(name.to_owned(), text);
        // An envelope brings its signature itself.
        let is_attestation = self.layout == Layout::ClassicAttestation;
        put(SIGNATURE_ANNOTATION, if is_attestation { String::new() } else { STANDARD.encode(self.signature()) });
        if let Some(certificate) = self.signatory.certificate_pem() {
            put(CERTIFICATE_ANNOTATION, certificate);
            put(CHAIN_ANNOTATION, if self.with_chain { self.signatory.chain_pem() } else { String::new() });
        }
        if let Some(entry) = self.entries.first() {
            put(LOG_ANNOTATION, entry.classic_json().to_string());
        }
        if let Some(timestamp) = self.timestamps.first() {
            put(TIMESTAMP_ANNOTATION, json!({ "SignedRFC3161Timestamp": STANDARD.encode(timestamp) }).to_string());
        }
        if let Some(predicate) = self.predicate_type().filter(|_| is_attestation) {
            put(PREDICATE_ANNOTATION, predicate);
        }
        for (name, text) in &self.annotation_edits {
            match text {
                Some(text) => found.insert(name.clone(), text.clone()),
                None => found.remove(name),
            };
        }
        found
    }

    fn predicate_type(&self) -> Option<String> {
        let statement: Value = serde_json::from_slice(self.content.payload()).ok()?;
        statement["predicateType"].as_str().map(str::to_owned)
    }

    fn bundle_text(&self, version: BundleVersion) -> Vec<u8> {
        let mut bundle = self.bundle_json(version);
        self.json_edits.iter().for_each(|edit| edit(&mut bundle));
        self.text_edits.iter().fold(bundle.to_string().into_bytes(), |text, edit| {
            edit(String::from_utf8(text).expect("only the last edit may break the text"))
        })
    }

    fn bundle_json(&self, version: BundleVersion) -> Value {
        let (kind, content) = match &self.content {
            Content::Envelope { .. } => ("dsseEnvelope", self.envelope_json()),
            Content::Message(message) => {
                let digest = json!({ "algorithm": "SHA2_256", "digest": STANDARD.encode(sha256(message)) });
                let signature = STANDARD.encode(self.signature());
                ("messageSignature", json!({ "messageDigest": digest, "signature": signature }))
            }
        };
        json!({
            "mediaType": version.media_type(),
            "verificationMaterial": self.verification_material(version),
            kind: content,
        })
    }

    fn verification_material(&self, version: BundleVersion) -> Value {
        let mut material = Map::new();
        let (kind, signer) = self.signer_json(version);
        material.insert(kind.to_owned(), signer);
        if !self.entries.is_empty() {
            let entries: Vec<_> = self.entries.iter().map(|entry| entry.bundle_json(self.zeros)).collect();
            material.insert("tlogEntries".to_owned(), json!(entries));
        }
        if !self.timestamps.is_empty() {
            let timestamps: Vec<_> =
                self.timestamps.iter().map(|token| json!({ "signedTimestamp": STANDARD.encode(token) })).collect();
            let timestamps = json!({ "rfc3161Timestamps": timestamps });
            material.insert("timestampVerificationData".to_owned(), timestamps);
        }
        Value::Object(material)
    }

    fn signer_json(&self, version: BundleVersion) -> (&'static str, Value) {
        let raw = |der: &Vec<u8>| json!({ "rawBytes": STANDARD.encode(der) });
        let Signatory { certificate, chain, .. } = &self.signatory;
        match certificate {
            None => ("publicKey", json!({ "hint": self.signatory.hint() })),
            Some(certificate) if version.has_chain() => {
                let above = chain.iter().filter(|_| self.with_chain);
                let certificates: Vec<_> = std::iter::once(certificate).chain(above).map(raw).collect();
                ("x509CertificateChain", json!({ "certificates": certificates }))
            }
            Some(certificate) => ("certificate", raw(certificate)),
        }
    }
}
