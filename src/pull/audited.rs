//! What is served only because the rule says `audit`: looked at again soon, and for as long as that cannot be done, served
//! with the word for it that was found last.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::oci::{Digest, Repository};
use crate::trust::Decision;

use super::admission::{Admission, stands};
use super::question::Question;

/// How long it is served without another look: short, so that a signature that comes later is seen.
const AUDIT_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How long what was found last is remembered for when nobody can look, since the last try.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Admissions that rest on no proof, by what was asked, with when they were made.
pub(super) struct Audited(moka::sync::Cache<(Repository, Digest), (Admission, Timestamp)>);

impl Audited {
    /// With room for so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let cache = moka::sync::Cache::builder().max_capacity(bytes).time_to_live(KEPT_FOR);
        Self(cache.weigher(|_, (admission, _): &(Admission, Timestamp)| admission.weight()).build())
    }

    /// What was found a moment ago.
    pub(super) fn lately(&self, question: &Question, now: Timestamp) -> Option<Admission> {
        self.found(question, now).filter(|(_, at)| covers(*at, now)).map(|(admission, _)| admission)
    }

    /// What was found last, however long ago.
    pub(super) fn last(&self, question: &Question, now: Timestamp) -> Option<Admission> {
        self.found(question, now).map(|(admission, _)| admission)
    }

    /// It was verified since.
    pub(super) fn forget(&self, question: &Question) {
        self.0.invalidate(&(question.repository.clone(), question.digest));
    }

    fn found(&self, question: &Question, now: Timestamp) -> Option<(Admission, Timestamp)> {
        let found = self.0.get(&(question.repository.clone(), question.digest))?;
        stands(found.0.verdict(), question, now).then_some(found)
    }

    /// Remembers it. That nobody could look says nothing about the image: then what was found before stands again, for
    /// the same time. Returns what stands.
    pub(super) fn insert(&self, question: &Question, admission: Admission, now: Timestamp) -> Admission {
        let admission = match admission.verdict().decision {
            Decision::Unknown { .. } => self.last(question, now).unwrap_or(admission),
            _ => admission,
        };
        self.0.insert((question.repository.clone(), question.digest), (admission.clone(), now));
        admission
    }
}

/// A time that has not come yet was another clock's, and covers nothing.
fn covers(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    !age.is_negative() && age < AUDIT_FOR
}
