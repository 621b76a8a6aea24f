//! Bytes that belong in a registry, with what they are called there.

use bytes::Bytes;

use crate::oci::{Descriptor, Digest};

/// A manifest, config, layer or signature payload: bytes, their digest, and their media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it says it is.
    pub media_type: String,
    /// The exact content.
    pub bytes: Bytes,
    /// The sha256 of `bytes`.
    pub digest: Digest,
}

impl Document {
    /// Names `bytes` by their digest.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type: media_type.into(), digest: Digest::of(&bytes), bytes }
    }

    /// Writes `value` as JSON. Equal values give equal digests.
    pub fn json(media_type: impl Into<String>, value: &serde_json::Value) -> Self {
        Self::new(media_type, value.to_string())
    }

    /// What a manifest says about it: its type, digest and size, nothing else.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest,
            size: self.bytes.len() as u64,
            artifact_type: None,
            platform: None,
            annotations: None,
        }
    }
}
