//! From an admitted blob to its content: stored, arriving, or passing through.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::oci::{ByteRange, Claim};
use crate::store::{Failure, HOLD_BACK, Incoming, Progress};
use crate::telemetry::CacheOutcome;
use crate::trust::artefact::ARTEFACT_PAYLOAD_MAX;
use crate::trust::{AdmittedBlob, ArtefactBlob, Reason};

use super::error::{PullError, Refusal};
use super::from_upstream::content_error;
use super::pass_through::{Detour, NoPassage};
use super::puller::{Answer, BlobWant, Puller};
use super::question::Question;
use super::resume::Source;
use super::servable::Servable;

impl Puller {
    pub(super) async fn image_blob(
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
        // Large: boxed, so that the future of a request for what is stored is small.
        Box::pin(self.fetched(question, admitted, range)).await
    }

    /// What is not stored yet.
    async fn fetched(
        &self,
        question: &Question,
        admitted: &AdmittedBlob,
        range: Option<ByteRange>,
    ) -> Result<Answer, PullError> {
        let claim = admitted.claim();
        let source = self.source(question, claim);
        let Some((mut incoming, mut cache)) = self.join(&source).await? else {
            return self.pass_through(question, admitted, range).await;
        };
        while cache == CacheOutcome::Join && matches!(incoming.progress(), Progress::Sealed(_)) {
            // It is being published this moment. From the store it is hashed again before it leaves.
            incoming.settled().await;
            if let Some(servable) = self.stored(admitted, range).await {
                return Ok(Answer { servable, cache: CacheOutcome::Hit });
            }
            match self.join(&source).await? {
                Some(joined) => (incoming, cache) = joined,
                None => return self.pass_through(question, admitted, range).await,
            }
        }
        // What is small is checked before its first byte leaves; what is part of a whole must be; and
        // what was bad a moment ago gets a readable answer instead of a cut.
        let wait_for_seal = claim.size <= HOLD_BACK || range.is_some() || self.fills.is_suspect(claim.digest);
        match wait(incoming.clone(), wait_for_seal).await {
            Ok(()) => {}
            Err(Failure::Disk(_)) => return self.pass_through(question, admitted, range).await,
            Err(Failure::GivenUp(why)) => return Err(self.fills.failure(&question.repository, claim, &why)),
        }
        let detour = Detour { source, places: Arc::clone(&self.passing) };
        let servable = Servable::arriving(admitted, incoming, range).ok_or_else(mixed_up)?;
        Ok(Answer { servable: servable.or_else(detour), cache })
    }

    /// The running fetch, or a new one, for which room is made first. `None` when the disk takes nothing.
    async fn join(&self, source: &Source) -> Result<Option<(Incoming, CacheOutcome)>, PullError> {
        if !self.fills.is_running(&source.repository, source.claim) {
            self.store.make_room(source.claim).await;
        }
        self.fills.join(source.clone())
    }

    fn source(&self, question: &Question, claim: Claim) -> Source {
        let Question { upstream, repository, .. } = question;
        Source {
            upstream: Arc::clone(upstream),
            repository: repository.clone(),
            claim,
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// For this client alone, without the disk. What is small is checked in memory; of what is large, the end
    /// waits for its digest. A part is cut out of the whole on the way: dockerd resumes with a range, and takes
    /// nothing but 206 for an answer.
    async fn pass_through(
        &self,
        question: &Question,
        admitted: &AdmittedBlob,
        range: Option<ByteRange>,
    ) -> Result<Answer, PullError> {
        let claim = admitted.claim();
        let servable = if claim.size <= HOLD_BACK {
            let whole = Servable::in_memory(admitted, self.small(question, claim).await?);
            whole.map(|whole| match range {
                None => whole,
                Some(range) => whole.cut(range),
            })
        } else {
            let detour = Detour { source: self.source(question, claim), places: Arc::clone(&self.passing) };
            let passing = detour.begin(range).await.map_err(|error| match error {
                NoPassage::Upstream(error) => content_error(&question.upstream, claim, error),
                error @ NoPassage::Crowded => PullError::Upstream {
                    registry: question.upstream.registry().clone(),
                    detail: error.to_string(),
                    retry_after: None,
                    away: false,
                },
            })?;
            Servable::passing(admitted, passing, range)
        };
        Ok(Answer { servable: servable.ok_or_else(mixed_up)?, cache: CacheOutcome::Pass })
    }

    /// Small content into memory, past the disk; one fetch for any crowd.
    async fn small(&self, question: &Question, claim: Claim) -> Result<Bytes, PullError> {
        let Question { upstream, repository, .. } = question.clone();
        self.metrics.passing_through();
        let key = (repository.clone(), claim);
        let work = || async move {
            let fetched = Box::pin(upstream.small_blob(&repository, claim, claim.size)).await;
            fetched.map_err(|error| content_error(&upstream, claim, error))
        };
        self.small.join(key, work).await.map_err(|_| PullError::Internal("the program is stopping".into()))?
    }

    /// From the store. What cannot be read there, or changed there, is as good as absent.
    async fn stored(&self, admitted: &AdmittedBlob, range: Option<ByteRange>) -> Option<Servable> {
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

    pub(super) async fn artefact_blob(
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
        let Some((mut incoming, cache)) = self.join(&self.source(question, claim)).await? else {
            return Ok((self.small(question, claim).await?, CacheOutcome::Pass));
        };
        match wait(incoming.clone(), true).await {
            Ok(()) => {}
            Err(Failure::Disk(_)) => return Ok((self.small(question, claim).await?, CacheOutcome::Pass)),
            Err(Failure::GivenUp(why)) => return Err(self.fills.failure(&question.repository, claim, &why)),
        }
        incoming.settled().await;
        let mut bytes = BytesMut::with_capacity(max);
        while bytes.len() < max {
            let Ok(piece) = incoming.read_at(bytes.len() as u64, max - bytes.len()).await else {
                return Ok((self.small(question, claim).await?, CacheOutcome::Pass));
            };
            if piece.is_empty() {
                return Err(mixed_up());
            }
            bytes.extend_from_slice(&piece);
        }
        Ok((bytes.freeze(), cache))
    }
}

async fn wait(mut incoming: Incoming, for_seal: bool) -> Result<(), Failure> {
    if for_seal { incoming.sealed().await } else { incoming.started().await }
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
