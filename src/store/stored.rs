//! Stored content on its way out.
//!
//! What this process has not hashed since the file last changed is hashed while it is read, with the
//! end held back as for content that is still arriving: a disk may lie as well as an upstream.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::oci::{ByteRange, Claim, Digest, Hasher};

use super::HOLD_BACK;
use super::buffer::{FIRST, PIECE};
use super::disk::Place;
use super::file_slice::{FileSlice, Piece};
use super::known::Known;
use super::on_disk::{self, Identity};
use super::scrub::Disposal;

/// Content under its digest. It got there as a `Sealed`; whether the file is still that is known
/// only once it was hashed.
#[derive(Clone, Debug)]
pub struct StoredBlob {
    claim: Claim,
    place: Place,
    file: Arc<File>,
    identity: Identity,
    known: Arc<Known>,
    is_hashed: bool,
    /// Whether its identity tells of every change from before the first byte was read; see [`Identity::is_settled`]
    /// and [`on_disk::make_writes_show`].
    changes_show: bool,
}

/// Reads stored content from one end to the other.
#[derive(Debug)]
pub struct StoredReader {
    blob: Arc<StoredBlob>,
    at: u64,
    end: u64,
    has_begun: bool,
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
    pub(super) fn new(claim: Claim, place: Place, file: Arc<File>, identity: Identity, known: Arc<Known>) -> Self {
        Self { claim, place, file, identity, known, is_hashed: false, changes_show: false }
    }

    /// It was hashed since it last changed.
    pub(super) fn hashed(self) -> Self {
        Self { is_hashed: true, ..self }
    }

    /// Whether what is hashed now need not be hashed next time.
    pub(super) fn where_changes_show(self, changes_show: bool) -> Self {
        Self { changes_show, ..self }
    }

    /// Which content.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Reads everything.
    pub fn read_whole(self) -> StoredReader {
        let end = self.claim.size;
        let check = (!self.is_hashed).then(Check::default);
        StoredReader { blob: Arc::new(self), at: 0, end, has_begun: false, check }
    }

    /// Reads a part. A part of content that was not hashed yet waits until all of it is, because for
    /// HTTP the part is complete by itself.
    pub async fn read_range(self, range: ByteRange) -> Result<StoredReader, StoredError> {
        let blob = self.hash_if_needed().await?;
        Ok(StoredReader { blob: Arc::new(blob), at: range.start, end: range.end, has_begun: false, check: None })
    }

    /// Hashes content that was not hashed since it last changed. Afterwards its first byte is as
    /// good as its last.
    pub async fn hash_if_needed(self) -> Result<Self, StoredError> {
        if self.is_hashed {
            return Ok(self);
        }
        let mut reader = self.read_whole();
        while reader.next().await?.is_some() {}
        Ok(Arc::unwrap_or_clone(reader.blob).hashed())
    }

    /// Takes away what is no longer what its name says, so that the next pull fetches it again.
    fn forget(&self) {
        let digest = self.claim.digest;
        self.known.forget(digest);
        self.place.take_away(digest, Some(&self.identity), Disposal::Quarantine);
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// What the disk lost is removed, too; everything else may pass.
    fn unreadable(&self, error: io::Error) -> StoredError {
        if on_disk::is_unreadable(&error) {
            self.forget();
        }
        StoredError::Io(self.claim.digest, error)
    }

    /// Whether the file is still the one that was opened, in the state in which it was.
    pub(super) fn confirm_unchanged(&self) -> Result<(), StoredError> {
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
        if self.changes_show && unchanged {
            self.known.hashed(digest, self.identity);
        }
        Ok(())
    }
}

impl StoredReader {
    /// The next piece, which may be a part of the file that nobody has read yet. The end never is: it
    /// leaves only after all that was sent before it turned out to be right. Cancel safe.
    pub async fn next_piece(&mut self) -> Result<Option<Piece>, StoredError> {
        let before_the_end = (self.end - self.at).saturating_sub(FileSlice::END);
        if self.check.is_none() && before_the_end > 0 {
            // A fast client could keep this thread to itself otherwise: nothing here ever waits.
            tokio::task::yield_now().await;
            let length = before_the_end.min(FileSlice::MAX as u64);
            // Sending what must come from the disk first would hold up this thread.
            if on_disk::is_in_memory(self.blob.file(), self.at, length) {
                let slice = FileSlice::new(Arc::clone(&self.blob), self.at, length);
                self.at += length;
                return Ok(Some(Piece::File(slice)));
            }
        }
        Ok(self.next().await?.map(Piece::Memory))
    }

    /// The next piece in memory, `None` at the end. Cancel safe: a dropped call reads the same piece again.
    ///
    /// The last [`HOLD_BACK`] bytes come only after the whole was found right.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoredError> {
        let digest = self.blob.claim.digest;
        loop {
            if self.at == self.end {
                return self.finish();
            }
            let most = if std::mem::replace(&mut self.has_begun, true) { PIECE } else { FIRST };
            let length = usize::try_from(self.end - self.at).unwrap_or(most).min(most);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DiskStore, VerifyReads};

    /// The second piece of what was hashed a moment ago, with the first.
    async fn first_pieces(verify_reads: VerifyReads) -> usize {
        let home = tempfile::tempdir().unwrap();
        let store = DiskStore::open(home.path()).unwrap().verifying(verify_reads);
        let bytes = Bytes::from(vec![7; 2 * HOLD_BACK as usize]);
        let claim = Claim { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        store.write(bytes).await.unwrap();
        let is_known = async || {
            let blob = store.open_blob(claim).await.unwrap().unwrap();
            blob.hash_if_needed().await.unwrap();
            store.known.has_hashed(claim.digest)
        };
        // What was written this moment is hashed again until a change would show.
        while !is_known().await {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let mut reader = store.open_blob(claim).await.unwrap().unwrap().read_whole();
        let first = reader.next().await.unwrap().unwrap().len();
        assert_eq!(first, FIRST, "who takes nothing holds no more");
        first + reader.next().await.unwrap().unwrap().len()
    }

    #[tokio::test]
    async fn content_is_hashed_on_each_read_where_that_is_asked() {
        assert_eq!(
            first_pieces(VerifyReads::OnChange).await,
            2 * HOLD_BACK as usize,
            "it was hashed, and did not change"
        );
        assert_eq!(first_pieces(VerifyReads::Always).await, HOLD_BACK as usize, "the end waits for the digest");
    }
}
