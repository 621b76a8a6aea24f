//! A connection that nobody waits for long. Pulls wait for the ledger, one after the other; whoever can open its file can lock
//! it, or have a statement run for ever. Then it costs memory, as if the disk had failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, OperationInterrupted};

use super::sqlite::LedgerError;

/// Most work for one call, in rounds of [`STEPS`]: some seconds. Most calls take a fraction of a millisecond. Not in time: a
/// disk that takes seconds to sync is waited for, since what the ledger knows may be all there is.
const ROUNDS_MAX: u64 = 20_000;

/// How long it is left alone after it kept somebody waiting: all who queued behind that call go on at once.
const REST: Duration = Duration::from_secs(30);

/// Steps of SQLite's machine in a round: well below a millisecond.
const STEPS: i32 = 10_000;

/// A connection, and when it may be used.
#[derive(Debug)]
pub(super) struct Patient {
    pub(super) connection: Connection,
    /// What the call took that is running.
    rounds: Arc<AtomicU64>,
    rests_until: Option<Instant>,
}

impl Patient {
    /// What was done with the connection before took as long as it took.
    pub(super) fn new(mut connection: Connection) -> Result<Self, LedgerError> {
        let rounds: Arc<AtomicU64> = Arc::default();
        let counted = Arc::clone(&rounds);
        let is_too_much = move || counted.fetch_add(1, Ordering::Relaxed) >= ROUNDS_MAX;
        connection.progress_handler(STEPS, Some(is_too_much))?;
        Ok(Self { connection, rounds, rests_until: None })
    }

    /// Does something with the connection.
    ///
    /// # Errors
    /// `Resting` when it kept somebody waiting a moment ago, or those of `work`.
    pub(super) fn call<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Err(LedgerError::Resting);
        }
        self.rounds.store(0, Ordering::Relaxed);
        let done = work(&mut self.connection);
        let kept_waiting = matches!(&done, Err(LedgerError::Sqlite(error))
            if matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | OperationInterrupted)));
        self.rests_until = kept_waiting.then(|| Instant::now() + REST);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: &str = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n";

    fn count(connection: &mut Connection) -> Result<i64, LedgerError> {
        Ok(connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?)
    }

    #[test]
    fn what_never_ends_is_ended_and_nobody_waits_for_the_next() {
        let mut patient = Patient::new(Connection::open_in_memory().unwrap()).unwrap();
        assert_eq!(patient.call(count).unwrap(), 0);
        let endless = patient.call(|connection| Ok(connection.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?));
        assert!(matches!(endless, Err(LedgerError::Sqlite(_))));
        assert!(matches!(patient.call(count), Err(LedgerError::Resting)));
        patient.rests_until = Some(Instant::now());
        assert_eq!(patient.call(count).unwrap(), 0, "it is asked again");
    }

    #[test]
    fn what_another_holds_is_left_alone_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let connection = Connection::open(folder.path().join("ledger.sqlite")).unwrap();
            connection.pragma_update(None, "journal_mode", "WAL").unwrap();
            connection
        };
        let write = |connection: &mut Connection| Ok(connection.execute_batch("CREATE TABLE IF NOT EXISTS one (n)")?);
        let (mut patient, other) = (Patient::new(open()).unwrap(), open());
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        patient.connection.busy_timeout(Duration::ZERO).unwrap();
        assert!(matches!(patient.call(write), Err(LedgerError::Sqlite(_))));
        other.execute_batch("ROLLBACK").unwrap();
        assert!(matches!(patient.call(write), Err(LedgerError::Resting)));
        patient.rests_until = None;
        patient.call(write).unwrap();
        assert!(matches!(patient.call(|_| Err::<(), _>(LedgerError::Foreign("else"))), Err(LedgerError::Foreign(_))));
        patient.call(write).expect("other errors are no reason to rest");
    }
}
