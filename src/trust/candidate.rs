//! What was found where a signature may lie. Nothing about it is proven.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Something that was found where a signature may lie.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Candidate {
    /// Where it lay, for people.
    pub place: String,
    /// What it is.
    pub material: Material,
}

/// The layouts that cosign writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Material {
    /// A payload layer of the tag `sha256-<hex>.sig` with its annotations.
    Classic {
        /// The signed bytes.
        #[serde(with = "as_base64")]
        payload: Bytes,
        /// Of the layer's descriptor; the signature is one of them.
        annotations: BTreeMap<String, String>,
    },
    /// A layer of the tag `sha256-<hex>.att` with its annotations.
    ClassicAttestation {
        /// The DSSE envelope: a statement and its signature.
        #[serde(with = "as_base64")]
        envelope: Bytes,
        /// Of the layer's descriptor: certificate and log entry.
        annotations: BTreeMap<String, String>,
    },
    /// A Sigstore bundle, as it lies in a referrer.
    Bundle(#[serde(with = "as_base64")] Bytes),
}

impl Material {
    /// The layout's name.
    pub fn format(&self) -> &'static str {
        match self {
            Self::Classic { .. } | Self::ClassicAttestation { .. } => "classic",
            Self::Bundle(_) => "bundle",
        }
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        match self {
            Self::Classic { payload: bytes, annotations }
            | Self::ClassicAttestation { envelope: bytes, annotations } => {
                bytes.len() + annotations.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            }
            Self::Bundle(bytes) => bytes.len(),
        }
    }
}

/// Bytes in records that people may open with a database tool.
mod as_base64 {
    use super::Bytes;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}
