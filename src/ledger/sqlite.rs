//! The ledger in SQLite (WAL) beside the blobs. A person can open it with `sqlite3` and look.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Params, Savepoint, params};

use crate::oci::{Digest, Repository};
use crate::trust::{Candidate, Decision, Fingerprint, Recorded};

use super::damaged;
use super::images;
use super::patient::Patient;
use super::record::{Edges, Known};
use super::uses::Uses;

/// Numbered steps from an empty file to today's shape. Steps are only ever added.
const STEPS: [&str; 3] = [
    "
    CREATE TABLE verdict (
        repository TEXT NOT NULL, digest TEXT NOT NULL,
        outcome TEXT NOT NULL, rule TEXT NOT NULL, rule_fingerprint TEXT NOT NULL, trust_fingerprint TEXT NOT NULL,
        judged_at TEXT NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID;
    CREATE INDEX verdict_by_time ON verdict (repository, judged_at);
    CREATE TABLE edge (
        repository TEXT NOT NULL, parent TEXT NOT NULL, child TEXT NOT NULL, is_manifest INTEGER NOT NULL,
        PRIMARY KEY (repository, child, parent)
    ) WITHOUT ROWID;
    CREATE INDEX edge_by_parent ON edge (repository, parent);
    CREATE TABLE tag (
        repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, seen_at TEXT NOT NULL,
        PRIMARY KEY (repository, tag)
    ) WITHOUT ROWID;
",
    "
    CREATE TABLE attested (
        repository TEXT NOT NULL, digest TEXT NOT NULL, proven_at TEXT NOT NULL, proofs TEXT NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID;
    CREATE TABLE newest (
        repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, signed_at TEXT NOT NULL,
        PRIMARY KEY (repository, tag)
    ) WITHOUT ROWID;
",
    // What was asked for in its own right: an image, an index, a signature artefact; whether its content is kept, or went
    // or was never let through. `used_at` in milliseconds.
    "
    CREATE TABLE image (
        repository TEXT NOT NULL, digest TEXT NOT NULL, is_kept INTEGER NOT NULL, used_at INTEGER NOT NULL,
        PRIMARY KEY (repository, digest)
    ) WITHOUT ROWID;
    CREATE INDEX image_by_use ON image (is_kept, used_at);
    CREATE INDEX image_by_digest ON image (digest, is_kept);
    CREATE INDEX edge_by_child ON edge (child);
    INSERT INTO image
        SELECT repository, digest, outcome NOT IN ('refused', 'unknown'), 1000 * coalesce(unixepoch(judged_at), 0) FROM verdict;
",
];

/// Those of a digest's parents that are verified under a rule as it is now, by a verdict of their own or of one that
/// names them. They come first: anybody who may push can have hundreds of images name one layer, which were let through
/// while nothing was enforced, or were verified under a key of yesterday.
const VERIFIED_PARENTS: &str = "
    SELECT parent FROM edge WHERE repository = ?1 AND child = ?2 AND (
        EXISTS (SELECT 1 FROM verdict WHERE repository = edge.repository AND digest = edge.parent
            AND outcome = 'verified' AND rule_fingerprint = ?4 AND trust_fingerprint = ?5)
        OR EXISTS (SELECT 1 FROM edge AS above
            JOIN verdict ON verdict.repository = above.repository AND verdict.digest = above.parent
            WHERE above.repository = edge.repository AND above.child = edge.parent
            AND outcome = 'verified' AND rule_fingerprint = ?4 AND trust_fingerprint = ?5))
    LIMIT ?3";

/// Manifests without a verdict of their own come behind: of two equal in that, none is better. Artefacts come last:
/// they vouch for no image, and anybody who may push can make any number of them.
const PARENTS: &str = "
    SELECT parent FROM edge LEFT JOIN verdict ON verdict.repository = edge.repository AND verdict.digest = edge.parent
    WHERE edge.repository = ?1 AND child = ?2
    ORDER BY outcome IS 'verified' DESC, outcome IS 'artefact', judged_at DESC LIMIT ?3";

/// More than there are: preparing one anew takes longer than most of them.
const STATEMENTS: usize = 64;

/// How long a statement waits for another process that looks at the file: whoever copies it holds it for less.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The ledger. Clones share one connection; calls take a fraction of a millisecond, writes about one.
#[derive(Clone, Debug)]
pub struct Ledger {
    connection: Arc<Mutex<Patient>>,
    pub(super) uses: Arc<Uses>,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// SQLite failed.
    #[error("ledger: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A record does not read back.
    #[error("ledger: record of {digest} does not read back")]
    Record {
        /// Which one.
        digest: Digest,
        /// Why.
        source: serde_json::Error,
    },
    /// No database of ours.
    #[error("ledger: {0}")]
    Foreign(&'static str),
    /// It kept somebody waiting a moment ago.
    #[error("ledger: it was locked or too slow a moment ago, and is asked again in some seconds")]
    Resting,
    /// Made by a newer version.
    #[error("ledger {path} was made by a newer version (step {found}, known are {known})")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its step.
        found: u32,
        /// Ours.
        known: u32,
    },
}

impl LedgerError {
    /// What the disk says, if it is the disk.
    pub fn kind(&self) -> Option<ErrorKind> {
        let Self::Sqlite(error) = self else { return None };
        match error.sqlite_error_code()? {
            rusqlite::ErrorCode::DiskFull => Some(ErrorKind::StorageFull),
            rusqlite::ErrorCode::ReadOnly => Some(ErrorKind::ReadOnlyFilesystem),
            _ => None,
        }
    }

    /// Whether the file is of no use any more.
    fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Foreign(_) => true,
            Self::Sqlite(error) => matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)),
            _ => false,
        }
    }
}

impl Ledger {
    /// Opens the ledger of a cache folder, making it if needed. Blocks on the disk; called at start.
    ///
    /// A file that is no database any more is set aside: the ledger only remembers, and what it
    /// remembered is looked up again.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        match Self::open_file(path) {
            Err(error) if error.is_damage() => {
                tracing::error!(path = %path.display(), %error, "the ledger is damaged; starting with an empty one");
                damaged::set_aside(path);
                Self::open_file(path)
            }
            Err(LedgerError::Sqlite(error)) if is_read_only(path) => {
                tracing::error!(path = %path.display(), %error, "the ledger cannot be written; what is new is not remembered");
                Self::open_read_only(path)
            }
            opened => opened,
        }
    }

    /// Nobody can write to it, so it needs no lock: SQLite would have to write one down.
    fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        let uri = std::path::absolute(path).ok().and_then(|path| url::Url::from_file_path(path).ok());
        let mut uri = uri.ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
        uri.set_query(Some("immutable=1"));
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
        Self::prepare(Connection::open_with_flags(uri.as_str(), flags)?, path)
    }

    fn open_file(path: &Path) -> Result<Self, LedgerError> {
        damaged::look_at_files(path)?;
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // A verdict must not be lost by a power cut after we answered under it: FULL costs 1 ms.
        connection.pragma_update(None, "synchronous", "FULL")?;
        Self::prepare(connection, path)
    }

    /// A ledger that is gone when it is dropped.
    pub fn in_memory() -> Result<Self, LedgerError> {
        Self::prepare(Connection::open_in_memory()?, Path::new(":memory:"))
    }

    fn prepare(mut connection: Connection, path: &Path) -> Result<Self, LedgerError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let found = u32::try_from(found).map_err(|_| LedgerError::Foreign("of no version"))?;
        let known = STEPS.len() as u32;
        if found > known {
            return Err(LedgerError::Newer { path: path.to_owned(), found, known });
        }
        damaged::look_at_shape(&connection, &STEPS, found as usize)?;
        for (number, step) in (1u32..).zip(STEPS).skip(found as usize) {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", number)?;
            transaction.commit()?;
        }
        Ok(Self { connection: Arc::new(Mutex::new(Patient::new(connection)?)), uses: Arc::default() })
    }

    /// From now on nothing more fits in, as on a full disk.
    #[cfg(test)]
    pub(crate) fn fill_up(&self) {
        let patient = self.connection.lock().unwrap();
        patient.connection.pragma_update(None, "max_page_count", 1).unwrap();
    }

    /// Writes down a verdict with its evidence, and what the manifest names.
    pub async fn record(&self, recorded: Recorded, edges: Edges) -> Result<(), LedgerError> {
        self.write(move |transaction| {
            let verdict = &recorded.verdict;
            let text = serde_json::to_string(&recorded)
                .map_err(|source| LedgerError::Record { digest: verdict.digest, source })?;
            transaction
                .prepare_cached("INSERT OR REPLACE INTO verdict VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
                .execute(params![
                    verdict.repository.to_string(),
                    verdict.digest.to_string(),
                    verdict.outcome(),
                    verdict.rule,
                    verdict.fingerprint.rule.to_string(),
                    verdict.fingerprint.trust.to_string(),
                    verdict.judged_at.to_string(),
                    text
                ])?;
            insert_edges(transaction, &verdict.repository, &edges)?;
            images::judged(transaction, verdict)
        })
        .await
    }

    /// Writes down what a manifest names that was verified through its parent.
    pub async fn record_edges(&self, repository: &Repository, edges: Edges) -> Result<(), LedgerError> {
        let repository = repository.clone();
        self.write(move |transaction| insert_edges(transaction, &repository, &edges)).await
    }

    /// Writes down by what a platform's manifest is attested, instead of what was written before.
    pub async fn record_attested(
        &self,
        repository: &Repository,
        digest: Digest,
        proofs: Vec<Candidate>,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        let text = serde_json::to_string(&proofs).map_err(|source| LedgerError::Record { digest, source })?;
        let row = (repository.to_string(), digest.to_string(), at.to_string(), text);
        self.write(move |transaction| {
            transaction.prepare_cached("INSERT OR REPLACE INTO attested VALUES (?1, ?2, ?3, ?4)")?.execute(row)?;
            Ok(())
        })
        .await
    }

    /// By what a platform's manifest was attested. Empty when nothing is recorded that reads back.
    pub async fn attested(&self, repository: &Repository, digest: Digest) -> Result<Vec<Candidate>, LedgerError> {
        let key = (repository.to_string(), digest.to_string());
        self.read(move |connection| {
            let found: Option<String> = connection
                .prepare_cached("SELECT proofs FROM attested WHERE repository = ?1 AND digest = ?2")?
                .query_row(key, |row| row.get(0))
                .optional()?;
            Ok(found.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
        })
        .await
    }

    /// What is recorded about a manifest in its own right. A record that does not read back counts as none.
    pub async fn known(&self, repository: &Repository, digest: Digest) -> Result<Option<Known>, LedgerError> {
        let key = (repository.to_string(), digest.to_string());
        self.read(move |connection| {
            let found: Option<String> = connection
                .prepare_cached("SELECT record FROM verdict WHERE repository = ?1 AND digest = ?2")?
                .query_row(key, |row| row.get(0))
                .optional()?;
            let recorded = found.and_then(|text| serde_json::from_str::<Recorded>(&text).ok());
            Ok(recorded.map(|recorded| match recorded.verdict.decision {
                Decision::Artefact => Known::Artefact(Box::new(recorded.verdict)),
                _ => Known::Judged(Box::new(recorded)),
            }))
        })
        .await
    }

    /// Which recorded manifests name this digest, at most `limit`: those first that are verified under this rule as it
    /// is now, then the last judged, because the others may rest on keys that are no longer trusted.
    pub async fn parents(
        &self,
        repository: &Repository,
        child: Digest,
        under: Fingerprint,
        limit: u32,
    ) -> Result<Vec<Digest>, LedgerError> {
        let (repository, child) = (repository.to_string(), child.to_string());
        self.read(move |connection| {
            let (rule, trust) = (under.rule.to_string(), under.trust.to_string());
            let mut parents = digests(connection, VERIFIED_PARENTS, params![repository, child, limit, rule, trust])?;
            if parents.len() < limit as usize {
                let others = digests(connection, PARENTS, params![repository, child, limit])?;
                let others: Vec<_> = others.into_iter().filter(|other| !parents.contains(other)).collect();
                parents.extend(others);
                parents.truncate(limit as usize);
            }
            Ok(parents)
        })
        .await
    }

    /// Which manifests a recorded manifest names, at most `limit`.
    pub async fn children(
        &self,
        repository: &Repository,
        parent: Digest,
        limit: u32,
    ) -> Result<Vec<Digest>, LedgerError> {
        let key = (repository.to_string(), parent.to_string(), limit);
        self.digests("SELECT child FROM edge WHERE repository = ?1 AND parent = ?2 AND is_manifest LIMIT ?3", key).await
    }

    /// The manifests of a repository that were served in their own right, latest first, at most `limit`.
    pub async fn tops(&self, repository: &Repository, limit: u32) -> Result<Vec<Digest>, LedgerError> {
        let key = (repository.to_string(), "refused", limit);
        self.digests("SELECT digest FROM verdict WHERE repository = ?1 AND outcome NOT IN (?2, 'unknown', 'artefact') ORDER BY judged_at DESC LIMIT ?3", key).await
    }

    async fn digests(
        &self,
        sql: &'static str,
        key: (String, impl rusqlite::ToSql + Send + 'static, u32),
    ) -> Result<Vec<Digest>, LedgerError> {
        self.read(move |connection| digests(connection, sql, params![key.0, key.1, key.2])).await
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.blocking(move |connection| work(connection)).await
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Savepoint<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.blocking(move |connection| {
            // As a transaction, but it can also stand within one.
            let savepoint = connection.savepoint()?;
            let value = work(&savepoint)?;
            savepoint.commit()?;
            Ok(value)
        })
        .await
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let shared = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || shared.lock().expect("no holder of this lock panics").call(work))
            .await
            .expect("ledger work does not panic")
    }
}

/// A row that somebody spoiled names nothing.
fn digests(connection: &Connection, sql: &str, with: impl Params) -> Result<Vec<Digest>, LedgerError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(with, |row| row.get::<_, String>(0))?;
    Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().filter_map(|text| text.parse().ok()).collect())
}

fn is_read_only(path: &Path) -> bool {
    std::fs::OpenOptions::new().append(true).open(path).is_err_and(|e| e.kind() == ErrorKind::ReadOnlyFilesystem)
}

fn insert_edges(transaction: &Savepoint<'_>, repository: &Repository, edges: &Edges) -> Result<(), LedgerError> {
    let Some(parent) = edges.parent else { return Ok(()) };
    let (repository, parent) = (repository.to_string(), parent.to_string());
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO edge VALUES (?1, ?2, ?3, ?4)")?;
    for (child, is_manifest) in &edges.children {
        insert.execute(params![repository, parent, child.to_string(), is_manifest])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::TagSeen;
    use crate::oci::Tag;

    #[tokio::test]
    async fn what_is_written_reads_back_after_a_reopen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let repository: Repository = "ghcr.io/acme/app".parse().unwrap();
        let other: Repository = "ghcr.io/acme/other".parse().unwrap();
        let tag: Tag = "1.0".parse().unwrap();
        let (index, child) = (Digest::of(b"index"), Digest::of(b"child"));
        {
            let ledger = Ledger::open(&path).unwrap();
            let edges = Edges { parent: Some(index), children: vec![(child, true)] };
            ledger.record_edges(&repository, edges).await.unwrap();
            ledger.record_tag(&repository, &tag, index, Timestamp::UNIX_EPOCH).await.unwrap();
        }
        let ledger = Ledger::open(&path).unwrap();
        let rule = Fingerprint { rule: Digest::of(b"rule"), trust: Digest::of(b"keys") };
        assert_eq!(ledger.parents(&repository, child, rule, 8).await.unwrap(), [index]);
        assert_eq!(ledger.children(&repository, index, 8).await.unwrap(), [child]);
        let seen = TagSeen { digest: index, at: Timestamp::UNIX_EPOCH };
        assert_eq!(ledger.tag(&repository, &tag).await.unwrap(), Some(seen));
        assert!(ledger.parents(&other, child, rule, 8).await.unwrap().is_empty(), "membership is per repository");
        assert_eq!(ledger.tag(&other, &tag).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_ledger_of_the_first_version_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let (repository, tag): (Repository, Tag) = ("ghcr.io/acme/app".parse().unwrap(), "1.0".parse().unwrap());
        let digest = Digest::of(b"index");
        {
            let first = Connection::open(&path).unwrap();
            first.execute_batch(STEPS[0]).unwrap();
            first.pragma_update(None, "user_version", 1).unwrap();
            let row = (repository.to_string(), tag.to_string(), digest.to_string(), "2026-01-01T00:00:00Z");
            first.execute("INSERT INTO tag VALUES (?1, ?2, ?3, ?4)", row).unwrap();
        }
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.tag(&repository, &tag).await.unwrap().map(|seen| seen.digest), Some(digest));
        let material = crate::trust::Material::Bundle("{}".into());
        let proof = Candidate { place: "referrers".to_owned(), material };
        ledger.record_attested(&repository, digest, vec![proof], Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(ledger.attested(&repository, digest).await.unwrap()[0].place, "referrers");
        assert!(ledger.attested(&repository, Digest::of(b"other")).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_damaged_ledger_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        std::fs::write(&path, "no database at all, but long enough to look at".repeat(100)).unwrap();
        let ledger = Ledger::open(&path).unwrap();
        let repository: Repository = "ghcr.io/acme/app".parse().unwrap();
        assert!(ledger.tops(&repository, 8).await.unwrap().is_empty());
        assert!(folder.path().join("ledger.sqlite.damaged").exists());
    }

    #[test]
    fn a_newer_ledger_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        Ledger::open(&path).unwrap();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Ledger::open(&path), Err(LedgerError::Newer { found: 99, .. })));
    }
}
