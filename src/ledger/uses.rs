//! When images were last used: noted in memory, written down now and then, so that no hit waits for the disk.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;

use crate::oci::{Digest, Repository};

use super::sqlite::{Ledger, LedgerError};

/// Most images of which a use waits to be written. What comes beyond is not noted: such an image was used so lately
/// that its recorded use is the less wrong the busier it is.
const WAITING_MAX: usize = 100_000;

/// Uses that were not written yet, by digest: nearly always one repository each.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<HashMap<Digest, Vec<(Repository, Timestamp)>>>);

impl Uses {
    fn note(&self, repository: &Repository, digest: Digest, at: Timestamp) {
        let mut waiting = self.lock();
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&digest) {
            return;
        }
        let uses = waiting.entry(digest).or_default();
        match uses.iter_mut().find(|(one, _)| one == repository) {
            Some((_, last)) => *last = at,
            None => uses.push((repository.clone(), at)),
        }
    }

    /// Whether a use waits to be written.
    pub(super) fn is_waiting(&self, repository: &Repository, digest: Digest) -> bool {
        self.lock().get(&digest).is_some_and(|uses| uses.iter().any(|(one, _)| one == repository))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Vec<(Repository, Timestamp)>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Ledger {
    /// Notes that an image was used, which keeps it in the cache. Costs a fraction of a microsecond.
    pub fn note_use(&self, repository: &Repository, digest: Digest, at: Timestamp) {
        self.uses.note(repository, digest, at);
    }

    /// Writes down the uses that were noted. What cannot be written is noted still.
    pub async fn write_uses(&self) -> Result<(), LedgerError> {
        let waiting = std::mem::take(&mut *self.uses.lock());
        if waiting.is_empty() {
            return Ok(());
        }
        let rows =
            || waiting.iter().flat_map(|(digest, uses)| uses.iter().map(|(name, at)| (name.clone(), *digest, *at)));
        let written = self.record_uses(rows().collect()).await;
        if written.is_err() {
            for (repository, digest, at) in rows() {
                self.uses.note(&repository, digest, at);
            }
        }
        written
    }
}
