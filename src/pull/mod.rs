//! The pipeline: what is asked for becomes something that may be served, or a reason why not.

mod error;
mod servable;
mod tail;

pub use error::{PullError, Refusal};
pub use servable::{Content, ContentError, Servable};
