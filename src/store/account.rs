//! How much is stored, and the only place where files below `blobs/` appear and vanish.
//!
//! The disk itself is the account: what is counted here follows from the files and is never needed to find one.
//! It is kept for each of the 256 folders, with the time at which the folder last changed, so that a start looks at 256
//! times instead of at a million files.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::oci::Digest;
use crate::telemetry::SpaceMetrics;

use super::notes;
use super::on_disk::{self, Identity};

/// Folders are named by the first byte of a digest.
const FOLDERS: usize = 256;

/// The first line of the written account; another one is passed over, and everything is counted afresh.
const FORMAT: &str = "assay account 1";

/// Longest time that a start spends on counting. The rest is counted beside the work.
const COUNT_AT_START: Duration = Duration::from_millis(500);

/// A folder that changed more recently could change again without another time; see `Identity::is_settled`.
const SETTLED: Duration = Duration::from_millis(100);

/// How much of what went is remembered: 2 MiB. What is not is stored again after the next start, at the latest.
const GONE_MAX: usize = 32_768;

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Files.
    pub blobs: u64,
    /// Their sizes together.
    pub bytes: u64,
}

/// What a count of one folder found.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Content, by name.
    pub content: Vec<Digest>,
    /// What is there.
    pub usage: Usage,
    /// What was believed to be there before, if anything was.
    pub believed: Option<Usage>,
    /// What is no content of ours by its name or kind. It takes space and is left alone.
    pub foreign: Vec<PathBuf>,
}

/// Counts, moves in and moves out.
#[derive(Debug)]
pub(super) struct Account {
    /// `DIR/blobs/sha256`
    blobs: PathBuf,
    folders: Vec<Mutex<Folder>>,
    all: AtomicUsage,
    /// What was set aside or taken out and did not come back.
    gone: Mutex<HashSet<Digest>>,
    metrics: SpaceMetrics,
}

#[derive(Debug, Default)]
struct Folder {
    usage: Usage,
    /// Whether `usage` is what lies on the disk, and not only what was added since the start.
    is_counted: bool,
}

#[derive(Debug, Default)]
struct AtomicUsage {
    blobs: AtomicU64,
    bytes: AtomicU64,
}

impl Account {
    /// Takes up the account as it was written last, where the folders did not change since.
    pub(super) fn open(blobs: &Path, written: &Path, metrics: SpaceMetrics) -> io::Result<Self> {
        let folders = (0..FOLDERS).map(|_| Mutex::default()).collect();
        let (all, gone) = (AtomicUsage::default(), Mutex::default());
        let account = Self { blobs: blobs.to_owned(), folders, all, gone, metrics };
        for line in read_written(written) {
            if let Some((number, usage, changed)) = parse(&line)
                && account.changed(number)? == Some(changed)
            {
                account.set(number, usage);
            }
        }
        let started = Instant::now();
        for number in 0..FOLDERS {
            if started.elapsed() > COUNT_AT_START {
                break;
            }
            if !account.is_counted(number) {
                account.count(number)?;
            }
        }
        Ok(account)
    }

    /// Writes the account down. Folders that have just changed, or were not counted yet, are left out.
    pub(super) fn write(&self, to: &Path) -> io::Result<()> {
        let mut text = format!("{FORMAT}\n");
        for (number, folder) in self.folders.iter().enumerate() {
            let folder = folder.lock().expect("no holder of this lock panics");
            let Some(changed) = self.changed(number)? else { continue };
            if folder.is_counted && is_settled(changed) {
                let Usage { blobs, bytes } = folder.usage;
                text.push_str(&format!("{number:02x} {blobs} {bytes} {changed}\n"));
            }
        }
        notes::write(to, &text)
    }

    /// What is stored, as far as it was counted.
    pub(super) fn usage(&self) -> Usage {
        Usage { blobs: self.all.blobs.load(Ordering::Relaxed), bytes: self.all.bytes.load(Ordering::Relaxed) }
    }

    /// A folder that was not counted yet.
    pub(super) fn uncounted(&self) -> Option<u8> {
        (0..FOLDERS).find(|number| !self.is_counted(*number)).and_then(|number| u8::try_from(number).ok())
    }

    /// Counts a folder. Nothing appears or vanishes in it meanwhile.
    pub(super) fn count(&self, number: usize) -> io::Result<Counted> {
        let mut counted = Counted::default();
        let Some(folder) = self.folders.get(number) else { return Ok(counted) };
        let mut folder = folder.lock().expect("no holder of this lock panics");
        self.look_above()?;
        let path = self.path_of(number);
        let entries = match on_disk::own_folder(&path).and_then(|()| fs::read_dir(&path)) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Nothing of ours is in it.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                counted.foreign.push(path);
                None
            }
            Err(error) => return Err(error),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name();
            let hex = name.to_str().filter(|name| name.starts_with(&format!("{number:02x}")));
            let digest = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
            match (digest, entry.metadata()) {
                // Removed by hand in between.
                (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
                (Some(digest), Ok(about)) if about.is_file() => {
                    counted.usage.blobs += 1;
                    counted.usage.bytes += about.len();
                    counted.content.push(digest);
                }
                _ => counted.foreign.push(entry.path()),
            }
        }
        counted.believed = folder.is_counted.then_some(folder.usage);
        self.replace(&mut folder, counted.usage);
        folder.is_counted = true;
        Ok(counted)
    }

    /// Moves a file to its place; what was there before is gone.
    pub(super) fn publish(&self, from: &Path, digest: Digest) -> io::Result<()> {
        let mut folder = self.folder(digest);
        let to = self.place(digest)?;
        let before = size_of(&to);
        on_disk::rename(from, &to)?;
        let after = size_of(&to);
        self.put_in_place_of(&mut folder, before, after);
        self.gone().remove(&digest);
        Ok(())
    }

    /// Has what lies under a digest taken away, if it is still the file that was looked at. Returns whether it was.
    /// What lies in the place of its folder is taken away instead.
    pub(super) fn take_out(
        &self,
        digest: Digest,
        looked_at: Option<&Identity>,
        away: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut folder = self.folder(digest);
        let path = match self.place(digest) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                away(&self.path_of(number(digest)))?;
                self.replace(&mut folder, Usage::default());
                self.note_gone(digest);
                return Ok(true);
            }
            place => place?,
        };
        let about = fs::symlink_metadata(&path);
        let is_still = |identity: &Identity| about.as_ref().is_ok_and(|about| identity.is_file(about));
        if !looked_at.is_none_or(is_still) {
            return Ok(false);
        }
        // What is no file was not counted either.
        let before = about.ok().filter(fs::Metadata::is_file).map(|about| about.len());
        away(&path)?;
        self.put_in_place_of(&mut folder, before, None);
        self.note_gone(digest);
        Ok(true)
    }

    /// Content was found that is not what its name says.
    pub(super) fn found_changed(&self) {
        self.metrics.changed_on_disk();
    }

    /// Moves content that was not written to within `idle` to `aside`, where it can be removed without holding
    /// anything up. Returns its size.
    pub(super) fn set_aside(&self, digest: Digest, aside: &Path, idle: Duration) -> Option<u64> {
        let mut folder = self.folder(digest);
        let (path, about) = self.idle_file(digest, idle)?;
        if let Err(error) = fs::rename(&path, aside) {
            tracing::warn!(%digest, %error, "content could not be evicted");
            return None;
        }
        self.put_in_place_of(&mut folder, Some(about.len()), None);
        self.note_gone(digest);
        Some(about.len())
    }

    fn note_gone(&self, digest: Digest) {
        let mut gone = self.gone();
        if gone.len() < GONE_MAX {
            gone.insert(digest);
        }
    }

    /// Whether content was set aside and did not come back, as far as that is remembered.
    pub(super) fn has_gone(&self, digest: Digest) -> bool {
        self.gone().contains(&digest)
    }

    fn gone(&self) -> std::sync::MutexGuard<'_, HashSet<Digest>> {
        self.gone.lock().expect("no holder of this lock panics")
    }

    /// The size of what is stored under a digest, if it was not written to within `idle`.
    pub(super) fn size(&self, digest: Digest, idle: Duration) -> Option<u64> {
        self.idle_file(digest, idle).map(|(_, about)| about.len())
    }

    /// A file that was not written to within `idle`. One that will be written to some day was so under another clock:
    /// else nothing could go until that day.
    fn idle_file(&self, digest: Digest, idle: Duration) -> Option<(PathBuf, fs::Metadata)> {
        let path = self.place(digest).ok()?;
        let about = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let written = (about.mtime(), about.mtime_nsec());
        (since(written) >= idle || until(written) > idle).then_some((path, about))
    }

    /// Where content lies, or would lie.
    ///
    /// # Errors
    /// `NotADirectory` when something else is in the place of its folder.
    fn place(&self, digest: Digest) -> io::Result<PathBuf> {
        self.look_above()?;
        match on_disk::own_folder(&self.path_of(number(digest))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(self.path(digest)),
        }
    }

    /// Content is nobody's business where links lead; who put one there while we run is to take it away.
    fn look_above(&self) -> io::Result<()> {
        let folders = self.blobs.parent().into_iter().chain([self.blobs.as_path()]);
        for folder in folders {
            match on_disk::own_folder(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(io::Error::other(error)),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the folder in which content lies, and those above if somebody removed them. Returns those that are new.
    pub(super) fn make_folders(&self, digest: Digest) -> io::Result<Vec<PathBuf>> {
        self.look_above()?;
        let (above, shelf) = (self.blobs.parent().map(Path::to_owned), self.path_of(number(digest)));
        let mut new = Vec::new();
        for folder in above.into_iter().chain([self.blobs.clone(), shelf]) {
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => new.push(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(new)
    }

    /// Where content lies.
    pub(super) fn path(&self, digest: Digest) -> PathBuf {
        self.blobs.join(below(digest))
    }

    fn path_of(&self, number: usize) -> PathBuf {
        self.blobs.join(format!("{number:02x}"))
    }

    fn folder(&self, digest: Digest) -> std::sync::MutexGuard<'_, Folder> {
        self.folders
            .get(number(digest))
            .expect("a byte names one of 256")
            .lock()
            .expect("no holder of this lock panics")
    }

    fn is_counted(&self, number: usize) -> bool {
        self.folders.get(number).is_none_or(|one| one.lock().expect("no holder of this lock panics").is_counted)
    }

    fn set(&self, number: usize, usage: Usage) {
        if let Some(folder) = self.folders.get(number) {
            let mut folder = folder.lock().expect("no holder of this lock panics");
            self.replace(&mut folder, usage);
            folder.is_counted = true;
        }
    }

    fn put_in_place_of(&self, folder: &mut Folder, before: Option<u64>, after: Option<u64>) {
        let Usage { blobs, bytes } = folder.usage;
        // Less than nothing only where a folder was not counted yet: it is counted afresh.
        let usage = Usage {
            blobs: blobs.saturating_add(u64::from(after.is_some())).saturating_sub(u64::from(before.is_some())),
            bytes: bytes.saturating_add(after.unwrap_or_default()).saturating_sub(before.unwrap_or_default()),
        };
        self.replace(folder, usage);
    }

    fn replace(&self, folder: &mut Folder, usage: Usage) {
        // Adding the difference, which may wrap: others change the sum at the same time.
        self.all.blobs.fetch_add(usage.blobs.wrapping_sub(folder.usage.blobs), Ordering::Relaxed);
        self.all.bytes.fetch_add(usage.bytes.wrapping_sub(folder.usage.bytes), Ordering::Relaxed);
        folder.usage = usage;
        let Usage { blobs, bytes } = self.usage();
        self.metrics.stored(blobs, bytes);
    }

    /// When a folder last changed, in nanoseconds. 0: it is not there, and so nothing is in it.
    fn changed(&self, number: usize) -> io::Result<Option<i128>> {
        match fs::symlink_metadata(self.path_of(number)) {
            Ok(about) => Ok(Some(i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `ab/abcd…`, made of hex digits only.
pub(super) fn below(digest: Digest) -> PathBuf {
    let hex = digest.hex();
    let (first, _) = hex.split_at(2);
    Path::new(first).join(&hex)
}

fn read_written(path: &Path) -> Vec<String> {
    // Absent or spoiled: everything is counted afresh.
    let text = notes::read(path);
    let mut lines = text.lines();
    if lines.next() != Some(FORMAT) {
        return Vec::new();
    }
    lines.map(str::to_owned).collect()
}

fn parse(line: &str) -> Option<(usize, Usage, i128)> {
    let mut words = line.split(' ');
    let number = usize::from_str_radix(words.next()?, 16).ok()?;
    // More than any disk has would not add up.
    let mut count = || words.next()?.parse().ok().filter(|count| *count < u64::MAX / FOLDERS as u64);
    let (blobs, bytes) = (count()?, count()?);
    Some((number, Usage { blobs, bytes }, words.next()?.parse().ok()?))
}

/// Which of the folders content lies in.
fn number(digest: Digest) -> usize {
    digest.hex().get(..2).and_then(|hex| usize::from_str_radix(hex, 16).ok()).unwrap_or_default()
}

fn size_of(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|about| about.len())
}

fn is_settled(changed: i128) -> bool {
    let seconds = i64::try_from(changed / 1_000_000_000).unwrap_or(i64::MAX);
    let nanos = i64::try_from(changed % 1_000_000_000).unwrap_or_default();
    since((seconds, nanos)) >= SETTLED
}

/// How long ago a file system's clock showed this. Nothing when that is still to come.
fn since(time: (i64, i64)) -> Duration {
    u64::try_from(passed(time)).map_or(Duration::ZERO, Duration::from_nanos)
}

/// How long it is until a file system's clock shows this. Nothing when that is over.
fn until(time: (i64, i64)) -> Duration {
    let nanos = u64::try_from(-passed(time).min(0)).unwrap_or(u64::MAX);
    Duration::from_nanos(nanos)
}

fn passed((seconds, nanos): (i64, i64)) -> i128 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    (i128::from(now.tv_sec) - i128::from(seconds)) * 1_000_000_000 + i128::from(now.tv_nsec) - i128::from(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, content: &[u8]) -> Digest {
        let digest = Digest::of(content);
        let path = folder.join("blobs").join(below(digest));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        digest
    }

    fn open(folder: &Path) -> Account {
        Account::open(&folder.join("blobs"), &folder.join("account"), SpaceMetrics::default()).unwrap()
    }

    #[test]
    fn a_start_believes_what_was_written_only_of_folders_that_did_not_change_since() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (put(folder.path(), b"one"), put(folder.path(), b"three"));
        let first = open(folder.path());
        assert_eq!(first.usage(), Usage { blobs: 2, bytes: 8 });
        while !is_settled(first.changed(usize::from_str_radix(&b.hex()[..2], 16).unwrap()).unwrap().unwrap()) {
            std::thread::yield_now();
        }
        let written = folder.path().join("account");
        first.write(&written).unwrap();
        // Believed: a lie about a folder that did not change shows.
        let text = fs::read_to_string(&written).unwrap();
        fs::write(&written, text.replace(" 1 3 ", " 1 30 ")).unwrap();
        assert_eq!(open(folder.path()).usage(), Usage { blobs: 2, bytes: 35 });
        // Not believed: something was removed there meanwhile.
        fs::remove_file(folder.path().join("blobs").join(below(a))).unwrap();
        assert_eq!(open(folder.path()).usage(), Usage { blobs: 1, bytes: 5 });
        fs::write(&written, "spoiled").unwrap();
        assert_eq!(open(folder.path()).usage(), Usage { blobs: 1, bytes: 5 });
    }

    #[test]
    fn what_is_published_twice_counts_once_and_what_is_gone_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let account = open(folder.path());
        let digest = Digest::of(b"content");
        fs::create_dir_all(account.path(digest).parent().unwrap()).unwrap();
        let spool = folder.path().join("spool");
        for length in [7, 9, 7] {
            fs::write(&spool, vec![0; length]).unwrap();
            account.publish(&spool, digest).unwrap();
            assert_eq!(account.usage(), Usage { blobs: 1, bytes: length as u64 });
        }
        assert_eq!(account.set_aside(digest, &spool, Duration::from_secs(60)), None, "just written");
        assert!(!account.has_gone(digest));
        assert_eq!(account.set_aside(digest, &spool, Duration::ZERO), Some(7));
        assert_eq!(account.usage(), Usage::default());
        assert!(account.has_gone(digest));
        fs::write(&spool, "again").unwrap();
        account.publish(&spool, digest).unwrap();
        assert!(!account.has_gone(digest), "it is back");
        assert!(account.take_out(digest, None, |path| fs::remove_file(path)).unwrap());
        assert!(account.has_gone(digest));
        assert_eq!(account.usage(), Usage::default());
    }

    #[test]
    fn a_count_says_what_is_not_ours_and_what_was_believed() {
        let folder = tempfile::tempdir().unwrap();
        let digest = put(folder.path(), b"one");
        let account = open(folder.path());
        let number = usize::from_str_radix(&digest.hex()[..2], 16).unwrap();
        let beside = account.path_of(number).join("notes.txt");
        fs::write(&beside, "left here").unwrap();
        fs::write(account.path(digest), "longer").unwrap();
        let counted = account.count(number).unwrap();
        assert_eq!((counted.content, counted.foreign), (vec![digest], vec![beside]));
        assert_eq!(counted.believed, Some(Usage { blobs: 1, bytes: 3 }));
        assert_eq!(account.usage(), Usage { blobs: 1, bytes: 6 });
    }
}
