//! Proves the verdicts on cached images again: from time to time, and at once when the policy changes.
//!
//! It decides nothing. What no longer passes is refused by the next question anyway, since that is judged under the
//! rule and at the time at which it comes; here an operator learns of it before a client does. Nobody is asked: no
//! registry, no log, no authority. Signatures that came later are found by the next pull.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::ledger::{Ledger, LedgerError, Place};
use crate::oci::{Digest, MANIFEST_MAX, Manifest, Repository};
use crate::store::DiskStore;
use crate::telemetry::{CachedOutcome, Metrics};
use crate::trust::{self, Policy, Recorded};

/// Between the start and the first look: clients come first.
const START_AFTER: Duration = Duration::from_secs(10);

/// For each moment of work so many of rest: a tenth of one core at most.
const REST: u32 = 9;

/// Shortest rest: others wait for the ledger.
const REST_MIN: Duration = Duration::from_millis(1);

/// Most images that are told one by one, and remembered as told.
const TOLD_MAX: usize = 1000;

/// Looks at cached images.
pub struct Reverify {
    /// Where their manifests are.
    pub store: Arc<DiskStore>,
    /// Where their signatures are.
    pub ledger: Ledger,
    /// The time at which they must pass.
    pub clock: Arc<dyn Clock>,
    /// Counts what was found.
    pub metrics: Arc<Metrics>,
    /// The rules that they must pass.
    pub policy: watch::Receiver<Arc<Policy>>,
    /// How often, besides when the policy changes. `None`: only then.
    pub every: Option<Duration>,
}

/// How many images there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// They pass.
    pub stands: u64,
    /// By what is on record they do not.
    pub fails: u64,
    /// What is on record does not read back.
    pub unreadable: u64,
}

type Image = (Repository, Digest);

impl Reverify {
    /// Works until it is dropped.
    pub async fn run(mut self) {
        tokio::time::sleep(START_AFTER).await;
        let mut told = HashSet::new();
        loop {
            match self.look_at_all(&mut told).await {
                Ok(Some(tally)) => self.tell(tally),
                // Under yet another policy; the next look is for that.
                Ok(None) => continue,
                Err(error) => tracing::error!(%error, "cached images could not be proven again"),
            }
            let pause = async {
                match self.every {
                    Some(every) => tokio::time::sleep(every).await,
                    None => std::future::pending().await,
                }
            };
            // Both only wait.
            tokio::select! {
                () = pause => {}
                changed = self.policy.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Proves every cached image again. `None` when the policy changed meanwhile.
    ///
    /// `told` are those that did not pass at the last look; they are not told again.
    pub async fn look_at_all(&mut self, told: &mut HashSet<Image>) -> Result<Option<Tally>, LedgerError> {
        let policy = Arc::clone(&self.policy.borrow_and_update());
        let (mut tally, mut failing, mut place) = (Tally::default(), HashSet::new(), Place::default());
        loop {
            let page = self.ledger.verified(place).await?;
            tally.unreadable += page.unreadable as u64;
            for recorded in page.records {
                if self.policy.has_changed().unwrap_or(false) {
                    return Ok(None);
                }
                let image = (recorded.verdict.repository.clone(), recorded.verdict.digest);
                let started = Instant::now();
                match self.look(&policy, recorded).await {
                    None => {}
                    Some(CachedOutcome::Stands) => tally.stands += 1,
                    Some(CachedOutcome::Unreadable) => tally.unreadable += 1,
                    Some(CachedOutcome::Fails) => {
                        tally.fails += 1;
                        if failing.len() < TOLD_MAX {
                            if !told.contains(&image) {
                                tell_failing(&image, &policy);
                            }
                            failing.insert(image);
                        }
                    }
                }
                tokio::time::sleep((started.elapsed() * REST).max(REST_MIN)).await;
            }
            match page.next {
                Some(next) => place = next,
                None => break,
            }
        }
        *told = failing;
        Ok(Some(tally))
    }

    /// `None`: it is not in the cache any more.
    async fn look(&self, policy: &Policy, recorded: Recorded) -> Option<CachedOutcome> {
        let (repository, digest) = (recorded.verdict.repository.clone(), recorded.verdict.digest);
        let bytes = match self.store.read(digest, MANIFEST_MAX).await {
            Ok(bytes) => bytes?,
            Err(error) => {
                tracing::error!(%digest, %error, "stored content could not be read");
                return Some(CachedOutcome::Unreadable);
            }
        };
        let Ok(manifest) = Manifest::parse(bytes, None) else { return Some(CachedOutcome::Unreadable) };
        let Some(rule) = policy.rule_for(&repository).cloned() else { return Some(CachedOutcome::Fails) };
        if rule.demand().is_none() {
            let denied = trust::denied(&rule, digest).is_some();
            return Some(if denied { CachedOutcome::Fails } else { CachedOutcome::Stands });
        }
        let now = self.clock.now();
        let proving = tokio::task::spawn_blocking(move || match recorded.verdict.fingerprint == rule.fingerprint() {
            true => trust::recall(manifest, &repository, &rule, recorded, now).is_some(),
            false => trust::rejudge(manifest, &repository, &rule, recorded, now).is_some(),
        });
        match proving.await {
            Ok(true) => Some(CachedOutcome::Stands),
            Ok(false) => Some(CachedOutcome::Fails),
            Err(_) => Some(CachedOutcome::Unreadable),
        }
    }

    fn tell(&self, tally: Tally) {
        let Tally { stands, fails, unreadable } = tally;
        let counts =
            [(CachedOutcome::Stands, stands), (CachedOutcome::Fails, fails), (CachedOutcome::Unreadable, unreadable)];
        self.metrics.reverified(&counts, self.clock.now());
        tracing::info!(stands, fails, unreadable, "cached images were proven again");
    }
}

fn tell_failing((repository, digest): &Image, policy: &Policy) {
    let rule = policy.rule_for(repository).map_or("none", |rule| rule.name());
    tracing::warn!(%repository, %digest, rule,
        "a cached image no longer passes by the signatures on record; the next pull looks for others upstream");
}
