//! What was refused, or was not there, a moment ago: the GET that follows a refused HEAD needs no look of its own.

use std::time::Duration;

use crate::oci::Reference;
use crate::telemetry::CacheOutcome;

use super::admission::Admission;
use super::error::PullError;
use super::question::{Key, Question};

/// Most answers that are remembered.
const REMEMBERED: u64 = 10_000;

/// "No" and "none", each to exactly one question under one rule. What could not be asked or checked is neither.
pub(super) struct Refusals(moka::sync::Cache<(Key, Reference), PullError>);

impl Refusals {
    pub(super) fn new(remembered_for: Duration) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(REMEMBERED).time_to_live(remembered_for).build())
    }

    /// The answer of a moment ago, if it was one of these.
    pub(super) fn of(&self, question: &Question) -> Option<PullError> {
        self.0.get(&(question.key(), question.asked.clone()))
    }

    /// Remembers an answer. What was admitted just now may vouch for what was refused before, so then all is forgotten.
    pub(super) fn note(&self, question: &Question, answer: &Result<(Admission, CacheOutcome), PullError>) {
        match answer {
            Err(no @ (PullError::Refused(_) | PullError::NotFound { .. })) => {
                self.0.insert((question.key(), question.asked.clone()), no.clone());
            }
            Ok((_, CacheOutcome::Memory)) | Err(_) => {}
            Ok(_) => self.0.invalidate_all(),
        }
    }
}
