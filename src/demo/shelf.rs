//! What the demo's registry holds, in memory: manifests, tags, blobs, and who refers to whom.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::oci::media_type::OCI_INDEX;
use crate::oci::{ArtefactTag, Digest, Manifest, Reference, Tag};

use super::artefact::Artefact;
use super::document::Document;
use super::image::BuiltImage;

/// Content of a registry. Takes whatever it is given, lies included: nothing is checked.
#[derive(Debug)]
pub struct Shelf(Mutex<State>);

#[derive(Debug)]
struct State {
    repositories: BTreeMap<String, Repository>,
    referrers_api: bool,
    referrers_page: Option<usize>,
}

#[derive(Debug, Default)]
struct Repository {
    manifests: HashMap<Digest, Document>,
    tags: BTreeMap<Tag, Digest>,
    blobs: HashMap<Digest, Bytes>,
    /// Descriptors by subject, in the order in which they came.
    referrers: BTreeMap<Digest, Vec<Value>>,
}

impl Default for Shelf {
    fn default() -> Self {
        let state = State { repositories: BTreeMap::new(), referrers_api: true, referrers_page: None };
        Self(Mutex::new(state))
    }
}

impl Shelf {
    /// Puts an image and everything below it into `repository`, and `tag` on its index.
    ///
    /// # Panics
    /// When `tag` is not a tag.
    pub fn push_image(&self, repository: &str, tag: &str, image: &BuiltImage) {
        for platform in &image.platforms {
            for blob in platform.layers.iter().chain([&platform.config]) {
                self.put_blob(repository, blob.bytes.clone());
            }
            self.put_manifest(repository, &platform.manifest.digest.to_string(), platform.manifest.clone());
        }
        self.put_manifest(repository, tag, image.index.clone());
    }

    /// Puts a signature or attestation into `repository`.
    pub fn push_artefact(&self, repository: &str, artefact: &Artefact) {
        for blob in &artefact.blobs {
            self.put_blob(repository, blob.bytes.clone());
        }
        let digest = artefact.manifest.digest.to_string();
        let reference = artefact.tag.as_ref().map_or(digest, ToString::to_string);
        self.put_manifest(repository, &reference, artefact.manifest.clone());
    }

    /// Puts a manifest under a tag (and its digest), or under any digest, also one that is not its own.
    /// One with a `subject` becomes a referrer of it.
    ///
    /// # Panics
    /// When `reference` is neither a tag nor a digest.
    pub fn put_manifest(&self, repository: &str, reference: &str, document: Document) {
        let reference: Reference = reference.parse().expect("the caller gives a tag or a digest");
        let mut state = self.lock();
        let repository = state.repositories.entry(repository.to_owned()).or_default();
        repository.note_subject(&document);
        match reference {
            Reference::Tag(tag) => {
                repository.tags.insert(tag, document.digest);
                repository.manifests.insert(document.digest, document);
            }
            Reference::Digest(digest) => {
                repository.manifests.insert(digest, document);
            }
        }
    }

    /// Puts a blob under its digest.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        self.put_blob_as(repository, digest, bytes);
        digest
    }

    /// Puts any bytes under any digest.
    pub fn put_blob_as(&self, repository: &str, digest: Digest, bytes: impl Into<Bytes>) {
        self.lock().repositories.entry(repository.to_owned()).or_default().blobs.insert(digest, bytes.into());
    }

    /// Flips a bit in the middle of a blob and keeps it under its old digest. False when there is none.
    pub fn corrupt_blob(&self, repository: &str, digest: Digest) -> bool {
        let mut state = self.lock();
        let blob = state.repositories.get_mut(repository).and_then(|held| held.blobs.get_mut(&digest));
        let Some(blob) = blob.filter(|blob| !blob.is_empty()) else { return false };
        let mut bytes = blob.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        *blob = bytes.into();
        true
    }

    /// Takes a tag away. What it named stays under its digest.
    pub fn remove_tag(&self, repository: &str, tag: &str) {
        let mut state = self.lock();
        if let Some(held) = state.repositories.get_mut(repository) {
            held.tags.retain(|held, _| held.as_str() != tag);
        }
    }

    /// Takes a manifest or blob away; tags that name it lead nowhere then.
    pub fn remove(&self, repository: &str, digest: Digest) {
        let mut state = self.lock();
        if let Some(held) = state.repositories.get_mut(repository) {
            held.manifests.remove(&digest);
            held.blobs.remove(&digest);
        }
    }

    /// Switches the referrers API. While it is off, the tag `sha256-<hex>` lists the referrers.
    pub fn set_referrers_api(&self, on: bool) {
        self.lock().referrers_api = on;
    }

    /// How many referrers an answer lists before it links to the next one; `None`: all.
    pub fn set_referrers_page(&self, entries: Option<usize>) {
        self.lock().referrers_page = entries.filter(|entries| *entries > 0);
    }

    /// A manifest, and the digest that it is held under.
    pub(super) fn manifest(&self, repository: &str, reference: &Reference) -> Option<(Digest, Document)> {
        let state = self.lock();
        let held = state.repositories.get(repository)?;
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => match held.tags.get(tag) {
                Some(digest) => *digest,
                None => {
                    let (subject, ArtefactTag::Referrers) = tag.as_artefact()? else { return None };
                    let listing = held.listing(subject).filter(|_| !state.referrers_api)?;
                    return Some((listing.digest, listing));
                }
            },
        };
        if let Some(document) = held.manifests.get(&digest) {
            return Some((digest, document.clone()));
        }
        let mut listings = held.referrers.keys().filter_map(|subject| held.listing(*subject));
        let listing = listings.find(|listing| listing.digest == digest).filter(|_| !state.referrers_api)?;
        Some((digest, listing))
    }

    /// A blob's bytes.
    pub(super) fn blob(&self, repository: &str, digest: Digest) -> Option<Bytes> {
        self.lock().repositories.get(repository)?.blobs.get(&digest).cloned()
    }

    /// All tags in order; `None` when there is no such repository.
    pub(super) fn tags(&self, repository: &str) -> Option<Vec<Tag>> {
        let state = self.lock();
        let held = state.repositories.get(repository)?;
        let mut tags: Vec<_> = held.tags.keys().cloned().collect();
        if !state.referrers_api {
            tags.extend(held.referrers.keys().map(|subject| Tag::of_artefact(*subject, ArtefactTag::Referrers)));
            tags.sort();
            tags.dedup();
        }
        Some(tags)
    }

    /// Referrers of `subject` and the size of a page; `None` when the API is off.
    pub(super) fn referrers(&self, repository: &str, subject: Digest) -> Option<(Vec<Value>, Option<usize>)> {
        let state = self.lock();
        let held = state.repositories.get(repository).and_then(|held| held.referrers.get(&subject));
        state.referrers_api.then(|| (held.cloned().unwrap_or_default(), state.referrers_page))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Repository {
    fn note_subject(&mut self, document: &Document) {
        let parsed = Manifest::parse(document.bytes.clone(), None).ok();
        let Some(subject) = parsed.as_ref().and_then(Manifest::subject).map(|subject| subject.digest) else { return };
        let wire: Value = serde_json::from_slice(&document.bytes).expect("a manifest that was parsed is JSON");
        // The distribution spec: the type of the config stands in for a missing artefact type.
        let artifact_type = wire.get("artifactType").unwrap_or(&wire["config"]["mediaType"]);
        let mut entry = json!(document.descriptor());
        entry["artifactType"] = artifact_type.clone();
        if let Some(annotations) = wire.get("annotations") {
            entry["annotations"] = annotations.clone();
        }
        let entries = self.referrers.entry(subject).or_default();
        entries.retain(|known| known["digest"] != entry["digest"]);
        entries.push(entry);
    }

    /// The index behind the fallback tag.
    fn listing(&self, subject: Digest) -> Option<Document> {
        Some(referrers_index(self.referrers.get(&subject)?))
    }
}

/// The index that lists referrers.
pub(super) fn referrers_index(entries: &[Value]) -> Document {
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    Document::json(OCI_INDEX, &index)
}
