//! How much of the lists that we write waits in memory for clients to take it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most bytes of larger lists that wait together. A client may take minutes for one, and open thousands of connections.
const UNSENT_MAX: usize = 64 * 1024 * 1024;

/// Lists up to this size are not counted: what real repositories need is always there.
const SMALL: usize = 64 * 1024;

/// The account is kept in pieces of this size.
const PIECE: usize = 1024;

/// One account for all connections.
#[derive(Clone)]
pub(super) struct Unsent(Arc<Semaphore>);

/// A list with its room, which is given back when the last of it was sent.
struct Held {
    list: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Default for Unsent {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(UNSENT_MAX / PIECE)))
    }
}

impl Unsent {
    /// The list, to be sent; `None` when there is no room now. Nobody waits for room: clients hold it as long as they like.
    pub(super) fn hold(&self, list: Bytes) -> Option<Bytes> {
        if list.len() <= SMALL {
            return Some(list);
        }
        let pieces = u32::try_from(list.len().div_ceil(PIECE)).ok()?;
        let room = Arc::clone(&self.0).try_acquire_many_owned(pieces).ok()?;
        Some(Bytes::from_owner(Held { list, _room: room }))
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_given_back_and_never_asked_for_what_is_small() {
        let unsent = Unsent::default();
        let list = |size: usize| Bytes::from(vec![b' '; size]);
        let half = || list(UNSENT_MAX / 2);
        let (one, other) = (unsent.hold(half()).unwrap(), unsent.hold(half()).unwrap());
        assert!(unsent.hold(list(SMALL + 1)).is_none());
        assert!(unsent.hold(list(SMALL)).is_some());
        let part = one.slice(..1);
        drop(one);
        assert!(unsent.hold(half()).is_none(), "a part of it is still there");
        drop(part);
        assert_eq!(unsent.hold(half()).unwrap().len(), other.len());
    }
}
