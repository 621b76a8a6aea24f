//! Memory for pieces of content, used again and again: fresh memory costs a page fault every 4 KiB,
//! which at several GiB/s is more than the reading itself.

use std::io::{self, IoSliceMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

/// Most bytes of one piece: large enough that the disk is not asked often, small enough that a
/// thousand readers fit into memory.
pub(super) const PIECE: usize = 256 * 1024;

/// What a reader should ask for first: clients that open thousands of streams and take nothing, not even that, must not
/// take all pieces.
pub(super) const FIRST: usize = 4 * 1024;

/// What is smaller gets memory of its own size: it is not worth a whole piece.
const SMALL: usize = 16 * 1024;

/// Most pieces kept for the next reader: 8 MiB.
const KEPT: usize = 32;

/// Most pieces that are out at once: 64 MiB. Whoever reads while they are gets small ones, which cost more
/// time for each byte: clients that open thousands of streams and take nothing must not take all memory.
const OUT_MAX: usize = 256;

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
        if self.memory.len() == PIECE {
            self.pool.give_back(std::mem::take(&mut self.memory));
        }
    }
}

impl Pool {
    const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()), out: AtomicUsize::new(0) }
    }

    fn take(&'static self, length: usize) -> Buffer {
        // Two at once may both find room for one: a piece more than the limit harms nobody.
        let small = length <= SMALL || self.out.load(Ordering::Relaxed) >= OUT_MAX;
        if small {
            let used = length.min(SMALL);
            return Buffer { pool: self, memory: vec![0; used].into(), used };
        }
        self.out.fetch_add(1, Ordering::Relaxed);
        let memory = self.free().pop().unwrap_or_else(|| vec![0; PIECE].into());
        Buffer { pool: self, memory, used: length.min(PIECE) }
    }

    fn give_back(&self, memory: Box<[u8]>) {
        self.out.fetch_sub(1, Ordering::Relaxed);
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
        let mut held: Vec<_> = (0..OUT_MAX).map(|_| pool.take(PIECE).into_bytes()).collect();
        assert!(held.iter().all(|piece| piece.len() == PIECE));
        assert_eq!(pool.take(PIECE).into_bytes().len(), SMALL);
        held.pop();
        assert_eq!(pool.take(PIECE).into_bytes().len(), PIECE);
        drop(held);
        assert!(pool.free().len() <= KEPT);
    }
}
