//! Stored shapes.

use jiff::Timestamp;

use crate::oci::{Digest, Manifest};
use crate::trust::{Recorded, Verdict};

/// Which digests a manifest names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    /// The manifest.
    pub parent: Option<Digest>,
    /// What it names, with whether that is a manifest too.
    pub children: Vec<(Digest, bool)>,
}

/// What is recorded about a manifest in its own right.
#[derive(Clone, Debug)]
pub enum Known {
    /// It was judged.
    Judged(Box<Recorded>),
    /// It passed as a signature artefact.
    Artefact(Box<Verdict>),
}

/// Something that is proven to have been signed at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What.
    pub digest: Digest,
    /// The latest proven time among its signatures.
    pub at: Timestamp,
}

/// Where a tag pointed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagSeen {
    /// To this.
    pub digest: Digest,
    /// When upstream said so last, to about a minute.
    pub at: Timestamp,
}

impl Edges {
    /// Of this manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let are_manifests = manifest.index().is_some();
        Self {
            parent: Some(manifest.digest()),
            children: manifest.named().map(|named| (named.digest, are_manifests)).collect(),
        }
    }
}
