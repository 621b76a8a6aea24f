//! From a blob's digest to a proof: which verified manifest of this repository names it?

use std::sync::Arc;

use crate::clock::Clock;
use crate::oci::{Digest, Repository};
use crate::trust::{AdmittedBlob, ArtefactBlob, Decision, Reason, Verdict};

use super::admission::{Admission, stands, weight};
use super::admit::Gatekeeper;
use super::error::{PullError, Refusal};
use super::lineage::Lineage;
use super::question::Question;
use super::walk::Walked;

/// How many verified manifests of a repository are searched for a blob that nothing known names.
///
/// dockerd keeps manifests: after `docker rmi` it asks for the tag by HEAD and then for the layers,
/// and never for the platform's manifest, so we may not have seen what it names.
const TOPS_MAX: u32 = 8;

/// How many manifests of one index are opened in that search.
const CHILDREN_MAX: usize = 32;

/// How many bytes of memberships are kept in memory: some 20,000 of ordinary images.
const MEMORY_MAX: u64 = 32 * 1024 * 1024;

/// How many blobs of an image share its verdict, at least: most images have more.
const SHARED_BY: usize = 4;

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
    lineage: Lineage,
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

    /// Some bytes that it takes in memory, with its part of the verdict.
    fn weight(&self) -> u32 {
        const ITSELF: usize = 300;
        u32::try_from(ITSELF + weight(self.verdict()) / SHARED_BY).unwrap_or(u32::MAX)
    }

    fn of(admission: &Admission, blob: Digest) -> Option<Self> {
        match admission {
            Admission::Image(image) => image.blob(blob).map(Self::Image),
            Admission::Artefact(artefact) => artefact.blob(blob).map(Self::Artefact),
        }
    }
}

impl Membership {
    pub(super) fn new(gatekeeper: Gatekeeper, lineage: Lineage, clock: Arc<dyn Clock>) -> Self {
        let members =
            moka::sync::Cache::builder().max_capacity(MEMORY_MAX).weigher(|_, member: &Member| member.weight());
        let members = members.build();
        Self { gatekeeper, lineage, clock, members }
    }

    /// The proof for a blob, or why there is none. Cancel safe.
    pub(super) async fn admit(&self, question: &Question) -> Result<Member, PullError> {
        question.pass_deny_list(self.clock.now())?;
        let key = (question.repository.clone(), question.digest);
        if let Some(member) = self.members.get(&key)
            && self.stands(&member, question)
        {
            return Ok(member);
        }
        // Rare and large: boxed, so that the future of every request is small.
        let member = Box::pin(self.look_for(question)).await?;
        self.members.insert(key, member.clone());
        Ok(member)
    }

    async fn look_for(&self, question: &Question) -> Result<Member, PullError> {
        let mut why_not = WhyNot::default();
        if let Some(member) = self.through_parents(question, &mut why_not).await {
            return Ok(member);
        }
        let found = match why_not.trouble {
            // Upstream does not answer for what is known to name it; it will not for what might.
            Some(_) => None,
            None => self.through_tops(question, &mut why_not).await,
        };
        found.ok_or_else(|| why_not.error(question))
    }

    fn stands(&self, member: &Member, question: &Question) -> bool {
        match &member.verdict().decision {
            // Served only because of audit: how its manifest stands is asked each time.
            Decision::Refused { .. } | Decision::Unknown { .. } => false,
            _ => stands(member.verdict(), question, self.clock.now()),
        }
    }

    async fn through_parents(&self, question: &Question, why_not: &mut WhyNot) -> Option<Member> {
        let walked = Walked::default();
        for parent in self.gatekeeper.named_by(question).await {
            let known = self.gatekeeper.known(&question.about(parent), walked.start()).await;
            let member = why_not.note(known).and_then(|admission| Member::of(&admission, question.digest));
            if member.is_some() {
                return member;
            }
        }
        None
    }

    /// Looks at the latest verified manifests, and opens what they name, until one names the blob.
    async fn through_tops(&self, question: &Question, why_not: &mut WhyNot) -> Option<Member> {
        let tops = self.lineage.tops(&question.repository, TOPS_MAX).await;
        let walked = Walked::default();
        for digest in tops {
            let known = self.gatekeeper.known(&question.about(digest), walked.start()).await;
            let Ok(Some(Admission::Image(top))) = known else { continue };
            if let Some(blob) = top.blob(question.digest) {
                return Some(Member::Image(blob));
            }
            for child in top.manifests().take(CHILDREN_MAX) {
                let about_child = question.about(child.digest());
                let opened = self.gatekeeper.open_child_with(&about_child, &top, question.digest).await;
                let image = why_not.note(opened).map(Admission::Image);
                if let Some(member) = image.and_then(|image| Member::of(&image, question.digest)) {
                    return Some(member);
                }
            }
        }
        None
    }
}

/// What speaks against a blob that nothing was found to vouch for.
#[derive(Default)]
struct WhyNot {
    /// A manifest that names it, and is refused.
    refused: Option<Box<Refusal>>,
    /// A manifest that may name it could not be looked at.
    trouble: Option<PullError>,
}

impl WhyNot {
    fn note<T>(&mut self, looked: Result<Option<T>, PullError>) -> Option<T> {
        match looked {
            Ok(found) => return found,
            Err(PullError::Refused(refusal)) => self.refused = Some(refusal),
            // Registries lose single platforms of an index; what is gone names nothing.
            Err(PullError::NotFound { .. }) => {}
            Err(error) => self.trouble = Some(error),
        }
        None
    }

    /// "Could not check" before "no".
    fn error(self, question: &Question) -> PullError {
        self.trouble.unwrap_or_else(|| not_named(question, self.refused))
    }
}

fn not_named(question: &Question, refused: Option<Box<Refusal>>) -> PullError {
    let refusal = match refused {
        Some(refused) => Refusal {
            asked: question.digest.to_string(),
            detail: format!("manifest {} names it, and is refused: {}", refused.asked, refused.detail),
            ..*refused
        },
        None => Refusal {
            repository: question.repository.clone(),
            asked: question.digest.to_string(),
            reason: Reason::NotNamed,
            rule: Some(question.rule.name().to_owned()),
            detail: "no verified image of this repository that was seen here names this blob".to_owned(),
            next_step: "pull the image by its tag or index digest through here first".to_owned(),
            verdict: None,
        },
    };
    PullError::Refused(Box::new(refusal))
}
