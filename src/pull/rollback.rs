//! Watches tags for going back in time: to what was signed earlier than what they led to before.

use std::sync::Arc;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::ledger::{Ledger, Signed};
use crate::oci::Tag;
use crate::telemetry::{Metrics, RollbackOutcome};
use crate::trust::{Decision, Reason, Rollback, Verdict};

use super::error::PullError;
use super::from_upstream::with_causes;
use super::question::Question;

/// Remembers the newest that each tag led to.
pub(super) struct RollbackWatch {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

impl RollbackWatch {
    pub(super) fn new(ledger: Ledger, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self { ledger, clock, metrics }
    }

    /// Looks at where a tag leads now, which was admitted with this verdict. Says nothing where the rule does
    /// not ask, and of tags that never led to anything of which a time was proven: bare keys. Once one was proven,
    /// it must be for what comes next, too: whoever turns a tag back can also leave out what would prove it. In audit
    /// mode nothing is refused.
    ///
    /// # Errors
    /// The refusal of the tag. What it leads to can still be had by digest.
    pub(super) async fn look(&self, question: &Question, tag: &Tag, verdict: &Verdict) -> Result<(), PullError> {
        let setting = question.rule.terms().rollback;
        if setting == Rollback::Allow || !verdict.is_verified() {
            return Ok(());
        }
        let signed_at = signed_at(verdict);
        let later = match signed_at {
            Some(at) => {
                let now = Signed { digest: question.digest, at };
                self.ledger.signed_later(&question.repository, tag, now).await
            }
            None => {
                let newest = self.ledger.newest(&question.repository, tag).await;
                newest.map(|newest| newest.filter(|newest| newest.digest != question.digest))
            }
        };
        let later = match later {
            Ok(None) => return Ok(()),
            Ok(Some(later)) => later,
            Err(error) => {
                // A ledger that does not answer costs memory.
                tracing::error!(error = %with_causes(&error), "the ledger could not be read");
                return Ok(());
            }
        };
        let when =
            signed_at.map_or("and nothing proves when that was signed".to_owned(), |at| format!("signed at {at}"));
        let detail = format!(
            "tag {tag} led to {} before, signed at {}, and leads to {} now, {when}",
            later.digest, later.at, question.digest
        );
        if setting == Rollback::Refuse && question.is_enforced() {
            self.metrics.rollback(RollbackOutcome::Refused);
            return Err(question.refused(Reason::RolledBack, detail, self.clock.now()));
        }
        self.metrics.rollback(RollbackOutcome::Warned);
        // Once for each move: the ledger knows where the tag led when it was last asked for.
        if !matches!(self.ledger.tag(&question.repository, tag).await, Ok(Some(known)) if known.digest == question.digest)
        {
            tracing::warn!(repository = %question.repository, rule = question.rule.name(), "a tag went back in time: {detail}");
        }
        Ok(())
    }
}

/// The latest proven time among those who signed it.
fn signed_at(verdict: &Verdict) -> Option<Timestamp> {
    let Decision::Verified { signers } = &verdict.decision else { return None };
    signers.iter().filter_map(|signer| signer.signed_at).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::oci::{Digest, Reference};
    use crate::trust::{Demand, Enforcement, Pattern, Rule, SignerSeen, Terms};
    use crate::upstream::{NetworkOptions, Proxy, UpstreamOptions, Upstreams};

    const REGISTRY: &str = "test.assay";

    struct World {
        watch: RollbackWatch,
        metrics: Arc<Metrics>,
        upstreams: Upstreams,
        tag: Tag,
    }

    fn world() -> World {
        let (ledger, metrics) = (Ledger::in_memory().unwrap(), Arc::new(Metrics::new()));
        let options = UpstreamOptions::new(REGISTRY.parse().unwrap(), "http://127.0.0.1:1".parse().unwrap());
        let network = NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
        World {
            watch: RollbackWatch::new(ledger, Arc::new(SystemClock), Arc::clone(&metrics)),
            metrics,
            upstreams: Upstreams::new(vec![options], network).unwrap(),
            tag: "1.0".parse().unwrap(),
        }
    }

    impl World {
        fn question(&self, enforcement: Enforcement, rollback: Rollback, what: &str) -> Question {
            let pattern = Pattern::parse("test.assay/**").unwrap();
            let rule = Rule::new("test".to_owned(), vec![pattern], enforcement);
            Question {
                repository: "test.assay/app".parse().unwrap(),
                rule: Arc::new(rule.with_terms(Terms { rollback, ..Terms::default() })),
                upstream: self.upstreams.get(&REGISTRY.parse().unwrap()).unwrap(),
                digest: Digest::of(what.as_bytes()),
                asked: Reference::Tag(self.tag.clone()),
            }
        }

        /// The tag leads to `what`, whose signatures are proven to be of these days.
        async fn look(&self, question: &Question, days: &[&str]) -> Result<(), PullError> {
            let at = |day: &&str| Some(format!("2026-01-{day}T00:00:00Z").parse().unwrap());
            let signer = |signed_at| SignerSeen {
                name: "release".to_owned(),
                id: Digest::of(b"release"),
                key: None,
                identity: None,
                issuer: None,
                claims: std::collections::BTreeMap::new(),
                root: None,
                log: None,
                signed_at,
            };
            let signers = match days {
                [] => vec![signer(None)],
                days => days.iter().map(|day| signer(at(day))).collect(),
            };
            let Question { repository, digest, rule, .. } = question;
            let now = "2026-02-01T00:00:00Z".parse().unwrap();
            let verdict = Verdict {
                decision: Decision::Verified { signers },
                ..crate::trust::refuse(repository, *digest, rule, Reason::NoSignature, String::new(), now)
            };
            self.watch.look(question, &self.tag, &verdict).await
        }

        fn counted(&self, outcome: &str, times: usize) -> bool {
            self.metrics.encode().contains(&format!("assay_rollbacks_total{{outcome=\"{outcome}\"}} {times}\n"))
        }
    }

    fn enforce() -> Enforcement {
        Enforcement::Enforce(Demand::default())
    }

    #[tokio::test]
    async fn a_tag_that_goes_back_is_refused_and_the_message_says_from_what_to_what() {
        let world = world();
        let (old, new) =
            (world.question(enforce(), Rollback::Refuse, "old"), world.question(enforce(), Rollback::Refuse, "new"));
        assert!(world.look(&old, &["10"]).await.is_ok());
        assert!(world.look(&new, &["05", "20"]).await.is_ok(), "the latest of its times counts");
        assert!(world.look(&new, &["20"]).await.is_ok(), "where it was");
        let Err(PullError::Refused(refusal)) = world.look(&old, &["10"]).await else { panic!("the tag went back") };
        assert_eq!(refusal.reason, Reason::RolledBack);
        for part in [&old.digest.to_string(), &new.digest.to_string(), "2026-01-10", "2026-01-20"] {
            assert!(refusal.detail.contains(part), "`{part}` is missing in {}", refusal.detail);
        }
        assert!(world.counted("refused", 1) && world.counted("warned", 0));
        // Honest siblings: the newest again, and something newer.
        assert!(world.look(&new, &["20"]).await.is_ok());
        let newer = world.question(enforce(), Rollback::Refuse, "newer");
        assert!(world.look(&newer, &["21"]).await.is_ok());
        assert!(world.look(&new, &["20"]).await.is_err());
    }

    #[tokio::test]
    async fn a_tag_that_goes_back_is_served_where_the_rule_only_warns_or_audits() {
        for (enforcement, rollback) in
            [(enforce(), Rollback::Warn), (Enforcement::Audit(Demand::default()), Rollback::Refuse)]
        {
            let world = world();
            let question = |what| world.question(enforcement.clone(), rollback, what);
            assert!(world.look(&question("new"), &["20"]).await.is_ok());
            assert!(world.counted("warned", 0));
            assert!(world.look(&question("old"), &["10"]).await.is_ok());
            assert!(world.counted("warned", 1) && world.counted("refused", 0));
        }
    }

    #[tokio::test]
    async fn without_a_proven_time_or_where_it_is_allowed_nothing_is_said() {
        let world = world();
        let refuse = |what| world.question(enforce(), Rollback::Refuse, what);
        for what in ["old", "new", "old"] {
            assert!(world.look(&refuse(what), &[]).await.is_ok(), "a bare key proves no time");
        }
        assert!(world.look(&refuse("new"), &["20"]).await.is_ok());
        assert!(world.look(&world.question(enforce(), Rollback::Allow, "old"), &["10"]).await.is_ok());
        assert!(world.counted("warned", 0) && world.counted("refused", 0));
        assert!(world.look(&refuse("old"), &["10"]).await.is_err(), "and nothing was forgotten");
    }

    /// Where the log is optional, whoever turns a tag back leaves the log entry out.
    #[tokio::test]
    async fn what_hides_its_time_goes_back_where_a_time_was_proven_before() {
        let world = world();
        let refuse = |what| world.question(enforce(), Rollback::Refuse, what);
        assert!(world.look(&refuse("new"), &["20"]).await.is_ok());
        let Err(PullError::Refused(refusal)) = world.look(&refuse("old"), &[]).await else { panic!("it went back") };
        assert_eq!(refusal.reason, Reason::RolledBack);
        assert!(refusal.detail.contains("nothing proves when"), "{}", refusal.detail);
        let warn = world.question(enforce(), Rollback::Warn, "old");
        assert!(world.look(&warn, &[]).await.is_ok() && world.counted("warned", 1));
        // Honest siblings: what the tag led to, without its time, and what is newer, with it.
        assert!(world.look(&refuse("new"), &[]).await.is_ok());
        assert!(world.look(&refuse("newer"), &["21"]).await.is_ok());
    }
}
