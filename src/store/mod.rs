//! Bytes at rest: spools that grow, content under its digest. Knows digests, not trust.
//!
//! `Spool` (growing) → `Sealed` (length and digest fit, durable) → committed under its digest →
//! `StoredBlob`. Each step consumes the one before, so nothing unchecked is ever published.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod account;
mod buffer;
mod disk;
mod evict;
#[cfg(test)]
pub(crate) mod faults;
mod file_slice;
mod known;
mod notes;
mod on_disk;
mod quarantine;
mod room;
mod scrub;
mod spool;
mod stored;

pub use account::{Counted, Usage};
pub use disk::{DiskStore, StoreError, VerifyReads};
pub use evict::SetAside;
pub use file_slice::{FileSlice, Piece};
pub use room::{Limits, NoRoom};
pub use scrub::{Condition, Disposal, Lying, Pace, Reading};
pub use spool::{Failure, FinishLine, Incoming, Progress, Sealed, SealedAs, Spool, SpoolError, Unsealed};
pub use stored::{StoredBlob, StoredError, StoredReader};

/// The last bytes of content stay here until the whole digest is known.
///
/// One byte would keep a client from ever holding complete bad content. 64 KiB does more: it is
/// larger than nearly every image config, so those are checked before their first byte leaves.
pub const HOLD_BACK: u64 = 64 * 1024;
