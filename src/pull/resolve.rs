//! From a tag to content: once per request, and the tag is never used again after.
//!
//! Where a tag led is used again for a short time, and for longer where upstream is away. Only what was admitted is
//! remembered so, and it passes the gate each time: an old answer can make a tag late, but serve nothing that the
//! rule does not let through now.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Clock;
use crate::ledger::{Ledger, TagSeen};
use crate::oci::{Digest, Manifest, Reference, Repository, Tag};
use crate::tasks::Tasks;
use crate::upstream::{Upstream, UpstreamError};

use super::error::PullError;
use super::flight::Flights;
use super::from_upstream::upstream_error;
use super::keeping::Keeping;

/// Most tags that are kept in memory; each takes some 300 bytes. The ledger knows the others.
const REMEMBERED: u64 = 50_000;

/// How exactly the ledger knows when a tag was last seen at upstream: a write syncs the disk, and a hot tag must not
/// cost one with each question.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// A question that nobody answered for so long is not waited for by those who come later: it may hang on a connection
/// from before an outage. They ask again.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a tag stands for at this moment.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// What upstream says it is. Nothing is proven by it: the digest must pass the gate.
    pub(super) digest: Digest,
    /// The manifest itself, when it came along.
    pub(super) manifest: Option<Manifest>,
    /// How we know.
    pub(super) from: From,
}

/// How it is known where a tag leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// Upstream said so at this time.
    Upstream(Timestamp),
    /// Upstream said so a moment ago.
    Memory,
    /// Upstream said so some time ago, and is away now.
    Stale,
}

/// Asks upstream what tags stand for; one question for any crowd.
pub(super) struct Resolver {
    ledger: Ledger,
    keeping: Arc<Keeping>,
    clock: Arc<dyn Clock>,
    led: moka::sync::Cache<Key, Led>,
    /// Answers of a moment ago: also those that are not admitted yet, and "none".
    lately: moka::sync::Cache<Key, Result<Resolved, PullError>>,
    flights: Flights<Key, Result<Resolved, PullError>>,
}

/// By upstream, too: what one says that is new in the configuration, no other has said.
type Key = (u64, Repository, Tag);

/// Where a tag led, when that was admitted last.
#[derive(Clone, Copy, Debug)]
struct Led {
    digest: Digest,
    /// When upstream said so last.
    at: Timestamp,
    /// The same, as the ledger knows it.
    written: Timestamp,
    /// It was said in the log that this is used though upstream is away.
    was_stale: bool,
    /// Known from the ledger alone: an upstream of this name said so, which may have been elsewhere then.
    is_recalled: bool,
}

impl Resolver {
    /// An answer is used for `a_moment`, whatever becomes of it.
    pub(super) fn new(
        (ledger, keeping): (Ledger, Arc<Keeping>),
        clock: Arc<dyn Clock>,
        a_moment: Duration,
        tasks: Tasks,
    ) -> Self {
        let led = moka::sync::Cache::builder().max_capacity(REMEMBERED).build();
        let lately = moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(a_moment).build();
        let flights = Flights::new("resolve", tasks).renewed_after(ASK_AGAIN_AFTER);
        Self { ledger, keeping, clock, led, lately, flights }
    }

    /// Cancel safe.
    ///
    /// # Errors
    /// What upstream's answer means, if there is no older answer that may be used in its place.
    pub(super) async fn resolve(
        &self,
        upstream: &Arc<Upstream>,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Resolved, PullError> {
        let key = (upstream.instance(), repository.clone(), tag.clone());
        let (led, freshness) = (self.led(&key).await, upstream.freshness());
        if let Some(led) = led
            && led.is_within(freshness.tag_ttl, self.clock.now())
            && !(led.is_recalled && upstream.came_by_reload())
        {
            return Ok(Resolved { digest: led.digest, manifest: None, from: From::Memory });
        }
        match self.lately.get(&key) {
            Some(Ok(Resolved { from: From::Upstream(at), .. }))
                if !Led::covers(at, freshness.tag_ttl, self.clock.now()) => {}
            Some(answer) => return answer,
            None => {}
        }
        let Some(led) = led.filter(|led| led.is_within(freshness.stale_if_error, self.clock.now())) else {
            return self.ask(upstream, &key, led.is_some()).await;
        };
        let patience = upstream.patience(repository);
        if patience.is_zero() {
            return Ok(self.stale(key, led, "upstream is known to be away"));
        }
        match upstream.in_patience(repository, self.ask(upstream, &key, true)).await {
            Some(Err(PullError::Upstream { away: true, detail, .. })) => Ok(self.stale(key, led, &detail)),
            Some(answer) => answer,
            // The question goes on, for those who come later.
            None => Ok(self.stale(key, led, &format!("no answer within {} s", patience.as_secs()))),
        }
    }

    /// Remembers where a tag led, once that was admitted.
    pub(super) async fn remember(&self, upstream: &Upstream, repository: &Repository, tag: &Tag, resolved: &Resolved) {
        let From::Upstream(at) = resolved.from else { return };
        let key = (upstream.instance(), repository.clone(), tag.clone());
        let known = self.led(&key).await;
        if known.is_some_and(|known| known.at > at) {
            return;
        }
        let digest = resolved.digest;
        let written = known.filter(|known| known.digest == digest).map(|known| known.written);
        let is_written = written.is_some_and(|written| Led::covers(written, SEEN_EVERY, at));
        if !is_written && let Err(error) = self.ledger.record_tag(repository, tag, digest, at).await {
            self.keeping.failed("tags", &error);
        }
        let written = written.filter(|_| is_written).unwrap_or(at);
        self.led.insert(key, Led { digest, at, written, was_stale: false, is_recalled: false });
    }

    async fn led(&self, key: &Key) -> Option<Led> {
        if let Some(led) = self.led.get(key) {
            return Some(led);
        }
        let TagSeen { digest, at } = self.ledger.tag(&key.1, &key.2).await.ok().flatten()?;
        let led = Led { digest, at, written: at, was_stale: false, is_recalled: true };
        self.led.insert(key.clone(), led);
        Some(led)
    }

    async fn ask(&self, upstream: &Arc<Upstream>, key: &Key, is_known: bool) -> Result<Resolved, PullError> {
        let work = || {
            let (upstream, key, clock) = (Arc::clone(upstream), key.clone(), Arc::clone(&self.clock));
            let lately = self.lately.clone();
            async move {
                let answer = ask(&upstream, &key, is_known, clock.now()).await;
                match &answer {
                    // Its bytes are for whoever asked. Who comes now joins them at the gate.
                    Ok(resolved) => lately.insert(key, Ok(Resolved { manifest: None, ..*resolved })),
                    Err(PullError::NotFound { .. }) => lately.insert(key, answer.clone()),
                    Err(_) => {}
                }
                answer
            }
        };
        self.flights.join(key.clone(), work).await.map_err(|_| PullError::Internal("the program is stopping".into()))?
    }

    fn stale(&self, key: Key, led: Led, why: &str) -> Resolved {
        if !led.was_stale {
            let (_, repository, tag) = &key;
            tracing::warn!(%repository, %tag, digest = %led.digest, last_seen = %led.at, why, "upstream is away; a tag is served stale");
            self.led.insert(key, Led { was_stale: true, ..led });
        }
        Resolved { digest: led.digest, manifest: None, from: From::Stale }
    }
}

impl Led {
    fn is_within(&self, time: Duration, now: Timestamp) -> bool {
        Self::covers(self.at, time, now)
    }

    /// Whether `now` is within `time` from `at`. A time that has not come yet was written under another clock, or by
    /// somebody else, and covers nothing.
    fn covers(at: Timestamp, time: Duration, now: Timestamp) -> bool {
        let age = now.duration_since(at);
        !age.is_negative() && age < SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
    }
}

/// A tag that was seen before is asked by HEAD, which registries do not count and which sends
/// nothing that we have; a new one by GET, which saves a round trip.
async fn ask(upstream: &Upstream, key: &Key, is_known: bool, at: Timestamp) -> Result<Resolved, PullError> {
    let (_, repository, tag) = key;
    let what = format!("{}:{tag}", repository.path());
    let fail = |error: UpstreamError| upstream_error(upstream, &what, &error);
    let from = From::Upstream(at);
    if is_known && let Some(digest) = Box::pin(upstream.resolve(repository, tag)).await.map_err(fail)? {
        return Ok(Resolved { digest, manifest: None, from });
    }
    let manifest = super::from_upstream::fetch(upstream, repository, &Reference::Tag(tag.clone())).await?;
    Ok(Resolved { digest: manifest.digest(), manifest: Some(manifest), from })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_from_the_future_is_none() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let (time, now) = (Duration::from_secs(10), at(1000));
        assert!(Led::covers(at(1000), time, now) && Led::covers(at(991), time, now));
        assert!(!Led::covers(at(990), time, now) && !Led::covers(at(1001), time, now));
        assert!(!Led::covers(at(1000), Duration::ZERO, now), "zero: never");
        assert!(Led::covers(at(0), Duration::MAX, now));
    }
}
