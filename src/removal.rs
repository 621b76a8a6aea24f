//! Removes whatever lies at a path, also a folder of any depth.
//!
//! The standard library goes down folder by folder, with an open file and a piece of stack for each: who can write to our
//! folder could end the process by a deep one. Here inner folders are moved up before they are emptied. No link is
//! followed, also when one takes a folder's place meanwhile.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

/// Removes a file, a link, or a folder with all in it. That nothing is there is no error.
///
/// # Errors
/// Something is still there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => remove_folder(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    let top = open(CWD, path)?;
    let mut folders = remove_files(&top)?;
    let mut number = 0u64;
    while let Some(name) = folders.pop() {
        let folder = match open(&top, &*name) {
            // Another one was moved to the name of an empty one.
            Err(Errno::NOENT) => continue,
            opened => opened?,
        };
        for inner in remove_files(&folder)? {
            folders.push(move_up(&folder, &inner, &top, &mut number)?);
        }
        unlinkat(&top, &*name, AtFlags::REMOVEDIR)?;
    }
    fs::remove_dir(path)
}

fn open(below: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    openat(below, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes what is no folder, and returns the names of the folders.
fn remove_files(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => FileType::from_raw_mode(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
            known => known,
        };
        match kind {
            // An empty one needs no move, for which it would have to be writable.
            FileType::Directory if unlinkat(folder, name, AtFlags::REMOVEDIR).is_ok() => {}
            FileType::Directory => folders.push(name.to_owned()),
            _ => unlinkat(folder, name, AtFlags::empty())?,
        }
    }
    Ok(folders)
}

/// Under the next number that nothing has yet.
fn move_up(from: &OwnedFd, name: &CString, top: &OwnedFd, number: &mut u64) -> io::Result<CString> {
    loop {
        let to = CString::new(format!("removed-{number}")).expect("there is no NUL in it");
        *number += 1;
        match renameat(from, name, top, &to) {
            Ok(()) => return Ok(to),
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deeper than there may be open files, and than a path or a stack may be long.
    fn dig(from: &Path, levels: usize) {
        let mut folder = open(CWD, from).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&folder, "d", Mode::RWXU).unwrap();
            folder = open(&folder, "d").unwrap();
        }
        openat(&folder, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }

    #[test]
    fn a_folder_of_any_depth_goes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep");
        fs::create_dir_all(path.join("removed-0/inner")).unwrap();
        fs::create_dir_all(path.join("removed-1")).unwrap();
        fs::write(path.join("removed-2"), "").unwrap();
        dig(&path, 70_000);
        remove(&path).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_links_lead_to_stays() {
        let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("kept"), "").unwrap();
        let path = home.path().join("folder");
        fs::create_dir_all(path.join("a/b")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), path.join("a/b/link")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), home.path().join("link")).unwrap();
        remove(&path).unwrap();
        remove(&home.path().join("link")).unwrap();
        remove(&home.path().join("nothing")).unwrap();
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        assert!(elsewhere.path().join("kept").exists());
    }
}
