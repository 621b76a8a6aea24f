//! What this process knows about its files: which content it hashed, and the open files of what is asked most.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::oci::Digest;

use super::on_disk::Identity;

/// Most files that are kept open. A process has 1024 descriptors unless told otherwise, and clients need most of them.
const OPEN_MAX: usize = 128;

/// Forgetting anything here costs one opening or one hashing, never more.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// What was hashed, and which file it was.
    hashed: HashMap<Digest, Identity>,
    open: HashMap<Digest, Open>,
    /// Counts up with each use of an open file.
    uses: u64,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    used: u64,
}

impl Known {
    /// Whether this very file was hashed and found to be this content.
    pub(super) fn is_hashed(&self, digest: Digest, identity: &Identity) -> bool {
        self.lock().hashed.get(&digest) == Some(identity)
    }

    #[cfg(test)]
    pub(super) fn has_hashed(&self, digest: Digest) -> bool {
        self.lock().hashed.contains_key(&digest)
    }

    /// The file was hashed and found to be this content.
    pub(super) fn hashed(&self, digest: Digest, identity: Identity) {
        self.lock().hashed.insert(digest, identity);
    }

    /// The file, if it is open and still what was hashed, under its one name: whatever happens to it or to its
    /// name shows in its identity.
    pub(super) fn open(&self, digest: Digest) -> Option<(Arc<File>, Identity)> {
        let (file, hashed) = {
            let State { hashed, open, uses } = &mut *self.lock();
            let found = open.get_mut(&digest)?;
            (*uses, found.used) = (*uses + 1, *uses);
            (Arc::clone(&found.file), hashed.get(&digest).copied())
        };
        let identity = Identity::of(&file).ok();
        match (identity, hashed) {
            (Some(identity), Some(hashed)) if identity == hashed => Some((file, identity)),
            _ => {
                self.close(digest);
                None
            }
        }
    }

    /// Keeps a file open, if it was hashed and was not forgotten meanwhile.
    pub(super) fn keep_open(&self, digest: Digest, file: &Arc<File>, identity: &Identity) {
        let State { hashed, open, uses } = &mut *self.lock();
        if hashed.get(&digest) != Some(identity) {
            return;
        }
        *uses += 1;
        if open.len() >= OPEN_MAX
            && let Some(oldest) = open.iter().min_by_key(|(_, open)| open.used).map(|(digest, _)| *digest)
        {
            open.remove(&oldest);
        }
        open.insert(digest, Open { file: Arc::clone(file), used: *uses });
    }

    /// Closes the file, so that its room on the disk is free as soon as nobody reads it any more, and forgets
    /// that it was hashed.
    pub(super) fn forget(&self, digest: Digest) {
        let mut state = self.lock();
        state.open.remove(&digest);
        state.hashed.remove(&digest);
    }

    fn close(&self, digest: Digest) {
        self.lock().open.remove(&digest);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}
