//! What earlier runs verified: the floor below which no later run goes.
//!
//! All of it lies in one file that is replaced as a whole. Timestamp, snapshot and targets are kept only
//! together, after a run that ended well. Kept one by one, a run broken off in the middle would leave a timestamp
//! that no longer fits the snapshot beside it; the next run would pass over that snapshot, and with it over the
//! oldest targets that it may accept. Roots are kept at once: the keys before them may be stolen.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sigstore_tuf::MetadataStore;

use super::TufError;
use super::replace::replace_file;

/// Most that is read back. Metadata of the public instances takes some 100 KiB.
const KEPT_MAX: u64 = 32 * 1024 * 1024;

/// The metadata folder, held by one process.
pub(super) struct Kept {
    file: PathBuf,
    _lock: File,
    before: Record,
    reached: Mutex<Record>,
}

/// Metadata as it was signed, byte for byte: JSON is text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    roots: BTreeMap<u64, String>,
    timestamp: Option<String>,
    snapshot: Option<String>,
    targets: Option<String>,
}

impl Kept {
    /// Takes the folder, which is made when it is not there.
    ///
    /// # Errors
    /// `Busy`, `Damaged`, or `Keep` for the file system's.
    pub(super) fn open(folder: &Path) -> Result<Self, TufError> {
        let failed = |path: &Path, source| TufError::Keep { path: path.to_owned(), source };
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(folder, error)),
            _ => {}
        }
        let path = folder.join("lock");
        let lock = File::create(&path).map_err(|error| failed(&path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TufError::Busy(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
        }
        let file = folder.join("metadata.json");
        let before = read(&file)?;
        Ok(Self { file, _lock: lock, reached: Mutex::new(before.clone()), before })
    }

    /// Writes down what was reached: all of it after a run that was `complete`, else only the roots.
    ///
    /// # Errors
    /// `Keep`; then the file is as it was.
    pub(super) fn save(&self, complete: bool) -> Result<(), TufError> {
        let reached = self.reached.lock().expect("no holder of this lock panics").clone();
        let record = if complete { reached } else { Record { roots: reached.roots, ..self.before.clone() } };
        if record == self.before {
            return Ok(());
        }
        let failed = |source| TufError::Keep { path: self.file.clone(), source };
        let text = serde_json::to_vec(&record).map_err(|error| failed(error.into()))?;
        replace_file(&self.file, &text).map_err(failed)
    }
}

fn read(file: &Path) -> Result<Record, TufError> {
    let failed = |source| TufError::Keep { path: file.to_owned(), source };
    let damaged = |why: String| TufError::Damaged { path: file.to_owned(), why };
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
        Err(error) => return Err(failed(error)),
        Ok(there) if there.len() > KEPT_MAX => return Err(damaged(format!("longer than {KEPT_MAX} bytes"))),
        Ok(_) => {}
    }
    let text = fs::read(file).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))
}

/// The names under which the TUF client keeps things are looked up, never used as paths. Whatever else it would
/// keep (targets, delegated roles, names with a version) is pinned by what is kept here, and fetched again.
impl MetadataStore for Kept {
    fn load(&self, name: &str) -> sigstore_tuf::Result<Option<Vec<u8>>> {
        let record = &mut *self.reached.lock().expect("no holder of this lock panics");
        let text = match root_version(name) {
            Some(version) => record.roots.get(&version).cloned(),
            None => role(record, name).and_then(|text| text.clone()),
        };
        Ok(text.map(String::into_bytes))
    }

    fn store(&self, name: &str, bytes: &[u8]) -> sigstore_tuf::Result<()> {
        let record = &mut *self.reached.lock().expect("no holder of this lock panics");
        let text = || {
            String::from_utf8(bytes.to_vec())
                .map_err(|_| sigstore_tuf::Error::Malformed(format!("{name} is not UTF-8")))
        };
        if let Some(version) = root_version(name) {
            record.roots.insert(version, text()?);
        } else if let Some(kept) = role(record, name) {
            *kept = Some(text()?);
        }
        Ok(())
    }
}

fn root_version(name: &str) -> Option<u64> {
    name.strip_prefix("root_history/")?.strip_suffix(".root.json")?.parse().ok()
}

fn role<'a>(record: &'a mut Record, name: &str) -> Option<&'a mut Option<String>> {
    match name {
        "timestamp.json" => Some(&mut record.timestamp),
        "snapshot.json" => Some(&mut record.snapshot),
        "targets.json" => Some(&mut record.targets),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kept: &Kept, name: &str) -> Option<String> {
        kept.load(name).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_a_complete_run_moves_the_floor_but_roots_stay() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["timestamp.json", "snapshot.json", "targets.json", "root_history/2.root.json"];
        for (complete, text, wanted) in
            [(true, "one", ["one"; 4]), (false, "two", ["one", "one", "one", "two"]), (true, "three", ["three"; 4])]
        {
            let kept = Kept::open(folder.path()).unwrap();
            for name in names.iter().chain(&["root.json", "../escape.json", "7.snapshot.json", "targets/x"]) {
                kept.store(name, text.as_bytes()).unwrap();
            }
            assert_eq!(stored(&kept, "../escape.json"), None);
            kept.save(complete).unwrap();
            drop(kept);
            let kept = Kept::open(folder.path()).unwrap();
            assert_eq!(names.map(|name| stored(&kept, name).unwrap()), wanted, "{text}");
        }
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "the lock and the metadata");
    }

    #[test]
    fn one_process_at_a_time_and_no_guessing_about_damage() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(folder.path()).unwrap();
        assert!(matches!(Kept::open(folder.path()), Err(TufError::Busy(_))));
        drop(kept);
        assert!(Kept::open(folder.path()).is_ok());
        fs::write(folder.path().join("metadata.json"), b"{\"roots\":{").unwrap();
        assert!(matches!(Kept::open(folder.path()), Err(TufError::Damaged { .. })));
        assert!(matches!(Kept::open(&folder.path().join("a/b")), Err(TufError::Keep { .. })));
    }
}
