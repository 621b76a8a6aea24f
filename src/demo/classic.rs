//! Classic cosign signatures: a payload per layer, the signature in the layer's annotation, all under
//! the tag `sha256-<hex>.sig` (cosign's SIGNATURE_SPEC.md).
//!
//! Every part is a public field, since tests make every way of being wrong.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use crate::oci::media_type::{OCI_MANIFEST, SIMPLE_SIGNING};
use crate::oci::{ArtefactTag, Descriptor, Digest, Tag};

use super::artefact::Artefact;
use super::document::Document;
use super::image::CONFIG_TYPE;
use super::signer::Signer;

/// The annotation that holds the signature, in base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// One signature: what was signed, and how.
#[derive(Clone, Debug)]
pub struct ClassicSignature {
    /// The signed bytes; the layer's content.
    pub payload: Bytes,
    /// The layer's media type.
    pub media_type: String,
    /// The layer's annotations; the signature is one of them.
    pub annotations: BTreeMap<String, String>,
}

impl ClassicSignature {
    /// An honest one.
    pub fn of(signer: &Signer, docker_reference: &str, subject: Digest) -> Self {
        Self::over(signer, classic_payload(docker_reference, subject))
    }

    /// A good signature over any payload.
    pub fn over(signer: &Signer, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        let signature = signer.sign(&payload);
        Self { payload, media_type: SIMPLE_SIGNING.to_owned(), annotations: BTreeMap::new() }.signature(&signature)
    }

    /// Puts other signature bytes into the annotation.
    #[must_use]
    pub fn signature(mut self, signature: &[u8]) -> Self {
        self.annotations.insert(SIGNATURE_ANNOTATION.to_owned(), STANDARD.encode(signature));
        self
    }

    fn layer(&self) -> Document {
        Document::new(self.media_type.clone(), self.payload.clone())
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor { annotations: Some(self.annotations.clone()), ..self.layer().descriptor() }
    }
}

/// The payload that cosign signs, byte for byte ("simple signing").
pub fn classic_payload(docker_reference: &str, subject: Digest) -> String {
    #[derive(Serialize)]
    struct Payload<'a> {
        critical: Critical<'a>,
        optional: Option<()>,
    }
    #[derive(Serialize)]
    struct Critical<'a> {
        identity: Identity<'a>,
        image: Image,
        r#type: &'static str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Identity<'a> {
        docker_reference: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Image {
        docker_manifest_digest: Digest,
    }
    let critical = Critical {
        identity: Identity { docker_reference },
        image: Image { docker_manifest_digest: subject },
        r#type: "cosign container image signature",
    };
    serde_json::to_string(&Payload { critical, optional: None }).expect("strings always serialise")
}

/// The manifest for these signatures, one layer each, under the tag where clients look for signatures
/// of `subject`.
pub fn classic_artefact(subject: Digest, signatures: &[ClassicSignature]) -> Artefact {
    let layers: Vec<_> = signatures.iter().map(ClassicSignature::layer).collect();
    // cosign leaves Go's zero values in the config.
    let config = json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "history": [{ "created": "0001-01-01T00:00:00Z" }],
        "os": "",
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| layer.digest).collect::<Vec<_>>() },
        "config": {},
    });
    let config = Document::json(CONFIG_TYPE, &config);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": signatures.iter().map(ClassicSignature::descriptor).collect::<Vec<_>>(),
    });
    Artefact {
        manifest: Document::json(OCI_MANIFEST, &manifest),
        blobs: std::iter::once(config).chain(layers).collect(),
        tag: Some(Tag::of_artefact(subject, ArtefactTag::Signature)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "sha256:fc99e6ab3a8dea958f557caf0a1b1c2d286b936a8b4f539a8108f445a54d4a68";
    /// Written by cosign 3.1.3 (`sign --key --new-bundle-format=false --tlog-upload=false`).
    const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"127.0.0.1:18106/acme/key-nolog-classic"},"image":{"docker-manifest-digest":"sha256:fc99e6ab3a8dea958f557caf0a1b1c2d286b936a8b4f539a8108f445a54d4a68"},"type":"cosign container image signature"},"optional":null}"#;
    const SIGNATURE: &str =
        "MEUCICR29krOzyZK3TzvKFJbGnRnPkp45Y30m/eK64lpowBsAiEAgJ/Gf/f8VDwRPwSYWAmJGG9KlnoxNykwfrblqDWkDJE=";
    const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":233,"digest":"sha256:55a6a37182ac0ea597902f806b7ec1804b80186ef8995ab67e4a13c0627cc554"},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","size":254,"digest":"sha256:6f846869b1fd1cfcf39f536e58e4a5d8903df91fb8af29539d285660c3f47c26","annotations":{"dev.cosignproject.cosign/signature":"MEUCICR29krOzyZK3TzvKFJbGnRnPkp45Y30m/eK64lpowBsAiEAgJ/Gf/f8VDwRPwSYWAmJGG9KlnoxNykwfrblqDWkDJE="}}]}"#;
    const CONFIG: &str = r#"{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"}],"os":"","rootfs":{"type":"layers","diff_ids":["sha256:6f846869b1fd1cfcf39f536e58e4a5d8903df91fb8af29539d285660c3f47c26"]},"config":{}}"#;

    #[test]
    fn it_is_what_cosign_writes() {
        let subject = SUBJECT.parse().unwrap();
        assert_eq!(classic_payload("127.0.0.1:18106/acme/key-nolog-classic", subject), PAYLOAD);

        // With cosign's signature in place of ours, everything else comes out as cosign's.
        let signer = Signer::custom(vec![], |_| STANDARD.decode(SIGNATURE).unwrap());
        let artefact = signer.classic("127.0.0.1:18106/acme/key-nolog-classic", subject);
        let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
        let mut manifest = read(&artefact.manifest.bytes);
        // The keys of our config stand in another order, hence another digest.
        manifest["config"]["digest"] = json!("sha256:55a6a37182ac0ea597902f806b7ec1804b80186ef8995ab67e4a13c0627cc554");
        assert_eq!(manifest, read(MANIFEST.as_bytes()));
        assert_eq!(read(&artefact.blobs[0].bytes), read(CONFIG.as_bytes()));
        assert_eq!(artefact.blobs[1].bytes, PAYLOAD);
        assert_eq!(artefact.tag.unwrap().as_str(), format!("{}.sig", SUBJECT.replace(':', "-")));
    }

    #[test]
    fn several_signers_make_several_layers() {
        let subject = Digest::of(b"x");
        let signatures = [1, 2, 3].map(|_| ClassicSignature::of(&Signer::generate().unwrap(), "a/b", subject));
        let artefact = classic_artefact(subject, &signatures);
        let manifest = crate::oci::Manifest::parse(artefact.manifest.bytes, None).unwrap();
        let layers = &manifest.image().unwrap().layers;
        assert_eq!(layers.len(), 3);
        assert_eq!(layers[0].digest, layers[1].digest, "they sign the same payload");
        assert_ne!(layers[0].annotation(SIGNATURE_ANNOTATION), layers[1].annotation(SIGNATURE_ANNOTATION));
    }
}
