//! Content on disk under its digest; published by fsync, rename, fsync of the folder.
//!
//! ```text
//! DIR/lock                        held by the one process that uses DIR
//! DIR/blobs/sha256/ab/abcd…       content, named by its digest; never changed once there
//! DIR/spool/<n>                   content on its way in, nameless where that can be; emptied at start
//! DIR/quarantine/<n>-<name>       what was not what its name says; nothing is read from here
//! DIR/account                     how much is in each folder, so that a start need not count; may be removed
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::oci::{Claim, Digest};
use crate::removal;
use crate::telemetry::SpaceMetrics;

use super::account::{Account, below};
use super::known::Known;
use super::on_disk::{self, Identity};
use super::quarantine::Quarantine;
use super::room::{Limits, Room};
use super::scrub::Disposal;
use super::spool::{Sealed, Spool, SpoolError};
use super::stored::StoredBlob;

/// Where content lies.
const BLOBS: &str = "blobs/sha256";

/// How much is in which folder.
pub(super) const ACCOUNT: &str = "account";

/// The files of one cache folder. One process at a time.
#[derive(Debug)]
pub struct DiskStore {
    pub(super) folder: PathBuf,
    next_spool: AtomicU64,
    pub(super) known: Arc<Known>,
    pub(super) account: Arc<Account>,
    pub(super) room: Arc<Room>,
    verify_reads: VerifyReads,
    quarantine: Arc<Quarantine>,
    _lock: File,
}

/// When stored content is hashed on its way out. Manifests always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyReads {
    /// When this process has not hashed it since the file last changed.
    #[default]
    OnChange,
    /// Each time it is read.
    Always,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the folder.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The disk failed.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskStore {
    /// Opens a cache folder, making it if needed, and removes what an earlier process left unfinished. A folder
    /// on a read-only file system is taken as it is.
    ///
    /// Blocks on the disk; called at start.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::open_within(folder, Limits::NONE, SpaceMetrics::default())
    }

    /// As [`Self::open`], with limits to what is stored there.
    pub fn open_within(folder: &Path, limits: Limits, metrics: SpaceMetrics) -> Result<Self, StoreError> {
        let at = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { what, path, source }
        };
        let (blobs, spool) = (folder.join(BLOBS), folder.join("spool"));
        for path in [folder, &folder.join("blobs"), &blobs] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("create", path))?;
            // The cache folder itself may be a link; whoever starts the program wrote its name.
            if path != folder {
                on_disk::own_folder(path).map_err(at("use", path))?;
            }
        }
        on_disk::make_own_folder(&spool).map_err(at("create", &spool))?;
        // The mode above is only for folders made now; what lies here is nobody else's.
        let protected = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
        let is_read_only = protected.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
        if !is_read_only {
            protected.map_err(at("protect", folder))?;
        }
        let lock_path = folder.join("lock");
        let lock = on_disk::open_lock(&lock_path, is_read_only).map_err(at("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(StoreError::InUse(folder.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(at("lock", &lock_path)(source)),
        }
        let mut leftovers = 0;
        for entry in fs::read_dir(&spool).map_err(at("read", &spool))?.take_while(|_| !is_read_only) {
            leftovers += 1;
            let entry = entry.map_err(at("read", &spool))?;
            let path = entry.path();
            // What somebody else put there must not keep us from starting.
            if let Err(error) = removal::remove(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove what lies in the spool folder");
            }
        }
        if leftovers > 0 {
            tracing::info!(leftovers, "removed what an earlier run had not finished");
        }
        let account = Account::open(&blobs, &folder.join(ACCOUNT), metrics.clone()).map_err(at("count", &blobs))?;
        let account = Arc::new(account);
        let room = Arc::new(Room::new(folder.to_owned(), limits, Arc::clone(&account), metrics));
        let quarantine = Arc::new(Quarantine::open(folder.join("quarantine")));
        Ok(Self {
            folder: folder.to_owned(),
            next_spool: AtomicU64::new(0),
            known: Arc::default(),
            account,
            room,
            verify_reads: VerifyReads::default(),
            quarantine,
            _lock: lock,
        })
    }

    /// The same store, which hashes what it reads as often as this.
    #[must_use]
    pub fn verifying(self, verify_reads: VerifyReads) -> Self {
        Self { verify_reads, ..self }
    }

    /// Starts a spool for content that is to come, if there is room for all of it.
    ///
    /// # Errors
    /// The disk's; that it is full, too, when limits leave no room. [`Self::make_room`] may help before.
    pub fn begin(&self, want: Claim) -> Result<Spool, SpoolError> {
        let path = self.new_spool_path();
        match self.room.reserve(want) {
            Ok(room) => Spool::create(path, want, room),
            Err(no_room) => {
                self.room.refused();
                tracing::debug!(digest = %want.digest, %no_room, "content is not kept");
                Err(SpoolError::Io { path, source: no_room.into() })
            }
        }
    }

    /// Whether content fits as it is: nothing must go for it.
    pub fn has_room(&self, want: Claim) -> bool {
        self.room.missing(want.size) == 0
    }

    /// A name in the spool folder that nothing has yet.
    pub(super) fn new_spool_path(&self) -> PathBuf {
        let n = self.next_spool.fetch_add(1, Ordering::Relaxed);
        self.folder.join("spool").join(n.to_string())
    }

    /// Publishes by rename. Takes a [`Sealed`], so nothing unchecked can be committed. When it
    /// returns, the content survives a power cut.
    ///
    /// Not cancel safe in the sense that a dropped call may or may not have published; both are whole.
    pub async fn commit(&self, sealed: Sealed) -> Result<(), StoreError> {
        let digest = sealed.claim().digest;
        let target = self.path(digest);
        let account = Arc::clone(&self.account);
        blocking(move || {
            let io = |what, path: &Path| {
                let path = path.to_owned();
                move |source| StoreError::Io { what, path, source }
            };
            let folder = target.parent().expect("a blob's path has a folder");
            let new_folders = account.make_folders(digest).map_err(io("create", folder))?;
            let spool = sealed.path().parent().expect("a spool's path has a folder");
            on_disk::make_own_folder(spool).map_err(io("use", spool))?;
            on_disk::give_name(sealed.file(), sealed.path()).map_err(io("name", sealed.path()))?;
            account.publish(sealed.path(), digest).map_err(io("publish", &target))?;
            sealed.published();
            let sync = |path: &Path| on_disk::sync_folder(path).map_err(io("sync", path));
            sync(folder)?;
            for folder in &new_folders {
                sync(folder.parent().expect("the blobs have a folder"))?;
            }
            tracing::debug!(%digest, "content is published");
            Ok(())
        })
        .await
    }

    /// Opens stored content; `None` when there is none. A file that is not what we put there (a link,
    /// another length) counts as none and is removed.
    pub async fn open_blob(&self, claim: Claim) -> Result<Option<StoredBlob>, StoreError> {
        let open = self.known.open(claim.digest);
        let (is_open, found) = match open {
            Some(open) => (true, Some(open)),
            None => (false, self.open_file(claim.digest).await?),
        };
        let Some((file, identity)) = found else { return Ok(None) };
        if identity.size() != claim.size {
            // Either the file or the claim is wrong. The claim's own fetch will tell.
            return Ok(None);
        }
        let is_hashed = is_open || self.known.is_hashed(claim.digest, &identity);
        if is_hashed && !is_open {
            self.known.keep_open(claim.digest, &file, &identity);
        }
        let is_hashed = is_hashed && self.verify_reads == VerifyReads::OnChange;
        let place = Place { account: Arc::clone(&self.account), quarantine: Arc::clone(&self.quarantine) };
        // What was written to a moment ago is hashed again anyway.
        let would_show = !is_hashed && identity.is_settled() && on_disk::make_writes_show(&file).await;
        let blob = StoredBlob::new(claim, place, file, identity, Arc::clone(&self.known));
        Ok(Some(if is_hashed { blob.hashed() } else { blob.where_changes_show(would_show) }))
    }

    /// Whether there is a file for this content. Says nothing about its bytes.
    pub async fn has(&self, digest: Digest) -> bool {
        matches!(self.open_file(digest).await, Ok(Some(_)))
    }

    /// Reads small stored content whole and hashes it; `None` when there is none, when it is larger
    /// than `max`, or when it changed on disk. Then it is quarantined, and also when the disk cannot read it: it is
    /// fetched again.
    pub async fn read(&self, digest: Digest, max: usize) -> Result<Option<Bytes>, StoreError> {
        let Some((file, identity)) = self.open_file(digest).await? else { return Ok(None) };
        let path = self.path(digest);
        let Some(size) = usize::try_from(identity.size()).ok().filter(|size| *size <= max) else { return Ok(None) };
        let bytes = match read_all(file, size).await {
            Ok(bytes) => bytes,
            Err(source) => {
                if on_disk::is_unreadable(&source) {
                    self.take_away(digest, Some(identity), Disposal::Quarantine).await;
                }
                return Err(StoreError::Io { what: "read", path, source });
            }
        };
        if Digest::of(&bytes) == digest {
            return Ok(Some(bytes));
        }
        self.take_away(digest, Some(identity), Disposal::Quarantine).await;
        Ok(None)
    }

    /// Stores small content. Does nothing when it is there already. Waits a little for room.
    pub async fn write(&self, bytes: Bytes) -> Result<(), SpoolError> {
        let claim = Claim { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        if let Ok(Some(_)) = self.open_blob(claim).await {
            return Ok(());
        }
        self.make_room(claim).await;
        let mut spool = self.begin(claim)?;
        spool.write(vec![bytes]).await?;
        let path = self.path(claim.digest);
        let sealed = spool.seal().await.map_err(|unsealed| unsealed.error)?;
        self.commit(sealed).await.map_err(|error| SpoolError::Io { path, source: io::Error::other(error) })
    }

    /// Takes away what is no longer what its name says: the file that was looked at, or whatever lies there if none
    /// could be. Returns whether it is gone; other content that came in between is left alone.
    pub(super) async fn take_away(&self, digest: Digest, looked_at: Option<Identity>, disposal: Disposal) -> bool {
        self.known.forget(digest);
        let place = Place { account: Arc::clone(&self.account), quarantine: Arc::clone(&self.quarantine) };
        blocking(move || place.take_away(digest, looked_at.as_ref(), disposal)).await
    }

    /// Whether something can be written: for the readiness probe.
    pub async fn probe(&self) -> Result<(), SpoolError> {
        let bytes = Bytes::from_static(b"probe");
        let claim = Claim { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        let mut spool = Spool::create(self.new_spool_path(), claim, self.room.for_a_probe())?;
        spool.write(vec![bytes]).await?;
        spool.seal().await.map(drop).map_err(|unsealed| unsealed.error)
    }

    async fn open_file(&self, digest: Digest) -> Result<Option<(Arc<File>, Identity)>, StoreError> {
        let path = self.path(digest);
        match self.open_own(digest).await {
            Ok(found) => Ok(found),
            // A link, a device or somebody else's file: not ours, so not there.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.take_away(digest, None, Disposal::Quarantine).await;
                Ok(None)
            }
            Err(source) => Err(StoreError::Io { what: "open", path, source }),
        }
    }

    /// # Errors
    /// `InvalidData` when what is there is not ours; see [`on_disk::open_own`].
    pub(super) async fn open_own(&self, digest: Digest) -> io::Result<Option<(Arc<File>, Identity)>> {
        let folder = self.folder.clone();
        blocking(move || {
            // By its name each time: whoever removes and makes it anew by hand means the new one.
            let file = match on_disk::open_folder(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                opened => on_disk::open_own(&opened?, &Path::new(BLOBS).join(below(digest)))?,
            };
            file.map(|file| Identity::of(&file).map(|identity| (Arc::new(file), identity))).transpose()
        })
        .await
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.folder.join(BLOBS)
    }

    pub(super) fn quarantine(&self) -> &Arc<Quarantine> {
        &self.quarantine
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.account.path(digest)
    }
}

/// Where content lies, and where it goes if it is not what its name says.
#[derive(Clone, Debug)]
pub(super) struct Place {
    account: Arc<Account>,
    quarantine: Arc<Quarantine>,
}

impl Place {
    /// As [`DiskStore::take_away`]; blocks on the disk.
    pub(super) fn take_away(&self, digest: Digest, looked_at: Option<&Identity>, disposal: Disposal) -> bool {
        let taken = self.account.take_out(digest, looked_at, |path| match disposal {
            Disposal::Quarantine => self.quarantine.take(path, &digest.hex()),
            Disposal::Delete => removal::remove(path),
        });
        if matches!(taken, Ok(false)) {
            return false;
        }
        self.account.found_changed();
        match taken {
            Ok(_) => {
                tracing::warn!(%digest, "stored content changed on disk; it is fetched again when it is asked for");
            }
            Err(error) => tracing::error!(%digest, %error, "stored content changed on disk, and cannot be removed"),
        }
        true
    }
}

async fn read_all(file: Arc<File>, size: usize) -> io::Result<Bytes> {
    let mut bytes = bytes::BytesMut::with_capacity(size);
    while bytes.len() < size {
        let piece = on_disk::read_at(Arc::clone(&file), bytes.len() as u64, size - bytes.len()).await?;
        if piece.is_empty() {
            break;
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("file operations do not panic")
}
