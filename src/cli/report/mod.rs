//! What the gate says about an image, for people and for programs.

mod cosign;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::oci::Repository;
use crate::pull::{Explanation, PullError};
use crate::trust::{Check, Decision, Demand, Difference, Policy, Reason, Verdict};

use super::Exit;

/// What was asked, and where it is: what a report must know besides the outcome.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The image as it was named.
    pub shown: String,
    /// The repository, as rules see it.
    pub repository: Repository,
    /// The rules that it was judged by.
    pub policy: Policy,
    /// Whether they are what arguments said, and no file has them.
    pub by_arguments: bool,
    /// Where it really is.
    pub place: Place,
    /// Files of trusted roots, by the roots' names. The root that ships in the program has none.
    pub root_files: BTreeMap<String, String>,
}

/// Where an image really is, for other tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a registry.
    Registry {
        /// Host, perhaps with a port, perhaps with a path in front of the repository's.
        host: String,
        /// Asked without TLS.
        plain_http: bool,
    },
    /// In an OCI image layout folder.
    Folder,
}

/// The outcome of a judgement as `verify` and `explain` show it.
pub struct Report<'a> {
    asked: &'a Asked,
    result: &'a Result<Explanation, PullError>,
}

/// Why it was, or in audit mode would have been, refused.
struct Refused<'a> {
    reason: Reason,
    detail: &'a str,
    next_step: Cow<'a, str>,
}

impl<'a> Report<'a> {
    /// Of what was asked.
    pub fn new(asked: &'a Asked, result: &'a Result<Explanation, PullError>) -> Self {
        Self { asked, result }
    }

    /// What the command exits with. "Could not check" is never mixed with "refused".
    pub fn exit(&self) -> Exit {
        match self.result {
            Ok(explained) if explained.verdict.is_verified() => Exit::Ok,
            Ok(explained) if matches!(explained.verdict.decision, Decision::Unknown { .. }) => Exit::Unavailable,
            Ok(_) | Err(PullError::Refused(_)) => Exit::Denied,
            Err(PullError::UnknownRegistry(_)) => Exit::Usage,
            Err(PullError::NotFound { .. }) => Exit::NotFound,
            Err(PullError::CouldNotCheck { .. } | PullError::Upstream { .. }) => Exit::Unavailable,
            Err(PullError::BadContent { .. }) => Exit::Integrity,
            Err(PullError::Range { .. } | PullError::Internal(_)) => Exit::Internal,
        }
    }

    /// For people. `steps` shows every look-up and every check.
    pub fn text(&self, steps: bool) -> String {
        text::text(self, steps)
    }

    /// For programs: one object, schema `assay.verify/v1`.
    pub fn json(&self) -> Value {
        json::json(self)
    }

    fn verdict(&self) -> Option<&Verdict> {
        match self.result {
            Ok(explained) => Some(&explained.verdict),
            Err(PullError::Refused(refusal)) => refusal.verdict.as_deref(),
            Err(PullError::CouldNotCheck { verdict, .. }) => verdict.as_deref(),
            Err(_) => None,
        }
    }

    /// The check that a refusal is about, if it is about a field of a certificate.
    fn nearest_difference(&self) -> Option<(&Check, &Difference)> {
        self.verdict()?.nearest_difference()
    }

    /// What the rule that decided demands.
    fn demand(&self) -> Option<&Demand> {
        let rule = self.asked.policy.rule_for(&self.asked.repository)?;
        rule.demand().filter(|_| self.verdict().is_some_and(|verdict| verdict.rule == rule.name()))
    }

    fn refused(&self) -> Option<Refused<'_>> {
        let refused = self.as_refused()?;
        if !self.asked.by_arguments {
            return Some(refused);
        }
        let by_difference = self.nearest_difference().and_then(|(_, difference)| difference.next_step());
        let next_step = by_difference.map(Cow::Owned).or_else(|| in_arguments(refused.reason).map(Cow::Borrowed));
        Some(Refused { next_step: next_step.unwrap_or(refused.next_step), ..refused })
    }

    fn as_refused(&self) -> Option<Refused<'_>> {
        match self.result {
            Err(PullError::Refused(refusal)) => {
                let next_step = Cow::Borrowed(refusal.next_step.as_str());
                Some(Refused { reason: refusal.reason, detail: &refusal.detail, next_step })
            }
            _ => {
                let verdict = self.verdict()?;
                let (reason, detail) = verdict.refusal()?;
                Some(Refused { reason, detail, next_step: verdict.next_step()? })
            }
        }
    }

    /// One word, or two.
    fn outcome(&self) -> &'static str {
        match self.result {
            Ok(explained) => match &explained.verdict.decision {
                Decision::Verified { .. } => "verified",
                Decision::Artefact => "artefact",
                Decision::Unchecked => "not checked",
                Decision::Refused { .. } => "would be refused",
                Decision::Unknown { .. } => "could not check",
            },
            Err(PullError::Refused(_)) => "refused",
            Err(PullError::NotFound { .. }) => "not found",
            Err(PullError::CouldNotCheck { .. } | PullError::Upstream { .. }) => "could not check",
            Err(PullError::BadContent { .. }) => "bad content",
            Err(PullError::UnknownRegistry(_)) => "not configured",
            Err(PullError::Range { .. } | PullError::Internal(_)) => "internal error",
        }
    }
}

/// What to do where there is no rule to change.
fn in_arguments(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::UntrustedKey | Reason::WrongIdentity => {
            Some("check who signed it; if they may, name them: --key FILE, or --issuer URL with --identity NAME")
        }
        Reason::NotInLog => Some(
            "name the root that it was signed under with --trust-root; what is in no log must be signed with one, or for a key say --tlog off",
        ),
        Reason::NoSigningTime => Some(
            "name the root that it was signed under with --trust-root; if it is that one, sign it again with a log or a timestamp authority that this root names",
        ),
        Reason::UntrustedCertificate => Some(
            "check that --trust-root names the root that it was signed under, and that it is current: `assay trust show`",
        ),
        Reason::WrongAnnotation => Some("sign it with `cosign sign -a KEY=VALUE`, or change --annotation"),
        Reason::WrongReference => Some("sign it under this repository, or leave --docker-reference out"),
        _ => None,
    }
}
