//! Parts of stored files that the kernel sends by itself, without a copy in this program's memory.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::sendfile;

use super::stored::StoredBlob;

/// A piece of content on its way out.
#[derive(Debug)]
pub enum Piece {
    /// Bytes that were read.
    Memory(Bytes),
    /// Bytes that are to be sent from where they lie.
    File(FileSlice),
}

/// A part of content that was hashed, in its file. Never reaches to the content's end, so whoever sends it
/// can still break off when the file turns out to have changed meanwhile.
#[derive(Debug)]
pub struct FileSlice {
    blob: Arc<StoredBlob>,
    at: u64,
    left: usize,
}

impl FileSlice {
    /// Most bytes of one: what a socket takes at once. More would keep others waiting.
    pub const MAX: usize = 1024 * 1024;

    /// What content keeps back from them, at least. Any byte would do; it is a page.
    pub(super) const END: u64 = 4096;

    pub(super) fn new(blob: Arc<StoredBlob>, at: u64, length: u64) -> Self {
        Self { blob, at, left: usize::try_from(length).unwrap_or(Self::MAX).min(Self::MAX) }
    }

    /// How many bytes are not sent yet.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Sends as much as `socket` takes at once. With the last of it, the file is looked at again: what was
    /// sent is right if it did not change since it was hashed.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now. After any other error the client must not get the rest.
    pub fn send_to(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let sent = sendfile(socket, self.blob.file(), Some(&mut self.at), self.left)?;
        self.left -= sent.min(self.left);
        if sent == 0 || self.left == 0 {
            self.blob.confirm_unchanged().map_err(io::Error::other)?;
        }
        match sent {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            sent => Ok(sent),
        }
    }
}
