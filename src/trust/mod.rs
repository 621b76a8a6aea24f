//! May this be served? Rules, signatures, verdicts, and the proofs that the rest of the program needs.
//!
//! Pure: bytes and a time in, a verdict with evidence out. No I/O, no async, no clock of its own.
//! The only place that mints proofs.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod artefact;
mod bundle;
mod gate;
mod key;
mod policy;
mod proof;
mod signature;
#[cfg(test)]
mod tests;
mod verdict;

pub use gate::{Judgement, Recorded, Search, judge, pass_artefact, recall, refuse, still_stands};
pub use key::{KeyError, KeySigner, PublicKey};
pub use policy::{
    Demand, DockerReference, Enforcement, Fingerprint, Pattern, PatternError, Policy, Require, Rule, danger,
};
pub use proof::{AdmittedBlob, AdmittedManifest, Artefact, ArtefactBlob, Inspected, Mismatch, Verified};
pub use signature::{BUNDLE_MAX, Candidate, Material, PAYLOAD_MAX, PROOFS_MAX, SUBJECTS_MAX};
pub use verdict::{CandidateReport, Check, Decision, Found, Looked, Reason, SignerSeen, Verdict};
