//! What may pass as a signature artefact, so that a client's own `cosign verify` works through us.
//!
//! Artefacts are not signed themselves, so this is the one way around the signature check. It is
//! kept narrow: the manifest must have an artefact's form, and each payload must be text that no
//! container engine can unpack or run, whatever its descriptor calls it.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::oci::media_type::{BUNDLE_PREFIX, SIMPLE_SIGNING, is_image_layer};
use crate::oci::{Image, Index, Manifest, ManifestBody, strict_json};

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

/// Whether bytes are a document: UTF-8 without control characters that starts like JSON, XML, SPDX or PEM,
/// and neither a tar archive nor an image's config.
///
/// Compressed archives and executables all have bytes that this excludes. A tar archive can do without
/// them, so it is looked for by itself.
pub(super) fn check_payload(bytes: &[u8]) -> Result<(), NotAnArtefact> {
    let wrong = |why: &str| Err(NotAnArtefact::Payload(why.to_owned()));
    let Ok(text) = std::str::from_utf8(bytes) else { return wrong("it is not UTF-8 text") };
    if text.bytes().any(|b| b.is_ascii_control() && !matches!(b, b'\t' | b'\n' | b'\r')) {
        return wrong("it has control characters");
    }
    if is_tar(bytes) {
        return wrong("it is a tar archive made of text");
    }
    let start = text.trim_start();
    if start.starts_with(['{', '[']) {
        return match serde_json::from_str::<Outline>(text) {
            Err(_) => wrong("it starts like JSON and is not"),
            Ok(Outline { has_rootfs: true, has_config: true, .. }) => {
                wrong("it is the config of an image that can be run")
            }
            Ok(_) => Ok(()),
        };
    }
    let known = ["<", "SPDXVersion:", "-----BEGIN "];
    if known.iter().any(|prefix| start.starts_with(prefix)) {
        Ok(())
    } else {
        wrong("it is not JSON, XML, SPDX or PEM")
    }
}

/// Whether bytes begin with the header of a tar archive, of any kind: the checksum decides, as it does
/// for whoever unpacks it. They take the sum of the bytes as signed numbers, too, as old tars wrote it,
/// and some read the number only as far as its digits go.
fn is_tar(bytes: &[u8]) -> bool {
    const SUM: std::ops::Range<usize> = 148..156;
    let Some(header) = bytes.get(..512) else { return false };
    let Some(Ok(written)) = header.get(SUM).map(std::str::from_utf8) else { return false };
    let written = written.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    let digits = written.split(|c: char| !c.is_digit(8)).next().unwrap_or_default();
    let blanks = SUM.len() as i64 * i64::from(b' ');
    let others = || header.iter().enumerate().filter(|(at, _)| !SUM.contains(at)).map(|(_, byte)| *byte);
    let unsigned = others().map(i64::from).sum::<i64>() + blanks;
    let signed = others().map(|byte| i64::from(byte.cast_signed())).sum::<i64>() + blanks;
    i64::from_str_radix(digits, 8).is_ok_and(|written| written == unsigned || written == signed)
}

/// What an object of a JSON document has of an image's config. In cosign's own artefacts `config` is
/// there and empty; no engine runs an image without `rootfs`.
#[derive(Default)]
struct Outline {
    is_filled: bool,
    has_rootfs: bool,
    has_config: bool,
}

impl<'de> Deserialize<'de> for Outline {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutlineVisitor)
    }
}

struct OutlineVisitor;

impl<'de> Visitor<'de> for OutlineVisitor {
    type Value = Outline;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline, A::Error> {
        let mut outline = Outline::default();
        // Engines fold the case of keys, and of two equal ones they take the last: any counts.
        while let Some(key) = map.next_key::<String>()? {
            outline.is_filled = true;
            match strict_json::folded(&key).as_str() {
                "rootfs" => outline.has_rootfs |= map.next_value::<Option<IgnoredAny>>()?.is_some(),
                "config" => outline.has_config |= map.next_value::<Option<Outline>>()?.is_some_and(|o| o.is_filled),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(outline)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Outline, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Outline::FILLED)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Outline, E> {
        Ok(Outline::FILLED)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Outline, E> {
        Ok(Outline::FILLED)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Outline, E> {
        Ok(Outline::FILLED)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Outline, E> {
        Ok(Outline::FILLED)
    }
    fn visit_str<E>(self, _: &str) -> Result<Outline, E> {
        Ok(Outline::FILLED)
    }
}

impl Outline {
    /// Of something that is no object.
    const FILLED: Self = Self { is_filled: true, has_rootfs: false, has_config: false };
}
