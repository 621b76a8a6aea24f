//! Files of a layout folder: bounded reads, and no way out of the folder.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::oci::Digest;

/// A folder that stays the same one, whatever happens to its name.
#[derive(Debug)]
pub(super) struct Folder {
    root: File,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// More bytes than are read of its kind.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// What the system says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: File::from(openat(CWD, path, flags, Mode::empty())?) })
    }

    /// Opens an ordinary file; follows no link. `None` when there is nothing.
    pub(super) fn file(&self, below: &Path) -> io::Result<Option<File>> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        // A pipe in the place of a file would otherwise be waited for.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = match openat2(&self.root, below, flags, Mode::empty(), resolve) {
            Ok(descriptor) => File::from(descriptor),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => {
                return Err(invalid("a symbolic link; copy the folder with its links resolved (cp -rL)"));
            }
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(invalid("not an ordinary file"));
        }
        Ok(Some(file))
    }

    /// The file of a blob.
    pub(super) fn blob(&self, digest: Digest) -> io::Result<Option<File>> {
        self.file(&blob_path(digest))
    }

    /// Reads a whole file of at most `limit` bytes. `None` when there is nothing.
    pub(super) fn read(&self, below: &Path, limit: u64) -> Result<Option<Bytes>, ReadError> {
        let Some(file) = self.file(below)? else { return Ok(None) };
        read_whole(file, limit).map(Some)
    }

    /// Reads a whole blob of at most `limit` bytes. Its digest is for the caller to check.
    pub(super) fn read_blob(&self, digest: Digest, limit: u64) -> Result<Option<Bytes>, ReadError> {
        self.read(&blob_path(digest), limit)
    }
}

fn read_whole(file: File, limit: u64) -> Result<Bytes, ReadError> {
    // What the file claims to have may change while it is read.
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(bytes.into())
}

/// From a digest only, which is 64 hex digits: no path of somebody else's making.
fn blob_path(digest: Digest) -> PathBuf {
    Path::new("blobs").join("sha256").join(digest.hex())
}
