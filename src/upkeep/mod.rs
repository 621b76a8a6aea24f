//! Work that nobody waits for: it keeps the cache folder within its bounds and in good order.
//!
//! Beside `pull`, and neither knows the other: they meet in the store and the ledger.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod gc;
mod reverify;
mod scrub;

pub use gc::{Collected, Evicted, EvictionOptions, Evictor, GcError};
pub use reverify::{Reverify, Tally};
pub use scrub::{Finding, Manner, Scrubber, Summary, everything};
