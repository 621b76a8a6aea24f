//! May this be served? Rules, signatures, verdicts, and the proofs that the rest of the program needs.
//!
//! Pure: bytes and a time in, a verdict with evidence out. No I/O, no async, no clock of its own.
//! The only place that mints proofs.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod advice;
pub mod artefact;
mod attestation;
mod bundle;
mod candidate;
mod certificate;
mod checkpoint;
mod classic;
mod demand;
mod examine;
mod gate;
mod identity;
mod key;
mod origin;
mod policy;
mod proof;
mod root;
mod root_diff;
mod signer;
mod statement;
#[cfg(test)]
mod tests;
mod timestamp;
mod verdict;
mod verifier;

pub use attestation::{About, AttestationDemand, Condition, PREDICATE_TYPES, predicate_type};
pub use candidate::{Candidate, Material};
pub use certificate::{CLAIMS, Certificate};
pub use classic::PAYLOAD_MAX;
pub use demand::{Demand, DockerReference, Formats, Require};
pub use gate::{
    Judgement, Recorded, Search, attested_by, denied, judge, judge_platform, pass_artefact, recall, refuse, rejudge,
    still_stands,
};
pub use identity::{EXPRESSION_MAX, Expression, ExpressionError, Matcher};
pub use key::{KeyError, KeySigner, PublicKey};
pub use policy::{
    Enforcement, Fingerprint, ParentSearch, Pattern, PatternError, Policy, Rollback, Rule, Terms, danger,
};
pub use proof::{AdmittedBlob, AdmittedManifest, Artefact, ArtefactBlob, Inspected, Mismatch, Verified};
pub use root::{PUBLIC_GOOD, PartKind, ROOT_MAX, RootError, RootPart, TrustRoot};
pub use root_diff::{Changed, RootDiff};
pub use signer::{IdentitySigner, Signer};
pub use statement::{COSIGN_SIGN_V1, SUBJECTS_MAX};
pub use verdict::{
    AttestationSeen, CandidateReport, Check, Decision, Difference, Found, Looked, Outcome, Reason, SignerSeen, Verdict,
};
pub use verifier::{Artifact, BUNDLE_MAX, Failure, LogEntry, PROOFS_MAX, Proven, Tlog, Trust, verify_bundle};
