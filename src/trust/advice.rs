//! What a person can do about a refusal, where its evidence tells more than its reason.

use std::borrow::Cow;

use super::identity::Matcher;
use super::verdict::{Check, Difference, Verdict};

impl Verdict {
    /// What a person can do about the refusal, where there is one.
    pub fn next_step(&self) -> Option<Cow<'static, str>> {
        let (reason, _) = self.refusal()?;
        let by_difference = self.nearest_difference().and_then(|(_, difference)| difference.next_step());
        Some(by_difference.map_or(Cow::Borrowed(reason.next_step()), Cow::Owned))
    }

    /// The check that the refusal is about, if it is about a field of a certificate.
    pub fn nearest_difference(&self) -> Option<(&Check, &Difference)> {
        let (reason, detail) = self.refusal()?;
        let checks = self.candidates.iter().flat_map(|candidate| &candidate.checks);
        let mut of_reason = checks.filter(|check| check.reason == Some(reason) && detail.contains(&check.detail));
        of_reason.find_map(|check| Some((check, check.difference.as_deref()?)))
    }
}

impl Difference {
    /// What a person can do about it that is better than "check who signed it".
    pub fn next_step(&self) -> Option<String> {
        self.branch_for_a_tag().or_else(|| self.only_the_beginning())
    }

    /// The most frequent wrong identity.
    fn branch_for_a_tag(&self) -> Option<String> {
        let found = self.found.as_ref()?;
        let (_, branch) = found.rsplit_once("refs/heads/")?;
        let wants_tags = self.expected.contains("refs/tags/") && !found.contains("refs/tags/");
        wants_tags.then(|| {
            format!("it was built from branch `{branch}`, and the rule wants a tag: pull a released version, or let the rule accept the branch")
        })
    }

    /// Whoever comes from cosign expects an expression to be searched for.
    fn only_the_beginning(&self) -> Option<String> {
        let found = self.found.as_ref()?;
        let goes_on = Matcher::expression(&format!("(?:{}).+", self.expected)).ok()?;
        goes_on.matches(found).then(|| {
            format!(
                "what is expected fits only the beginning: it must fit the whole {}, expressions too; write the rest out as well, or what may stand there",
                self.field
            )
        })
    }
}
