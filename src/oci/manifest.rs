//! Manifests: the exact bytes, their digest, and what they say.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::descriptor::Descriptor;
use super::digest::Digest;
use super::media_type::{ManifestKind, ManifestType};
use super::strict_json;

/// Largest manifest we read. The distribution spec asks registries to take at least 4 MiB, and
/// containerd and containers/image read no more.
pub const MANIFEST_MAX: usize = 4 * 1024 * 1024;

/// Most entries in an index or layers in an image. Docker stops at 127 layers; cosign reads 1000.
pub const ENTRIES_MAX: usize = 4096;

/// An index or image manifest: bytes, the digest of exactly these bytes, and their parsed form.
///
/// The bytes are never written again from the parsed form, so what was verified is what is served. Clones share both.
#[derive(Clone, Debug)]
pub struct Manifest {
    bytes: Bytes,
    digest: Digest,
    media_type: ManifestType,
    body: Arc<ManifestBody>,
}

/// What a manifest says.
#[derive(Clone, Debug)]
pub enum ManifestBody {
    /// Names other manifests (OCI image spec, image-index.md).
    Index(Index),
    /// Names a config and layers (OCI image spec, manifest.md).
    Image(Image),
}

/// An image index or Docker manifest list.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its entries, in order.
    pub manifests: Vec<Descriptor>,
    /// The artefact type, where it has one.
    pub artifact_type: Option<String>,
    /// What it is about, when it is a referrer.
    pub subject: Option<Descriptor>,
}

/// An image manifest; cosign's artefacts have this form too.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its config.
    pub config: Descriptor,
    /// Its layers, bottom first.
    pub layers: Vec<Descriptor>,
    /// The artefact type, where it has one.
    pub artifact_type: Option<String>,
    /// What it is about, when it is a referrer.
    pub subject: Option<Descriptor>,
}

/// Why bytes are not a manifest that we would serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MANIFEST_MAX`] bytes.
    #[error("manifest is larger than {MANIFEST_MAX} bytes")]
    TooLarge,
    /// Not JSON that all parsers read alike.
    #[error("manifest is not strict JSON: {0}")]
    Json(String),
    /// More than [`ENTRIES_MAX`] entries or layers.
    #[error("manifest has {0} entries, more than {ENTRIES_MAX}")]
    TooMany(usize),
    /// JSON, but not of a manifest's shape.
    #[error("manifest has the wrong shape: {0}")]
    Shape(String),
    /// Schema 1, or a type nobody serves as a manifest.
    #[error("`{0}` is not an OCI or Docker (version 2) manifest type")]
    MediaType(String),
    /// The document reads as an index and as an image, or names another type than it was sent as.
    #[error("manifest is ambiguous: {0}")]
    Ambiguous(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u64,
    media_type: Option<String>,
    artifact_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Manifest {
    /// Reads a manifest. `sent_as` is the `Content-Type` it came with, when it came over HTTP.
    ///
    /// # Errors
    /// Refuses what parsers could read differently: see [`strict_json`] and [`ManifestError::Ambiguous`].
    pub fn parse(bytes: Bytes, sent_as: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_MAX {
            return Err(ManifestError::TooLarge);
        }
        strict_json::check(&bytes).map_err(ManifestError::Json)?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|e| ManifestError::Shape(e.to_string()))?;
        if wire.schema_version != 2 {
            return Err(ManifestError::MediaType(format!("schema version {}", wire.schema_version)));
        }
        let media_type = wire.media_type(sent_as)?;
        let body = Arc::new(wire.body(media_type.kind())?);
        Ok(Self { digest: Digest::of(&bytes), bytes, media_type, body })
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The sha256 of exactly [`Self::bytes`].
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it is served as.
    pub fn media_type(&self) -> ManifestType {
        self.media_type
    }

    /// What it says.
    pub fn body(&self) -> &ManifestBody {
        &self.body
    }

    /// The image form, if it is one.
    pub fn image(&self) -> Option<&Image> {
        match &*self.body {
            ManifestBody::Image(image) => Some(image),
            ManifestBody::Index(_) => None,
        }
    }

    /// The index form, if it is one.
    pub fn index(&self) -> Option<&Index> {
        match &*self.body {
            ManifestBody::Index(index) => Some(index),
            ManifestBody::Image(_) => None,
        }
    }

    /// Everything it names: an index's manifests, or an image's config and layers.
    pub fn named(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, rest) = match &*self.body {
            ManifestBody::Index(index) => (None, &index.manifests),
            ManifestBody::Image(image) => (Some(&image.config), &image.layers),
        };
        config.into_iter().chain(rest)
    }

    /// What it is about, when it is a referrer.
    pub fn subject(&self) -> Option<&Descriptor> {
        match &*self.body {
            ManifestBody::Index(index) => index.subject.as_ref(),
            ManifestBody::Image(image) => image.subject.as_ref(),
        }
    }
}

impl Wire {
    fn media_type(&self, sent_as: Option<&str>) -> Result<ManifestType, ManifestError> {
        let known = |text: &str| {
            ManifestType::parse(text).ok_or_else(|| ManifestError::MediaType(text.chars().take(100).collect()))
        };
        let written = self.media_type.as_deref().map(known).transpose()?;
        // Some registries and file servers send no useful type; then the document speaks for itself.
        let generic = |text: &&str| {
            let essence = text.split(';').next().unwrap_or_default().trim();
            !matches!(essence, "" | "application/json" | "application/octet-stream" | "text/plain")
        };
        let sent = sent_as.filter(generic).map(known).transpose()?;
        match (written, sent) {
            (Some(written), Some(sent)) if written != sent => Err(ManifestError::Ambiguous(format!(
                "sent as `{}`, but calls itself `{}`",
                sent.as_str(),
                written.as_str()
            ))),
            (Some(one), _) | (None, Some(one)) => Ok(one),
            (None, None) if self.manifests.is_some() => Ok(ManifestType::untyped(ManifestKind::Index)),
            (None, None) => Ok(ManifestType::untyped(ManifestKind::Image)),
        }
    }

    fn body(self, kind: ManifestKind) -> Result<ManifestBody, ManifestError> {
        let is_image = self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some();
        if self.manifests.is_some() && is_image {
            return Err(ManifestError::Ambiguous("it has both `manifests` and `config` or `layers`".to_owned()));
        }
        let missing = |key: &str| ManifestError::Shape(format!("`{key}` is missing"));
        let body = match kind {
            ManifestKind::Index => ManifestBody::Index(Index {
                manifests: self.manifests.ok_or_else(|| missing("manifests"))?,
                artifact_type: self.artifact_type,
                subject: self.subject,
            }),
            ManifestKind::Image => ManifestBody::Image(Image {
                config: self.config.ok_or_else(|| missing("config"))?,
                layers: self.layers.ok_or_else(|| missing("layers"))?,
                artifact_type: self.artifact_type,
                subject: self.subject,
            }),
        };
        let entries = match &body {
            ManifestBody::Index(index) => index.manifests.len(),
            ManifestBody::Image(image) => image.layers.len(),
        };
        if entries > ENTRIES_MAX {
            return Err(ManifestError::TooMany(entries));
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::super::media_type::{DOCKER_LIST, OCI_INDEX, OCI_MANIFEST};
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str, sent_as: Option<&str>) -> Result<Manifest, ManifestError> {
        Manifest::parse(Bytes::copy_from_slice(text.as_bytes()), sent_as)
    }

    fn image() -> String {
        let d = Digest::of(b"x");
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{d}","size":1}},"layers":[{{"mediaType":"l","digest":"{d}","size":2}}]}}"#
        )
    }

    #[test]
    fn both_shapes_are_read() {
        let read = parse(&image(), Some(OCI_MANIFEST)).unwrap();
        assert_eq!(read.named().count(), 2);
        assert_eq!(read.digest(), Digest::of(image().as_bytes()));
        let read = parse(r#"{"schemaVersion":2,"manifests":[]}"#, None).unwrap();
        assert_eq!(read.media_type().as_str(), OCI_INDEX);
        assert!(parse(&image(), Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8")).is_ok());
    }

    #[test]
    fn a_document_that_is_two_things_is_refused() {
        let both = image().replacen('{', r#"{"manifests":[],"#, 1);
        for sent_as in [None, Some(OCI_INDEX), Some(OCI_MANIFEST)] {
            assert!(matches!(parse(&both, sent_as), Err(ManifestError::Ambiguous(_))));
        }
        let typed = image().replacen('{', &format!(r#"{{"mediaType":"{OCI_MANIFEST}","#), 1);
        assert!(parse(&typed, Some(OCI_MANIFEST)).is_ok());
        assert!(matches!(parse(&typed, Some(DOCKER_LIST)), Err(ManifestError::Ambiguous(_))));
        assert!(parse(&image(), Some(OCI_INDEX)).is_err(), "an image sent as an index");
    }

    #[test]
    fn odd_numbers_and_types_are_refused() {
        let good = image();
        for bad in [
            good.replace("\"size\":1", "\"size\":-1"),
            good.replace("\"size\":1", "\"size\":1.5"),
            good.replace("\"size\":1", "\"size\":1e3"),
            good.replace("\"size\":1", "\"size\":99999999999999999999"),
            good.replace("\"size\":1", "\"size\":\"1\""),
            good.replace("\"schemaVersion\":2", "\"schemaVersion\":1"),
            good.replace("sha256:", "sha512:"),
            good.replace("sha256:", "sha256:../"),
            good.replace("\"layers\":", "\"Layers\":"),
            good.replace("\"layers\":[", "\"layers\":null,\"x\":["),
        ] {
            assert!(parse(&bad, None).is_err(), "{bad}");
        }
        assert!(matches!(parse(&good, Some("text/html")), Err(ManifestError::MediaType(_))));
    }

    #[test]
    fn size_and_count_are_bounded() {
        assert_eq!(parse(&" ".repeat(MANIFEST_MAX + 1), None).unwrap_err(), ManifestError::TooLarge);
        let entry = format!(r#"{{"digest":"{}","size":1}}"#, Digest::of(b"x"));
        let many = |n: usize| format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![entry.as_str(); n].join(","));
        assert!(parse(&many(ENTRIES_MAX), None).is_ok());
        assert!(parse(&many(ENTRIES_MAX + 1), None).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Manifest::parse(bytes.into(), None);
        }

        #[test]
        fn one_changed_byte_changes_the_digest(at in 0usize..200, bit in 0u8..8) {
            let mut bytes = image().into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = Manifest::parse(bytes.into(), None) {
                prop_assert_ne!(read.digest(), Digest::of(image().as_bytes()));
            }
        }
    }
}
