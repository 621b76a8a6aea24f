//! Makes room in a store: what there is to know about space, and how content goes. What goes is decided elsewhere.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::oci::{Claim, Digest};

use super::account::{Counted, Usage};
use super::disk::{ACCOUNT, DiskStore, StoreError, blocking};
use super::on_disk;

/// Content that is no longer stored. Its bytes go when this is dropped, which may take a while; readers that have it
/// open keep them until they are done.
#[derive(Debug)]
pub struct SetAside {
    path: PathBuf,
    size: u64,
}

impl SetAside {
    /// How large it is.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for SetAside {
    fn drop(&mut self) {
        on_disk::remove_quietly(&self.path);
    }
}

impl DiskStore {
    /// How much is stored, as far as it was counted: all of it once [`Self::uncounted`] is `None`.
    pub fn usage(&self) -> Usage {
        self.account.usage()
    }

    /// Bytes of content that is on its way in.
    pub fn spooled(&self) -> u64 {
        self.room.written()
    }

    /// Waits until there is room for content, until nobody can make it, or for some seconds. Takes nothing: what was
    /// made may be gone when [`Self::begin`] asks. Cancel safe.
    pub async fn make_room(&self, claim: Claim) {
        self.room.wait_for(claim).await;
    }

    /// How many bytes must go so that the limits hold, and that what is waited for fits, as far as that can be.
    pub fn missing(&self) -> u64 {
        self.room.missing_for_all()
    }

    /// Waits until somebody lacks room. For whoever evicts. Cancel safe.
    pub async fn room_wanted(&self) {
        self.room.asked().await;
    }

    /// From now on it is worth asking for room. For whoever evicts.
    pub fn eviction_is_there(&self) {
        self.room.eviction_is_there();
    }

    /// What can go is being looked for.
    pub fn eviction_begins(&self) {
        self.room.eviction_begins();
    }

    /// Something went, and more may.
    pub fn room_made(&self) {
        self.room.made();
    }

    /// Nothing more goes for now; vain, if that was not enough.
    pub fn eviction_ends(&self, is_vain: bool) {
        self.room.eviction_ends(is_vain);
    }

    /// Takes content out of the store, unless it was written within `idle`. Takes microseconds; blocks on the disk.
    pub fn set_aside(&self, digest: Digest, idle: Duration) -> Option<SetAside> {
        let path = self.new_spool_path();
        path.parent().map_or(Ok(()), on_disk::make_own_folder).ok()?;
        let size = self.account.set_aside(digest, &path, idle)?;
        self.known.forget(digest);
        Some(SetAside { path, size })
    }

    /// Whether content was set aside by this process and is not stored again, as far as that is remembered: who has it in
    /// memory may want to. Takes a fraction of a microsecond.
    pub fn has_gone(&self, digest: Digest) -> bool {
        self.account.has_gone(digest)
    }

    /// The size of content that [`Self::set_aside`] would take out. Blocks on the disk.
    pub fn size(&self, digest: Digest, idle: Duration) -> Option<u64> {
        self.account.size(digest, idle)
    }

    /// A folder that was not counted since it last changed.
    pub fn uncounted(&self) -> Option<u8> {
        self.account.uncounted()
    }

    /// Counts what is in a folder (the first byte of its digests), and puts the account right.
    pub async fn count(&self, folder: u8) -> Result<Counted, StoreError> {
        let account = Arc::clone(&self.account);
        let counted = blocking(move || account.count(usize::from(folder))).await;
        counted.map_err(|source| StoreError::Io { what: "count", path: self.folder.join("blobs"), source })
    }

    /// Writes down how much is stored, so that the next start need not count.
    pub async fn write_account(&self) -> Result<(), StoreError> {
        let (account, path) = (Arc::clone(&self.account), self.folder.join(ACCOUNT));
        let to = path.clone();
        let written = blocking(move || account.write(&to)).await;
        written.map_err(|source| StoreError::Io { what: "write", path, source })
    }

    /// The same digests, those first of which content is stored.
    pub async fn stored_first(&self, digests: Vec<Digest>) -> Vec<Digest> {
        if digests.len() < 2 {
            return digests;
        }
        let account = Arc::clone(&self.account);
        blocking(move || {
            let is_stored = |digest: &Digest| account.size(*digest, Duration::ZERO).is_some();
            let (stored, absent): (Vec<_>, Vec<_>) = digests.into_iter().partition(is_stored);
            stored.into_iter().chain(absent).collect()
        })
        .await
    }
}
