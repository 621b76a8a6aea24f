//! Small files of our own beside the blobs: what is worth keeping over a restart, and costs little when it is lost.
//!
//! Whoever can write to the cache folder can put anything in their place. A pipe would be waited for, for ever; a link
//! leads out of the folder; a file without end fills the memory.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::removal::remove;

use super::disk::{DiskStore, blocking};

/// Largest note that is read. The account has 256 lines of some 60 bytes.
const NOTE_MAX: u64 = 64 * 1024;

impl DiskStore {
    /// What was written under this name last. Nothing when that is absent or spoiled.
    pub async fn read_note(&self, name: &'static str) -> String {
        let path = self.folder.join(name);
        blocking(move || read(&path)).await
    }

    /// Writes down a few lines: all of them, or none.
    ///
    /// # Errors
    /// The disk's; then what was there before still is.
    pub async fn write_note(&self, name: &'static str, text: String) -> io::Result<()> {
        let path = self.folder.join(name);
        blocking(move || write(&path, &text)).await
    }
}

/// An ordinary file of a few lines. Anything else says nothing.
pub(super) fn read(path: &Path) -> String {
    let read = || -> io::Result<String> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let mut text = String::new();
        if file.metadata()?.is_file() {
            file.take(NOTE_MAX + 1).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    read().ok().filter(|text| text.len() as u64 <= NOTE_MAX).unwrap_or_default()
}

/// Whole or not at all; what a power cut loses is looked up again. Whatever else lies there goes.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let aside = path.with_extension("new");
    remove(&aside)?;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?.write_all(text.as_bytes())?;
    fs::rename(&aside, path).or_else(|_| remove(path).and_then(|()| fs::rename(&aside, path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn pipe(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[test]
    fn what_is_no_note_says_nothing() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("note"), "a line").unwrap();
        assert_eq!(read(&at("note")), "a line");
        pipe(&at("pipe"));
        symlink(at("note"), at("link")).unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("long"), vec![b'x'; NOTE_MAX as usize + 1]).unwrap();
        fs::File::create(at("endless")).unwrap().set_len(1 << 40).unwrap();
        fs::write(at("binary"), [0xff]).unwrap();
        for name in ["none", "pipe", "link", "folder", "long", "endless", "binary"] {
            assert_eq!(read(&at(name)), "", "{name}");
        }
        fs::write(at("fits"), vec![b'x'; NOTE_MAX as usize]).unwrap();
        assert_eq!(read(&at("fits")).len() as u64, NOTE_MAX);
    }

    #[test]
    fn a_note_is_written_whatever_lies_in_its_place() {
        let home = tempfile::tempdir().unwrap();
        let (note, aside, other) = (home.path().join("note"), home.path().join("note.new"), home.path().join("other"));
        fs::write(&other, "precious").unwrap();
        type Place = fn(&Path, &Path);
        let places: [Place; 4] = [
            |_, _| {},
            |at, _| pipe(at),
            |at, other| symlink(other, at).unwrap(),
            |at, _| fs::create_dir_all(at.join("deep")).unwrap(),
        ];
        for (n, place) in places.into_iter().enumerate() {
            for at in [&note, &aside] {
                remove(at).unwrap();
                place(at, &other);
            }
            write(&note, &n.to_string()).unwrap();
            assert_eq!(read(&note), n.to_string());
        }
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&aside).is_err());
    }
}
