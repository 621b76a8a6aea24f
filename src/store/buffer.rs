//! Memory for pieces of content, used again and again: fresh memory costs a page fault every 4 KiB,
//! which at several GiB/s is more than the reading itself.

use std::io::{self, IoSliceMut};
use std::sync::Mutex;

use bytes::Bytes;

/// Most bytes of one piece: large enough that the disk is not asked often, small enough that a
/// thousand readers fit into memory.
pub(super) const PIECE: usize = 256 * 1024;

/// What is smaller gets memory of its own size: it is not worth a whole piece.
const SMALL: usize = 32 * 1024;

/// Most pieces kept for the next reader: 8 MiB.
const KEPT: usize = 32;

static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// Room for a piece. Comes back when the [`Bytes`] made of it is dropped.
pub(super) struct Buffer {
    memory: Box<[u8]>,
    used: usize,
}

impl Buffer {
    /// Room for `length` bytes, or for [`PIECE`] bytes if that is less.
    pub(super) fn new(length: usize) -> Self {
        let used = length.min(PIECE);
        let memory = match used {
            ..=SMALL => vec![0; used].into(),
            _ => free().pop().unwrap_or_else(|| vec![0; PIECE].into()),
        };
        Self { memory, used }
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
            let mut free = free();
            if free.len() < KEPT {
                free.push(std::mem::take(&mut self.memory));
            }
        }
    }
}

fn free() -> std::sync::MutexGuard<'static, Vec<Box<[u8]>>> {
    FREE.lock().expect("no holder of this lock panics")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_shows_only_what_was_read_into_it() {
        for length in [1, SMALL, SMALL + 1, PIECE, PIECE + 1] {
            // An earlier reader's bytes lie in the memory that comes back.
            let mut before = Buffer::new(length);
            before.fill(|space| Ok(space.iter_mut().map(|byte| *byte = 7).count())).unwrap();
            drop(before.into_bytes());

            let mut buffer = Buffer::new(length);
            let read = |space: &mut IoSliceMut<'_>| {
                assert_eq!(space.len(), length.min(PIECE));
                space[0] = 1;
                Ok(1)
            };
            buffer.fill(read).unwrap();
            assert_eq!(buffer.into_bytes(), [1][..]);
        }
    }
}
