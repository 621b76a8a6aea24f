//! Builds small multi-platform images that really run. No network, no clock: the same builder gives
//! the same digests.

use std::collections::BTreeMap;

use serde_json::json;

use crate::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::oci::{Descriptor, Digest, Platform};

use super::document::Document;
use super::{hello, tar};

/// An image's config.
pub(super) const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
pub(super) const CREATED: &str = "2026-01-01T00:00:00Z";

/// Describes an image for linux/amd64 and linux/arm64 whose only program prints a greeting.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    greeting: String,
    note: Option<String>,
    padding: usize,
    filler_layers: Vec<usize>,
}

/// An image: its index and everything that the index names.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// The index.
    pub index: Document,
    /// What it names, in its order.
    pub platforms: Vec<BuiltPlatform>,
}

/// An image for one machine.
#[derive(Clone, Debug)]
pub struct BuiltPlatform {
    /// Which machine.
    pub platform: Platform,
    /// The image manifest.
    pub manifest: Document,
    /// The config.
    pub config: Document,
    /// The layers, bottom first: the one with `/hello`, then the filler layers.
    pub layers: Vec<Document>,
}

impl ImageBuilder {
    /// An image that prints `greeting`, followed by its platform: "Hello (linux/amd64).".
    pub fn new(greeting: impl Into<String>) -> Self {
        Self { greeting: greeting.into(), note: None, padding: 0, filler_layers: Vec::new() }
    }

    /// Writes `note` into an annotation of the index. Another note gives another index digest with the
    /// same manifests below.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Adds a file of `bytes` pseudo-random bytes beside `/hello`, to make the layer big.
    #[must_use]
    pub fn layer_padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// Adds one more layer, the same for all platforms, with a file of `bytes` pseudo-random bytes.
    #[must_use]
    pub fn filler_layer(mut self, bytes: usize) -> Self {
        self.filler_layers.push(bytes);
        self
    }

    /// Makes all documents.
    pub fn build(&self) -> BuiltImage {
        let platforms: Vec<_> = ARCHITECTURES.iter().map(|architecture| self.platform(architecture)).collect();
        let entries: Vec<_> = platforms
            .iter()
            .map(|built| Descriptor { platform: Some(built.platform.clone()), ..built.manifest.descriptor() })
            .collect();
        let mut index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        if let Some(note) = &self.note {
            index["annotations"] = json!(BTreeMap::from([("dev.assay.demo.note", note)]));
        }
        BuiltImage { index: Document::json(OCI_INDEX, &index), platforms }
    }

    fn platform(&self, architecture: &str) -> BuiltPlatform {
        let platform = Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), variant: None };
        let mut layers = vec![self.hello_layer(&platform)];
        layers.extend(self.filler_layers.iter().zip(1..).map(|(bytes, number)| {
            let filler = noise(*bytes, number);
            let name = format!("filler-{number}");
            layer(&[tar::File { name: &name, mode: 0o644, content: &filler }])
        }));

        // A layer that is not compressed has the same digest in the config as in the manifest.
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.digest).collect();
        let history: Vec<_> =
            layers.iter().map(|_| json!({ "created": CREATED, "created_by": "assay demo" })).collect();
        let config = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "created": CREATED,
            "config": { "Entrypoint": ["/hello"], "WorkingDir": "/" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        let config = Document::json(CONFIG_TYPE, &config);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": layers.iter().map(Document::descriptor).collect::<Vec<_>>(),
        });
        BuiltPlatform { platform, manifest: Document::json(OCI_MANIFEST, &manifest), config, layers }
    }

    fn hello_layer(&self, platform: &Platform) -> Document {
        let text = format!("{} ({platform}).\n", self.greeting);
        let program = hello::executable(&platform.architecture, &text).expect("we only build for what we speak");
        let filler = noise(self.padding, 0);
        let hello = tar::File { name: "hello", mode: 0o755, content: &program };
        match self.padding {
            0 => layer(&[hello]),
            _ => layer(&[hello, tar::File { name: "filler", mode: 0o644, content: &filler }]),
        }
    }
}

impl BuiltImage {
    /// Every document: the index, then each platform's manifest, config and layers. Shared layers
    /// come once per platform.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        std::iter::once(&self.index).chain(self.platforms.iter().flat_map(BuiltPlatform::documents))
    }

    /// The image for `architecture`, for example `amd64`.
    pub fn platform(&self, architecture: &str) -> Option<&BuiltPlatform> {
        self.platforms.iter().find(|built| built.platform.architecture == architecture)
    }
}

impl BuiltPlatform {
    /// The manifest, the config and the layers.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        [&self.manifest, &self.config].into_iter().chain(&self.layers)
    }
}

fn layer(files: &[tar::File<'_>]) -> Document {
    Document::new(LAYER_TYPE, tar::archive(files))
}

/// Bytes without pattern (SplitMix64), so that no compression or deduplication makes a layer small.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut filler = Vec::with_capacity(bytes + 8);
    while filler.len() < bytes {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        filler.extend((word ^ (word >> 31)).to_le_bytes());
    }
    filler.truncate(bytes);
    filler
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Manifest;

    #[test]
    fn the_parts_name_each_other() {
        let image = ImageBuilder::new("Hello").layer_padding(3000).filler_layer(10).filler_layer(10).build();
        let index = Manifest::parse(image.index.bytes.clone(), Some(OCI_INDEX)).unwrap();
        assert_eq!(index.digest(), image.index.digest);
        let listed: Vec<_> = index.named().map(|d| (d.platform.clone().unwrap().to_string(), d.digest)).collect();
        let built: Vec<_> = image.platforms.iter().map(|p| (p.platform.to_string(), p.manifest.digest)).collect();
        assert_eq!(listed, built);
        assert_eq!(listed[0].0, "linux/amd64");

        for platform in &image.platforms {
            let manifest = Manifest::parse(platform.manifest.bytes.clone(), Some(OCI_MANIFEST)).unwrap();
            let named: Vec<_> = manifest.named().map(Descriptor::claim).collect();
            let built: Vec<_> = platform.documents().skip(1).map(|d| d.descriptor().claim()).collect();
            assert_eq!(named, built);
            let config: serde_json::Value = serde_json::from_slice(&platform.config.bytes).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"][2], platform.layers[2].digest.to_string());
            assert_eq!(config["history"].as_array().unwrap().len(), 3);
        }
        assert_eq!(image.documents().count(), 1 + 2 * 5);
        assert_eq!(image.platforms[0].layers[1], image.platforms[1].layers[1], "filler layers are shared");
        assert_ne!(image.platforms[0].layers[1].digest, image.platforms[0].layers[2].digest);
    }

    #[test]
    fn the_same_builder_gives_the_same_image() {
        let builder = ImageBuilder::new("Hello").layer_padding(100);
        let digests = |image: BuiltImage| image.documents().map(|d| d.digest).collect::<Vec<_>>();
        assert_eq!(digests(builder.build()), digests(builder.build()));

        let (plain, noted) = (builder.build(), builder.clone().note("another").build());
        assert_ne!(plain.index.digest, noted.index.digest);
        assert_eq!(plain.platforms[0].manifest, noted.platforms[0].manifest);
        assert_ne!(ImageBuilder::new("Bye").build().platforms[0].manifest, plain.platforms[0].manifest);
    }
}
