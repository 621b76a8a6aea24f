//! What the gate says about an image, with what a person needs to understand it.

use std::sync::Arc;

use crate::oci::{Digest, MANIFEST_MAX, Manifest, Tag};
use crate::store::DiskStore;
use crate::trust::Verdict;

/// What the gate says about an image, without serving it.
#[derive(Debug)]
pub struct Explanation {
    /// What the tag or digest stands for.
    pub digest: Digest,
    /// The verdict. Its digest is that of the manifest that carries the signature: the index, where a
    /// platform's manifest was asked.
    pub verdict: Arc<Verdict>,
    /// The index that vouches for it, where the verdict is about one.
    pub parent: Option<Parent>,
}

/// An index that names a platform's manifest and vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The index.
    pub index: Digest,
    /// A tag of the index, if one is known.
    pub tag: Option<Tag>,
    /// For which machine the index says that the manifest is, such as `linux/arm64`.
    pub platform: Option<String>,
}

impl Parent {
    /// The parent through which `digest` was admitted under `verdict`, or `None` if it was judged itself.
    pub(super) async fn of(store: &DiskStore, digest: Digest, verdict: &Verdict) -> Option<Self> {
        let index = verdict.digest;
        if index == digest {
            return None;
        }
        let bytes = store.read(index, MANIFEST_MAX).await.ok().flatten();
        let manifest = bytes.and_then(|bytes| Manifest::parse(bytes, None).ok());
        Some(Self { index, tag: None, platform: manifest.and_then(|manifest| platform(&manifest, digest)) })
    }
}

fn platform(index: &Manifest, digest: Digest) -> Option<String> {
    let entry = index.index()?.manifests.iter().find(|entry| entry.digest == digest)?;
    entry.platform.as_ref().map(ToString::to_string)
}
