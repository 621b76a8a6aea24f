//! The pipeline: what is asked for becomes something that may be served, or a reason why not.
//!
//! `puller` holds the steps in order; `resolve` goes from tag to digest, `admit` from a manifest's
//! digest to a proof, `membership` from a blob's digest to a proof, `fill` from a proof to content. `platform`,
//! `parents` and `rollback` do what single rules ask for besides.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod admit;
mod error;
mod explain;
mod fill;
mod flight;
mod from_upstream;
mod inspect;
mod membership;
mod parents;
mod places;
mod platform;
mod puller;
mod question;
mod resolve;
mod rollback;
mod servable;
mod tail;
mod walk;

pub use crate::upstream::TagPage;
pub use admit::Admission;
pub use error::{PullError, Refusal};
pub use explain::{Explanation, Parent};
pub use puller::{Answer, BlobWant, Puller, PullerParts};
pub use servable::{Content, ContentError, Servable};
