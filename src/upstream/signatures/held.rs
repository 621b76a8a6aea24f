//! How much signature material all searches hold together, from the fetch until it is judged and let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Most bytes of larger documents that all searches hold together.
const HELD_MAX: usize = 256 * 1024 * 1024;

/// Documents up to this size are not counted: what real signatures need is always there.
const SMALL: usize = 16 * 1024;

/// One account for all searches under the same limits. Clones share it.
#[derive(Clone, Debug)]
pub struct Held(Arc<AtomicUsize>);

/// Room that is taken; gives it back when dropped.
struct Room {
    account: Held,
    size: usize,
}

/// A document with its room.
struct Kept {
    bytes: Bytes,
    _room: Room,
}

impl Default for Held {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(HELD_MAX)))
    }
}

impl Held {
    /// Fetches a document of this size in room taken before; the room is given back with the last clone of the bytes.
    /// `None` when there is no room now. Nobody waits for room: who holds some would wait for others who do, too.
    pub(super) async fn fetch<E>(
        &self,
        size: u64,
        document: impl Future<Output = Result<Bytes, E>>,
    ) -> Option<Result<Bytes, E>> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size <= SMALL {
            return Some(document.await);
        }
        let take = |left: usize| left.checked_sub(size);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        let room = Room { account: self.clone(), size };
        Some(document.await.map(|bytes| Bytes::from_owner(Kept { bytes, _room: room })))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.account.0.fetch_add(self.size, Ordering::Relaxed);
    }
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_given_back_with_the_last_clone_and_small_documents_need_none() {
        let held = Held(Arc::new(AtomicUsize::new(100_000)));
        let fetch = |size: usize| {
            let held = held.clone();
            async move {
                let document = async { Ok::<_, ()>(Bytes::from(vec![7; size])) };
                held.fetch(size as u64, document).await.map(Result::unwrap)
            }
        };
        let first = fetch(60_000).await.unwrap();
        let clone = first.slice(1..);
        assert!(fetch(60_000).await.is_none(), "no room");
        assert_eq!(fetch(SMALL).await.unwrap().len(), SMALL, "small ones always pass");
        drop(first);
        assert!(fetch(60_000).await.is_none(), "a clone is held");
        drop(clone);
        assert_eq!(fetch(60_000).await.unwrap().len(), 60_000);
        assert!(held.fetch(60_000, async { Err(()) }).await.unwrap().is_err());
        assert!(fetch(100_000).await.is_some(), "what failed holds nothing");
    }
}
