//! Where files go that are not what they should be, so that a person can look at them. Nothing is read from here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::removal::remove;

use super::on_disk;

/// Most files that are kept, the latest: enough to see a pattern.
const FILES_MAX: usize = 64;

/// Most bytes that they may have together. What is larger alone is removed at once.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Most things that are counted in a folder; what has more counts as too large.
const TREE_MAX: usize = 10_000;

/// `DIR/quarantine`
#[derive(Debug)]
pub(super) struct Quarantine {
    folder: PathBuf,
    /// The number of the next file. Held while files come and go.
    next: Mutex<u64>,
}

impl Quarantine {
    /// Where there can be no such folder, what would go there is removed.
    pub(super) fn open(folder: PathBuf) -> Self {
        let names = on_disk::make_own_folder(&folder).and_then(|()| names(&folder)).unwrap_or_else(|error| {
            tracing::warn!(path = %folder.display(), %error, "no quarantine: what is not right will be removed");
            Vec::new()
        });
        let last = names.iter().filter_map(|name| name.split('-').next()?.parse::<u64>().ok()).max();
        Self { folder, next: Mutex::new(last.map_or(0, |last| last.wrapping_add(1))) }
    }

    /// Takes a file, a link or a folder away from where it lies. Where that cannot be done, removes it.
    ///
    /// # Errors
    /// It is still there.
    pub(super) fn take(&self, from: &Path, name: &str) -> io::Result<()> {
        let mut next = self.next.lock().expect("no holder of this lock panics");
        let to = self.folder.join(format!("{:010}-{name}", *next));
        *next = next.wrapping_add(1);
        match on_disk::own_folder(&self.folder).and_then(|()| fs::rename(from, &to)) {
            Ok(()) => {
                self.trim();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(from).is_err() => Ok(()),
            Err(_) => remove(from),
        }
    }

    /// The oldest go until the others fit.
    fn trim(&self) {
        let mut names = names(&self.folder).unwrap_or_default();
        names.sort_unstable_by(|a, b| b.cmp(a));
        let (mut files, mut bytes) = (0, 0u64);
        for name in names {
            let path = self.folder.join(name);
            files += 1;
            bytes = bytes.saturating_add(size(&path));
            if (files > FILES_MAX || bytes > BYTES_MAX)
                && let Err(error) = remove(&path)
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove from the quarantine");
            }
        }
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn size(path: &Path) -> u64 {
    let (mut open, mut bytes, mut seen) = (vec![path.to_owned()], 0u64, 0);
    while let Some(path) = open.pop() {
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        bytes = bytes.saturating_add(about.len());
        if about.is_dir() {
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                seen += 1;
                if seen > TREE_MAX {
                    return u64::MAX;
                }
                open.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay_within_the_bounds() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("quarantine");
        let put = |quarantine: &Quarantine, n: usize| {
            let path = home.path().join("bad");
            fs::write(&path, n.to_string()).unwrap();
            quarantine.take(&path, &format!("file{n}")).unwrap();
        };
        let quarantine = Quarantine::open(folder.clone());
        (0..FILES_MAX).for_each(|n| put(&quarantine, n));
        assert_eq!(names(&folder).unwrap().len(), FILES_MAX);
        // Another start goes on where the last one ended.
        let quarantine = Quarantine::open(folder.clone());
        put(&quarantine, FILES_MAX);
        let kept = names(&folder).unwrap();
        assert_eq!(kept.len(), FILES_MAX);
        assert!(kept.iter().all(|name| !name.ends_with("-file0")), "the oldest went");
        assert!(kept.iter().any(|name| name.ends_with(&format!("-file{FILES_MAX}"))));

        let large = home.path().join("large");
        fs::File::create(&large).unwrap().set_len(BYTES_MAX + 1).unwrap();
        quarantine.take(&large, "large").unwrap();
        assert!(!large.exists());
        assert!(names(&folder).unwrap().is_empty(), "it is the latest, and alone too large");
    }

    #[test]
    fn folders_and_links_are_taken_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::open(home.path().join("quarantine"));
        let (target, link, folder) = (home.path().join("target"), home.path().join("link"), home.path().join("folder"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        fs::create_dir_all(folder.join("deep")).unwrap();
        quarantine.take(&link, "link").unwrap();
        quarantine.take(&folder, "folder").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert!(!folder.exists() && fs::symlink_metadata(&link).is_err());
        remove(&home.path().join("quarantine/0000000000-link")).unwrap();
        assert!(target.exists());
    }
}
