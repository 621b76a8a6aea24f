//! Hashes everything stored again, slowly, beside the work or all at once; takes away what is not right.
//!
//! A disk changes bytes that nobody reads, and the kernel does not tell. What is taken away is fetched again when it is
//! next asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::oci::Digest;
use crate::store::{Condition, DiskStore, Disposal, Pace, Reading, StoreError};
use crate::telemetry::{Metrics, ScrubOutcome};

/// Beside the work: what a slow disk gives without being noticed. 12 TB a week.
const RATE: u64 = 20 * 1024 * 1024;

/// Between the start and the first look: clients come first.
const START_AFTER: Duration = Duration::from_secs(60);

/// Longest sleep before the clock is asked again: it may be set.
const NAP: Duration = Duration::from_secs(15 * 60);

/// Most findings that are named; the others are counted.
const NAMED_MAX: usize = 1000;

/// How far a round has come, in the cache folder.
const STATE: &str = "scrub";

/// The first line of that file; with another one a new round is due in its time.
const FORMAT: &str = "assay scrub 1";

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Files that were hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was not right, in the order in which it was found, as far as there is room.
    pub findings: Vec<Finding>,
    /// How many of each kind.
    pub changed: u64,
    /// How many of each kind.
    pub foreign: u64,
    /// How many of each kind.
    pub unreadable: u64,
}

/// Something that was not right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Under the name of content.
    Content(Digest, ScrubOutcome),
    /// Under another name.
    Foreign(PathBuf),
}

/// How it is gone about.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Where bytes come from.
    pub reading: Reading,
    /// What becomes of what is not right.
    pub disposal: Disposal,
    /// Most bytes in a second; `None`: as many as there are.
    pub rate: Option<u64>,
}

/// Scrubs beside the work.
pub struct Scrubber {
    /// What is scrubbed.
    pub store: Arc<DiskStore>,
    /// Tells when the next round is due.
    pub clock: Arc<dyn Clock>,
    /// Counts what was found.
    pub metrics: Arc<Metrics>,
    /// From the beginning of one round to that of the next.
    pub every: Duration,
}

/// How far a round has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Round {
    began: Timestamp,
    /// The next folder; 256 when it is over.
    next: u16,
}

impl Summary {
    /// Whether everything was right.
    pub fn is_clean(&self) -> bool {
        self.changed + self.foreign + self.unreadable == 0
    }

    fn note(&mut self, finding: Finding) {
        match &finding {
            Finding::Content(_, ScrubOutcome::Changed) => self.changed += 1,
            Finding::Content(_, ScrubOutcome::Unreadable) => self.unreadable += 1,
            Finding::Content(_, ScrubOutcome::Foreign) | Finding::Foreign(_) => self.foreign += 1,
        }
        if self.findings.len() < NAMED_MAX {
            self.findings.push(finding);
        }
    }
}

/// Scrubs all that is stored.
///
/// # Errors
/// A folder could not be read; the summary is then of no use.
pub async fn everything(store: &DiskStore, manner: Manner) -> Result<Summary, StoreError> {
    let (mut summary, mut pace) = (Summary::default(), Pace::new(manner.rate));
    beside(store, manner, &mut summary).await?;
    for number in 0..=u8::MAX {
        folder(store, number, manner, &mut pace, &mut summary).await?;
    }
    Ok(summary)
}

async fn beside(store: &DiskStore, manner: Manner, summary: &mut Summary) -> Result<(), StoreError> {
    for path in store.lying_beside().await? {
        foreign(store, path, manner, summary).await;
    }
    Ok(())
}

async fn folder(
    store: &DiskStore,
    number: u8,
    manner: Manner,
    pace: &mut Pace,
    summary: &mut Summary,
) -> Result<(), StoreError> {
    let lying = store.lying_in(number).await?;
    for path in lying.foreign {
        foreign(store, path, manner, summary).await;
    }
    for digest in lying.content {
        let condition = store.scrub(digest, manner.reading, manner.disposal, pace).await;
        let outcome = match condition {
            Condition::Gone => continue,
            Condition::Right(_) => None,
            Condition::Changed(_) => Some(ScrubOutcome::Changed),
            Condition::Foreign => Some(ScrubOutcome::Foreign),
            Condition::Unreadable => Some(ScrubOutcome::Unreadable),
        };
        if let Condition::Right(bytes) | Condition::Changed(bytes) = condition {
            summary.bytes += bytes;
        }
        summary.files += 1;
        if let Some(outcome) = outcome {
            summary.note(Finding::Content(digest, outcome));
        }
    }
    Ok(())
}

async fn foreign(store: &DiskStore, path: PathBuf, manner: Manner, summary: &mut Summary) {
    tracing::warn!(path = %path.display(), "nothing of ours has this name; it is taken away");
    if let Err(error) = store.dispose_of_foreign(path.clone(), manner.disposal).await {
        tracing::error!(path = %path.display(), %error, "it cannot be taken away");
    }
    summary.note(Finding::Foreign(path));
}

impl Scrubber {
    /// Works until it is dropped. A round that was interrupted goes on where it was.
    pub async fn run(self) {
        tokio::time::sleep(START_AFTER).await;
        let mut pace = Pace::new(Some(RATE));
        let mut round = self.last_round().await;
        loop {
            let now = self.clock.now();
            if round.is_over() && !round.is_outlived(self.every, now) {
                tokio::time::sleep(NAP.min(self.every)).await;
                continue;
            }
            if round.is_over() {
                round = Round { began: now, next: 0 };
            }
            if let Err(error) = self.step(&mut round, &mut pace).await {
                tracing::error!(%error, "the background scrub cannot go on; it is tried again");
                tokio::time::sleep(NAP).await;
            }
        }
    }

    /// One folder of the round.
    async fn step(&self, round: &mut Round, pace: &mut Pace) -> Result<(), StoreError> {
        let manner = Manner { reading: Reading::Shared, disposal: Disposal::Quarantine, rate: Some(RATE) };
        let mut summary = Summary::default();
        if round.next == 0 {
            tracing::info!("scrubbing: everything stored is hashed again");
            beside(&self.store, manner, &mut summary).await?;
        }
        if let Ok(number) = u8::try_from(round.next) {
            folder(&self.store, number, manner, pace, &mut summary).await?;
        }
        round.next += 1;
        self.count(&summary);
        if round.is_over() {
            self.metrics.scrub_finished(self.clock.now());
            tracing::info!(began = %round.began, "scrubbed: everything stored was hashed again");
        }
        self.write(*round).await;
        Ok(())
    }

    fn count(&self, summary: &Summary) {
        self.metrics.scrubbed(summary.bytes);
        for finding in &summary.findings {
            let outcome = match finding {
                Finding::Content(_, outcome) => *outcome,
                Finding::Foreign(_) => ScrubOutcome::Foreign,
            };
            self.metrics.scrub_found(outcome);
        }
    }

    /// Where nothing is written down, the folder is taken to have been scrubbed just now.
    async fn last_round(&self) -> Round {
        match Round::parse(&self.store.read_note(STATE).await) {
            Some(round) => round,
            None => {
                let round = Round { began: self.clock.now(), next: 256 };
                self.write(round).await;
                round
            }
        }
    }

    async fn write(&self, round: Round) {
        let text = format!("{FORMAT}\n{}\n{}\n", round.began, round.next);
        if let Err(error) = self.store.write_note(STATE, text).await {
            tracing::warn!(%error, "how far the scrub has come could not be written down");
        }
    }
}

impl Round {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let format = lines.next()?;
        let round = Self { began: lines.next()?.parse().ok()?, next: lines.next()?.parse().ok()? };
        (format == FORMAT && round.next <= 256).then_some(round)
    }

    fn is_over(&self) -> bool {
        self.next > u16::from(u8::MAX)
    }

    /// Also when the clock was set back: a round that is to begin some day is no round.
    fn is_outlived(&self, every: Duration, now: Timestamp) -> bool {
        let age = now.duration_since(self.began);
        age.is_negative() || age >= jiff::SignedDuration::try_from(every).unwrap_or(jiff::SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use bytes::Bytes;
    use std::path::Path;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn path(folder: &Path, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        folder.join("blobs/sha256").join(&hex[..2]).join(&hex)
    }

    /// Content in the lower and in the upper half of the folders.
    async fn two(store: &DiskStore) -> [Digest; 2] {
        let bytes = |n: u64| Bytes::from(format!("content {n}"));
        let is_upper = |bytes: &Bytes| Digest::of(bytes).hex().as_bytes()[0] >= b'8';
        let lower = (0..).map(bytes).find(|bytes| !is_upper(bytes)).unwrap();
        let upper = (0..).map(bytes).find(is_upper).unwrap();
        for bytes in [&lower, &upper] {
            store.write(bytes.clone()).await.unwrap();
        }
        [Digest::of(&lower), Digest::of(&upper)]
    }

    /// In the runtime's own time, which passes at once while nothing is to do.
    async fn until(what: impl Fn() -> bool) {
        let so = async {
            while !what() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(100 * HOUR, so).await.expect("it comes within some rounds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_comes_when_it_is_due_and_goes_on_where_it_was() {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(DiskStore::open(home.path()).unwrap());
        let [lower, upper] = two(&store).await;
        for digest in [lower, upper] {
            std::fs::write(path(home.path(), digest), "changed").unwrap();
        }
        let there = |digest| path(home.path(), digest).exists();
        let state = || std::fs::read_to_string(home.path().join(STATE)).unwrap_or_default();
        let clock = Arc::new(ManualClock::new(at("2026-11-23T00:00:00Z")));
        let metrics = Arc::new(Metrics::new());
        let scrubber = || Scrubber {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock) as _,
            metrics: Arc::clone(&metrics),
            every: HOUR,
        };

        // Nothing is due in a folder of which nothing is known.
        tokio::select! {
            () = scrubber().run() => panic!("it never ends"),
            () = tokio::time::sleep(24 * HOUR) => {}
        }
        assert!(there(lower) && there(upper));
        assert_eq!(state(), "assay scrub 1\n2026-11-23T00:00:00Z\n256\n");

        // As if it had been stopped in the middle.
        std::fs::write(home.path().join(STATE), "assay scrub 1\n2026-11-23T00:00:00Z\n128\n").unwrap();
        tokio::select! {
            () = scrubber().run() => panic!("it never ends"),
            () = until(|| state().ends_with("\n256\n")) => {}
        }
        assert!(there(lower) && !there(upper));

        clock.set(at("2026-11-23T01:00:00Z"));
        tokio::select! {
            () = scrubber().run() => panic!("it never ends"),
            () = until(|| state() == "assay scrub 1\n2026-11-23T01:00:00Z\n256\n") => {}
        }
        assert!(!there(lower));
        let page = metrics.encode();
        assert!(page.contains("assay_scrub_findings_total{outcome=\"changed\"} 2\n"), "{page}");
        assert_eq!(std::fs::read_dir(home.path().join("quarantine")).unwrap().count(), 2);
    }

    #[test]
    fn what_is_written_down_and_spoiled_begins_anew() {
        let round = Round { began: at("2026-11-23T00:00:00Z"), next: 17 };
        assert_eq!(Round::parse("assay scrub 1\n2026-11-23T00:00:00Z\n17\n"), Some(round));
        for spoiled in [
            "",
            "assay scrub 2\n2026-11-23T00:00:00Z\n17\n",
            "assay scrub 1\n2026\n17",
            "assay scrub 1\n2026-11-23T00:00:00Z\n257\n",
        ] {
            assert_eq!(Round::parse(spoiled), None, "{spoiled}");
        }
        assert!(round.is_outlived(HOUR, at("2026-11-22T00:00:00Z")), "the clock was set back");
        assert!(!round.is_outlived(HOUR, at("2026-11-23T00:59:59Z")));
    }
}
