//! What the ledger says about a manifest, taken up under the rule that holds now.

use crate::ledger;
use crate::oci::Manifest;
use crate::trust::{self, Recorded};

use super::admission::Admission;
use super::admit::Parts;
use super::error::PullError;
use super::question::Question;

/// What is known about a manifest without looking for signatures.
pub(super) enum Known {
    /// It may be served.
    Admitted(Admission),
    /// It was verified under another rule, and what was recorded then does not suffice for this one.
    Outdated,
    /// Nothing.
    Nothing,
}

impl Parts {
    /// Takes up what is recorded. Signatures that were found under another rule are judged under this one, so that
    /// a change of rules needs no upstream for what is here and still signed as demanded.
    pub(super) async fn recall(&self, question: &Question, given: Option<Manifest>) -> Result<Known, PullError> {
        let recorded = self.ledger.known(&question.repository, question.digest).await;
        let recorded = match recorded.unwrap_or_else(|error| self.unreadable(&error)) {
            None => return Ok(Known::Nothing),
            Some(ledger::Known::Judged(recorded)) => *recorded,
            Some(ledger::Known::Artefact(_)) => {
                let manifest = self.bytes(question, given).await?;
                let artefact = self.inspector.as_artefact(question, &manifest, self.clock.now()).await?;
                return Ok(self.keep_again(artefact.ok().map(Admission::Artefact)).await);
            }
        };
        let same_rule = recorded.verdict.fingerprint == question.rule.fingerprint();
        match (same_rule, recorded.verdict.is_verified()) {
            (true, true) => self.take_up(question, given, recorded).await,
            (true, false) => Ok(Known::Nothing),
            (false, was_verified) => {
                let rejudged = self.rejudge(question, given, recorded).await?;
                let otherwise = if was_verified { Known::Outdated } else { Known::Nothing };
                Ok(rejudged.map_or(otherwise, Known::Admitted))
            }
        }
    }

    /// Only what could be taken up is worth fetching its bytes.
    async fn take_up(
        &self,
        question: &Question,
        given: Option<Manifest>,
        recorded: Recorded,
    ) -> Result<Known, PullError> {
        let manifest = self.bytes(question, given).await?;
        let (Question { repository, rule, .. }, now) = (question, self.clock.now());
        let verified = trust::recall(manifest, repository, rule, recorded, now);
        Ok(self.keep_again(verified.map(Admission::Image)).await)
    }

    /// The bytes may have been fetched just now, because they were gone: without upstream, the record is worth
    /// nothing without them.
    async fn keep_again(&self, admission: Option<Admission>) -> Known {
        let Some(admission) = admission else { return Known::Nothing };
        self.keep(admission.manifest()).await;
        Known::Admitted(admission)
    }

    /// On a thread of its own, for the reason that [`Question::judge`] has one.
    async fn rejudge(
        &self,
        question: &Question,
        given: Option<Manifest>,
        recorded: Recorded,
    ) -> Result<Option<Admission>, PullError> {
        let Some(manifest) = self.at_hand(question, given).await else { return Ok(None) };
        let (Question { repository, rule, .. }, now) = (question.clone(), self.clock.now());
        let work = move || trust::rejudge(manifest, &repository, &rule, recorded, now);
        let rejudged = tokio::task::spawn_blocking(work).await;
        let rejudged = rejudged.map_err(|error| PullError::Internal(error.to_string().into()))?;
        let Some((verified, afresh)) = rejudged else { return Ok(None) };
        tracing::info!(image = %question.image(), digest = %question.digest, rule = question.rule.name(),
            "verified under a changed rule, by the signatures on record");
        self.record(verified.get(), afresh).await;
        Ok(Some(Admission::Image(verified)))
    }
}
