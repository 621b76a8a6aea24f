//! Memory for pieces of content, used again and again: fresh memory costs a page fault every 4 KiB,
//! which at several GiB/s is more than the reading itself.

use std::io::{self, IoSliceMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

/// Most bytes of one piece: large enough that the disk is not asked often, small enough that a
/// thousand readers fit into memory.
pub(super) const PIECE: usize = 256 * 1024;

/// Most pieces kept for the next reader: 8 MiB.
const KEPT: usize = 32;

/// How many may be out before the next get less: 64 MiB of pieces, then 12 MiB of small ones, then tiny ones, which cost
/// more time for each byte. Clients that open thousands of streams and take nothing must not take all memory.
const OUT_MAX: [(usize, usize); 2] = [(256, PIECE), (1024, SMALL)];
const SMALL: usize = 16 * 1024;
const TINY: usize = 4 * 1024;

static POOL: Pool = Pool::new();

/// Pieces that are out, and pieces that wait for the next reader.
struct Pool {
    free: Mutex<Vec<Box<[u8]>>>,
    out: AtomicUsize,
}

/// Room for a piece. Comes back when the [`Bytes`] made of it is dropped.
pub(super) struct Buffer {
    pool: &'static Pool,
    memory: Box<[u8]>,
    used: usize,
}

impl Buffer {
    /// Room for `length` bytes, or for as many as one reader may hold now.
    pub(super) fn new(length: usize) -> Self {
        POOL.take(length)
    }

    /// Reads once into it. What was not filled is cut off.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut IoSliceMut<'_>) -> io::Result<usize>) -> io::Result<()> {
        self.used = read(&mut IoSliceMut::new(self.memory.get_mut(..self.used).unwrap_or_default()))?;
        Ok(())
    }

    /// What was read.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.memory.get(..self.used).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.memory));
    }
}

impl Pool {
    const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()), out: AtomicUsize::new(0) }
    }

    fn take(&'static self, length: usize) -> Buffer {
        // Some at once may all find room for one: a few more than the limit harm nobody.
        let out = self.out.fetch_add(1, Ordering::Relaxed);
        let most = OUT_MAX.iter().find(|(most, _)| out < *most).map_or(TINY, |(_, size)| *size);
        let used = length.min(most);
        // What is small is not worth a whole piece.
        let memory = match used > SMALL {
            true => self.free().pop().unwrap_or_else(|| vec![0; PIECE].into()),
            false => vec![0; used].into(),
        };
        Buffer { pool: self, memory, used }
    }

    fn give_back(&self, memory: Box<[u8]>) {
        self.out.fetch_sub(1, Ordering::Relaxed);
        if memory.len() < PIECE {
            return;
        }
        let mut free = self.free();
        if free.len() < KEPT {
            free.push(memory);
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.free.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> &'static Pool {
        Box::leak(Box::new(Pool::new()))
    }

    #[test]
    fn a_buffer_shows_only_what_was_read_into_it() {
        let pool = pool();
        for length in [1, SMALL, SMALL + 1, PIECE, PIECE + 1] {
            // An earlier reader's bytes lie in the memory that comes back.
            let mut before = pool.take(length);
            before.fill(|space| Ok(space.iter_mut().map(|byte| *byte = 7).count())).unwrap();
            drop(before.into_bytes());

            let mut buffer = pool.take(length);
            let read = |space: &mut IoSliceMut<'_>| {
                assert_eq!(space.len(), length.min(PIECE));
                space[0] = 1;
                Ok(1)
            };
            buffer.fill(read).unwrap();
            assert_eq!(buffer.into_bytes(), [1][..]);
        }
    }

    #[test]
    fn readers_who_keep_their_pieces_leave_small_ones_to_the_next() {
        let pool = pool();
        let [(pieces, _), (small, _)] = OUT_MAX;
        let take = |times| (0..times).map(|_| pool.take(PIECE).into_bytes()).collect::<Vec<_>>();
        let all_have = |held: &[Bytes], size| held.iter().all(|piece| piece.len() == size);
        let mut held = take(pieces);
        assert!(all_have(&held, PIECE));
        let others = take(small - pieces);
        assert!(all_have(&others, SMALL));
        assert!(all_have(&take(1), TINY));
        drop(others);
        held.pop();
        assert!(all_have(&take(1), PIECE));
        drop(held);
        assert!(pool.free().len() <= KEPT);
    }
}
