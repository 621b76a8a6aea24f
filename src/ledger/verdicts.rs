//! Goes through what was verified, page by page.

use rusqlite::params;

use crate::trust::Recorded;

use super::sqlite::{Ledger, LedgerError};

/// Records of one page: a record has some kilobytes, and others wait for the connection.
const PAGE_LENGTH: u32 = 16;

/// Some records, and where the next ones begin.
#[derive(Debug)]
pub struct VerifiedPage {
    /// What reads back.
    pub records: Vec<Recorded>,
    /// How many do not.
    pub unreadable: usize,
    /// `None` behind the last one.
    pub next: Option<Place>,
}

/// A place among the records.
#[derive(Clone, Debug, Default)]
pub struct Place {
    repository: String,
    digest: String,
}

impl Ledger {
    /// The records behind a place, of manifests that were verified by their own signatures, whatever the rule.
    pub async fn verified(&self, behind: Place) -> Result<VerifiedPage, LedgerError> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT repository, digest, record FROM verdict
                 WHERE (repository, digest) > (?1, ?2) AND outcome = 'verified'
                 ORDER BY repository, digest LIMIT ?3",
            )?;
            let rows = statement.query_map(params![behind.repository, behind.digest, PAGE_LENGTH], |row| {
                Ok((Place { repository: row.get(0)?, digest: row.get(1)? }, row.get::<_, String>(2)?))
            })?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            let next = rows.last().map(|(place, _)| place.clone());
            let records: Vec<Recorded> = rows.iter().filter_map(|(_, text)| serde_json::from_str(text).ok()).collect();
            let unreadable = rows.len() - records.len();
            Ok(VerifiedPage { records, unreadable, next })
        })
        .await
    }
}
