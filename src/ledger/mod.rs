//! What we know about what we hold: verdicts with their evidence, who names whom, tags seen.
//!
//! The ledger remembers, it does not decide: a recorded verdict is proven again from its evidence
//! when it is taken up, and an edge only says where to look. Losing it costs look-ups, nothing else.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod damaged;
mod images;
mod patient;
mod record;
mod sqlite;
mod tags;
mod uses;
mod verdicts;

pub use images::{ImageUse, Pages};
pub use record::{Edges, Known, Signed, TagSeen};
pub use sqlite::{Ledger, LedgerError};
pub use verdicts::{Place, VerifiedPage};
