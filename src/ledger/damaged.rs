//! What lies in the place of the ledger and is none: it is set aside, since the ledger only remembers.
//!
//! A database can hold programs: a trigger or a view that never ends would run whenever we write or look.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::sqlite::LedgerError;

/// Files that SQLite keeps beside the database.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What a database consists of.
type Shape = Vec<(String, String, String)>;

/// Looks before SQLite does, which would wait for a pipe. What is no file beside the ledger is removed.
///
/// # Errors
/// `Foreign` when there is something that is no file.
pub(super) fn look_at_files(path: &Path) -> Result<(), LedgerError> {
    for beside in BESIDE.map(|suffix| beside(path, suffix)) {
        if fs::symlink_metadata(&beside).is_ok_and(|about| !about.is_file()) {
            remove(&beside);
        }
    }
    // Through links: the ledger may lie on a faster disk.
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => Err(LedgerError::Foreign("not a file")),
        _ => Ok(()),
    }
}

/// Whether all is there that the steps up to `done` made, nothing of what the others will make, and nothing that acts
/// by itself.
///
/// # Errors
/// `Foreign`, or SQLite's.
pub(super) fn look_at_shape(connection: &Connection, steps: &[&str], done: usize) -> Result<(), LedgerError> {
    let (model, there) = (Connection::open_in_memory()?, shape(connection)?);
    let (done, others) = steps.split_at_checked(done).unwrap_or((steps, &[]));
    done.iter().try_for_each(|step| model.execute_batch(step))?;
    let made = shape(&model)?;
    others.iter().try_for_each(|step| model.execute_batch(step))?;
    let to_come: Vec<_> = shape(&model)?.into_iter().filter(|part| !made.contains(part)).collect();
    let comes = |name: &String| to_come.iter().any(|(_, other, _)| other == name);
    if !made.iter().all(|part| there.contains(part)) || there.iter().any(|(_, name, _)| comes(name)) {
        return Err(LedgerError::Foreign("its tables are not those that were made"));
    }
    // Triggers, views and virtual tables have no pages of their own.
    let acting = "SELECT 1 FROM sqlite_schema WHERE coalesce(rootpage, 0) = 0";
    match connection.prepare(acting)?.exists([])? {
        true => Err(LedgerError::Foreign("somebody added triggers, views or virtual tables to it")),
        false => Ok(()),
    }
}

/// Makes room for an empty one. What stays makes the second try fail, and says so.
pub(super) fn set_aside(path: &Path) {
    let aside = path.with_extension("sqlite.damaged");
    remove(&aside);
    match fs::rename(path, &aside) {
        Ok(()) => tracing::info!(aside = %aside.display(), "the damaged ledger was set aside"),
        Err(error) => tracing::error!(path = %path.display(), %error, "the damaged ledger could not be set aside"),
    }
    for suffix in BESIDE {
        remove(&beside(path, suffix));
    }
}

fn shape(connection: &Connection) -> rusqlite::Result<Shape> {
    let mut statement = connection.prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Absent in most cases.
fn remove(path: &Path) {
    if let Err(error) = crate::removal::remove(path) {
        tracing::warn!(path = %path.display(), %error, "cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::ledger::Ledger;
    use crate::oci::{Digest, Repository, Tag};

    /// Whether what was remembered before is there after somebody did this to the folder.
    async fn remembers(harm: impl FnOnce(&Path)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let (repository, tag): (Repository, Tag) = ("ghcr.io/acme/app".parse().unwrap(), "1.0".parse().unwrap());
        let led = Digest::of(b"index");
        let record = async |ledger: &Ledger| {
            ledger.record_tag(&repository, &tag, led, jiff::Timestamp::UNIX_EPOCH).await.unwrap()
        };
        record(&Ledger::open(&path).unwrap()).await;
        harm(&path);
        let ledger = Ledger::open(&path).expect("it only remembers");
        let remembers = ledger.tag(&repository, &tag).await.unwrap().is_some();
        record(&ledger).await;
        assert!(ledger.tag(&repository, &tag).await.unwrap().is_some(), "it works again");
        remembers
    }

    fn change(sql: &'static str) -> impl FnOnce(&Path) {
        move |path| Connection::open(path).unwrap().execute_batch(sql).unwrap()
    }

    fn pipe(path: &Path) {
        remove(path);
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    #[tokio::test]
    async fn a_ledger_that_was_changed_in_shape_is_set_aside() {
        assert!(remembers(|_| {}).await);
        assert!(remembers(change("CREATE INDEX tag_by_time ON tag (seen_at); ANALYZE; VACUUM")).await);
        for sql in [
            "CREATE TRIGGER more AFTER INSERT ON tag BEGIN DELETE FROM verdict; END",
            "CREATE VIEW more AS WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n",
            "DROP TABLE image; CREATE VIEW image AS SELECT * FROM tag",
            "DROP TABLE verdict",
            "ALTER TABLE newest RENAME COLUMN signed_at TO at",
            "PRAGMA user_version = 1",
            "PRAGMA user_version = 0",
            "PRAGMA user_version = -1",
        ] {
            assert!(!remembers(change(sql)).await, "{sql}");
        }
    }

    #[tokio::test]
    async fn what_is_no_file_is_set_aside_and_not_waited_for() {
        assert!(!remembers(pipe).await);
        assert!(!remembers(|path| (remove(path), fs::create_dir(path).unwrap()).1).await);
        assert!(!remembers(|path| (remove(path), std::os::unix::fs::symlink("/dev/zero", path).unwrap()).1).await);
        for suffix in BESIDE {
            assert!(remembers(|path| pipe(&beside(path, suffix))).await, "{suffix}");
        }
        let in_the_way = |path: &Path| {
            fs::write(path, "no database".repeat(99)).unwrap();
            fs::create_dir_all(path.with_extension("sqlite.damaged").join("deep")).unwrap();
        };
        assert!(!remembers(in_the_way).await);
        let elsewhere = |path: &Path| {
            let real = path.with_extension("real");
            fs::rename(path, &real).unwrap();
            std::os::unix::fs::symlink(&real, path).unwrap();
        };
        assert!(remembers(elsewhere).await);
    }
}
