//! What a rule asks to be attested about each platform, judged before the platform's manifest is admitted.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::oci::Manifest;
use crate::tasks::Tasks;
use crate::telemetry::Metrics;
use crate::trust::{self, Candidate, Judgement, Search, Verified};
use crate::upstream::{SignatureLimits, Wanted};

use super::error::PullError;
use super::flight::Flights;
use super::from_upstream::{search, with_causes};
use super::keeping::Keeping;
use super::question::{Key, Question};

/// The layers of the manifests in which BuildKit keeps attestations beside the platforms of an index.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Judges platforms by what is attested about them. One search for any crowd.
pub(super) struct Platforms {
    ledger: Ledger,
    keeping: Arc<Keeping>,
    clock: Arc<dyn Clock>,
    limits: Arc<ArcSwap<SignatureLimits>>,
    metrics: Arc<Metrics>,
    searches: Flights<Key, Arc<Search>>,
}

impl Platforms {
    pub(super) fn new(
        (ledger, keeping): (Ledger, Arc<Keeping>),
        clock: Arc<dyn Clock>,
        limits: Arc<ArcSwap<SignatureLimits>>,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        Self { ledger, keeping, clock, limits, metrics, searches: Flights::new("attestations", tasks) }
    }

    /// The platform, if everything is attested about it that its rule asks for. `parent` is the verified index
    /// that names it. Where nothing is asked of it, it passes without a look. Cancel safe.
    ///
    /// What was proven is recorded, and proven again when it is taken up.
    pub(super) async fn attested(
        &self,
        question: &Question,
        parent: &Verified<Manifest>,
        platform: Verified<Manifest>,
    ) -> Result<Verified<Manifest>, PullError> {
        if !is_asked(question, parent, platform.get()) {
            return Ok(platform);
        }
        if let Some(proven) = self.recall(question, &platform).await {
            return Ok(proven);
        }
        let started = Instant::now();
        let found = self.search(question).await?;
        let judged = self.judge(question, platform, Arc::clone(&found)).await?;
        self.metrics.signature_check(started.elapsed());
        match judged {
            Judgement::Allow(proven) => {
                let proofs = trust::attested_by(proven.verdict(), &found);
                self.record(question, proofs).await;
                Ok(proven)
            }
            Judgement::Refuse(verdict) => Err(PullError::Refused(Box::new(question.refusal(verdict)))),
            Judgement::Unknown(verdict) => Err(question.could_not_check(verdict)),
        }
    }

    /// From the record alone, without any network.
    async fn recall(&self, question: &Question, platform: &Verified<Manifest>) -> Option<Verified<Manifest>> {
        let proofs = self.ledger.attested(&question.repository, question.digest).await.unwrap_or_else(|error| {
            tracing::error!(error = %with_causes(&error), "the ledger could not be read");
            Vec::new()
        });
        if proofs.is_empty() {
            return None;
        }
        let recorded = Search { candidates: proofs, looked_at: Vec::new() };
        match self.judge(question, platform.clone(), Arc::new(recorded)).await {
            // In audit mode what lacks something passes, too; then there may be more to find by now.
            Ok(Judgement::Allow(proven)) if proven.verdict().is_verified() => Some(proven),
            _ => None,
        }
    }

    async fn record(&self, question: &Question, proofs: Vec<Candidate>) {
        let Question { repository, digest, .. } = question;
        if let Err(error) = self.ledger.record_attested(repository, *digest, proofs, self.clock.now()).await {
            self.keeping.failed("attestations", &error);
        }
    }

    /// On a thread of its own, for the reason that [`Question::judge`] has one.
    async fn judge(
        &self,
        question: &Question,
        platform: Verified<Manifest>,
        found: Arc<Search>,
    ) -> Result<Judgement, PullError> {
        let (Question { repository, rule, .. }, now) = (question.clone(), self.clock.now());
        let work = move || trust::judge_platform(platform, &repository, &rule, &found, now);
        tokio::task::spawn_blocking(work).await.map_err(|error| PullError::Internal(error.to_string().into()))
    }

    async fn search(&self, question: &Question) -> Result<Arc<Search>, PullError> {
        let about = question.clone();
        let limits = self.limits.load_full();
        let wanted = Wanted { attestations: question.wants_attestations() };
        let work =
            || async move { Arc::new(search(&about.upstream, &about.repository, about.digest, wanted, &limits).await) };
        let found = self.searches.join(question.key(), work).await;
        found.map_err(|_| PullError::Internal("the program is stopping".into()))
    }
}

/// Whether the rule asks something about this manifest: about platforms, so not about an index within an
/// index, and not about BuildKit's own attestations, which the index vouches for and no engine runs.
fn is_asked(question: &Question, parent: &Verified<Manifest>, child: &Manifest) -> bool {
    let Some(image) = child.image() else { return false };
    let asks = question.rule.demand().is_some_and(trust::Demand::asks_of_platforms);
    // Under `audit` an index that lacks something was let through; what else lacks adds nothing.
    let vouched = parent.verdict().is_verified();
    let is_unknown = |named: &trust::AdmittedManifest| {
        let platform = named.descriptor().platform.as_ref();
        platform.is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown")
    };
    let mut named = parent.manifests().filter(|named| named.digest() == child.digest());
    // An index could name one manifest twice, and only once as what runs nowhere.
    let runs_nowhere = named.all(|named| is_unknown(&named)) && image.layers.iter().all(|l| l.media_type == IN_TOTO);
    asks && vouched && !runs_nowhere
}
