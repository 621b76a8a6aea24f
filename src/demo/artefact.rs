//! Signatures as a registry holds them: a manifest and the blobs that it names.

use crate::oci::Tag;

use super::document::Document;

/// Something about an image: a manifest, its blobs, and the tag where clients look for it.
#[derive(Clone, Debug)]
pub struct Artefact {
    /// What names the blobs.
    pub manifest: Document,
    /// Its config and layers.
    pub blobs: Vec<Document>,
    /// `sha256-<hex>.sig` of a classic signature; `None` of a referrer, which is found by its subject.
    pub tag: Option<Tag>,
}
