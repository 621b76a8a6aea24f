//! The pipeline. Each step takes a value and gives a stronger one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::oci::{Claim, Descriptor, Digest, RangeAsk, Reference, Registry, Repository, Tag};
use crate::store::{DiskStore, HOLD_BACK, Incoming, Progress};
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, Metrics};
use crate::trust::artefact::ARTEFACT_PAYLOAD_MAX;
use crate::trust::{AdmittedBlob, ArtefactBlob, Policy, Reason, Rule};
use crate::upstream::{SignatureLimits, TagPage, Upstream, Upstreams};

use super::admit::{Admission, Gatekeeper, Memory};
use super::error::{PullError, Refusal};
use super::explain::{Explanation, Parent};
use super::fill::Fills;
use super::from_upstream::upstream_error;
use super::membership::{Member, Membership};
use super::places::Places;
use super::question::Question;
use super::resolve::Resolver;
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
    /// Counts what happens.
    pub metrics: Arc<Metrics>,
}

/// Answers what clients ask. The only way from a request to content.
pub struct Puller {
    policy: ArcSwap<Policy>,
    upstreams: Arc<Upstreams>,
    store: Arc<DiskStore>,
    gatekeeper: Gatekeeper,
    membership: Membership,
    resolver: Resolver,
    rollbacks: RollbackWatch,
    fills: Fills,
    inspections: Places,
    lists: Places,
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
        let PullerParts { policy, upstreams, store, ledger, clock, tasks, limits, fetches_max, metrics } = parts;
        let memory = Memory { store: Arc::clone(&store), ledger: ledger.clone() };
        let gatekeeper = Gatekeeper::new(memory, Arc::clone(&clock), limits, Arc::clone(&metrics), tasks.clone());
        let registries = upstreams.registries().count();
        Self {
            policy: ArcSwap::new(policy),
            upstreams,
            membership: Membership::new(gatekeeper.clone(), ledger.clone(), Arc::clone(&clock)),
            gatekeeper,
            rollbacks: RollbackWatch::new(ledger.clone(), Arc::clone(&clock), Arc::clone(&metrics)),
            resolver: Resolver::new(ledger, clock, tasks.clone()),
            fills: Fills::new(Arc::clone(&store), fetches_max, registries, metrics, tasks),
            store,
            inspections: Places::new(INSPECTIONS_MAX),
            lists: Places::new(LISTS_MAX),
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Puts another policy in force. Questions that come from now on are answered under it, whatever is
    /// remembered from before; those that are being answered keep theirs to the end.
    pub fn replace_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Whether a registry is among the configured upstreams.
    pub fn knows(&self, registry: &Registry) -> bool {
        self.upstreams.get(registry).is_some()
    }

    /// Whether content can be kept: for the readiness probe.
    pub async fn ready(&self) -> Result<(), String> {
        self.store.probe().await.map_err(|error| super::from_upstream::with_causes(&error))
    }

    /// A manifest, if it may be served. HEAD and GET alike. Cancel safe: a dropped call leaves the
    /// work to others who wait for it.
    pub async fn manifest(&self, repository: &Repository, reference: &Reference) -> Result<Answer, PullError> {
        let (admission, cache) = self.admit(repository, reference).await?;
        let servable = match &admission {
            Admission::Image(verified) => Servable::manifest(verified),
            Admission::Artefact(artefact) => Servable::artefact(artefact),
        };
        Ok(Answer { servable, cache })
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
        let (upstream, rule) = self.rule_for(repository, &reference.to_string())?;
        let resolved = match reference {
            Reference::Digest(digest) => (*digest, None),
            Reference::Tag(tag) => {
                let resolved = self.resolver.resolve(&upstream, repository, tag).await?;
                (resolved.digest, resolved.manifest)
            }
        };
        let (digest, given) = resolved;
        let question = Question { repository: repository.clone(), rule, upstream, digest, asked: reference.clone() };
        let admitted = self.gatekeeper.admit(question.clone(), given).await?;
        if let Reference::Tag(tag) = reference {
            self.rollbacks.look(&question, tag, admitted.0.verdict()).await?;
            self.resolver.remember(repository, tag, digest).await;
        }
        Ok(admitted)
    }

    /// A blob, if a verified manifest of this repository names it.
    pub async fn blob(&self, repository: &Repository, digest: Digest, want: BlobWant) -> Result<Answer, PullError> {
        let (upstream, rule) = self.rule_for(repository, &digest.to_string())?;
        let question =
            Question { repository: repository.clone(), rule, upstream, digest, asked: Reference::Digest(digest) };
        match self.membership.admit(&question).await? {
            Member::Image(admitted) => self.image_blob(&question, &admitted, want).await,
            Member::Artefact(blob) => self.artefact_blob(&question, blob, want).await,
        }
    }

    async fn image_blob(
        &self,
        question: &Question,
        admitted: &AdmittedBlob,
        want: BlobWant,
    ) -> Result<Answer, PullError> {
        let claim = admitted.claim();
        let range = match want {
            BlobWant::Head => return Ok(Answer { servable: Servable::head(admitted), cache: CacheOutcome::None }),
            BlobWant::Whole => None,
            BlobWant::Range(ask) => Some(ask.within(claim.size).ok_or(PullError::Range { size: claim.size })?),
        };
        if let Some(servable) = self.stored(admitted, range).await {
            return Ok(Answer { servable, cache: CacheOutcome::Hit });
        }
        let (mut incoming, mut cache) = self.join(question, claim)?;
        while cache == CacheOutcome::Join && matches!(incoming.progress(), Progress::Sealed(_)) {
            // It is being published this moment. From the store it is hashed again before it leaves.
            incoming.settled().await;
            if let Some(servable) = self.stored(admitted, range).await {
                return Ok(Answer { servable, cache: CacheOutcome::Hit });
            }
            (incoming, cache) = self.join(question, claim)?;
        }
        // What is small is checked before its first byte leaves; what is part of a whole must be; and
        // what was bad a moment ago gets a readable answer instead of a cut.
        let wait_for_seal = claim.size <= HOLD_BACK || range.is_some() || self.fills.is_suspect(claim.digest);
        self.wait(question, incoming.clone(), wait_for_seal).await?;
        let servable = Servable::arriving(admitted, incoming, range).ok_or_else(mixed_up)?;
        Ok(Answer { servable, cache })
    }

    fn join(&self, question: &Question, claim: Claim) -> Result<(Incoming, CacheOutcome), PullError> {
        self.fills.join(Arc::clone(&question.upstream), &question.repository, claim)
    }

    /// From the store. What cannot be read there, or changed there, is as good as absent.
    async fn stored(&self, admitted: &AdmittedBlob, range: Option<crate::oci::ByteRange>) -> Option<Servable> {
        let logged = |error: &dyn std::error::Error| {
            tracing::error!(digest = %admitted.claim().digest, error = %super::from_upstream::with_causes(error), "stored content could not be read");
        };
        let mut blob = self.store.open_blob(admitted.claim()).await.map_err(|e| logged(&e)).ok()??;
        if admitted.claim().size <= HOLD_BACK {
            blob = blob.hash_if_needed().await.map_err(|e| logged(&e)).ok()?;
        }
        match range {
            None => Servable::stored(admitted, blob),
            Some(range) => Servable::stored_range(admitted, blob, range).await.map_err(|e| logged(&e)).ok()?,
        }
    }

    async fn artefact_blob(
        &self,
        question: &Question,
        blob: ArtefactBlob,
        want: BlobWant,
    ) -> Result<Answer, PullError> {
        let claim = blob.claim();
        if claim.size > ARTEFACT_PAYLOAD_MAX {
            let detail = format!(
                "its payload has {} bytes, more than the {ARTEFACT_PAYLOAD_MAX} that are looked at",
                claim.size
            );
            return Err(not_an_artefact(question, detail));
        }
        let range = match want {
            BlobWant::Head | BlobWant::Whole => None,
            BlobWant::Range(ask) => Some(ask.within(claim.size).ok_or(PullError::Range { size: claim.size })?),
        };
        let _place = self.inspections.take(question.repository.registry()).await;
        let (bytes, cache) = self.whole(question, claim).await?;
        let inspected = blob.inspect(bytes).map_err(|why| not_an_artefact(question, why.to_string()))?;
        // The place ends with this call, and the client may take minutes: what is large waits on disk.
        if claim.size > HOLD_BACK
            && let Ok(Some(stored)) = self.store.open_blob(claim).await
            && let Ok(Some(servable)) = Servable::inspected_stored(&inspected, stored, range).await
        {
            return Ok(Answer { servable, cache });
        }
        let servable = Servable::inspected(&inspected);
        let servable = match range {
            None => servable,
            Some(range) => servable.cut(range),
        };
        Ok(Answer { servable, cache })
    }

    /// Small content whole, from the store or from upstream.
    async fn whole(&self, question: &Question, claim: Claim) -> Result<(Bytes, CacheOutcome), PullError> {
        let max = usize::try_from(claim.size).map_err(|_| mixed_up())?;
        if let Ok(Some(bytes)) = self.store.read(claim.digest, max).await {
            return Ok((bytes, CacheOutcome::Hit));
        }
        let (mut incoming, cache) = self.join(question, claim)?;
        self.wait(question, incoming.clone(), true).await?;
        incoming.settled().await;
        let mut bytes = BytesMut::with_capacity(max);
        while bytes.len() < max {
            let piece = incoming.read_at(bytes.len() as u64, max - bytes.len()).await;
            let piece = piece.map_err(|error| PullError::Internal(error.to_string().into()))?;
            if piece.is_empty() {
                return Err(mixed_up());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes.freeze(), cache))
    }

    async fn wait(&self, question: &Question, mut incoming: Incoming, for_seal: bool) -> Result<(), PullError> {
        let claim = incoming.want();
        let arrived = if for_seal { incoming.sealed().await } else { incoming.started().await };
        arrived.map_err(|why| self.fills.failure(&question.repository, claim, &why))
    }

    /// Tags, as upstream lists them. Names only: what they stand for goes through the gate when asked.
    pub async fn tags(
        &self,
        repository: &Repository,
        n: Option<u32>,
        last: Option<&Tag>,
    ) -> Result<TagPage, PullError> {
        let (upstream, _) = self.rule_for(repository, "tags")?;
        let _place = self.place_for_list(repository.registry()).await?;
        Box::pin(upstream.tags(repository, n, last))
            .await
            .map_err(|e| upstream_error(&upstream, &repository.to_string(), &e))
    }

    /// What refers to a digest, from the referrers API or the fallback tag.
    pub async fn referrers(&self, repository: &Repository, subject: Digest) -> Result<Vec<Descriptor>, PullError> {
        let (upstream, _) = self.rule_for(repository, &subject.to_string())?;
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
        })
    }

    /// Closed world: an unknown registry is never contacted, and without a rule nothing is.
    fn rule_for(&self, repository: &Repository, asked: &str) -> Result<(Arc<Upstream>, Arc<Rule>), PullError> {
        let registry = repository.registry();
        let upstream = self.upstreams.get(registry).ok_or_else(|| PullError::UnknownRegistry(registry.clone()))?;
        let policy = self.policy.load();
        let rule = policy.rule_for(repository).cloned().ok_or_else(|| {
            let hint = policy.no_rule_hint();
            PullError::Refused(Box::new(Refusal {
                repository: repository.clone(),
                asked: asked.to_owned(),
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

fn not_an_artefact(question: &Question, detail: String) -> PullError {
    PullError::Refused(Box::new(Refusal {
        repository: question.repository.clone(),
        asked: question.digest.to_string(),
        reason: Reason::NotAnArtefact,
        rule: Some(question.rule.name().to_owned()),
        detail,
        next_step: Reason::NotAnArtefact.next_step().to_owned(),
        verdict: None,
    }))
}

/// Two parts of this program disagree about the same content; nothing is served.
fn mixed_up() -> PullError {
    PullError::Internal("content does not fit its proof".into())
}
