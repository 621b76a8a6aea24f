//! Which images are kept, and what is named by none of them any more.
//!
//! An image is whatever was asked for in its own right and let through. What it names, and what that names, is kept as
//! long as any image is that names it, in whatever repository. Verdicts and edges stay when an image goes: what was
//! verified once is fetched again, and need not be judged again. Only what nobody asked for in a long time is forgotten.

use std::collections::HashSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Savepoint, params};

use crate::oci::{Digest, Repository};
use crate::trust::Verdict;

use super::sqlite::{Ledger, LedgerError};

/// Everything that an image names, itself included.
const BELOW: &str = "
    WITH RECURSIVE below (digest) AS (
        SELECT ?2 UNION
        SELECT edge.child FROM below CROSS JOIN edge ON edge.repository = ?1 AND edge.parent = below.digest
    ) SELECT digest FROM below";

/// Those after the last page, least recently used first.
const PAGE: &str = "
    SELECT repository, digest, used_at FROM image
    WHERE is_kept = 1 AND (used_at, repository, digest) > (?1, ?2, ?3) AND used_at < ?4
    ORDER BY used_at, repository, digest LIMIT ?5";

/// Images of one page: few, since most often the first few suffice.
const PAGE_LENGTH: u32 = 64;

/// An image that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// Where it is.
    pub repository: Repository,
    /// Its manifest or index.
    pub digest: Digest,
    /// When it was used last, as far as that is written down.
    pub used_at: Timestamp,
}

/// Goes through the images that were not used since a moment, least recently used first.
#[derive(Debug)]
pub struct Pages {
    before: i64,
    last: (i64, String, String),
}

impl Pages {
    /// Those whose last use was before this moment.
    pub fn before(moment: Timestamp) -> Self {
        Self { before: moment.as_millisecond(), last: (i64::MIN, String::new(), String::new()) }
    }
}

impl Ledger {
    /// The next page. Empty at the end. Rows that somebody spoiled are passed over.
    pub async fn least_used(&self, pages: &mut Pages) -> Result<Vec<ImageUse>, LedgerError> {
        loop {
            let ((used_at, repository, digest), before) = (pages.last.clone(), pages.before);
            let rows: Vec<(String, String, i64)> = self
                .read(move |connection| {
                    let mut statement = connection.prepare_cached(PAGE)?;
                    let key = params![used_at, repository, digest, before, PAGE_LENGTH];
                    let rows = statement.query_map(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                    Ok(rows.collect::<Result<_, _>>()?)
                })
                .await?;
            let Some(last) = rows.last() else { return Ok(Vec::new()) };
            pages.last = (last.2, last.0.clone(), last.1.clone());
            let page: Vec<_> = rows.iter().filter_map(image_use).collect();
            if !page.is_empty() {
                return Ok(page);
            }
        }
    }

    /// How many images are kept.
    pub async fn images(&self) -> Result<u64, LedgerError> {
        self.read(|connection| {
            Ok(connection
                .query_row("SELECT count(*) FROM image WHERE is_kept = 1", [], |row| row.get::<_, i64>(0))?
                .unsigned_abs())
        })
        .await
    }

    /// Keeps an image no longer, unless it was used again meanwhile. Returns everything that it names, itself included;
    /// other images may name that, too: see [`Self::unnamed`]. `None` if it stays.
    pub async fn let_go(&self, image: &ImageUse) -> Result<Option<Vec<Digest>>, LedgerError> {
        if self.uses.is_waiting(&image.repository, image.digest) {
            return Ok(None);
        }
        let (repository, digest) = (image.repository.to_string(), image.digest.to_string());
        let used_at = image.used_at.as_millisecond();
        self.write(move |savepoint| {
            let gone = savepoint
                .prepare_cached("UPDATE image SET is_kept = 0 WHERE repository = ?1 AND digest = ?2 AND is_kept = 1 AND used_at <= ?3")?
                .execute(params![repository, digest, used_at])?;
            if gone == 0 {
                return Ok(None);
            }
            let below = below(savepoint, &repository, &digest)?;
            Ok(Some(below.into_iter().filter_map(|text| text.parse().ok()).collect()))
        })
        .await
    }

    /// Does something with each of these digests that no kept image names. No image can be recorded between the look and
    /// `work`, which must be quick: everybody waits for it.
    pub async fn unnamed<T: Send + 'static>(
        &self,
        digests: Vec<Digest>,
        mut work: impl FnMut(Digest) -> Option<T> + Send + 'static,
    ) -> Result<Vec<T>, LedgerError> {
        self.blocking(move |connection| {
            let mut done = Vec::new();
            for digest in digests {
                if !is_named(connection, &digest.to_string())? {
                    done.extend(work(digest));
                }
            }
            Ok(done)
        })
        .await
    }

    /// Forgets images that are not kept and were not used since a moment, at most `most`: verdicts, where tags led, and
    /// who names whom. What is still asked for is judged as if for the first time. How a tag may move on stays known.
    /// Returns how many.
    pub async fn forget(&self, before: Timestamp, most: u32) -> Result<usize, LedgerError> {
        self.write(move |savepoint| {
            let gone: Vec<(String, String)> = savepoint
                .prepare_cached("SELECT repository, digest FROM image WHERE is_kept = 0 AND used_at < ?1 LIMIT ?2")?
                .query_map(params![before.as_millisecond(), most], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            for (repository, digest) in &gone {
                forget(savepoint, repository, digest)?;
            }
            Ok(gone.len())
        })
        .await
    }

    /// From now on nothing is written for good: what is done with this ledger is undone when it is closed.
    pub async fn rehearse(&self) -> Result<(), LedgerError> {
        self.read(|connection| Ok(connection.execute_batch("BEGIN IMMEDIATE")?)).await
    }

    /// What was used after `now` was so under another clock, or says so: it counts as used now. Else it would never go.
    pub async fn no_later_than(&self, now: Timestamp) -> Result<(), LedgerError> {
        self.write(move |savepoint| {
            savepoint
                .prepare_cached("UPDATE image SET used_at = ?1 WHERE is_kept IN (0, 1) AND used_at > ?1")?
                .execute([now.as_millisecond()])?;
            Ok(())
        })
        .await
    }

    pub(super) async fn record_uses(&self, uses: Vec<(Repository, Digest, Timestamp)>) -> Result<(), LedgerError> {
        self.write(move |savepoint| {
            uses.iter().try_for_each(|(repository, digest, at)| used(savepoint, repository, *digest, *at))
        })
        .await
    }

    /// When an image was used last, as far as that is written down. `None` if it is not kept.
    pub async fn used_at(&self, repository: &Repository, digest: Digest) -> Result<Option<Timestamp>, LedgerError> {
        let key = (repository.to_string(), digest.to_string());
        self.read(move |connection: &Connection| {
            let found: Option<i64> = connection
                .prepare_cached("SELECT used_at FROM image WHERE repository = ?1 AND digest = ?2 AND is_kept = 1")?
                .query_row(key, |row| row.get(0))
                .optional()?;
            Ok(found.and_then(|moment| Timestamp::from_millisecond(moment).ok()))
        })
        .await
    }
}

/// Writes down a use, and that the image is kept. Time never goes back here.
pub(super) fn used(
    savepoint: &Savepoint<'_>,
    repository: &Repository,
    digest: Digest,
    at: Timestamp,
) -> Result<(), LedgerError> {
    savepoint
        .prepare_cached(
            "INSERT INTO image VALUES (?1, ?2, 1, ?3)
             ON CONFLICT DO UPDATE SET is_kept = 1, used_at = max(used_at, excluded.used_at)",
        )?
        .execute(params![repository.to_string(), digest.to_string(), at.as_millisecond()])?;
    Ok(())
}

/// Writes down that something was judged: what is let through is kept, and what is not stays as it was.
pub(super) fn judged(savepoint: &Savepoint<'_>, verdict: &Verdict) -> Result<(), LedgerError> {
    let Verdict { repository, digest, judged_at, .. } = verdict;
    if !matches!(verdict.outcome(), "refused" | "unknown") {
        return used(savepoint, repository, *digest, *judged_at);
    }
    savepoint.prepare_cached("INSERT OR IGNORE INTO image VALUES (?1, ?2, 0, ?3)")?.execute(params![
        repository.to_string(),
        digest.to_string(),
        judged_at.as_millisecond()
    ])?;
    Ok(())
}

/// Whether an image is kept that is this or names it. Ends at the first one: a popular layer has thousands.
fn is_named(connection: &Connection, digest: &str) -> Result<bool, LedgerError> {
    if connection.prepare_cached("SELECT 1 FROM image WHERE digest = ?1 AND is_kept = 1")?.exists([digest])? {
        return Ok(true);
    }
    let mut is_kept =
        connection.prepare_cached("SELECT 1 FROM image WHERE repository = ?1 AND digest = ?2 AND is_kept = 1")?;
    let mut above = connection.prepare_cached("SELECT parent FROM edge WHERE repository = ?1 AND child = ?2")?;
    let mut anywhere = connection.prepare_cached("SELECT repository, parent FROM edge WHERE child = ?1")?;
    let (mut rows, mut seen) = (anywhere.query([digest])?, HashSet::new());
    while let Some(row) = rows.next()? {
        let repository: String = row.get(0)?;
        let mut waiting: Vec<String> = vec![row.get(1)?];
        while let Some(one) = waiting.pop() {
            if is_kept.exists([&repository, &one])? {
                return Ok(true);
            }
            if seen.insert((repository.clone(), one.clone())) {
                let parents = above.query_map([&repository, &one], |row| row.get(0))?;
                waiting.extend(parents.collect::<Result<Vec<_>, _>>()?);
            }
        }
    }
    Ok(false)
}

fn below(savepoint: &Savepoint<'_>, repository: &str, digest: &str) -> Result<Vec<String>, LedgerError> {
    let mut statement = savepoint.prepare_cached(BELOW)?;
    let rows = statement.query_map(params![repository, digest], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// One image, and of what it names that which nothing else names in its repository. Those above come before those below.
fn forget(savepoint: &Savepoint<'_>, repository: &str, digest: &str) -> Result<(), LedgerError> {
    let below = below(savepoint, repository, digest)?;
    for statement in [
        "DELETE FROM image WHERE repository = ?1 AND digest = ?2",
        "DELETE FROM verdict WHERE repository = ?1 AND digest = ?2",
        "DELETE FROM tag WHERE repository = ?1 AND digest = ?2",
    ] {
        savepoint.prepare_cached(statement)?.execute(params![repository, digest])?;
    }
    for one in below {
        let is_needed: bool = savepoint
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM edge WHERE repository = ?1 AND child = ?2)
                     OR EXISTS (SELECT 1 FROM image WHERE repository = ?1 AND digest = ?2)",
            )?
            .query_row(params![repository, one], |row| row.get(0))?;
        if !is_needed {
            for statement in [
                "DELETE FROM edge WHERE repository = ?1 AND parent = ?2",
                "DELETE FROM attested WHERE repository = ?1 AND digest = ?2",
            ] {
                savepoint.prepare_cached(statement)?.execute(params![repository, one])?;
            }
        }
    }
    Ok(())
}

fn image_use((repository, digest, used_at): &(String, String, i64)) -> Option<ImageUse> {
    Some(ImageUse {
        repository: repository.parse().ok()?,
        digest: digest.parse().ok()?,
        used_at: Timestamp::from_millisecond(*used_at).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Edges;
    use crate::trust::Fingerprint;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    async fn pull(ledger: &Ledger, repository: &Repository, image: &str, names: &[&str], second: i64) {
        let children = names.iter().map(|name| (digest(name), false)).collect();
        ledger.record_edges(repository, Edges { parent: Some(digest(image)), children }).await.unwrap();
        ledger.note_use(repository, digest(image), at(second));
        ledger.write_uses().await.unwrap();
    }

    async fn least_used(ledger: &Ledger, before: i64) -> Vec<Digest> {
        let mut pages = Pages::before(at(before));
        let mut all = Vec::new();
        loop {
            match ledger.least_used(&mut pages).await.unwrap() {
                page if page.is_empty() => return all,
                page => all.extend(page.into_iter().map(|image| image.digest)),
            }
        }
    }

    async fn unnamed(ledger: &Ledger, names: &[&str]) -> Vec<Digest> {
        ledger.unnamed(names.iter().map(|name| digest(name)).collect(), Some).await.unwrap()
    }

    #[tokio::test]
    async fn a_use_never_goes_back_and_what_waits_is_counted_once() {
        let ledger = Ledger::in_memory().unwrap();
        let repository: Repository = "r.test/a".parse().unwrap();
        for (image, second) in [("a", 5), ("b", 3), ("a", 4)] {
            pull(&ledger, &repository, image, &[], second).await;
        }
        assert_eq!(ledger.used_at(&repository, digest("a")).await.unwrap(), Some(at(5)));
        assert_eq!(least_used(&ledger, 9).await, [digest("b"), digest("a")]);
        assert_eq!(least_used(&ledger, 5).await, [digest("b")], "a was used at that moment");
        assert_eq!(ledger.images().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn pages_come_to_an_end_whatever_their_number() {
        let ledger = Ledger::in_memory().unwrap();
        let repository: Repository = "r.test/a".parse().unwrap();
        let count = 2 * PAGE_LENGTH as i64 + 1;
        for image in 0..count {
            // Many at one moment.
            ledger.note_use(&repository, digest(&image.to_string()), at(image / 50));
        }
        ledger.write_uses().await.unwrap();
        let mut seen = least_used(&ledger, count).await;
        assert_eq!(seen.len() as i64, count);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len() as i64, count, "none twice");
    }

    #[tokio::test]
    async fn an_image_that_was_used_meanwhile_stays() {
        let ledger = Ledger::in_memory().unwrap();
        let repository: Repository = "r.test/a".parse().unwrap();
        pull(&ledger, &repository, "a", &["layer"], 1).await;
        let image = ledger.least_used(&mut Pages::before(at(9))).await.unwrap().remove(0);
        pull(&ledger, &repository, "a", &["layer"], 2).await;
        assert_eq!(ledger.let_go(&image).await.unwrap(), None);
        let image = ledger.least_used(&mut Pages::before(at(9))).await.unwrap().remove(0);
        assert_eq!(ledger.let_go(&image).await.unwrap(), Some(vec![digest("a"), digest("layer")]));
        assert_eq!(ledger.let_go(&image).await.unwrap(), None, "gone already");
    }

    #[tokio::test]
    async fn what_was_not_used_for_long_is_forgotten_and_what_others_name_is_not() {
        let ledger = Ledger::in_memory().unwrap();
        let (repository, tag): (Repository, crate::oci::Tag) = ("r.test/a".parse().unwrap(), "1.0".parse().unwrap());
        for (index, second) in [("a", 1), ("b", 2)] {
            pull(&ledger, &repository, index, &["shared"], second).await;
            ledger.record_tag(&repository, &tag, digest(index), at(second)).await.unwrap();
        }
        pull(&ledger, &repository, "a", &["own"], 1).await;
        for (manifest, layer) in [("shared", "base"), ("own", "layer")] {
            let edges = Edges { parent: Some(digest(manifest)), children: vec![(digest(layer), false)] };
            ledger.record_edges(&repository, edges).await.unwrap();
        }
        let image = ledger.least_used(&mut Pages::before(at(2))).await.unwrap().remove(0);
        assert_eq!(ledger.forget(at(9), 10).await.unwrap(), 0, "all are kept");
        ledger.let_go(&image).await.unwrap();
        assert_eq!(
            unnamed(&ledger, &["a", "own", "layer", "shared", "base", "b"]).await,
            ["a", "own", "layer"].map(digest)
        );
        assert_eq!(ledger.forget(at(1), 10).await.unwrap(), 0, "used since");
        let rule = Fingerprint { rule: Digest::of(b"rule"), trust: Digest::of(b"keys") };
        assert_eq!(ledger.parents(&repository, digest("layer"), rule, 9).await.unwrap(), [digest("own")]);
        assert_eq!(ledger.forget(at(2), 10).await.unwrap(), 1);
        assert!(ledger.parents(&repository, digest("layer"), rule, 9).await.unwrap().is_empty());
        assert_eq!(ledger.parents(&repository, digest("base"), rule, 9).await.unwrap(), [digest("shared")]);
        assert_eq!(ledger.parents(&repository, digest("shared"), rule, 9).await.unwrap(), [digest("b")]);
        assert_eq!(ledger.tag(&repository, &tag).await.unwrap().map(|seen| seen.digest), Some(digest("b")));
    }
}
