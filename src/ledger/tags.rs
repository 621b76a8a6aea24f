//! Where tags pointed, and what each led to that was signed last.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::oci::{Digest, Repository, Tag};

use super::record::{Signed, TagSeen};
use super::sqlite::{Ledger, LedgerError};

impl Ledger {
    /// Writes down where a tag pointed.
    pub async fn record_tag(
        &self,
        repository: &Repository,
        tag: &Tag,
        digest: Digest,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        let row = (repository.to_string(), tag.to_string(), digest.to_string(), at.to_string());
        self.write(move |transaction| {
            transaction.prepare_cached("INSERT OR REPLACE INTO tag VALUES (?1, ?2, ?3, ?4)")?.execute(row)?;
            Ok(())
        })
        .await
    }

    /// What a tag led to that was signed later than this, if it did. Otherwise this is written down, unless the
    /// tag leads where it led: looking and writing are one step.
    pub async fn signed_later(
        &self,
        repository: &Repository,
        tag: &Tag,
        now: Signed,
    ) -> Result<Option<Signed>, LedgerError> {
        let key = (repository.to_string(), tag.to_string());
        self.blocking(move |connection| {
            let newest = newest(connection, &key)?;
            match newest {
                Some(newest) if newest.digest == now.digest => Ok(None),
                Some(newest) if now.at < newest.at => Ok(Some(newest)),
                _ => {
                    connection
                        .prepare_cached("INSERT OR REPLACE INTO newest VALUES (?1, ?2, ?3, ?4)")?
                        .execute(params![key.0, key.1, now.digest.to_string(), now.at.to_string()])?;
                    Ok(None)
                }
            }
        })
        .await
    }

    /// What a tag led to that was signed last, as [`Self::signed_later`] wrote it down.
    pub async fn newest(&self, repository: &Repository, tag: &Tag) -> Result<Option<Signed>, LedgerError> {
        let key = (repository.to_string(), tag.to_string());
        self.read(move |connection| newest(connection, &key)).await
    }

    /// Where a tag pointed when it was last seen.
    pub async fn tag(&self, repository: &Repository, tag: &Tag) -> Result<Option<TagSeen>, LedgerError> {
        let key = (repository.to_string(), tag.to_string());
        self.read(move |connection| {
            let found: Option<(String, String)> = connection
                .prepare_cached("SELECT digest, seen_at FROM tag WHERE repository = ?1 AND tag = ?2")?
                .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            Ok(found.and_then(|(digest, at)| Some(TagSeen { digest: digest.parse().ok()?, at: at.parse().ok()? })))
        })
        .await
    }
}

/// A row that somebody spoiled says nothing, and is written anew.
fn newest(connection: &Connection, key: &(String, String)) -> Result<Option<Signed>, LedgerError> {
    let found: Option<(String, String)> = connection
        .prepare_cached("SELECT digest, signed_at FROM newest WHERE repository = ?1 AND tag = ?2")?
        .query_row(params![key.0, key.1], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.and_then(|(digest, at)| Some(Signed { digest: digest.parse().ok()?, at: at.parse().ok()? })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tag_that_goes_back_is_noticed_also_after_a_reopen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.sqlite");
        let (repository, tag): (Repository, Tag) = ("ghcr.io/acme/app".parse().unwrap(), "1.0".parse().unwrap());
        let signed = |what: &[u8], at: &str| Signed { digest: Digest::of(what), at: at.parse().unwrap() };
        let (old, new) = (signed(b"old", "2026-01-01T00:00:00Z"), signed(b"new", "2026-02-01T00:00:00Z"));
        let ledger = Ledger::open(&path).unwrap();
        for (now, later) in [(old, None), (new, None), (new, None), (old, Some(new)), (old, Some(new)), (new, None)] {
            assert_eq!(ledger.signed_later(&repository, &tag, now).await.unwrap(), later);
        }
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.signed_later(&repository, &tag, old).await.unwrap(), Some(new));
        let newer = signed(b"newer", "2026-03-01T00:00:00Z");
        assert_eq!(ledger.signed_later(&repository, &tag, newer).await.unwrap(), None);
        assert_eq!(ledger.signed_later(&repository, &tag, new).await.unwrap(), Some(newer));
        let (other_tag, other): (Tag, Repository) = ("2.0".parse().unwrap(), "ghcr.io/acme/other".parse().unwrap());
        assert_eq!(ledger.signed_later(&repository, &other_tag, old).await.unwrap(), None);
        assert_eq!(ledger.signed_later(&other, &tag, old).await.unwrap(), None);
    }
}
