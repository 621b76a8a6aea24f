//! The pipeline: what is asked for becomes something that may be served, or a reason why not.
//!
//! `puller` holds the steps in order; `resolve` goes from tag to digest, `admit` from a manifest's
//! digest to a proof, `membership` from a blob's digest to a proof, `fill` from a proof to content, or
//! `pass_through` where the disk takes nothing. `platform`,
//! `parents` and `rollback` do what single rules ask for besides.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod admission;
mod admit;
mod audited;
mod blobs;
mod error;
mod explain;
#[cfg(test)]
mod fault_tests;
mod fill;
mod flight;
mod from_upstream;
mod in_force;
mod inspect;
mod keeping;
mod lineage;
mod membership;
mod named_by;
mod parents;
mod pass_through;
mod places;
mod platform;
mod puller;
mod question;
mod recall;
mod refusals;
mod resolve;
mod resume;
mod rollback;
mod servable;
mod tail;
mod walk;

pub use crate::store::{FileSlice, Piece};
pub use crate::upstream::TagPage;
pub use admission::Admission;
pub use error::{PullError, Refusal};
pub use explain::{Explanation, Parent};
pub use in_force::InForce;
pub use puller::{ABSENT_FOR, Answer, BlobWant, Puller, PullerParts};
pub use servable::{Content, ContentError, Servable};
