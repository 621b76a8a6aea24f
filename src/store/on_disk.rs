//! The few file operations that need care: no links are followed, nothing is world-readable.

use std::fs::{File, Metadata};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{ReadWriteFlags, preadv2, pwritev};

use super::buffer::Buffer;

/// Ten ticks of the coarsest clock that Linux stamps files with.
const SETTLED_NS: i64 = 100_000_000;

/// Twice what kernels read ahead at a time unless told otherwise.
const SAMPLE_EVERY: usize = 256 * 1024;

/// Most pieces that Linux takes in one call (`IOV_MAX`).
const PIECES_MAX: usize = 1024;

/// Where Linux shows the open files of a process; the only way to name one without privileges.
const OWN_FILES: &str = "/proc/self/fd";

/// Which file this is and when it last changed. Equal identities mean: the bytes hashed then are the
/// bytes there now, if [`make_writes_show`] came before, unless somebody writes to the raw device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether the file last changed long enough ago that a change from now on would show. Kernels
    /// stamp files with a coarse clock (up to 10 ms), so two changes in one tick look like one.
    pub(super) fn is_settled(&self) -> bool {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let seconds = now.tv_sec.saturating_sub(self.changed.0);
        seconds.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec - self.changed.1) >= SETTLED_NS
    }

    /// Whether the bytes may have been written to in between. Publishing a file changes its other
    /// times, so this is the weaker question; it is asked only about files that are being followed.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified) == (other.device, other.inode, other.size, other.modified)
    }

    /// Whether `file`, which had this identity, was not written to since. That it lost its name says
    /// nothing about its bytes: we put the same content in its place.
    pub(super) fn is_untouched(&self, file: &File) -> io::Result<bool> {
        let now = Self::of(file)?;
        Ok(now == *self || (now.same_content(self) && file.metadata()?.nlink() == 0))
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether this is about the same file, in whatever state.
    pub(super) fn is_file(&self, about: &Metadata) -> bool {
        (self.device, self.inode) == (about.dev(), about.ino())
    }
}

/// A new file that only this user can read. It has no name until [`give_name`], so that nobody else can
/// write to what was hashed already; file systems that cannot do so name it `path` at once.
///
/// # Errors
/// What the disk says; where names are needed, also when anything is there already.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    #[cfg(test)]
    super::faults::at(super::faults::Operation::Create, path)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    if let Some(folder) = path.parent().filter(|_| Path::new(OWN_FILES).exists())
        && let Ok(file) = rustix::fs::openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR)
    {
        return Ok(File::from(file));
    }
    std::fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Names a file of [`create_private`], unless it has its name already. What lies there is not ours, and goes.
pub(super) fn give_name(file: &File, path: &Path) -> io::Result<()> {
    if file.metadata()?.nlink() > 0 {
        return Ok(());
    }
    let itself = format!("{OWN_FILES}/{}", file.as_raw_fd());
    let link = || rustix::fs::linkat(CWD, &itself, CWD, path, AtFlags::SYMLINK_FOLLOW);
    match link() {
        Err(rustix::io::Errno::EXIST) => {
            crate::removal::remove(path)?;
            Ok(link()?)
        }
        linked => Ok(linked?),
    }
}

/// Removes the name of a file of [`create_private`], if it has one by now. What else may lie there is not ours.
pub(super) fn remove_name(file: &File, path: &Path) {
    if file.metadata().is_ok_and(|about| about.nlink() > 0) {
        remove_quietly(path);
    }
}

/// Writes all of the pieces, one behind the other, from `offset` on.
pub(super) fn write_all_at(file: &File, pieces: &[Bytes], mut offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    // What is empty already would look like a disk that takes nothing.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        #[cfg(test)]
        super::faults::write(file, left, offset)?;
        let written = match pwritev(file, left.get(..PIECES_MAX).unwrap_or(left), offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        offset += written as u64;
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// Waits until what was written is on the disk.
pub(super) fn sync(file: &File) -> io::Result<()> {
    #[cfg(test)]
    super::faults::on(super::faults::Operation::Sync, file)?;
    file.sync_all()
}

/// Gives a file another name in the same file system.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    super::faults::at(super::faults::Operation::Rename, to)?;
    std::fs::rename(from, to)
}

/// Waits until the names in a folder are on the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    super::faults::at(super::faults::Operation::SyncFolder, path)?;
    open_folder(path)?.sync_all()
}

/// Opens an ordinary file below `root` that is this user's own and has one name; follows no symbolic
/// link on the way. `None` when there is nothing.
///
/// # Errors
/// `InvalidData` when what is there is a link, a device, somebody else's, or has a second name.
pub(super) fn open_own(root: &File, below: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let file = match openat2(root, below, flags, Mode::empty(), resolve) {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::XDEV | rustix::io::Errno::NOTDIR) => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a link or a file in the place of a folder"));
        }
        Err(error) => return Err(error.into()),
    };
    let meta = file.metadata()?;
    let own = meta.is_file() && meta.nlink() == 1 && meta.uid() == rustix::process::geteuid().as_raw();
    if !own {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an ordinary file of our own with one name"));
    }
    Ok(Some(file))
}

/// Opens the file that is locked, making it where that can be. Writes nothing into it and follows no link.
pub(super) fn open_lock(path: &Path, is_read_only: bool) -> io::Result<File> {
    // A pipe in its place would be waited for, for ever.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = std::fs::OpenOptions::new();
    match is_read_only {
        true => options.read(true),
        false => options.write(true).create(true).truncate(false).mode(0o600),
    };
    options.custom_flags(flags).open(path)
}

/// Looks whether there is a folder of ours, and nothing else in its place: a link would lead to other people's files.
///
/// # Errors
/// `NotADirectory` when something else is there, `NotFound` when nothing is, or what the disk says.
pub(super) fn own_folder(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path)?.is_dir() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::NotADirectory, "a link or a file in the place of a folder")),
    }
}

/// Makes a folder of which nothing is needed that it holds; a link or a file in its place goes.
///
/// # Errors
/// The disk's.
pub(super) fn make_own_folder(path: &Path) -> io::Result<()> {
    match own_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            tracing::warn!(path = %path.display(), "there is a link or a file in the place of a folder; it is removed");
            std::fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Opens a folder for [`open_own`] and for syncing.
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

/// Reads up to `length` bytes at `offset` without moving any position, one [`PIECE`](super::buffer::PIECE)
/// at most. Nothing only at the end of the file.
///
/// What the kernel has in memory is copied at once, since handing it to another thread costs more than
/// the copy; only for the disk is waited elsewhere.
pub(super) async fn read_at(file: Arc<File>, offset: u64, length: usize) -> io::Result<Bytes> {
    #[cfg(test)]
    super::faults::on(super::faults::Operation::Read, &file)?;
    // A fast client could keep this thread to itself otherwise: nothing here ever waits.
    tokio::task::yield_now().await;
    let mut buffer = Buffer::new(length);
    let at_once = buffer.fill(|space| {
        let got = preadv2(&*file, std::slice::from_mut(space), offset, ReadWriteFlags::NOWAIT)?;
        // Some kernels say 0 where they mean "not now"; the blocking read knows better.
        if got == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(got) }
    });
    if at_once.is_ok() {
        return Ok(buffer.into_bytes());
    }
    tokio::task::spawn_blocking(move || {
        buffer.fill(|space| {
            loop {
                match file.read_at(space, offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            }
        })?;
        Ok(buffer.into_bytes())
    })
    .await
    .unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

/// Has changes from now on show in the file's times. Who has it mapped can write to a page that is on its way to the disk
/// already, without another trace; once the page is there, the next write is noticed again. Returns whether that worked.
///
/// Not on tmpfs, which has no disk.
pub(super) async fn make_writes_show(file: &Arc<File>) -> bool {
    let file = Arc::clone(file);
    tokio::task::spawn_blocking(move || file.sync_data()).await.is_ok_and(|done| done.is_ok())
}

/// Whether the kernel seems to have `length` bytes at `offset` in memory. Asked by samples, since it reads
/// ahead and forgets in larger steps than pages; a gap that they miss costs the asker one wait.
pub(super) fn is_in_memory(file: &File, offset: u64, length: u64) -> bool {
    let has = |at: u64| {
        let mut byte = [0];
        matches!(preadv2(file, &mut [IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT), Ok(1))
    };
    (offset..offset + length).step_by(SAMPLE_EVERY).all(has) && has((offset + length).saturating_sub(1))
}

/// Whether the disk lost what it should read, so that trying again will not help.
pub(super) fn is_unreadable(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::IO)
}

/// Removes a file whose absence is what matters; an error is only logged.
pub(super) fn remove_quietly(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a temporary file");
    }
}
