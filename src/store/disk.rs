//! Content on disk under its digest; published by fsync, rename, fsync of the folder.
//!
//! ```text
//! DIR/lock                        held by the one process that uses DIR
//! DIR/blobs/sha256/ab/abcd…       content, named by its digest; never changed once there
//! DIR/spool/<n>                   content on its way in, nameless where that can be; emptied at start
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::oci::{Claim, Digest};

use super::on_disk::{self, Identity};
use super::spool::{Sealed, Spool, SpoolError};
use super::stored::StoredBlob;

/// The files of one cache folder. One process at a time.
#[derive(Debug)]
pub struct DiskStore {
    folder: PathBuf,
    root: File,
    next_spool: AtomicU64,
    /// What this process hashed, and which file it was. Forgetting an entry costs one hashing.
    hashed: Arc<Mutex<HashMap<Digest, Identity>>>,
    _lock: File,
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
        let at = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { what, path, source }
        };
        let blobs = folder.join("blobs/sha256");
        let spool = folder.join("spool");
        for path in [&blobs, &spool] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at("create", path))?;
        }
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
        for entry in fs::read_dir(&spool).map_err(at("read", &spool))?.take_while(|_| !is_read_only) {
            let entry = entry.map_err(at("read", &spool))?;
            let path = entry.path();
            // We make no folders there; one that somebody else made must not keep us from starting.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(at("remove", &path))?;
        }
        let root = on_disk::open_folder(&blobs).map_err(at("open", &blobs))?;
        Ok(Self { folder: folder.to_owned(), root, next_spool: AtomicU64::new(0), hashed: Arc::default(), _lock: lock })
    }

    /// The folder, for files that lie beside the blobs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a spool for content that is to come.
    pub fn begin(&self, want: Claim) -> Result<Spool, SpoolError> {
        let n = self.next_spool.fetch_add(1, Ordering::Relaxed);
        Spool::create(self.folder.join("spool").join(n.to_string()), want)
    }

    /// Publishes by rename. Takes a [`Sealed`], so nothing unchecked can be committed. When it
    /// returns, the content survives a power cut.
    ///
    /// Not cancel safe in the sense that a dropped call may or may not have published; both are whole.
    pub async fn commit(&self, sealed: Sealed) -> Result<(), StoreError> {
        let digest = sealed.claim().digest;
        let target = self.folder.join("blobs/sha256").join(below(digest));
        blocking(move || {
            let io = |what, path: &Path| {
                let path = path.to_owned();
                move |source| StoreError::Io { what, path, source }
            };
            let folder = target.parent().expect("a blob's path has a folder");
            let new_folder = match fs::DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(io("create", folder)(error)),
            };
            on_disk::give_name(sealed.file(), sealed.path()).map_err(io("name", sealed.path()))?;
            on_disk::rename(sealed.path(), &target).map_err(io("publish", &target))?;
            sealed.published();
            let sync = |path: &Path| on_disk::sync_folder(path).map_err(io("sync", path));
            sync(folder)?;
            if new_folder {
                sync(folder.parent().expect("the blobs have a folder"))?;
            }
            Ok(())
        })
        .await
    }

    /// Opens stored content; `None` when there is none. A file that is not what we put there (a link,
    /// another length) counts as none and is removed.
    pub async fn open_blob(&self, claim: Claim) -> Result<Option<StoredBlob>, StoreError> {
        let Some((file, identity)) = self.open_file(claim.digest).await? else { return Ok(None) };
        if identity.size() != claim.size {
            // Either the file or the claim is wrong. The claim's own fetch will tell.
            return Ok(None);
        }
        let known = self.hashed.lock().expect("no holder of this lock panics").get(&claim.digest) == Some(&identity);
        Ok(Some(StoredBlob::new(claim, self.path(claim.digest), file, identity, known, Arc::clone(&self.hashed))))
    }

    /// Reads small stored content whole and hashes it; `None` when there is none, when it is larger
    /// than `max`, or when it changed on disk. Then it is removed, and also when the disk cannot read it: it is
    /// fetched again.
    pub async fn read(&self, digest: Digest, max: usize) -> Result<Option<Bytes>, StoreError> {
        let Some((file, identity)) = self.open_file(digest).await? else { return Ok(None) };
        let path = self.path(digest);
        let Some(size) = usize::try_from(identity.size()).ok().filter(|size| *size <= max) else { return Ok(None) };
        let bytes = match read_all(file, size).await {
            Ok(bytes) => bytes,
            Err(source) => {
                if on_disk::is_unreadable(&source) {
                    self.remove_changed(digest).await;
                }
                return Err(StoreError::Io { what: "read", path, source });
            }
        };
        if Digest::of(&bytes) == digest {
            return Ok(Some(bytes));
        }
        self.remove_changed(digest).await;
        Ok(None)
    }

    /// Stores small content. Does nothing when it is there already.
    pub async fn write(&self, bytes: Bytes) -> Result<(), SpoolError> {
        let claim = Claim { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        if let Ok(Some(_)) = self.open_blob(claim).await {
            return Ok(());
        }
        let mut spool = self.begin(claim)?;
        spool.write(vec![bytes]).await?;
        let path = self.path(claim.digest);
        let sealed = spool.seal().await.map_err(|unsealed| unsealed.error)?;
        self.commit(sealed).await.map_err(|error| SpoolError::Io { path, source: io::Error::other(error) })
    }

    /// Removes content that is no longer what its name says.
    pub async fn remove_changed(&self, digest: Digest) {
        tracing::warn!(%digest, "stored content changed on disk, or cannot be read; removed");
        self.hashed.lock().expect("no holder of this lock panics").remove(&digest);
        let path = self.path(digest);
        blocking(move || on_disk::remove_quietly(&path)).await;
    }

    /// Whether something can be written: for the readiness probe.
    pub async fn probe(&self) -> Result<(), SpoolError> {
        let bytes = Bytes::from_static(b"probe");
        let mut spool = self.begin(Claim { digest: Digest::of(&bytes), size: bytes.len() as u64 })?;
        spool.write(vec![bytes]).await?;
        spool.seal().await.map(drop).map_err(|unsealed| unsealed.error)
    }

    async fn open_file(&self, digest: Digest) -> Result<Option<(Arc<File>, Identity)>, StoreError> {
        let path = self.path(digest);
        let root =
            self.root.try_clone().map_err(|source| StoreError::Io { what: "open", path: path.clone(), source })?;
        let found = blocking(move || {
            let file = on_disk::open_own(&root, &below(digest))?;
            file.map(|file| Identity::of(&file).map(|identity| (Arc::new(file), identity))).transpose()
        })
        .await;
        match found {
            Ok(found) => Ok(found),
            // A link, a device or somebody else's file: not ours, so not there.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.remove_changed(digest).await;
                Ok(None)
            }
            Err(source) => Err(StoreError::Io { what: "open", path, source }),
        }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(below(digest))
    }
}

/// `ab/abcd…`, made of hex digits only.
fn below(digest: Digest) -> PathBuf {
    let hex = digest.hex();
    let (first, _) = hex.split_at(2);
    Path::new(first).join(&hex)
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("file operations do not panic")
}
