//! The proofs. Everything that leaves the proxy descends from one of the types in this file.
//!
//! Fields are private and there are no child modules, so only this file can write a proof out, and
//! `mint` can be called only inside `trust`. The callers are counted by a test.

use std::sync::Arc;

use bytes::Bytes;

use crate::oci::{Claim, Descriptor, Digest, Manifest, ManifestBody, Repository};

use super::artefact;
use super::verdict::Verdict;

/// A value whose right to be served was proven, for one repository, with the verdict that says why.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    verdict: Arc<Verdict>,
}

/// A manifest's digest that a verified index names. The bytes may not be here yet.
#[derive(Clone, Debug)]
pub struct AdmittedManifest {
    descriptor: Descriptor,
    verdict: Arc<Verdict>,
}

/// A config or layer that a verified image manifest names. The bytes may not be here yet.
#[derive(Clone, Debug)]
pub struct AdmittedBlob {
    claim: Claim,
    verdict: Arc<Verdict>,
}

/// A manifest that is a signature artefact and not an image (see [`artefact`]).
#[derive(Clone, Debug)]
pub struct Artefact {
    manifest: Manifest,
    verdict: Arc<Verdict>,
}

/// A payload that an artefact names. Becomes servable by [`ArtefactBlob::inspect`] only.
#[derive(Clone, Debug)]
pub struct ArtefactBlob {
    claim: Claim,
    verdict: Arc<Verdict>,
}

/// An artefact's payload whose bytes were looked at: they hash right, and are text, not a layer.
#[derive(Clone, Debug)]
pub struct Inspected {
    bytes: Bytes,
    blob: ArtefactBlob,
}

/// Bytes that are not what was admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {want}, got {got}")]
pub struct Mismatch {
    /// The admitted digest.
    pub want: Digest,
    /// The digest of the bytes.
    pub got: Digest,
}

impl<T> Verified<T> {
    /// Every proof starts here.
    pub(in crate::trust) fn mint(value: T, verdict: Arc<Verdict>) -> Self {
        Self { value, verdict }
    }

    /// What was proven servable.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// Why.
    pub fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    /// The repository it may be served in.
    pub fn repository(&self) -> &Repository {
        &self.verdict.repository
    }
}

impl Verified<Manifest> {
    /// The manifest with this digest, if this is an index that names it.
    ///
    /// Layers are not manifests, even where their bytes read as one: what a signer packed into a
    /// layer was never meant to be an index.
    pub fn manifest(&self, digest: Digest) -> Option<AdmittedManifest> {
        self.manifests().find(|child| child.digest() == digest)
    }

    /// All manifests that this index names; none for an image.
    pub fn manifests(&self) -> impl Iterator<Item = AdmittedManifest> + '_ {
        let named = match self.value.body() {
            ManifestBody::Index(index) => index.manifests.as_slice(),
            ManifestBody::Image(_) => &[],
        };
        named.iter().map(|d| AdmittedManifest { descriptor: d.clone(), verdict: Arc::clone(&self.verdict) })
    }

    /// The config or layer with this digest, if this is an image that names it.
    pub fn blob(&self, digest: Digest) -> Option<AdmittedBlob> {
        self.value.image()?;
        let descriptor = self.value.named().find(|d| d.digest == digest)?;
        Some(AdmittedBlob { claim: descriptor.claim(), verdict: Arc::clone(&self.verdict) })
    }
}

impl AdmittedManifest {
    /// The admitted digest.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// What the index says about it.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Bytes that hash to an admitted digest are verified too.
    pub fn open(self, manifest: Manifest) -> Result<Verified<Manifest>, Mismatch> {
        if manifest.digest() != self.digest() {
            return Err(Mismatch { want: self.digest(), got: manifest.digest() });
        }
        Ok(Verified::mint(manifest, self.verdict))
    }
}

impl AdmittedBlob {
    /// Which content was admitted.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// The verdict on the manifest that vouches for it.
    pub fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }
}

impl Artefact {
    /// Only [`super::gate::pass_artefact`] calls this, after its checks.
    pub(in crate::trust) fn mint(manifest: Manifest, verdict: Arc<Verdict>) -> Self {
        Self { manifest, verdict }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Why it passes.
    pub fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    /// The payload or config with this digest, if this artefact names it.
    pub fn blob(&self, digest: Digest) -> Option<ArtefactBlob> {
        self.manifest.image()?;
        let descriptor = self.manifest.named().find(|d| d.digest == digest)?;
        Some(ArtefactBlob { claim: descriptor.claim(), verdict: Arc::clone(&self.verdict) })
    }
}

impl ArtefactBlob {
    /// Which content is meant.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// The verdict on the artefact that names it.
    pub fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    /// Looks at the bytes: they must be the claimed ones, and text that no container engine can unpack.
    pub fn inspect(self, bytes: Bytes) -> Result<Inspected, artefact::NotAnArtefact> {
        let got = Claim { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        if got != self.claim {
            return Err(artefact::NotAnArtefact::Mismatch(Mismatch { want: self.claim.digest, got: got.digest }));
        }
        artefact::check_payload(&bytes)?;
        Ok(Inspected { bytes, blob: self })
    }
}

impl Inspected {
    /// The bytes that were looked at.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What they are.
    pub fn blob(&self) -> &ArtefactBlob {
        &self.blob
    }
}
