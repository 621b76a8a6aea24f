//! A world in a box: images that run, signatures as cosign makes them, and a registry to hold them.
//!
//! `assay demo` shows Assay at work with it, without network, and the tests build every honest and
//! every dishonest case from it. Nothing here takes part in serving: no other folder uses this one.
//! Must not know about trust, storage or configuration.

mod answer;
mod artefact;
mod bundle;
mod classic;
mod document;
mod hello;
mod image;
mod registry;
mod seen;
mod shelf;
mod signer;
mod tar;
mod visit;
mod wire;

pub use artefact::Artefact;
pub use bundle::{BUNDLE_TYPE, BundleSignature, IN_TOTO, Referrer, SIGN_PREDICATE, Statement, pae};
pub use classic::{ClassicSignature, SIGNATURE_ANNOTATION, classic_artefact, classic_payload};
pub use document::Document;
pub use image::{BuiltImage, BuiltPlatform, ImageBuilder};
pub use registry::Registry;
pub use seen::{RequestLog, Seen};
pub use shelf::Shelf;
pub use signer::Signer;
pub use visit::{Ending, pull};
pub use wire::{Server, Whole};
