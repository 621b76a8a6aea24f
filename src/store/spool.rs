//! Bytes on their way in: written to a private file and hashed at the same time.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::oci::{Claim, Digest, Hasher};

use super::on_disk::{self, Identity};
use super::room::Reservation;

/// After so many bytes the disk is told to begin, while more come in: for the sync at the end every
/// client waits.
const FLUSH_EVERY: u64 = 32 * 1024 * 1024;

/// How far a spool has come; readers wait on this.
#[derive(Clone, Debug)]
pub enum Progress {
    /// So many bytes are written, and none of them is verified.
    Writing(u64),
    /// All bytes are written, length and digest fit.
    Sealed(SealedAs),
    /// It will not be sealed, and what was written is not verified.
    Failed(Failure),
}

/// Why a spool will not be sealed.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The disk. It says nothing about the content, and what was written can still be read.
    Disk(Arc<str>),
    /// Whoever filled it gave up, for this reason.
    GivenUp(Arc<str>),
}

/// Which file, in which state, was found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedAs(Identity);

/// Why a spool does not become content.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// More bytes came than claimed.
    #[error("content for {digest} is longer than the {size} bytes promised")]
    TooLong {
        /// What was asked.
        digest: Digest,
        /// The claimed length.
        size: u64,
    },
    /// The stream ended early.
    #[error("content for {digest} ended after {got} of {size} bytes")]
    TooShort {
        /// What was asked.
        digest: Digest,
        /// The claimed length.
        size: u64,
        /// How many bytes came.
        got: u64,
    },
    /// Other bytes came.
    #[error("content for {want} hashes to {got}")]
    WrongDigest {
        /// What was asked.
        want: Digest,
        /// What came.
        got: Digest,
    },
    /// The disk failed.
    #[error("cannot write {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A file that grows. Dropped before it is sealed, it fails its readers and removes the file.
pub struct Spool {
    path: PathBuf,
    file: Arc<File>,
    hasher: Hasher,
    want: Claim,
    progress: watch::Sender<Progress>,
    failure: Option<Failure>,
    awaits: Awaited,
    /// Bytes up to here are on the disk, or on their way there.
    flushed: u64,
    flush: Option<JoinHandle<std::io::Result<()>>>,
    /// Its place in the folder, until the [`Sealed`] takes it over.
    room: Option<Reservation>,
}

/// While it is held, what becomes of a spool is not settled.
#[derive(Debug)]
pub struct FinishLine {
    _held: watch::Sender<Progress>,
}

/// A spool that could not be sealed, with why.
#[derive(Debug)]
pub struct Unsealed {
    /// Why.
    pub error: SpoolError,
    /// To be failed or dropped.
    pub spool: Spool,
}

/// A spool whose length and digest were checked and whose bytes are on the disk. Only
/// [`Spool::seal`] makes one; dropped before it is committed, it removes the file.
#[derive(Debug)]
pub struct Sealed {
    path: PathBuf,
    file: Arc<File>,
    want: Claim,
    published: bool,
    /// Given back when the content counts as stored, or is gone.
    _room: Option<Reservation>,
}

/// A reader's handle on a spool: lives on after the spool is committed or dropped.
#[derive(Clone)]
pub struct Incoming {
    want: Claim,
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
    awaits: Awaited,
}

/// Since when nothing came from whoever fills a spool. `None` while that is not what is waited for.
type Awaited = Arc<Mutex<Option<Instant>>>;

impl Spool {
    pub(super) fn create(path: PathBuf, want: Claim, room: Reservation) -> Result<Self, SpoolError> {
        // It may have gone, or been replaced, since the start.
        let made = path.parent().map_or(Ok(()), on_disk::make_own_folder);
        let file = made.and_then(|()| on_disk::create_private(&path));
        let file = file.map_err(|source| SpoolError::Io { path: path.clone(), source })?;
        let (progress, _) = watch::channel(Progress::Writing(0));
        Ok(Self {
            path,
            file: Arc::new(file),
            hasher: Hasher::default(),
            want,
            progress,
            failure: None,
            awaits: Awaited::default(),
            flushed: 0,
            flush: None,
            room: Some(room),
        })
    }

    /// What is to come.
    pub fn want(&self) -> Claim {
        self.want
    }

    /// A handle for readers.
    pub fn incoming(&self) -> Incoming {
        let (file, awaits) = (Arc::clone(&self.file), Arc::clone(&self.awaits));
        Incoming { want: self.want, file, progress: self.progress.subscribe(), awaits }
    }

    /// From now on bytes are to come: [`Incoming::silent_for`] counts.
    pub fn is_asked_for(&self) {
        self.awaits_bytes(true);
    }

    fn awaits_bytes(&self, does: bool) {
        *self.awaits.lock().expect("no holder of this lock panics") = does.then(Instant::now);
    }

    /// What whoever fills the spool drops last: readers that wait with [`Incoming::settled`] wait for that.
    pub fn finish_line(&self) -> FinishLine {
        FinishLine { _held: self.progress.clone() }
    }

    /// Appends and hashes. Not cancel safe: drop the spool with the call.
    ///
    /// # Errors
    /// [`SpoolError::TooLong`] before the surplus is written, or the disk's error.
    pub async fn write(&mut self, pieces: Vec<Bytes>) -> Result<(), SpoolError> {
        let Claim { digest, size } = self.want;
        let start = self.hasher.seen();
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if start + length > size {
            return Err(SpoolError::TooLong { digest, size });
        }
        // Now the disk is waited for.
        self.awaits_bytes(false);
        let file = Arc::clone(&self.file);
        let mut hasher = std::mem::take(&mut self.hasher);
        // Hashing 1 MiB takes 0.6 ms, more than a runtime thread may be held.
        let written = tokio::task::spawn_blocking(move || {
            on_disk::write_all_at(&file, &pieces, start)?;
            pieces.iter().for_each(|piece| hasher.update(piece));
            Ok(hasher)
        })
        .await
        .unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
        self.hasher = written.map_err(|source| self.disk_failed(source))?;
        if let Some(room) = &mut self.room {
            room.wrote(length);
        }
        self.awaits_bytes(start + length < size);
        self.progress.send_replace(Progress::Writing(self.hasher.seen()));
        self.flush_now_and_then().await.map_err(|source| self.disk_failed(source))
    }

    /// Never waits for the disk: where it is slower than what comes in, it is asked less often.
    async fn flush_now_and_then(&mut self) -> std::io::Result<()> {
        let seen = self.hasher.seen();
        let is_busy = self.flush.as_ref().is_some_and(|flush| !flush.is_finished());
        if is_busy || seen - self.flushed < FLUSH_EVERY {
            return Ok(());
        }
        self.flush_done().await?;
        let file = Arc::clone(&self.file);
        self.flush = Some(tokio::task::spawn_blocking(move || on_disk::sync(&file)));
        self.flushed = seen;
        Ok(())
    }

    /// The kernel tells an error of the disk only once, so no flush may be forgotten.
    async fn flush_done(&mut self) -> std::io::Result<()> {
        match self.flush.take() {
            Some(flush) => flush.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic))),
            None => Ok(()),
        }
    }

    /// Checks length and digest, then makes the bytes durable.
    ///
    /// # Errors
    /// Gives the spool back, so that the caller decides what its readers are told.
    pub async fn seal(mut self) -> Result<Sealed, Box<Unsealed>> {
        let sealed_as = match self.check().await {
            Ok(identity) => SealedAs(identity),
            Err(error) => return Err(Box::new(Unsealed { error, spool: self })),
        };
        self.progress.send_replace(Progress::Sealed(sealed_as));
        let file = Arc::clone(&self.file);
        let (path, room) = (std::mem::take(&mut self.path), self.room.take());
        Ok(Sealed { path, file, want: self.want, published: false, _room: room })
    }

    async fn check(&mut self) -> Result<Identity, SpoolError> {
        let Claim { digest, size } = self.want;
        let got = self.hasher.seen();
        if got != size {
            return Err(SpoolError::TooShort { digest, size, got });
        }
        let got = self.hasher.clone().finish();
        if got != digest {
            return Err(SpoolError::WrongDigest { want: digest, got });
        }
        self.flush_done().await.map_err(|source| self.disk_failed(source))?;
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || on_disk::sync(&file).and_then(|()| Identity::of(&file)))
            .await
            .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
            .map_err(|source| self.disk_failed(source))
    }

    fn disk_failed(&self, source: std::io::Error) -> SpoolError {
        SpoolError::Io { path: self.path.clone(), source }
    }

    /// Gives up and tells the readers why.
    pub fn fail(mut self, why: Failure) {
        self.failure = Some(why);
    }
}

impl Failure {
    fn stopped() -> Self {
        Self::GivenUp("the fetch was stopped".into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Disk(why) | Self::GivenUp(why)) = self;
        f.write_str(why)
    }
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("want", &self.want).field("seen", &self.hasher.seen()).finish_non_exhaustive()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.path.as_os_str().is_empty() {
            return; // sealed: the file belongs to the `Sealed`
        }
        let why = self.failure.take().unwrap_or_else(Failure::stopped);
        // Gone before anybody hears of it.
        on_disk::remove_name(&self.file, &self.path);
        self.progress.send_replace(Progress::Failed(why));
    }
}

impl Sealed {
    /// What it is.
    pub fn claim(&self) -> Claim {
        self.want
    }

    /// Where it lies, or is to be named before it is published.
    pub(super) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The file now lies under its digest.
    pub(super) fn published(mut self) {
        self.published = true;
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if !self.published {
            on_disk::remove_name(&self.file, &self.path);
        }
    }
}

impl Incoming {
    /// What is to come.
    pub fn want(&self) -> Claim {
        self.want
    }

    /// How far it is now.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// How long nothing came that was asked for.
    pub fn silent_for(&self) -> Duration {
        let since = *self.awaits.lock().expect("no holder of this lock panics");
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether both follow the same spool.
    pub fn is_same(&self, other: &Self) -> bool {
        self.progress.same_channel(&other.progress)
    }

    /// Waits for news. Cancel safe. `false` when there will be none, and the last one stands.
    pub async fn changed(&mut self) -> bool {
        self.progress.changed().await.is_ok()
    }

    /// Waits until the first byte is there, or the end. Cancel safe.
    pub async fn started(&mut self) -> Result<(), Failure> {
        self.wait(|progress| matches!(progress, Progress::Sealed(_)) || matches!(progress, Progress::Writing(1..)))
            .await
    }

    /// Waits for the seal. Cancel safe.
    pub async fn sealed(&mut self) -> Result<(), Failure> {
        self.wait(|progress| matches!(progress, Progress::Sealed(_))).await
    }

    async fn wait(&mut self, enough: impl Fn(&Progress) -> bool) -> Result<(), Failure> {
        loop {
            let now = self.progress.borrow_and_update().clone();
            match now {
                Progress::Failed(why) => return Err(why),
                now if enough(&now) => return Ok(()),
                _ => {}
            }
            if !self.changed().await && !enough(&self.progress()) {
                return Err(Failure::stopped());
            }
        }
    }

    /// Whether the file is still in the state in which it was found right. A reader asks before it
    /// passes on the end of what it followed.
    pub fn is_still(&self, sealed: SealedAs) -> bool {
        Identity::of(&self.file).is_ok_and(|now| now.same_content(&sealed.0))
    }

    /// Waits until whoever fills the spool is done with all that follows. Cancel safe.
    pub async fn settled(&mut self) {
        while self.changed().await {}
    }

    /// Reads up to `length` bytes at `offset`. The caller must not pass on what lies behind the
    /// progress, nor the end of what is not sealed.
    pub async fn read_at(&self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        on_disk::read_at(Arc::clone(&self.file), offset, length).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DiskStore;

    #[tokio::test]
    async fn content_that_is_flushed_on_its_way_in_is_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(folder.path()).unwrap();
        let piece = Bytes::from(vec![7; 1024 * 1024]);
        let count = 2 * FLUSH_EVERY / piece.len() as u64 + 1;
        let mut hasher = Hasher::default();
        (0..count).for_each(|_| hasher.update(&piece));
        let want = Claim { digest: hasher.finish(), size: count * piece.len() as u64 };

        let mut spool = store.begin(want).unwrap();
        for _ in 0..count {
            spool.write(vec![piece.clone()]).await.unwrap();
        }
        assert!(spool.flushed >= FLUSH_EVERY);
        store.commit(spool.seal().await.unwrap()).await.unwrap();
        let stored = store.open_blob(want).await.unwrap().unwrap();
        assert!(stored.hash_if_needed().await.is_ok());
    }

    #[tokio::test]
    async fn more_pieces_than_one_write_takes_are_the_same_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(folder.path()).unwrap();
        let pieces: Vec<Bytes> = (0..3000usize).map(|at| Bytes::from(vec![at as u8; at % 7])).collect();
        let (first, rest) = pieces.split_at(10);
        let whole = pieces.concat();
        let want = Claim { digest: Digest::of(&whole), size: whole.len() as u64 };
        let mut spool = store.begin(want).unwrap();
        spool.write(first.to_vec()).await.unwrap();
        spool.write(rest.to_vec()).await.unwrap();
        let incoming = spool.incoming();
        drop(spool.seal().await.unwrap());
        assert_eq!(incoming.read_at(0, whole.len()).await.unwrap(), whole);
    }

    #[tokio::test]
    async fn what_somebody_put_where_the_spool_gets_its_name_goes() {
        let folder = tempfile::tempdir().unwrap();
        let store = DiskStore::open(folder.path()).unwrap();
        for n in 0..20 {
            let path = folder.path().join("spool").join(n.to_string());
            if n % 2 == 0 {
                std::fs::write(path, "").unwrap()
            } else {
                std::fs::create_dir_all(path.join("deep")).unwrap()
            }
        }
        for text in ["one", "two", "three", "four"] {
            store.write(Bytes::from(text)).await.unwrap();
            assert!(store.has(Digest::of(text.as_bytes())).await, "{text}");
        }
    }
}
