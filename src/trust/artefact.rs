//! What may pass as a signature artefact, so that a client's own `cosign verify` works through us.
//!
//! Artefacts are not signed themselves, so this is the one way around the signature check. It is
//! kept narrow: the manifest must have an artefact's form, and each payload must be text. A
//! file-system layer is never text, whatever its descriptor calls it.

use crate::oci::media_type::{BUNDLE_PREFIX, SIMPLE_SIGNING, is_image_layer};
use crate::oci::{Image, Index, Manifest, ManifestBody};

use super::proof::Mismatch;

/// Largest payload that passes. It is held in memory while it is looked at; attestations with a bill
/// of materials of a large image reach some 20 MiB.
pub const ARTEFACT_PAYLOAD_MAX: u64 = 32 * 1024 * 1024;

/// Payload types of cosign's classic layouts (`.sig`, `.att`, `.sbom`), whose manifests name no subject.
const CLASSIC_PAYLOADS: [&str; 10] = [
    SIMPLE_SIGNING,
    "application/vnd.dsse.envelope.v1+json",
    "text/spdx",
    "text/spdx+xml",
    "text/spdx+json",
    "spdx+json",
    "application/spdx+json",
    "application/vnd.cyclonedx",
    "application/vnd.cyclonedx+xml",
    "application/vnd.cyclonedx+json",
];

/// Why something does not pass as an artefact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnArtefact {
    /// The manifest's form is another.
    #[error("{0}")]
    Form(String),
    /// A payload is not text.
    #[error("its payload is no signature document: {0}")]
    Payload(String),
    /// The bytes are others than claimed.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Whether a manifest has the form of an artefact.
pub(super) fn check_manifest(manifest: &Manifest) -> Result<(), NotAnArtefact> {
    match manifest.body() {
        ManifestBody::Index(index) => check_index(index),
        ManifestBody::Image(image) => check_image(image),
    }
}

/// The fallback tag's list of referrers. What it names is not admitted by it: each is looked at for
/// itself when it is asked for.
fn check_index(index: &Index) -> Result<(), NotAnArtefact> {
    if index.manifests.is_empty() {
        return Err(NotAnArtefact::Form("it is an empty index".to_owned()));
    }
    for entry in &index.manifests {
        if entry.platform.is_some() {
            return Err(NotAnArtefact::Form("it is an index of platforms, an image".to_owned()));
        }
        if entry.artifact_type.is_none() {
            return Err(NotAnArtefact::Form(format!("{} has no artifactType, so it may be an image", entry.digest)));
        }
    }
    Ok(())
}

fn check_image(image: &Image) -> Result<(), NotAnArtefact> {
    if image.layers.is_empty() {
        return Err(NotAnArtefact::Form("it has no payload".to_owned()));
    }
    if let Some(layer) = image.layers.iter().find(|layer| is_image_layer(&layer.media_type)) {
        return Err(NotAnArtefact::Form(format!("it has a file-system layer, {}", layer.digest)));
    }
    let named = |media_type: &str| CLASSIC_PAYLOADS.contains(&media_type) || media_type.starts_with(BUNDLE_PREFIX);
    if image.subject.is_none()
        && let Some(layer) = image.layers.iter().find(|layer| !named(&layer.media_type))
    {
        let what = layer.media_type.chars().take(80).collect::<String>();
        return Err(NotAnArtefact::Form(format!(
            "it names no subject, and `{what}` is no signature, attestation or bill of materials"
        )));
    }
    Ok(())
}

/// Whether bytes are a document: UTF-8 without control characters that starts like JSON, XML, SPDX or PEM.
///
/// Tar archives, compressed or not, and executables all have bytes that this excludes.
pub(super) fn check_payload(bytes: &[u8]) -> Result<(), NotAnArtefact> {
    let wrong = |why: &str| Err(NotAnArtefact::Payload(why.to_owned()));
    let Ok(text) = std::str::from_utf8(bytes) else { return wrong("it is not UTF-8 text") };
    if text.bytes().any(|b| b.is_ascii_control() && !matches!(b, b'\t' | b'\n' | b'\r')) {
        return wrong("it has control characters");
    }
    let start = text.trim_start();
    if start.starts_with(['{', '[']) {
        let json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        return if json { Ok(()) } else { wrong("it starts like JSON and is not") };
    }
    let known = ["<", "SPDXVersion:", "-----BEGIN "];
    if known.iter().any(|prefix| start.starts_with(prefix)) {
        Ok(())
    } else {
        wrong("it is not JSON, XML, SPDX or PEM")
    }
}
