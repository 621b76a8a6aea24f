//! The vocabulary of registries: digests, names, descriptors, manifests, ranges, error codes.
//!
//! Pure: no I/O, no async, no clock. Everything here is parsed once, at the edge, and is valid from
//! then on. Must not know about trust, storage or HTTP.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod descriptor;
mod digest;
mod error_code;
mod manifest;
pub mod media_type;
mod name;
mod range;
mod reference;
pub mod strict_json;

pub use descriptor::{Claim, Descriptor, Platform};
pub use digest::{Digest, DigestError, Hasher};
pub use error_code::{ErrorCode, body as error_body};
pub use manifest::{ENTRIES_MAX, Image, Index, MANIFEST_MAX, Manifest, ManifestBody, ManifestError};
pub use media_type::{ManifestKind, ManifestType};
pub use name::{NameError, PATH_MAX, Registry, Repository};
pub use range::{ByteRange, RangeAsk};
pub use reference::{ArtefactTag, ImageName, Reference, ReferenceError, Tag, is_host};
