//! The pipeline. Each step takes a value and gives a stronger one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::oci::{Claim, Descriptor, Digest, Manifest, RangeAsk, Reference, Registry, Repository, Tag};
use crate::store::DiskStore;
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, Metrics};
use crate::trust::{Policy, Reason, Rule};
use crate::upstream::{SignatureLimits, TagPage, Upstream, Upstreams};

use super::admission::Admission;
use super::admit::{Gatekeeper, Memory};
use super::error::{PullError, Refusal};
use super::explain::{Explanation, Parent};
use super::fill::{Fills, Most, SILENT_FOR};
use super::flight::Flights;
use super::from_upstream::upstream_error;
use super::in_force::InForce;
use super::keeping::Keeping;
use super::lineage::Lineage;
use super::membership::{Member, Membership};
use super::pass_through::PASSING_MAX;
use super::places::Places;
use super::question::Question;
use super::refusals::Refusals;
use super::resolve::{From, Resolver};
use super::rollback::RollbackWatch;
use super::servable::Servable;

/// How many artefact payloads of one upstream are held in memory at once while they are looked at.
const INSPECTIONS_MAX: usize = 4;

/// Lists of tags and referrers that are read for clients at once, per upstream: each may have some megabytes.
const LISTS_MAX: usize = 8;

/// How long a client waits until its list is read; that takes as long at most.
const LIST_WAIT: Duration = Duration::from_secs(30);

/// Most referrers that are listed for a client.
const REFERRERS_MAX: usize = 1000;

/// How long it is remembered that upstream has no such tag or content, or that it was refused: for the GET that
/// follows a HEAD, and for a crowd. So short that who pushes or signs something now does not come before its end. What
/// could not be asked or checked is not remembered at all.
pub const ABSENT_FOR: Duration = Duration::from_millis(500);

/// What a puller is made of.
pub struct PullerParts {
    /// Who must have signed what.
    pub policy: Arc<Policy>,
    /// Where content comes from.
    pub upstreams: Arc<Upstreams>,
    /// Where content is kept.
    pub store: Arc<DiskStore>,
    /// What is remembered about it.
    pub ledger: Ledger,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Owner of fetches and judgements.
    pub tasks: Tasks,
    /// How much is looked at in search of signatures.
    pub limits: SignatureLimits,
    /// How many fetches of blobs may run at once.
    pub fetches_max: usize,
    /// How long an answer is used whatever becomes of it: "none", "no", and a tag before it is admitted. [`ABSENT_FOR`].
    pub absent_for: Duration,
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
}

/// Answers what clients ask. The only way from a request to content.
pub struct Puller {
    pub(super) in_force: ArcSwap<InForce>,
    pub(super) policies: watch::Sender<Arc<Policy>>,
    pub(super) limits: Arc<ArcSwap<SignatureLimits>>,
    pub(super) store: Arc<DiskStore>,
    pub(super) ledger: Ledger,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) gatekeeper: Gatekeeper,
    pub(super) membership: Membership,
    pub(super) resolver: Resolver,
    pub(super) rollbacks: RollbackWatch,
    pub(super) refusals: Refusals,
    pub(super) fills: Fills,
    /// What is small and cannot be kept, on its way into memory.
    pub(super) small: Flights<(Repository, Claim), Result<Bytes, PullError>>,
    pub(super) passing: Arc<Places>,
    pub(super) keeping: Arc<Keeping>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) inspections: Places,
    pub(super) lists: Places,
}

/// Content that may be sent.
pub struct Answer {
    /// The proof with its content.
    pub servable: Servable,
    /// Where the content came from.
    pub cache: CacheOutcome,
}

/// How much of a blob is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobWant {
    /// Size and digest.
    Head,
    /// Everything.
    Whole,
    /// A part.
    Range(RangeAsk),
}

impl Puller {
    /// Ready to answer.
    pub fn new(parts: PullerParts) -> Self {
        let PullerParts { policy, upstreams, store, ledger, clock, tasks, limits, fetches_max, absent_for, metrics } =
            parts;
        let keeping = Arc::new(Keeping::new(Arc::clone(&metrics)));
        let lineage = Lineage::new(ledger.clone(), Arc::clone(&keeping));
        let memory = Memory {
            store: Arc::clone(&store),
            ledger: ledger.clone(),
            lineage: lineage.clone(),
            keeping: Arc::clone(&keeping),
        };
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        let gatekeeper =
            Gatekeeper::new(memory, Arc::clone(&clock), Arc::clone(&limits), Arc::clone(&metrics), tasks.clone());
        let most = Most { fetches: fetches_max, absent_for, silent_for: SILENT_FOR };
        let resolver =
            Resolver::new((ledger.clone(), Arc::clone(&keeping)), Arc::clone(&clock), absent_for, tasks.clone());
        Self {
            policies: watch::Sender::new(Arc::clone(&policy)),
            in_force: ArcSwap::from_pointee(InForce { policy, upstreams }),
            limits,
            membership: Membership::new(gatekeeper.clone(), lineage, Arc::clone(&clock)),
            gatekeeper,
            rollbacks: RollbackWatch::new(ledger.clone(), Arc::clone(&clock), Arc::clone(&metrics)),
            refusals: Refusals::new(absent_for),
            resolver,
            ledger,
            clock,
            small: Flights::new("small", tasks.clone()),
            fills: Fills::new(Arc::clone(&store), Arc::clone(&keeping), most, Arc::clone(&metrics), tasks),
            passing: Arc::new(Places::new(PASSING_MAX)),
            keeping,
            metrics,
            store,
            inspections: Places::new(INSPECTIONS_MAX),
            lists: Places::new(LISTS_MAX),
        }
    }

    /// Policy and upstreams as they are now.
    pub fn in_force(&self) -> Arc<InForce> {
        self.in_force.load_full()
    }

    /// Puts another policy and other upstreams in force, both at once. Questions that come from now on are
    /// answered under them, whatever is remembered from before; those that are being answered keep theirs to
    /// the end, and so do fetches.
    pub fn put_in_force(&self, fresh: InForce) {
        let policy = Arc::clone(&fresh.policy);
        self.in_force.store(Arc::new(fresh));
        self.policies.send_replace(policy);
    }

    /// Puts another policy in force; the upstreams stay.
    pub fn replace_policy(&self, policy: Policy) {
        let policy = Arc::new(policy);
        self.in_force.rcu(|now| InForce { policy: Arc::clone(&policy), upstreams: Arc::clone(&now.upstreams) });
        self.policies.send_replace(policy);
    }

    /// The policy in force, and every one that comes after it.
    pub fn policies(&self) -> watch::Receiver<Arc<Policy>> {
        self.policies.subscribe()
    }

    /// Changes how much is looked at in search of signatures. Searches that are under way keep theirs.
    pub fn replace_limits(&self, limits: SignatureLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Whether a registry is among the configured upstreams.
    pub fn knows(&self, registry: &Registry) -> bool {
        self.in_force.load().upstreams.get(registry).is_some()
    }

    /// Whether what is pulled can be kept: tries it, for the readiness probe. Otherwise it is served all the same,
    /// without being kept.
    ///
    /// # Errors
    /// Why not.
    pub async fn keeps(&self) -> Result<(), String> {
        match self.store.probe().await {
            Ok(()) => self.keeping.kept(),
            Err(error) => self.keeping.failed("content", &error),
        }
        self.keeping.trouble().map_or(Ok(()), Err)
    }

    /// A manifest, if it may be served. HEAD and GET alike. Cancel safe: a dropped call leaves the
    /// work to others who wait for it.
    pub async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Answer, PullError> {
        let (admission, cache) = self.admit(repository, reference).await?;
        let servable = match &admission {
            Admission::Image(verified) => Servable::manifest(verified),
            Admission::Artefact(artefact) => Servable::artefact(artefact),
        };
        self.note_use(&servable);
        self.keep_again(admission.manifest()).await;
        Ok(Answer { servable, cache })
    }

    /// A manifest that was evicted and is served from memory: its image is kept from now on, so it must be whole.
    async fn keep_again(&self, manifest: &Manifest) {
        if self.store.has_gone(manifest.digest()) {
            self.gatekeeper.keep(manifest).await;
        }
    }

    /// What the answer rests on was used: that keeps it, with all it names, in the cache.
    fn note_use(&self, servable: &Servable) {
        let verdict = servable.verdict();
        self.ledger.note_use(&verdict.repository, verdict.digest, self.clock.now());
    }

    /// What the gate says about an image: the same steps as for serving it.
    pub async fn explain(&self, repository: &Repository, reference: &Reference) -> Result<Explanation, PullError> {
        let (admission, _) = self.admit(repository, reference).await?;
        let (digest, verdict) = (admission.manifest().digest(), Arc::clone(admission.verdict()));
        let parent = Parent::of(&self.store, digest, &verdict).await;
        let parent = parent.map(|parent| Parent { tag: self.gatekeeper.parent_tag(repository, digest), ..parent });
        Ok(Explanation { digest, parent, verdict })
    }

    async fn admit(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<(Admission, CacheOutcome), PullError> {
        let (upstream, rule) = self.rule_for(repository, reference)?;
        let (repository, asked) = (repository.clone(), reference.clone());
        match reference {
            Reference::Digest(digest) => {
                let question = Question { repository, rule, upstream, digest: *digest, asked };
                self.pass_gate(&question, None).await
            }
            // Larger: boxed, so that the future of a request by digest is small.
            Reference::Tag(tag) => Box::pin(self.admit_tag(repository, tag, rule, upstream)).await,
        }
    }

    async fn admit_tag(
        &self,
        repository: Repository,
        tag: &Tag,
        rule: Arc<Rule>,
        upstream: Arc<Upstream>,
    ) -> Result<(Admission, CacheOutcome), PullError> {
        let mut resolved = self.resolver.resolve(&upstream, &repository, tag).await?;
        let (digest, asked) = (resolved.digest, Reference::Tag(tag.clone()));
        let question = Question { repository, rule, upstream, digest, asked };
        let (admission, cache) = self.pass_gate(&question, resolved.manifest.take()).await?;
        self.rollbacks.look(&question, tag, admission.verdict()).await?;
        self.resolver.remember(&question.upstream, &question.repository, tag, &resolved).await;
        Ok((admission, if resolved.from == From::Stale { CacheOutcome::Stale } else { cache }))
    }

    async fn pass_gate(
        &self,
        question: &Question,
        given: Option<Manifest>,
    ) -> Result<(Admission, CacheOutcome), PullError> {
        if let Some(no) = self.refusals.of(question) {
            return Err(no);
        }
        let answer = self.gatekeeper.admit(question.clone(), given).await;
        self.refusals.note(question, &answer);
        answer
    }

    /// A blob, if a verified manifest of this repository names it.
    pub async fn blob(&self, repository: &Repository, digest: Digest, want: BlobWant) -> Result<Answer, PullError> {
        let (upstream, rule) = self.rule_for(repository, &digest)?;
        let question =
            Question { repository: repository.clone(), rule, upstream, digest, asked: Reference::Digest(digest) };
        let answer = match self.membership.admit(&question).await? {
            Member::Image(admitted) => self.image_blob(&question, &admitted, want).await,
            Member::Artefact(blob) => Box::pin(self.artefact_blob(&question, blob, want)).await,
        }?;
        self.note_use(&answer.servable);
        Ok(answer)
    }

    /// Tags, as upstream lists them. Names only: what they stand for goes through the gate when asked.
    pub async fn tags(
        &self,
        repository: &Repository,
        n: Option<u32>,
        last: Option<&Tag>,
    ) -> Result<TagPage, PullError> {
        let (upstream, _) = self.rule_for(repository, &"tags")?;
        let _place = self.place_for_list(repository.registry()).await?;
        Box::pin(upstream.tags(repository, n, last))
            .await
            .map_err(|e| upstream_error(&upstream, &repository.to_string(), &e))
    }

    /// What refers to a digest, from the referrers API or the fallback tag.
    pub async fn referrers(&self, repository: &Repository, subject: Digest) -> Result<Vec<Descriptor>, PullError> {
        let (upstream, _) = self.rule_for(repository, &subject)?;
        let _place = self.place_for_list(repository.registry()).await?;
        let fail = |error| upstream_error(&upstream, &format!("referrers of {subject}"), &error);
        if let Some(referrers) = Box::pin(upstream.referrers(repository, subject, REFERRERS_MAX)).await.map_err(fail)? {
            return Ok(referrers.descriptors);
        }
        let fallback = Reference::Tag(Tag::of_artefact(subject, crate::oci::ArtefactTag::Referrers));
        match super::from_upstream::fetch(&upstream, repository, &fallback).await {
            Ok(manifest) => Ok(manifest.index().map(|index| index.manifests.clone()).unwrap_or_default()),
            Err(PullError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn place_for_list(&self, registry: &Registry) -> Result<OwnedSemaphorePermit, PullError> {
        let waited = tokio::time::timeout(LIST_WAIT, self.lists.take(registry)).await;
        waited.map_err(|_| PullError::Upstream {
            registry: registry.clone(),
            detail: "too many of its lists are being read, and it is slow".to_owned(),
            retry_after: Some(LIST_WAIT),
            away: false,
        })
    }

    /// Closed world: an unknown registry is never contacted, and without a rule nothing is.
    fn rule_for(
        &self,
        repository: &Repository,
        asked: &dyn std::fmt::Display,
    ) -> Result<(Arc<Upstream>, Arc<Rule>), PullError> {
        let registry = repository.registry();
        let in_force = self.in_force.load();
        let InForce { policy, upstreams } = &**in_force;
        let upstream = upstreams.get(registry).ok_or_else(|| PullError::UnknownRegistry(registry.clone()))?;
        let rule = policy.rule_for(repository).cloned().ok_or_else(|| {
            let hint = policy.no_rule_hint();
            PullError::Refused(Box::new(Refusal {
                repository: repository.clone(),
                asked: asked.to_string(),
                reason: Reason::NoPolicy,
                rule: None,
                detail: "no rule covers this repository".to_owned(),
                next_step: hint.unwrap_or(Reason::NoPolicy.next_step()).to_owned(),
                verdict: None,
            }))
        })?;
        Ok((upstream, rule))
    }
}
