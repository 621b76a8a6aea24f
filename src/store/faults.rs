//! A disk that fails as a test tells it to: only for what lies in the test's own folder.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What is done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    /// Beyond so many bytes of one file; the write in which they end is torn.
    Write(u64),
    Sync,
    Rename,
    SyncFolder,
    Read,
}

/// While it is held, this operation fails.
pub(crate) struct Fault {
    folder: PathBuf,
    operation: Operation,
}

static FAULTS: Mutex<Vec<(PathBuf, Operation, i32)>> = Mutex::new(Vec::new());

impl Fault {
    pub(crate) fn inject(folder: &Path, operation: Operation, error: rustix::io::Errno) -> Self {
        let folder = folder.canonicalize().unwrap();
        FAULTS.lock().unwrap().push((folder.clone(), operation, error.raw_os_error()));
        Self { folder, operation }
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        FAULTS.lock().unwrap().retain(|(folder, operation, _)| (folder, operation) != (&self.folder, &self.operation));
    }
}

pub(super) fn at(operation: Operation, path: &Path) -> io::Result<()> {
    failing(path, |fails| fails == operation).map_or(Ok(()), |(_, error)| Err(error))
}

pub(super) fn on(operation: Operation, file: &File) -> io::Result<()> {
    at(operation, &path_of(file))
}

pub(super) fn write(file: &File, pieces: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
    let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
    let fails = |operation| matches!(operation, Operation::Write(most) if end > most);
    let Some((Operation::Write(most), error)) = failing(&path_of(file), fails) else { return Ok(()) };
    let bytes = pieces.iter().map(|piece| &**piece).collect::<Vec<_>>().concat();
    file.write_all_at(&bytes[..most.saturating_sub(offset) as usize], offset)?;
    Err(error)
}

fn failing(path: &Path, is_it: impl Fn(Operation) -> bool) -> Option<(Operation, io::Error)> {
    let faults = FAULTS.lock().unwrap();
    let (_, operation, error) = faults.iter().find(|(folder, fails, _)| path.starts_with(folder) && is_it(*fails))?;
    Some((*operation, io::Error::from_raw_os_error(*error)))
}

/// Also of a file without a name, which Linux shows in the folder that it was made in.
fn path_of(file: &File) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap()
}
