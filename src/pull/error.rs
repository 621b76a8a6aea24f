//! Why a pull gets no content: one variant for each outcome that a client can tell apart.

use std::sync::Arc;
use std::time::Duration;

use crate::oci::{Digest, Registry, Repository};
use crate::trust::{Reason, Verdict};

/// Why a pull gets no content.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PullError {
    /// The registry is not among the configured upstreams. It was not contacted.
    #[error("registry {0} is not configured")]
    UnknownRegistry(Registry),
    /// A decision. Never a malfunction.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A needed look-up failed. Says nothing about the image.
    #[error("could not check {image}: {detail}")]
    CouldNotCheck {
        /// As asked.
        image: String,
        /// What failed.
        detail: String,
        /// Not before this.
        retry_after: Option<Duration>,
        /// The judgement so far, where there was one.
        verdict: Option<Arc<Verdict>>,
    },
    /// Upstream says that it has no such tag, manifest or blob.
    #[error("{registry} has no {what}")]
    NotFound {
        /// Who said so.
        registry: Registry,
        /// What was asked.
        what: String,
    },
    /// Upstream cannot be reached, is slow, or refuses us.
    #[error("upstream {registry} failed: {detail}")]
    Upstream {
        /// Which upstream.
        registry: Registry,
        /// How.
        detail: String,
        /// It gave no answer at all, so that an older one may do.
        away: bool,
        /// Not before this.
        retry_after: Option<Duration>,
    },
    /// Upstream sent other bytes than it should have.
    #[error("content of {digest} from {registry} is not what its digest says: {detail}")]
    BadContent {
        /// Which upstream.
        registry: Registry,
        /// What was asked.
        digest: Digest,
        /// What is wrong.
        detail: String,
    },
    /// The range lies outside the content.
    #[error("the range lies outside the {size} bytes of the content")]
    Range {
        /// The content's size.
        size: u64,
    },
    /// Our own disk or ledger failed.
    #[error("internal: {0}")]
    Internal(Arc<str>),
}

/// A refusal, ready to be shown: what, why, by which rule, and what to do.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What was asked.
    pub repository: Repository,
    /// By which tag or digest.
    pub asked: String,
    /// The code.
    pub reason: Reason,
    /// The rule's name, if one matched.
    pub rule: Option<String>,
    /// What was found.
    pub detail: String,
    /// What to do.
    pub next_step: String,
    /// The judgement, where signatures were looked at.
    pub verdict: Option<Arc<Verdict>>,
}

impl Refusal {
    /// The image as a person would write it.
    pub fn image(&self) -> String {
        let separator = if self.asked.contains(':') { '@' } else { ':' };
        format!("{}{separator}{}", self.repository, self.asked)
    }
}

/// The text for people. It must stand alone behind docker's "repository does not exist or may require
/// 'docker login': denied:", so it starts with our name and says everything.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "assay: image refused: {}: {}: {}", self.image(), self.reason.code(), self.detail)?;
        if let Some(rule) = &self.rule {
            write!(f, " (rule \"{rule}\")")?;
        }
        write!(f, ". Next step: {}", self.next_step)
    }
}
