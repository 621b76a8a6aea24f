//! From a blob's digest to a proof: which verified manifest of this repository names it?

use std::sync::Arc;

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::oci::{Digest, Reference, Repository};
use crate::trust::{self, AdmittedBlob, ArtefactBlob, Decision, Reason, Verdict};

use super::admit::{Admission, Gatekeeper, Question};
use super::error::{PullError, Refusal};

/// How many manifests that name a blob are tried.
const PARENTS_MAX: u32 = 16;

/// How many verified manifests of a repository are searched for a blob that nothing known names.
///
/// dockerd keeps manifests: after `docker rmi` it asks for the tag by HEAD and then for the layers,
/// and never for the platform's manifest, so we may not have seen what it names.
const TOPS_MAX: u32 = 8;

/// How many manifests of one index are opened in that search.
const CHILDREN_MAX: usize = 32;

/// How many memberships are kept in memory; each takes some 300 bytes.
const REMEMBERED: u64 = 50_000;

/// A blob that may be served, or an artefact's payload that may be looked at.
#[derive(Clone, Debug)]
pub(super) enum Member {
    /// Config or layer of a verified image.
    Image(AdmittedBlob),
    /// Payload of a signature artefact.
    Artefact(ArtefactBlob),
}

/// Knows which blobs belong to what was verified.
#[derive(Clone)]
pub(super) struct Membership {
    gatekeeper: Gatekeeper,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    members: moka::sync::Cache<(Repository, Digest), Member>,
}

impl Member {
    fn verdict(&self) -> &Arc<Verdict> {
        match self {
            Self::Image(blob) => blob.verdict(),
            Self::Artefact(blob) => blob.verdict(),
        }
    }

    fn of(admission: &Admission, blob: Digest) -> Option<Self> {
        match admission {
            Admission::Image(image) => image.blob(blob).map(Self::Image),
            Admission::Artefact(artefact) => artefact.blob(blob).map(Self::Artefact),
        }
    }
}

impl Membership {
    pub(super) fn new(gatekeeper: Gatekeeper, ledger: Ledger, clock: Arc<dyn Clock>) -> Self {
        let members = moka::sync::Cache::builder().max_capacity(REMEMBERED).build();
        Self { gatekeeper, ledger, clock, members }
    }

    /// The proof for a blob, or why there is none. Cancel safe.
    pub(super) async fn admit(&self, question: &Question) -> Result<Member, PullError> {
        let key = (question.repository.clone(), question.digest);
        if let Some(member) = self.members.get(&key)
            && self.stands(&member, question)
        {
            return Ok(member);
        }
        let member = match self.through_parents(question).await? {
            Some(member) => member,
            None => self.through_tops(question).await?.ok_or_else(|| not_named(question))?,
        };
        self.members.insert(key, member.clone());
        Ok(member)
    }

    fn stands(&self, member: &Member, question: &Question) -> bool {
        match &member.verdict().decision {
            Decision::Verified { .. } => trust::still_stands(member.verdict(), &question.rule, self.clock.now()),
            Decision::Unchecked | Decision::Artefact => true,
            // Served only because of audit: looked at anew with its manifest, which is remembered briefly.
            Decision::Refused { .. } | Decision::Unknown { .. } => false,
        }
    }

    async fn through_parents(&self, question: &Question) -> Result<Option<Member>, PullError> {
        let parents = self.ledger.parents(&question.repository, question.digest, PARENTS_MAX).await.unwrap_or_default();
        let mut trouble = None;
        for parent in parents {
            match self.gatekeeper.known(&about(question, parent)).await {
                Ok(Some(admission)) => {
                    if let Some(member) = Member::of(&admission, question.digest) {
                        return Ok(Some(member));
                    }
                }
                Ok(None) | Err(PullError::Refused(_)) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// Looks at the latest verified manifests, and opens what they name, until one names the blob.
    async fn through_tops(&self, question: &Question) -> Result<Option<Member>, PullError> {
        let tops = self.ledger.tops(&question.repository, TOPS_MAX).await.unwrap_or_default();
        for digest in tops {
            let Ok(Some(Admission::Image(top))) = self.gatekeeper.known(&about(question, digest)).await else {
                continue;
            };
            if let Some(blob) = top.blob(question.digest) {
                return Ok(Some(Member::Image(blob)));
            }
            for child in top.manifests().take(CHILDREN_MAX) {
                let opened = self.gatekeeper.open_child(&about(question, child.digest()), &top).await;
                let Ok(Some(image)) = opened else { continue };
                if let Some(member) = Member::of(&Admission::Image(image), question.digest) {
                    return Ok(Some(member));
                }
            }
        }
        Ok(None)
    }
}

fn about(question: &Question, digest: Digest) -> Question {
    Question { digest, asked: Reference::Digest(digest), ..question.clone() }
}

fn not_named(question: &Question) -> PullError {
    PullError::Refused(Box::new(Refusal {
        repository: question.repository.clone(),
        asked: question.digest.to_string(),
        reason: Reason::NotNamed,
        rule: Some(question.rule.name().to_owned()),
        detail: "no verified image of this repository that was seen here names this blob".to_owned(),
        next_step: "pull the image by its tag or index digest through here first".to_owned(),
        verdict: None,
    }))
}
