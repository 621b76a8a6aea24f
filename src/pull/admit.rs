//! From a manifest's digest to a proof: remembered, through a parent, or judged afresh.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::ledger::{Edges, Ledger};
use crate::oci::{Digest, MANIFEST_MAX, Manifest, Reference, Repository, Tag};
use crate::store::DiskStore;
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, Metrics};
use crate::trust::artefact::NotAnArtefact;
use crate::trust::{Artefact, Decision, Judgement, Reason, Recorded, Search, Verified};
use crate::upstream::{SignatureLimits, Wanted};

use super::admission::{Admission, stands};
use super::audited::Audited;
use super::error::PullError;
use super::flight::Flights;
use super::from_upstream::{beside, fetch, search, with_causes};
use super::inspect::Inspector;
use super::keeping::Keeping;
use super::lineage::Lineage;
use super::named_by::named_by;
use super::parents::ParentSearches;
use super::platform::Platforms;
use super::question::{Key, Question};
use super::recall::Known;
use super::walk::{Walk, Walked};

/// How many bytes of admitted manifests and their verdicts are kept in memory.
const MEMORY_MAX: u64 = 32 * 1024 * 1024;

/// A look that nobody answered for so long is not waited for by those who come later: it may hang on a connection from
/// before an outage. They look again: some six looks at one digest can run, if each hangs until its deadlines end it.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Decides which manifests may be served. One judgement for any crowd.
#[derive(Clone)]
pub(super) struct Gatekeeper(Arc<Parts>);

/// Where manifests and what is known about them are kept.
pub(super) struct Memory {
    pub(super) store: Arc<DiskStore>,
    pub(super) ledger: Ledger,
    pub(super) lineage: Lineage,
    pub(super) keeping: Arc<Keeping>,
}

/// How a manifest that an index names is opened.
#[derive(Default)]
pub(super) struct Opened {
    /// Its bytes, if they are at hand.
    pub(super) given: Option<Manifest>,
    /// Only if it names this.
    pub(super) names: Option<Digest>,
}

pub(super) struct Parts {
    store: Arc<DiskStore>,
    pub(super) ledger: Ledger,
    lineage: Lineage,
    keeping: Arc<Keeping>,
    pub(super) clock: Arc<dyn Clock>,
    limits: Arc<ArcSwap<SignatureLimits>>,
    metrics: Arc<Metrics>,
    /// Both by what was asked; which rule it was under stands in the verdict.
    admitted: moka::sync::Cache<(Repository, Digest), Admission>,
    audited: Audited,
    pub(super) inspector: Inspector,
    platforms: Platforms,
    searches: ParentSearches,
    /// By what is asked under which rule, and whether an artefact is an answer.
    flights: Flights<(Key, bool), Result<Admission, PullError>>,
    /// What is known, for those who ask for blobs. Work in here may wait for `flights`, never the other way.
    lookups: Flights<Key, Result<Option<Admission>, PullError>>,
}

impl Gatekeeper {
    pub(super) fn new(
        memory: Memory,
        clock: Arc<dyn Clock>,
        limits: Arc<ArcSwap<SignatureLimits>>,
        metrics: Arc<Metrics>,
        tasks: Tasks,
    ) -> Self {
        let Memory { store, ledger, lineage, keeping } = memory;
        let admitted = moka::sync::Cache::builder().max_capacity(MEMORY_MAX);
        Self(Arc::new(Parts {
            inspector: Inspector::new(Arc::clone(&store), Arc::clone(&keeping)),
            platforms: Platforms::new(
                (ledger.clone(), Arc::clone(&keeping)),
                Arc::clone(&clock),
                Arc::clone(&limits),
                Arc::clone(&metrics),
                tasks.clone(),
            ),
            searches: ParentSearches::new(),
            store,
            ledger,
            lineage,
            keeping,
            clock,
            limits,
            metrics,
            admitted: admitted.weigher(|_, admission: &Admission| admission.weight()).build(),
            audited: Audited::new(MEMORY_MAX),
            flights: Flights::new("admit", tasks.clone()).renewed_after(LOOK_AGAIN_AFTER),
            lookups: Flights::new("known", tasks).renewed_after(LOOK_AGAIN_AFTER),
        }))
    }

    /// Admits a manifest or says why not. `given` are its bytes, if they are at hand. Cancel safe.
    pub(super) async fn admit(
        &self,
        question: Question,
        given: Option<Manifest>,
    ) -> Result<(Admission, CacheOutcome), PullError> {
        question.pass_deny_list(self.0.clock.now())?;
        if let Some(admission) = self.0.in_memory(&question).filter(|admission| question.accepts(admission)) {
            return Ok((admission, CacheOutcome::Memory));
        }
        // Large: boxed, so that the future of a request for what is remembered is small.
        Box::pin(self.admit_anew(question, given)).await
    }

    async fn admit_anew(
        &self,
        question: Question,
        given: Option<Manifest>,
    ) -> Result<(Admission, CacheOutcome), PullError> {
        let key = (question.key(), question.may_be_artefact());
        let parts = Arc::clone(&self.0);
        let had_bytes = parts.store.has(question.digest).await;
        let last = self.0.audited.last(&question, self.0.clock.now()).filter(|last| question.accepts(last));
        let (upstream, repository) = (Arc::clone(&question.upstream), question.repository.clone());
        let work = || async move { parts.admit(&question, given).await };
        let joined = self.0.flights.join(key, work);
        let admitted = match last {
            None => joined.await,
            // Nothing rests on this look but what is written down: where upstream is silent, nobody waits long for it.
            Some(last) => match upstream.in_patience(&repository, joined).await {
                None | Some(Ok(Err(PullError::Upstream { away: true, .. }))) => {
                    return Ok((last, CacheOutcome::Memory));
                }
                Some(admitted) => admitted,
            },
        };
        let admission = admitted.map_err(|_| PullError::Internal("the program is stopping".into()))??;
        Ok((admission, if had_bytes { CacheOutcome::Hit } else { CacheOutcome::Fill }))
    }

    /// What is known about a manifest, itself or through its parents. `None`: nothing. What was never verified
    /// here is not judged where a rule is enforced; what was, under an earlier rule, is. Where nothing is enforced,
    /// what was let through once is so again without a look: that is taken when it is asked for itself. Cancel safe.
    pub(super) async fn known(&self, question: &Question, walk: Walk) -> Result<Option<Admission>, PullError> {
        question.pass_deny_list(self.0.clock.now())?;
        if let Some(admission) = self.0.in_memory(question).or_else(|| self.0.audited_last(question)) {
            return Ok(Some(admission));
        }
        let (gatekeeper, about, begins) = (self.clone(), question.clone(), walk.begins());
        let work = || async move {
            match gatekeeper.0.known(&about, None, walk).await? {
                Known::Admitted(admission) => Ok(Some(admission)),
                Known::Nothing if about.is_enforced() => Ok(None),
                Known::Nothing | Known::Outdated => Ok(Some(gatekeeper.admit(about, None).await?.0)),
            }
        };
        // What a walk passed before, it passes over: its answer is not one to those who begin.
        if !begins {
            return work().await;
        }
        let known = self.0.lookups.join(question.key(), work).await;
        known.map_err(|_| PullError::Internal("the program is stopping".into()))?
    }

    /// Opens a manifest that a verified index names and that names `blob` itself, and remembers what it names.
    pub(super) async fn open_child_with(
        &self,
        question: &Question,
        parent: &Verified<Manifest>,
        blob: Digest,
    ) -> Result<Option<Verified<Manifest>>, PullError> {
        self.0.open_child(question, parent, Opened { given: None, names: Some(blob) }).await
    }

    /// Which recorded manifests name a digest.
    pub(super) async fn named_by(&self, question: &Question) -> Vec<Digest> {
        named_by(&self.0.store, &self.0.lineage, question).await
    }

    /// Stores an admitted manifest, if the disk takes it.
    pub(super) async fn keep(&self, manifest: &Manifest) {
        self.0.keep(manifest).await;
    }

    /// The tag by which the parent of an admitted manifest was found, if it had to be searched for.
    pub(super) fn parent_tag(&self, repository: &Repository, digest: Digest) -> Option<Tag> {
        self.0.searches.tag(repository, digest)
    }
}

impl Parts {
    fn in_memory(&self, question: &Question) -> Option<Admission> {
        let (key, now) = ((question.repository.clone(), question.digest), self.clock.now());
        let admitted = self.admitted.get(&key).filter(|admission| stands(admission.verdict(), question, now));
        admitted.or_else(|| self.audited.lately(question, now))
    }

    /// What was let through under `audit` when somebody asked for it last. Whoever asks for what it names does not make
    /// us look again: that is done when it is asked for itself.
    fn audited_last(&self, question: &Question) -> Option<Admission> {
        self.audited.last(question, self.clock.now())
    }

    fn memorise(&self, question: &Question, admission: Admission) -> Admission {
        match admission.verdict().decision {
            Decision::Verified { .. } | Decision::Unchecked | Decision::Artefact => {
                self.audited.forget(question);
                self.admitted.insert((question.repository.clone(), question.digest), admission.clone());
                admission
            }
            Decision::Refused { .. } | Decision::Unknown { .. } => {
                self.audited.insert(question, admission, self.clock.now())
            }
        }
    }

    async fn admit(&self, question: &Question, given: Option<Manifest>) -> Result<Admission, PullError> {
        match self.admit_itself(question, given).await {
            Err(PullError::Refused(refusal)) => {
                let verified = self.searches.find(self, question, *refusal).await?;
                Ok(self.memorise(question, Admission::Image(verified)))
            }
            admitted => admitted,
        }
    }

    /// By what is known about it, or by its own signatures.
    pub(super) async fn admit_itself(
        &self,
        question: &Question,
        given: Option<Manifest>,
    ) -> Result<Admission, PullError> {
        // A parent that could not be looked at is not yet a reason to refuse: the manifest may be
        // signed itself. If it is not, the failure is the answer.
        let walk = Walked::default().start();
        let parents = match self.known(question, given.clone(), walk).await {
            Ok(Known::Admitted(admission)) if question.accepts(&admission) => return Ok(admission),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(PullError::Refused(refusal)) = &parents
            && refusal.reason != Reason::UnsafeManifest
        {
            // Denied, or without what must be attested about it: its own signature would not help.
            return Err(PullError::Refused(refusal.clone()));
        }
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
        walk: Walk,
    ) -> BoxFuture<'a, Result<Known, PullError>> {
        Box::pin(async move {
            question.pass_deny_list(self.clock.now())?;
            if let Some(admission) = self.in_memory(question) {
                return Ok(Known::Admitted(admission));
            }
            if !walk.is_first_at(question.digest) {
                return Ok(Known::Nothing);
            }
            let recalled = self.recall(question, given.clone()).await?;
            if let Known::Admitted(admission) = recalled {
                return Ok(Known::Admitted(self.memorise(question, admission)));
            }
            if let Some(verified) = self.through_parents(question, given.clone(), &walk).await? {
                return Ok(Known::Admitted(self.memorise(question, Admission::Image(verified))));
            }
            // Where nothing is enforced nothing needs to be remembered either. And what was verified under
            // another rule may have been signed for this one, too: only upstream knows.
            if walk.is_on_the_way() && (!question.is_enforced() || matches!(recalled, Known::Outdated)) {
                let judged = match self.judge(&question.about(question.digest), given).await {
                    Err(error @ PullError::Upstream { away: true, .. }) => self.audited_last(question).ok_or(error),
                    judged => judged,
                };
                return judged.map(Known::Admitted);
            }
            Ok(recalled)
        })
    }

    async fn through_parents(
        &self,
        question: &Question,
        given: Option<Manifest>,
        walk: &Walk,
    ) -> Result<Option<Verified<Manifest>>, PullError> {
        let Some(up) = walk.up() else { return Ok(None) };
        let mut trouble = None;
        for parent in named_by(&self.store, &self.lineage, question).await {
            let about_parent = Question { digest: parent, ..question.clone() };
            match self.known(&about_parent, None, up.clone()).await {
                Ok(Known::Admitted(Admission::Image(parent))) => {
                    let opened = Opened { given: given.clone(), names: None };
                    if let Some(verified) = self.open_child(question, &parent, opened).await? {
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

    /// Every way from an index to what it names goes through here.
    pub(super) async fn open_child(
        &self,
        question: &Question,
        parent: &Verified<Manifest>,
        Opened { given, names }: Opened,
    ) -> Result<Option<Verified<Manifest>>, PullError> {
        question.pass_deny_list(self.clock.now())?;
        let Some(admitted) = parent.manifest(question.digest) else { return Ok(None) };
        let manifest = self.bytes(question, given).await?;
        let size = manifest.bytes().len() as u64;
        if size != admitted.descriptor().size {
            let detail = format!("the index says it has {} bytes, it has {size}", admitted.descriptor().size);
            return Err(question.refused(Reason::UnsafeManifest, detail, self.clock.now()));
        }
        let verified = admitted.open(manifest).map_err(|mismatch| PullError::Internal(mismatch.to_string().into()))?;
        self.keep(verified.get()).await;
        self.lineage.record_edges(&question.repository, Edges::of(verified.get())).await;
        if names.is_some_and(|blob| verified.get().named().all(|named| named.digest != blob)) {
            return Ok(None);
        }
        self.platforms.attested(question, parent, verified).await.map(Some)
    }

    /// Looks for signatures and decides.
    async fn judge(&self, question: &Question, given: Option<Manifest>) -> Result<Admission, PullError> {
        let Question { repository, rule, upstream, digest, .. } = question;
        question.pass_deny_list(self.clock.now())?;
        let (started, limits) = (Instant::now(), self.limits.load_full());
        let searching: BoxFuture<'_, Search> = match rule.demand() {
            None => Box::pin(std::future::ready(Search::default())),
            Some(_) => {
                let wanted = Wanted { attestations: question.wants_attestations() };
                Box::pin(search(upstream, repository, *digest, wanted, &limits))
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
        let (judged, found) = question.judge(manifest, found, self.clock.now()).await?;
        if rule.demand().is_some() {
            self.metrics.signature_check(started.elapsed());
        }
        let is_verified = matches!(&judged, Judgement::Allow(verified) if verified.verdict().is_verified());
        // Nothing was when this look began. One that began later may have come further while this one hung.
        let since = self.in_memory(question).filter(|since| since.verdict().is_verified() && question.accepts(since));
        if let Some(since) = since.filter(|_| !is_verified) {
            return Ok(since);
        }
        match judged {
            Judgement::Allow(verified) => {
                self.record(verified.get(), Recorded::of(verified.verdict(), &found)).await;
                Ok(self.memorise(question, Admission::Image(verified)))
            }
            Judgement::Refuse(verdict) => {
                self.lineage.record(Recorded::refusal(&verdict), Edges::default()).await;
                match not_an_artefact.filter(|_| question.asks_for_artefact()) {
                    Some(why) => Err(question.refused(Reason::NotAnArtefact, why.to_string(), self.clock.now())),
                    None => Err(PullError::Refused(Box::new(question.refusal(verdict)))),
                }
            }
            Judgement::Unknown(verdict) => Err(question.could_not_check(verdict)),
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
    pub(super) async fn bytes(&self, question: &Question, given: Option<Manifest>) -> Result<Manifest, PullError> {
        match self.at_hand(question, given).await {
            Some(manifest) => Ok(manifest),
            None => fetch(&question.upstream, &question.repository, &Reference::Digest(question.digest)).await,
        }
    }

    pub(super) async fn at_hand(&self, question: &Question, given: Option<Manifest>) -> Option<Manifest> {
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

    pub(super) async fn record(&self, manifest: &Manifest, recorded: Recorded) {
        // The bytes first: a verdict on bytes that we do not have costs a fetch, nothing else.
        self.keep(manifest).await;
        self.lineage.record(recorded, Edges::of(manifest)).await;
    }

    pub(super) async fn keep(&self, manifest: &Manifest) {
        match self.store.write(manifest.bytes().clone()).await {
            Ok(()) => self.keeping.kept(),
            Err(error) => self.keeping.failed("a manifest", &error),
        }
    }

    /// A ledger that does not answer costs memory, not safety.
    pub(super) fn unreadable<T: Default>(&self, error: &crate::ledger::LedgerError) -> T {
        tracing::error!(error = %with_causes(error), "the ledger could not be read");
        T::default()
    }
}
