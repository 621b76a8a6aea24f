//! Room for what is to come: nothing is written that has no place reserved, so the folder never outgrows its limits.
//!
//! Who finds no room asks for it and waits; whoever makes room by evicting says so here. What is evicted, and
//! whether anything is, is decided elsewhere.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::oci::{Claim, Digest};
use crate::size::{Bytes, Size};
use crate::telemetry::SpaceMetrics;

use super::account::Account;

/// How long a fetch waits until room was made. Removing files takes milliseconds; clients wait for some 30 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much a cache folder may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of content, what is on its way in included.
    pub max_size: Size,
    /// So much of the file system stays free for others.
    pub min_free: Size,
}

/// There is no room. Says nothing about the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for {}: [cache] max_size and min_free leave {} too little", Bytes(*size), Bytes(*missing))]
pub struct NoRoom {
    /// For how much.
    pub size: u64,
    /// How much must go first.
    pub missing: u64,
}

/// Room for one content: held while it is written, given back when it is stored or given up.
#[derive(Debug)]
pub struct Reservation {
    room: Arc<Room>,
    size: u64,
    written: u64,
}

/// How eviction is getting on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Eviction {
    /// Whether anybody evicts at all.
    is_there: bool,
    /// Looks at what can go that were begun and ended.
    begun: u64,
    ended: u64,
    /// Whether the last one found that nothing more can go, so that asking again is vain for now.
    is_vain: bool,
}

#[derive(Debug)]
pub(super) struct Room {
    /// Any path on the file system.
    folder: PathBuf,
    limits: Limits,
    account: Arc<Account>,
    /// Promised to what is on its way in.
    reserved: AtomicU64,
    /// What of it was written already, so that the file system knows it, too.
    written: AtomicU64,
    /// Held for the moment in which room is looked for and taken.
    taking: Mutex<()>,
    /// What is waited for, and how large it is.
    wanted: Mutex<HashMap<Digest, u64>>,
    asked: Notify,
    eviction: watch::Sender<Eviction>,
    metrics: SpaceMetrics,
}

impl Limits {
    /// No limits of ours.
    pub const NONE: Self = Self { max_size: Size::Bytes(u64::MAX), min_free: Size::Bytes(0) };
}

impl Room {
    pub(super) fn new(folder: PathBuf, limits: Limits, account: Arc<Account>, metrics: SpaceMetrics) -> Self {
        Self {
            folder,
            limits,
            account,
            reserved: AtomicU64::default(),
            written: AtomicU64::default(),
            taking: Mutex::default(),
            wanted: Mutex::default(),
            asked: Notify::new(),
            eviction: watch::Sender::default(),
            metrics,
        }
    }

    /// Takes room for content that is to come.
    pub(super) fn reserve(self: &Arc<Self>, claim: Claim) -> Result<Reservation, NoRoom> {
        let _taking = self.taking.lock().expect("no holder of this lock panics");
        let size = claim.size;
        match self.missing(size) {
            0 => {
                self.reserved.fetch_add(size, Ordering::Relaxed);
                Ok(Reservation { room: Arc::clone(self), size, written: 0 })
            }
            missing => Err(NoRoom { size, missing }),
        }
    }

    /// For what is gone again at once, whatever the limits say.
    pub(super) fn for_a_probe(self: &Arc<Self>) -> Reservation {
        Reservation { room: Arc::clone(self), size: 0, written: 0 }
    }

    /// Asks for room and waits until it is there, until nobody can make it, or for some seconds. Takes nothing:
    /// another may be quicker. Cancel safe.
    pub(super) async fn wait_for(&self, claim: Claim) {
        let missing = self.missing(claim.size);
        // What would not fit into an empty cache is not worth emptying it.
        if missing == 0 || missing > self.account.usage().bytes {
            return;
        }
        let mut eviction = self.eviction.subscribe();
        let before = *eviction.borrow_and_update();
        if !before.is_there || before.is_vain {
            return;
        }
        let _wanting = Wanting::new(self, claim);
        self.asked.notify_one();
        // A look that had begun before may have been too early to see what is missing now.
        let is_over = |now: Eviction| now.is_vain || now.ended > before.begun;
        let made = async {
            while self.missing(claim.size) > 0 && !is_over(*eviction.borrow_and_update()) {
                if eviction.changed().await.is_err() {
                    return;
                }
            }
        };
        let _late = tokio::time::timeout(PATIENCE, made).await;
    }

    /// How many bytes must go before so many fit; 0 when they do.
    pub(super) fn missing(&self, size: u64) -> u64 {
        let (reserved, written) = (self.reserved.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed));
        let (max_size, min_free, free) = match (self.limits, self.file_system()) {
            (Limits { max_size, min_free }, Ok((whole, free))) => (max_size.of(whole), min_free.of(whole), free),
            // Where the file system does not say how large it is, only what is fixed can hold.
            (Limits { max_size: Size::Bytes(max_size), .. }, Err(_)) => (max_size, 0, u64::MAX),
            (_, Err(_)) => (u64::MAX, 0, u64::MAX),
        };
        let within =
            (self.account.usage().bytes.saturating_add(reserved).saturating_add(size)).saturating_sub(max_size);
        let to_write = reserved.saturating_sub(written).saturating_add(size);
        let beside = min_free.saturating_add(to_write).saturating_sub(free);
        within.max(beside)
    }

    /// How many bytes must go so that what is waited for fits, as far as that can be.
    pub(super) fn missing_for_all(&self) -> u64 {
        let (all, largest) = {
            let wanted = self.wanted.lock().expect("no holder of this lock panics");
            (wanted.values().copied().fold(0, u64::saturating_add), wanted.values().copied().max().unwrap_or_default())
        };
        let stored = self.account.usage().bytes;
        [all, largest, 0]
            .into_iter()
            .map(|size| self.missing(size))
            .find(|missing| *missing <= stored)
            .unwrap_or_default()
    }

    /// Bytes of content that is on its way in.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Counts that content was turned away.
    pub(super) fn refused(&self) {
        self.metrics.room_refused();
    }

    /// Waits until somebody asks for room. Cancel safe.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn eviction_begins(&self) {
        self.eviction.send_modify(|eviction| {
            eviction.is_there = true;
            eviction.is_vain = false;
            eviction.begun += 1;
        });
    }

    /// Something went; whoever waits looks again.
    pub(super) fn made(&self) {
        self.eviction.send_modify(|_| {});
    }

    pub(super) fn eviction_ends(&self, is_vain: bool) {
        self.eviction.send_modify(|eviction| {
            eviction.ended = eviction.begun;
            eviction.is_vain = is_vain;
        });
    }

    /// Asking is worth something again.
    pub(super) fn eviction_is_there(&self) {
        self.eviction.send_modify(|eviction| {
            eviction.is_there = true;
            eviction.is_vain = false;
        });
    }

    /// How large the file system is, and how much of it is free for this user, in bytes.
    fn file_system(&self) -> io::Result<(u64, u64)> {
        let about = rustix::fs::statvfs(&self.folder)?;
        Ok((about.f_blocks.saturating_mul(about.f_frsize), about.f_bavail.saturating_mul(about.f_frsize)))
    }
}

impl Reservation {
    /// So many bytes more are written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written += bytes;
        self.room.written.fetch_add(bytes, Ordering::Relaxed);
        self.room.metrics.spooled(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.written.fetch_sub(self.written, Ordering::Relaxed);
        self.room.metrics.spooled(-i64::try_from(self.written).unwrap_or(i64::MAX));
        self.room.reserved.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// Somebody waits for room.
struct Wanting<'a>(&'a Room, Digest);

impl<'a> Wanting<'a> {
    fn new(room: &'a Room, claim: Claim) -> Self {
        room.wanted.lock().expect("no holder of this lock panics").insert(claim.digest, claim.size);
        Self(room, claim.digest)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanted.lock().expect("no holder of this lock panics").remove(&self.1);
    }
}

impl From<NoRoom> for io::Error {
    /// As a full disk says it: for whoever writes, there is no difference.
    fn from(_: NoRoom) -> Self {
        rustix::io::Errno::NOSPC.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(max_size: u64) -> (tempfile::TempDir, Arc<Room>) {
        let folder = tempfile::tempdir().unwrap();
        let (path, metrics) = (folder.path().to_owned(), SpaceMetrics::default());
        let account = Account::open(&path.join("blobs"), &path.join("account"), metrics.clone()).unwrap();
        let limits = Limits { max_size: Size::Bytes(max_size), min_free: Size::Bytes(0) };
        let room = Arc::new(Room::new(path, limits, Arc::new(account), metrics));
        (folder, room)
    }

    fn claim(size: u64) -> Claim {
        Claim { digest: Digest::of(&size.to_be_bytes()), size }
    }

    #[test]
    fn the_same_room_is_not_given_twice_and_comes_back() {
        let (_folder, room) = room(100);
        let mut first = room.reserve(claim(60)).unwrap();
        assert_eq!(room.reserve(claim(41)).unwrap_err(), NoRoom { size: 41, missing: 1 });
        let second = room.reserve(claim(40)).unwrap();
        first.wrote(30);
        assert_eq!(room.written(), 30);
        drop((first, second));
        assert_eq!((room.written(), room.missing(100)), (0, 0));
    }

    #[test]
    fn the_file_system_keeps_what_is_to_stay_free() {
        let (_folder, room) = room(u64::MAX);
        let (whole, _) = room.file_system().unwrap();
        let limits = Limits { max_size: Size::Bytes(u64::MAX), min_free: Size::Percent(100) };
        let strict = Room::new(room.folder.clone(), limits, Arc::clone(&room.account), SpaceMetrics::default());
        assert!(strict.missing(1) > 0, "of {whole} bytes some are always used");
        assert_eq!(room.missing(1), 0);
    }

    #[tokio::test]
    async fn who_waits_goes_on_when_room_was_made_or_cannot_be() {
        let (_folder, room) = room(100);
        room.wait_for(claim(101)).await; // would never fit
        let held = room.reserve(claim(100)).unwrap();
        room.wait_for(claim(1)).await; // nobody evicts
        drop(held);
    }

    #[test]
    fn no_room_reads_as_a_full_disk() {
        let error = io::Error::from(NoRoom { size: 1, missing: 1 });
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
