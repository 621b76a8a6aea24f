//! What is asked of the gate, and how a "no" to it is told.

use std::sync::Arc;

use jiff::Timestamp;

use crate::oci::{Digest, Manifest, Reference, Repository};
use crate::trust::{self, Decision, Enforcement, Fingerprint, Judgement, Reason, Rule, Search, Verdict};
use crate::upstream::Upstream;

use super::admission::Admission;
use super::error::{PullError, Refusal};

/// What an answer depends on besides content: repository, manifest and rule, and which upstream is asked.
pub(super) type Key = (Repository, Digest, Fingerprint, u64);

/// One manifest of one repository, under that repository's rule. The rule is the one that held when the
/// question came, and so is the upstream; both stay to the end, whatever comes into force meanwhile.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) repository: Repository,
    pub(super) rule: Arc<Rule>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) digest: Digest,
    /// The tag or digest as the client wrote it, for messages.
    pub(super) asked: Reference,
}

impl Question {
    /// Judges the manifest on a thread of its own: tens of signatures take tens of milliseconds, in which a worker
    /// could serve what is already judged. Gives the search back.
    pub(super) async fn judge(
        &self,
        manifest: Manifest,
        found: Search,
        now: Timestamp,
    ) -> Result<(Judgement, Search), PullError> {
        let Self { repository, rule, .. } = self.clone();
        let work = move || (trust::judge(manifest, &repository, &rule, &found, now), found);
        tokio::task::spawn_blocking(work).await.map_err(|error| PullError::Internal(error.to_string().into()))
    }

    /// The same question about another manifest of the same repository.
    pub(super) fn about(&self, digest: Digest) -> Self {
        Self { digest, asked: Reference::Digest(digest), ..self.clone() }
    }

    /// What the answer depends on: no answer to one key is an answer to another.
    pub(super) fn key(&self) -> Key {
        (self.repository.clone(), self.digest, self.rule.fingerprint(), self.upstream.instance())
    }

    /// Whether the tag is one under which signature artefacts are kept.
    pub(super) fn asks_for_artefact(&self) -> bool {
        matches!(&self.asked, Reference::Tag(tag) if tag.as_artefact().is_some())
    }

    /// Whether an artefact is an answer. Under an ordinary tag an image is meant, and nothing that is
    /// not signed may stand in for it.
    pub(super) fn may_be_artefact(&self) -> bool {
        matches!(self.asked, Reference::Digest(_)) || self.asks_for_artefact()
    }

    /// Whether an admission answers the question.
    pub(super) fn accepts(&self, admission: &Admission) -> bool {
        matches!(admission, Admission::Image(_)) || self.may_be_artefact()
    }

    /// Whether the rule asks for more than signatures, so that attestations must be fetched too.
    pub(super) fn wants_attestations(&self) -> bool {
        self.rule.demand().is_some_and(|demand| !demand.attestations.is_empty())
    }

    /// Whether what the rule refuses is not served.
    pub(super) fn is_enforced(&self) -> bool {
        matches!(self.rule.enforcement(), Enforcement::Enforce(_))
    }

    /// The image as a person would write it.
    pub(super) fn image(&self) -> String {
        let separator = match &self.asked {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        format!("{}{separator}{}", self.repository, self.asked)
    }

    /// Refuses a digest that is on the rule's deny list, whatever else speaks for it and in every mode.
    pub(super) fn pass_deny_list(&self, now: Timestamp) -> Result<(), PullError> {
        match trust::denied(&self.rule, self.digest) {
            Some(Decision::Refused { reason, detail }) => Err(self.refused(reason, detail, now)),
            _ => Ok(()),
        }
    }

    /// A refusal that needed no look at signatures.
    pub(super) fn refused(&self, reason: Reason, detail: String, now: Timestamp) -> PullError {
        let verdict = trust::refuse(&self.repository, self.digest, &self.rule, reason, detail, now);
        PullError::Refused(Box::new(self.refusal(Arc::new(verdict))))
    }

    /// "Could not check", from the verdict that says what could not be had.
    pub(super) fn could_not_check(&self, verdict: Arc<Verdict>) -> PullError {
        let detail = match &verdict.decision {
            Decision::Unknown { detail } => detail.clone(),
            _ => String::new(),
        };
        PullError::CouldNotCheck { image: self.image(), detail, retry_after: None, verdict: Some(verdict) }
    }

    /// The refusal as it is shown, from the verdict that it rests on.
    pub(super) fn refusal(&self, verdict: Arc<Verdict>) -> Refusal {
        let (reason, detail) =
            verdict.refusal().map_or((Reason::NoSignature, String::new()), |(r, d)| (r, d.to_owned()));
        let by_digest = matches!(self.asked, Reference::Digest(_));
        let (detail, next_step) = match reason {
            Reason::NoSignature if by_digest => (
                format!("no verified index that was seen here names it, and of its own there is {detail}"),
                Reason::NotNamed.next_step().into(),
            ),
            reason => (detail, verdict.next_step().unwrap_or(reason.next_step().into())),
        };
        Refusal {
            repository: self.repository.clone(),
            asked: self.asked.to_string(),
            reason,
            rule: Some(self.rule.name().to_owned()),
            detail,
            next_step: next_step.into_owned(),
            verdict: Some(verdict),
        }
    }
}
