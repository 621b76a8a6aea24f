//! Stored content on its way out.
//!
//! What this process has not hashed since the file last changed is hashed while it is read, with the
//! end held back as for content that is still arriving: a disk may lie as well as an upstream.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::oci::{ByteRange, Claim, Digest, Hasher};

use super::HOLD_BACK;
use super::buffer::PIECE;
use super::on_disk::{self, Identity};

/// Content under its digest. It got there as a `Sealed`; whether the file is still that is known
/// only once it was hashed.
#[derive(Debug)]
pub struct StoredBlob {
    claim: Claim,
    path: PathBuf,
    file: Arc<File>,
    identity: Identity,
    hashed: Arc<Mutex<HashMap<Digest, Identity>>>,
    known: bool,
    /// Before the first byte was read; see [`Identity::is_settled`].
    settled: bool,
}

/// Reads stored content from one end to the other.
#[derive(Debug)]
pub struct StoredReader {
    blob: StoredBlob,
    at: u64,
    end: u64,
    /// Runs until the content is known to be right.
    check: Option<Check>,
}

#[derive(Default)]
struct Check {
    hasher: Hasher,
    held: Vec<Bytes>,
}

/// Why stored content cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The file is no longer what its name says.
    #[error("stored content of {0} changed on disk")]
    Changed(Digest),
    /// The disk failed.
    #[error("cannot read stored content of {0}")]
    Io(Digest, #[source] io::Error),
}

impl StoredBlob {
    pub(super) fn new(
        claim: Claim,
        path: PathBuf,
        file: Arc<File>,
        identity: Identity,
        known: bool,
        hashed: Arc<Mutex<HashMap<Digest, Identity>>>,
    ) -> Self {
        let settled = identity.is_settled();
        Self { claim, path, file, identity, hashed, known, settled }
    }

    /// Which content.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Reads everything.
    pub fn read_whole(self) -> StoredReader {
        let end = self.claim.size;
        let check = (!self.known).then(Check::default);
        StoredReader { blob: self, at: 0, end, check }
    }

    /// Reads a part. A part of content that was not hashed yet waits until all of it is, because for
    /// HTTP the part is complete by itself.
    pub async fn read_range(self, range: ByteRange) -> Result<StoredReader, StoredError> {
        let blob = self.hash_if_needed().await?;
        Ok(StoredReader { blob, at: range.start, end: range.end, check: None })
    }

    /// Hashes content that was not hashed since it last changed. Afterwards its first byte is as
    /// good as its last.
    pub async fn hash_if_needed(self) -> Result<Self, StoredError> {
        if self.known {
            return Ok(self);
        }
        let mut reader = self.read_whole();
        while reader.next().await?.is_some() {}
        Ok(Self { known: true, ..reader.blob })
    }

    /// Removes what is no longer what its name says, so that the next pull fetches it again.
    fn forget(&self) {
        let digest = self.claim.digest;
        tracing::warn!(%digest, "stored content changed on disk, or cannot be read; removed");
        self.hashed.lock().expect("no holder of this lock panics").remove(&digest);
        on_disk::remove_quietly(&self.path);
    }

    /// What the disk lost is removed, too; everything else may pass.
    fn unreadable(&self, error: io::Error) -> StoredError {
        if on_disk::is_unreadable(&error) {
            self.forget();
        }
        StoredError::Io(self.claim.digest, error)
    }

    /// Whether the file is still the one that was opened, in the state in which it was.
    fn confirm_unchanged(&self) -> Result<(), StoredError> {
        let digest = self.claim.digest;
        if self.identity.is_untouched(&self.file).map_err(|e| StoredError::Io(digest, e))? {
            return Ok(());
        }
        self.forget();
        Err(StoredError::Changed(digest))
    }

    fn confirm(&self, got: Digest) -> Result<(), StoredError> {
        let digest = self.claim.digest;
        if got != digest {
            self.forget();
            return Err(StoredError::Changed(digest));
        }
        // What was hashed is what was read. What will be read is that only if the file stays as it is.
        let unchanged = Identity::of(&self.file).map_err(|e| StoredError::Io(digest, e))? == self.identity;
        if self.settled && unchanged {
            self.hashed.lock().expect("no holder of this lock panics").insert(digest, self.identity);
        }
        Ok(())
    }
}

impl StoredReader {
    /// The next piece, `None` at the end. Cancel safe: a dropped call reads the same piece again.
    ///
    /// The last [`HOLD_BACK`] bytes come only after the whole was found right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoredError> {
        let digest = self.blob.claim.digest;
        loop {
            if self.at == self.end {
                return self.finish();
            }
            let length = usize::try_from(self.end - self.at).unwrap_or(PIECE).min(PIECE);
            let piece = on_disk::read_at(Arc::clone(&self.blob.file), self.at, length)
                .await
                .map_err(|error| self.blob.unreadable(error))?;
            if piece.is_empty() {
                self.blob.forget();
                return Err(StoredError::Changed(digest));
            }
            self.at += piece.len() as u64;
            let Some(check) = &mut self.check else {
                // What was hashed before must not have changed since: the end stays here if it did.
                if self.at == self.end {
                    self.blob.confirm_unchanged()?;
                }
                return Ok(Some(piece));
            };
            check.hasher.update(&piece);
            let free = self.end.saturating_sub(HOLD_BACK);
            let start = self.at - piece.len() as u64;
            let open = usize::try_from(free.saturating_sub(start)).unwrap_or(usize::MAX).min(piece.len());
            if open < piece.len() {
                check.held.push(piece.slice(open..));
            }
            if open > 0 {
                return Ok(Some(piece.slice(..open)));
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Bytes>, StoredError> {
        let Some(check) = &mut self.check else { return Ok(None) };
        let held = std::mem::take(&mut check.held);
        let hasher = std::mem::take(&mut check.hasher);
        self.check = None;
        self.blob.confirm(hasher.finish())?;
        let tail: Vec<u8> = held.concat();
        Ok((!tail.is_empty()).then(|| Bytes::from(tail)))
    }
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Check").field("seen", &self.hasher.seen()).finish_non_exhaustive()
    }
}
