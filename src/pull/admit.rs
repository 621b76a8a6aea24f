//! From a manifest's digest to a proof: remembered, through a parent, or judged afresh.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::ledger::{Edges, Known, Ledger};
use crate::oci::{Digest, MANIFEST_MAX, Manifest, Reference, Repository};
use crate::store::DiskStore;
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, Metrics};
use crate::trust::artefact::NotAnArtefact;
use crate::trust::{
    self, Artefact, Decision, Enforcement, Judgement, Reason, Recorded, Rule, Search, Verdict, Verified,
};
use crate::upstream::{SignatureLimits, Upstream, Wanted};

use super::error::{PullError, Refusal};
use super::flight::Flights;
use super::from_upstream::{beside, fetch, search, with_causes};
use super::inspect::Inspector;

/// How deep indexes may name indexes. Real ones are flat; the specification allows nesting.
const DEPTH_MAX: usize = 4;

/// How many remembered parents of one digest are tried.
const PARENTS_MAX: u32 = 16;

/// How many bytes of admitted manifests are kept in memory.
const MEMORY_MAX: u64 = 32 * 1024 * 1024;

/// How long an image that is only served because the rule says `audit` is served without another
/// look: short, so that a signature that comes later is seen.
const AUDIT_FOR: std::time::Duration = std::time::Duration::from_secs(60);

/// A manifest that may be served.
#[derive(Clone, Debug)]
pub enum Admission {
    /// An index or image that a rule lets through.
    Image(Verified<Manifest>),
    /// A signature artefact.
    Artefact(Artefact),
}

/// What is asked of the gate: one manifest of one repository, under that repository's rule.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) repository: Repository,
    pub(super) rule: Arc<Rule>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) digest: Digest,
    /// The tag or digest as the client wrote it, for messages.
    pub(super) asked: Reference,
}

/// Decides which manifests may be served. One judgement for any crowd.
#[derive(Clone)]
pub(super) struct Gatekeeper(Arc<Parts>);

/// Where manifests and what is known about them are kept.
pub(super) struct Memory {
    pub(super) store: Arc<DiskStore>,
    pub(super) ledger: Ledger,
}

struct Parts {
    store: Arc<DiskStore>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    limits: SignatureLimits,
    metrics: Arc<Metrics>,
    admitted: moka::sync::Cache<(Repository, Digest), Admission>,
    audited: moka::sync::Cache<(Repository, Digest), Admission>,
    inspector: Inspector,
    /// By what is asked, and whether an artefact is an answer.
    flights: Flights<(Repository, Digest, bool), Result<Admission, PullError>>,
}

impl Admission {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Image(verified) => verified.get(),
            Self::Artefact(artefact) => artefact.manifest(),
        }
    }

    /// Why it may be served.
    pub fn verdict(&self) -> &Arc<Verdict> {
        match self {
            Self::Image(verified) => verified.verdict(),
            Self::Artefact(artefact) => artefact.verdict(),
        }
    }
}

impl Gatekeeper {
    pub(super) fn new(
        memory: Memory,
        clock: Arc<dyn Clock>,
        limits: SignatureLimits,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let Memory { store, ledger } = memory;
        let cache = || {
            moka::sync::Cache::builder().max_capacity(MEMORY_MAX).weigher(|_, admission: &Admission| {
                // Parsed, a manifest takes some three times its bytes.
                u32::try_from(admission.manifest().bytes().len().saturating_mul(4)).unwrap_or(u32::MAX)
            })
        };
        Self(Arc::new(Parts {
            inspector: Inspector::new(Arc::clone(&store)),
            store,
            ledger,
            clock,
            limits,
            metrics,
            admitted: cache().build(),
            audited: cache().time_to_live(AUDIT_FOR).build(),
            flights: Flights::new("admit", tasks),
        }))
    }

    /// Admits a manifest or says why not. `given` are its bytes, if they are at hand. Cancel safe.
    pub(super) async fn admit(
        &self,
        question: Question,
        given: Option<Manifest>,
    ) -> Result<(Admission, CacheOutcome), PullError> {
        if let Some(admission) = self.0.in_memory(&question).filter(|admission| question.accepts(admission)) {
            return Ok((admission, CacheOutcome::Memory));
        }
        let key = (question.repository.clone(), question.digest, question.may_be_artefact());
        let parts = Arc::clone(&self.0);
        let had_bytes = parts.stored(question.digest).await.is_some();
        let work = || async move { parts.admit(&question, given).await };
        let admission = self
            .0
            .flights
            .join(key, work)
            .await
            .map_err(|_| PullError::Internal("the program is stopping".into()))??;
        Ok((admission, if had_bytes { CacheOutcome::Hit } else { CacheOutcome::Fill }))
    }

    /// What is known about a manifest without judging an enforced rule afresh. `None`: nothing. Where
    /// nothing is enforced, what was let through once is forgotten soon, and so it is judged again.
    pub(super) async fn known(&self, question: &Question) -> Result<Option<Admission>, PullError> {
        match self.0.known(question, None, 0).await? {
            None if !matches!(question.rule.enforcement(), Enforcement::Enforce(_)) => {
                Ok(Some(self.admit(question.clone(), None).await?.0))
            }
            known => Ok(known),
        }
    }

    /// Opens a manifest that a verified index names, and remembers what it names itself.
    pub(super) async fn open_child(
        &self,
        question: &Question,
        parent: &Verified<Manifest>,
    ) -> Result<Option<Verified<Manifest>>, PullError> {
        self.0.open_child(question, parent, None).await
    }
}

impl Parts {
    fn in_memory(&self, question: &Question) -> Option<Admission> {
        let key = (question.repository.clone(), question.digest);
        let admission = self.admitted.get(&key).or_else(|| self.audited.get(&key))?;
        let stands = match &admission.verdict().decision {
            Decision::Verified { .. } => trust::still_stands(admission.verdict(), &question.rule, self.clock.now()),
            _ => true,
        };
        stands.then_some(admission)
    }

    fn memorise(&self, question: &Question, admission: Admission) -> Admission {
        let key = (question.repository.clone(), question.digest);
        let cache = match admission.verdict().decision {
            Decision::Verified { .. } | Decision::Unchecked | Decision::Artefact => &self.admitted,
            Decision::Refused { .. } | Decision::Unknown { .. } => &self.audited,
        };
        cache.insert(key, admission.clone());
        admission
    }

    async fn admit(&self, question: &Question, given: Option<Manifest>) -> Result<Admission, PullError> {
        // A parent that could not be looked at is not yet a reason to refuse: the manifest may be
        // signed itself. If it is not, the failure is the answer.
        let parents = match self.known(question, given.clone(), 0).await {
            Ok(Some(admission)) if question.accepts(&admission) => return Ok(admission),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        match self.judge(question, given).await {
            Err(PullError::Refused(refusal)) => Err(parents.err().unwrap_or(PullError::Refused(refusal))),
            judged => judged,
        }
    }

    /// Memory, then the ledger, then through a parent.
    fn known<'a>(
        &'a self,
        question: &'a Question,
        given: Option<Manifest>,
        depth: usize,
    ) -> BoxFuture<'a, Result<Option<Admission>, PullError>> {
        Box::pin(async move {
            if let Some(admission) = self.in_memory(question) {
                return Ok(Some(admission));
            }
            if let Some(admission) = self.recall(question, given.clone()).await? {
                return Ok(Some(self.memorise(question, admission)));
            }
            if let Some(verified) = self.through_parents(question, given.clone(), depth).await? {
                return Ok(Some(self.memorise(question, Admission::Image(verified))));
            }
            // Where nothing is enforced nothing needs to be remembered either.
            if depth > 0 && !matches!(question.rule.enforcement(), Enforcement::Enforce(_)) {
                return self.judge(question, given).await.map(Some);
            }
            Ok(None)
        })
    }

    async fn recall(&self, question: &Question, given: Option<Manifest>) -> Result<Option<Admission>, PullError> {
        let known = self.ledger.known(&question.repository, question.digest).await;
        let Some(known) = known.unwrap_or_else(|error| self.unreadable(&error)) else { return Ok(None) };
        let manifest = match &known {
            // Only what could be taken up is worth fetching.
            Known::Judged(recorded) if recorded.verdict.fingerprint != question.rule.fingerprint() => return Ok(None),
            Known::Judged(recorded) if !recorded.verdict.is_verified() => return Ok(None),
            _ => self.bytes(question, given).await?,
        };
        let now = self.clock.now();
        Ok(match known {
            Known::Judged(recorded) => {
                trust::recall(manifest, &question.repository, &question.rule, *recorded, now).map(Admission::Image)
            }
            Known::Artefact(_) => {
                self.inspector.as_artefact(question, &manifest, self.clock.now()).await?.ok().map(Admission::Artefact)
            }
        })
    }

    async fn through_parents(
        &self,
        question: &Question,
        given: Option<Manifest>,
        depth: usize,
    ) -> Result<Option<Verified<Manifest>>, PullError> {
        if depth >= DEPTH_MAX {
            return Ok(None);
        }
        let parents = self.ledger.parents(&question.repository, question.digest, PARENTS_MAX).await;
        let mut trouble = None;
        for parent in parents.unwrap_or_else(|error| self.unreadable(&error)) {
            let about_parent = Question { digest: parent, ..question.clone() };
            match self.known(&about_parent, None, depth + 1).await {
                Ok(Some(Admission::Image(parent))) => {
                    if let Some(verified) = self.open_child(question, &parent, given.clone()).await? {
                        return Ok(Some(verified));
                    }
                }
                Ok(_) => {}
                // What a refused parent names may still be named by another.
                Err(PullError::Refused(_)) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    async fn open_child(
        &self,
        question: &Question,
        parent: &Verified<Manifest>,
        given: Option<Manifest>,
    ) -> Result<Option<Verified<Manifest>>, PullError> {
        let Some(admitted) = parent.manifest(question.digest) else { return Ok(None) };
        let manifest = self.bytes(question, given).await?;
        let size = manifest.bytes().len() as u64;
        if size != admitted.descriptor().size {
            let detail = format!("the index says it has {} bytes, it has {size}", admitted.descriptor().size);
            return Err(self.refused(question, Reason::UnsafeManifest, detail));
        }
        let verified = admitted.open(manifest).map_err(|mismatch| PullError::Internal(mismatch.to_string().into()))?;
        self.keep(verified.get()).await;
        let edges = Edges::of(verified.get());
        if let Err(error) = self.ledger.record_edges(&question.repository, edges).await {
            self.unwritable(&error);
        }
        Ok(Some(verified))
    }

    /// Looks for signatures and decides.
    async fn judge(&self, question: &Question, given: Option<Manifest>) -> Result<Admission, PullError> {
        let Question { repository, rule, upstream, digest, .. } = question;
        let started = Instant::now();
        let searching: BoxFuture<'_, Search> = match rule.demand() {
            None => Box::pin(std::future::ready(Search::default())),
            Some(demand) => {
                let wanted = Wanted { attestations: !demand.attestations.is_empty() };
                Box::pin(search(upstream, repository, *digest, wanted, &self.limits))
            }
        };
        let given = self.at_hand(question, given).await;
        // A search needs the digest only, so it does not wait for bytes that must be fetched first.
        let at_once = given.is_none() && !question.asks_for_artefact();
        let inspecting = Box::pin(self.inspect(question, given));
        let (inspected, searching) =
            if at_once { beside(inspecting, searching).await } else { (inspecting.await, searching) };
        let (manifest, artefact) = inspected?;
        let not_an_artefact = match artefact {
            Some(Ok(artefact)) => {
                drop(searching);
                let recorded = Recorded::of(artefact.verdict(), &Search::default());
                self.record(artefact.manifest(), recorded).await;
                return Ok(self.memorise(question, Admission::Artefact(artefact)));
            }
            Some(Err(why)) => Some(why),
            None => None,
        };
        let found = searching.await;
        let judged = trust::judge(manifest, repository, rule, &found, self.clock.now());
        if rule.demand().is_some() {
            self.metrics.signature_check(started.elapsed());
        }
        match judged {
            Judgement::Allow(verified) => {
                self.record(verified.get(), Recorded::of(verified.verdict(), &found)).await;
                Ok(self.memorise(question, Admission::Image(verified)))
            }
            Judgement::Refuse(verdict) => {
                if let Err(error) = self.ledger.record(Recorded::of(&verdict, &found), Edges::default()).await {
                    self.unwritable(&error);
                }
                match not_an_artefact.filter(|_| question.asks_for_artefact()) {
                    Some(why) => Err(self.refused(question, Reason::NotAnArtefact, why.to_string())),
                    None => Err(PullError::Refused(Box::new(refusal(question, verdict)))),
                }
            }
            Judgement::Unknown(verdict) => {
                let detail = match &verdict.decision {
                    Decision::Unknown { detail } => detail.clone(),
                    _ => String::new(),
                };
                Err(PullError::CouldNotCheck {
                    image: question.image(),
                    detail,
                    retry_after: None,
                    verdict: Some(verdict),
                })
            }
        }
    }

    /// The manifest, and where anything is demanded, whether it is an artefact.
    async fn inspect(
        &self,
        question: &Question,
        given: Option<Manifest>,
    ) -> Result<(Manifest, Option<Result<Artefact, NotAnArtefact>>), PullError> {
        let manifest = self.bytes(question, given).await?;
        let artefact = match question.rule.demand() {
            None => None,
            Some(_) => Some(self.inspector.as_artefact(question, &manifest, self.clock.now()).await?),
        };
        Ok((manifest, artefact))
    }

    /// The manifest's bytes: at hand, stored, or from upstream by digest.
    async fn bytes(&self, question: &Question, given: Option<Manifest>) -> Result<Manifest, PullError> {
        match self.at_hand(question, given).await {
            Some(manifest) => Ok(manifest),
            None => fetch(&question.upstream, &question.repository, &Reference::Digest(question.digest)).await,
        }
    }

    async fn at_hand(&self, question: &Question, given: Option<Manifest>) -> Option<Manifest> {
        match given.filter(|given| given.digest() == question.digest) {
            Some(given) => Some(given),
            None => self.stored(question.digest).await,
        }
    }

    async fn stored(&self, digest: Digest) -> Option<Manifest> {
        match self.store.read(digest, MANIFEST_MAX).await {
            Ok(bytes) => Manifest::parse(bytes?, None).ok(),
            Err(error) => {
                tracing::error!(%digest, %error, "stored content could not be read");
                None
            }
        }
    }

    async fn record(&self, manifest: &Manifest, recorded: Recorded) {
        // The bytes first: a verdict on bytes that we do not have costs a fetch, nothing else.
        self.keep(manifest).await;
        if let Err(error) = self.ledger.record(recorded, Edges::of(manifest)).await {
            self.unwritable(&error);
        }
    }

    async fn keep(&self, manifest: &Manifest) {
        if let Err(error) = self.store.write(manifest.bytes().clone()).await {
            tracing::error!(digest = %manifest.digest(), error = %with_causes(&error), "a manifest could not be kept");
        }
    }

    fn refused(&self, question: &Question, reason: Reason, detail: String) -> PullError {
        let Question { repository, rule, digest, .. } = question;
        let verdict = trust::refuse(repository, *digest, rule, reason, detail, self.clock.now());
        PullError::Refused(Box::new(refusal(question, Arc::new(verdict))))
    }

    /// A ledger that does not answer costs memory, not safety.
    fn unreadable<T: Default>(&self, error: &crate::ledger::LedgerError) -> T {
        tracing::error!(error = %with_causes(error), "the ledger could not be read");
        T::default()
    }

    fn unwritable(&self, error: &crate::ledger::LedgerError) {
        tracing::error!(error = %with_causes(error), "the ledger could not be written");
    }
}

impl Question {
    /// Whether the tag is one under which signature artefacts are kept.
    fn asks_for_artefact(&self) -> bool {
        matches!(&self.asked, Reference::Tag(tag) if tag.as_artefact().is_some())
    }

    /// Whether an artefact is an answer. Under an ordinary tag an image is meant, and nothing that is
    /// not signed may stand in for it.
    pub(super) fn may_be_artefact(&self) -> bool {
        matches!(self.asked, Reference::Digest(_)) || self.asks_for_artefact()
    }

    /// Whether an admission answers the question.
    fn accepts(&self, admission: &Admission) -> bool {
        matches!(admission, Admission::Image(_)) || self.may_be_artefact()
    }

    /// The image as a person would write it.
    pub(super) fn image(&self) -> String {
        let separator = match &self.asked {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        format!("{}{separator}{}", self.repository, self.asked)
    }
}

/// The refusal as it is shown, from the verdict that it rests on.
fn refusal(question: &Question, verdict: Arc<Verdict>) -> Refusal {
    let (reason, detail) = verdict.refusal().map_or((Reason::NoSignature, String::new()), |(r, d)| (r, d.to_owned()));
    let by_digest = matches!(question.asked, Reference::Digest(_));
    let (detail, next_step) = match reason {
        Reason::NoSignature if by_digest => (
            format!("no verified index that was seen here names it, and of its own there is {detail}"),
            Reason::NotNamed.next_step(),
        ),
        reason => (detail, reason.next_step()),
    };
    Refusal {
        repository: question.repository.clone(),
        asked: question.asked.to_string(),
        reason,
        rule: Some(question.rule.name().to_owned()),
        detail,
        next_step: next_step.to_owned(),
        verdict: Some(verdict),
    }
}
