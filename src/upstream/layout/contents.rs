//! What a layout holds: tags, images and who refers to whom, read once when it is opened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use serde::Deserialize;

use super::folder::{Folder, ReadError};
use crate::oci::{
    ArtefactTag, Descriptor, Digest, Index, MANIFEST_MAX, Manifest, ManifestBody, ManifestType, Tag, strict_json,
};

/// What `oci-layout` must say (OCI image spec, image-layout.md).
const VERSION: &str = "1.0.0";
/// Largest `oci-layout`; it has 30 bytes.
const VERSION_BYTES_MAX: u64 = 4096;
/// Most manifests that are read when a layout is opened, and their bytes altogether: real layouts hold an
/// image or some dozens, and what is read here is read before anybody asked for it.
const MANIFESTS_MAX: usize = 4096;
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How deep indexes may name indexes, as for images that are served.
const DEPTH_MAX: usize = 4;

/// The name of an entry of `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// `cosign save` says with this what an entry is, and gives no names.
const COSIGN_KIND: &str = "kind";

/// What a layout holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What each tag names: one digest, in a good layout.
    pub(super) tags: BTreeMap<Tag, BTreeSet<Digest>>,
    /// The entries of `index.json` that are no signature artefacts, in order, with their names.
    pub(super) images: Vec<(Digest, Option<String>)>,
    /// What refers to a digest.
    pub(super) referrers: BTreeMap<Digest, Vec<Descriptor>>,
    /// The types of manifests, where an index says them.
    pub(super) types: BTreeMap<Digest, ManifestType>,
    /// What should be there and could not be read, so nobody knows what it refers to.
    pub(super) unread: Option<String>,
}

/// The manifests that are still to be read.
struct Walk<'a> {
    folder: &'a Folder,
    contents: Contents,
    seen: BTreeSet<Digest>,
    queue: VecDeque<(Descriptor, usize)>,
    bytes_left: u64,
}

#[derive(Deserialize)]
struct LayoutVersion {
    #[serde(rename = "imageLayoutVersion")]
    image_layout_version: String,
}

impl Contents {
    /// Reads `oci-layout`, `index.json`, and every manifest that can be reached from there.
    ///
    /// # Errors
    /// A sentence, when it is no layout.
    pub(super) fn read(folder: &Folder) -> Result<Self, String> {
        check_version(folder)?;
        let index = required(folder, "index.json", MANIFEST_MAX as u64)?;
        let index = Manifest::parse(index, None).map_err(|error| format!("index.json: {error}"))?;
        let ManifestBody::Index(index) = index.body() else {
            return Err("index.json: not an image index".to_owned());
        };
        let mut walk = Walk {
            folder,
            contents: Self::default(),
            seen: BTreeSet::new(),
            queue: index.manifests.iter().map(|entry| (entry.clone(), 0)).collect(),
            bytes_left: MANIFEST_BYTES_MAX,
        };
        walk.run();
        let mut contents = walk.contents;
        contents.name(index);
        Ok(contents)
    }

    /// Finds tags and images among the entries of `index.json`.
    fn name(&mut self, index: &Index) {
        let referring: BTreeSet<Digest> = self.referrers.values().flatten().map(|referrer| referrer.digest).collect();
        let saved = saved_by_cosign(index);
        for entry in &index.manifests {
            let written = entry.annotation(REF_NAME);
            let artefact = saved.and_then(|image| cosign_tag(entry, image));
            let tag = artefact.or_else(|| written.and_then(tag_of));
            let is_artefact = tag.as_ref().is_some_and(|tag| tag.as_artefact().is_some());
            if let Some(tag) = tag {
                self.tags.entry(tag).or_default().insert(entry.digest);
            }
            let is_known = self.images.iter().any(|(digest, _)| *digest == entry.digest);
            if !is_artefact && !is_known && !referring.contains(&entry.digest) {
                self.images.push((entry.digest, written.map(|name| name.chars().take(100).collect())));
            }
        }
    }
}

impl Walk<'_> {
    fn run(&mut self) {
        while let Some((descriptor, depth)) = self.queue.pop_front() {
            let media_type = ManifestType::parse(&descriptor.media_type);
            // What says that it is no manifest refers to nothing.
            if media_type.is_none() && !descriptor.media_type.is_empty() {
                continue;
            }
            if !self.seen.insert(descriptor.digest) {
                continue;
            }
            if self.seen.len() > MANIFESTS_MAX || self.bytes_left == 0 {
                self.missed(format!("more than {MANIFESTS_MAX} manifests or {MANIFEST_BYTES_MAX} bytes of them"));
                return;
            }
            if let Some(media_type) = media_type {
                self.contents.types.insert(descriptor.digest, media_type);
            }
            match self.manifest(&descriptor, media_type) {
                Ok(Some(manifest)) => self.note(&descriptor, &manifest, depth),
                // Copying tools leave out platforms that nobody wanted.
                Ok(None) if depth > 0 => {}
                Ok(None) => self.missed(format!("index.json names {}, which is not in blobs", descriptor.digest)),
                Err(why) => self.missed(format!("{}: {why}", descriptor.digest)),
            }
        }
    }

    fn manifest(
        &mut self,
        descriptor: &Descriptor,
        media_type: Option<ManifestType>,
    ) -> Result<Option<Manifest>, String> {
        let limit = self.bytes_left.min(MANIFEST_MAX as u64);
        let read = self.folder.read_blob(descriptor.digest, limit).map_err(|error| match error {
            ReadError::TooLarge(limit) if limit < MANIFEST_MAX as u64 => {
                // Nothing more is read.
                self.bytes_left = 0;
                format!("more than {MANIFEST_BYTES_MAX} bytes of manifests")
            }
            error => error.to_string(),
        })?;
        let Some(bytes) = read else { return Ok(None) };
        self.bytes_left = self.bytes_left.saturating_sub(bytes.len() as u64);
        if Digest::of(&bytes) != descriptor.digest {
            return Err("its content has another digest".to_owned());
        }
        Manifest::parse(bytes, media_type.map(ManifestType::as_str)).map(Some).map_err(|error| error.to_string())
    }

    fn note(&mut self, descriptor: &Descriptor, manifest: &Manifest, depth: usize) {
        if let Some(subject) = manifest.subject() {
            let artifact_type = match manifest.body() {
                ManifestBody::Index(index) => index.artifact_type.clone(),
                ManifestBody::Image(image) => {
                    Some(image.artifact_type.clone().unwrap_or_else(|| image.config.media_type.clone()))
                }
            };
            let referrer = Descriptor { artifact_type, size: manifest.bytes().len() as u64, ..descriptor.clone() };
            self.contents.referrers.entry(subject.digest).or_default().push(referrer);
        }
        let Some(index) = manifest.index() else { return };
        if depth + 1 < DEPTH_MAX {
            // A row of indexes that name each other's entries costs no more than what `MANIFESTS_MAX` allows.
            let room = (MANIFESTS_MAX + 1).saturating_sub(self.queue.len());
            self.queue.extend(index.manifests.iter().take(room).map(|entry| (entry.clone(), depth + 1)));
            if index.manifests.len() > room {
                self.missed(format!("more than {MANIFESTS_MAX} manifests"));
            }
        } else if !index.manifests.is_empty() {
            self.missed(format!("{}: an index nested deeper than {DEPTH_MAX}", descriptor.digest));
        }
    }

    fn missed(&mut self, what: String) {
        self.contents.unread.get_or_insert(what);
    }
}

fn check_version(folder: &Folder) -> Result<(), String> {
    let bytes = required(folder, "oci-layout", VERSION_BYTES_MAX)?;
    strict_json::check(&bytes).map_err(|why| format!("oci-layout: {why}"))?;
    let read: LayoutVersion = serde_json::from_slice(&bytes).map_err(|error| format!("oci-layout: {error}"))?;
    if read.image_layout_version == VERSION {
        return Ok(());
    }
    let version: String = read.image_layout_version.chars().take(20).collect();
    Err(format!("oci-layout: version `{}`, where {VERSION} is known", version.escape_debug()))
}

fn required(folder: &Folder, name: &str, limit: u64) -> Result<bytes::Bytes, String> {
    match folder.read(Path::new(name), limit) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(format!("not an OCI image layout: it has no file `{name}`")),
        Err(error @ (ReadError::TooLarge(_) | ReadError::Io(_))) => Err(format!("{name}: {error}")),
    }
}

/// The tag in an entry's name: `v1`, `app:v1` or `ghcr.io/acme/app:v1`; `None` when it has none.
fn tag_of(name: &str) -> Option<Tag> {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    match last.rsplit_once(':') {
        Some((_, tag)) => tag.parse().ok(),
        None if last.len() == name.len() => name.parse().ok(),
        None => None,
    }
}

/// The one image of a layout made by `cosign save`.
fn saved_by_cosign(index: &Index) -> Option<Digest> {
    let is_image =
        |kind: &str| matches!(kind, "dev.cosignproject.cosign/image" | "dev.cosignproject.cosign/imageIndex");
    let mut images = index.manifests.iter().filter(|entry| entry.annotation(COSIGN_KIND).is_some_and(is_image));
    let image = images.next()?.digest;
    images.next().is_none().then_some(image)
}

/// The tag that an entry would have in a registry, where `cosign save` says what it is.
fn cosign_tag(entry: &Descriptor, image: Digest) -> Option<Tag> {
    let kind = match entry.annotation(COSIGN_KIND)? {
        "dev.cosignproject.cosign/sigs" => ArtefactTag::Signature,
        "dev.cosignproject.cosign/atts" => ArtefactTag::Attestation,
        _ => return None,
    };
    Some(Tag::of_artefact(image, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_tag_of_a_name() {
        for (name, want) in [
            ("v1", Some("v1")),
            ("app:v1", Some("v1")),
            ("ghcr.io/acme/app:v1", Some("v1")),
            ("localhost:5000/app:v1", Some("v1")),
            ("app:v1@sha256:00", Some("v1")),
            ("localhost:5000/app", None),
            ("ghcr.io/acme/app", None),
            ("app@sha256:00", Some("app")),
            ("", None),
            (":", None),
            ("a:../x", None),
            ("../x", None),
        ] {
            assert_eq!(tag_of(name).as_ref().map(Tag::as_str), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn names_never_panic_and_tags_are_tags(name in "\\PC{0,40}", near in "(a|/|:|@|\\.|é){0,12}") {
            for name in [name, near] {
                if let Some(tag) = tag_of(&name) {
                    prop_assert!(tag.as_str().parse::<Tag>().is_ok());
                }
            }
        }
    }
}
