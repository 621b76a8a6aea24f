//! Eviction: what is named by no kept image goes first, then whole images, least recently used first.
//!
//! A layer or manifest goes with the last image that names it, in whatever repository. Nothing goes that was used or written a
//! moment ago; who is reading what goes reads on. What was verified stays so: an image that is asked for again is
//! fetched and proven again from its record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ledger::{ImageUse, Ledger, LedgerError, Pages};
use crate::oci::Digest;
use crate::store::{DiskStore, SetAside, StoreError};
use crate::telemetry::SpaceMetrics;
use crate::trust::Pattern;

/// What was used or written so lately stays: a client that has the manifest is about to ask for the layers.
const IDLE: Duration = Duration::from_secs(60);

/// How often it is looked whether others have used up the file system, or whether what was in vain may help by now.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How often uses and the account are written down: a crash forgets as much.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Eviction goes on until a twentieth of the cache is free beyond what is needed, so that not every fetch waits for it.
const SLACK: u64 = 20;

/// Longest time for orphans while somebody waits for room. The next look goes on where this one stopped.
const SWEEP_FOR: Duration = Duration::from_secs(1);

/// How long after all folders were looked through they are looked through again.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// How long what is not kept is remembered after its last use. Who has its manifest since then asks for it by tag again.
const REMEMBER_FOR: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Images that are forgotten in one go, each minute at most.
const FORGET_AT_ONCE: u32 = 64;

/// Digests that are looked up in one go: everybody who asks the ledger waits for so long, some milliseconds.
const AT_ONCE: usize = 32;

/// Evicts, and keeps the records that it needs.
pub struct Evictor {
    store: Arc<DiskStore>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    metrics: SpaceMetrics,
    options: EvictionOptions,
    sweep: Sweep,
    /// Whether the last look made too little room, and it was said.
    was_vain: bool,
    stop: CancellationToken,
}

/// What stays.
#[derive(Clone, Debug)]
pub struct EvictionOptions {
    /// Images of repositories that match one of these never go.
    pub keep: Vec<Pattern>,
    /// Nothing goes that was used or written within this time.
    pub idle: Duration,
}

/// How far the folders were looked through for what no kept image names.
#[derive(Debug, Default)]
struct Sweep {
    next: u8,
    done_at: Option<Instant>,
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evicted {
    /// Images.
    pub images: u64,
    /// Bytes that only they named.
    pub image_bytes: u64,
    /// Files that no kept image named.
    pub orphans: u64,
    /// Their bytes.
    pub orphan_bytes: u64,
    /// Images that would have been next, and match a `keep` pattern.
    pub kept: u64,
    /// When the least recently used image that went was used last.
    pub oldest_use: Option<Timestamp>,
}

/// What a whole look at the cache folder found, and did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Collected {
    /// What went.
    pub evicted: Evicted,
    /// What is left.
    pub stored_blobs: u64,
    /// What is left.
    pub stored_bytes: u64,
    /// Images that are kept.
    pub images: u64,
    /// Folders of which the account was wrong. It is right now.
    pub miscounted_folders: u64,
    /// Files below `blobs/` that are no content by their name or kind. They were left alone.
    pub foreign_files: Vec<std::path::PathBuf>,
}

/// Why a look could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How what goes is taken out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Evict,
    /// Only counts. The ledger must be rehearsing.
    Rehearse,
}

impl Default for EvictionOptions {
    fn default() -> Self {
        Self { keep: Vec::new(), idle: IDLE }
    }
}

impl Evicted {
    /// All that went.
    pub fn bytes(&self) -> u64 {
        self.image_bytes + self.orphan_bytes
    }
}

impl Evictor {
    /// Evicts from one store, by what one ledger knows.
    pub fn new(
        store: Arc<DiskStore>,
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        metrics: SpaceMetrics,
        options: EvictionOptions,
    ) -> Self {
        let (sweep, was_vain, stop) = (Sweep::default(), false, CancellationToken::new());
        Self { store, ledger, clock, metrics, options, sweep, was_vain, stop }
    }

    /// Works until `stop`.
    pub async fn run(&mut self, stop: CancellationToken) {
        self.stop = stop.clone();
        let every = |period| {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut looks, mut writes) = (every(LOOK_EVERY), every(WRITE_EVERY));
        loop {
            // All only wait.
            tokio::select! {
                // Nobody evicts from now on, so nobody should wait for it.
                () = stop.cancelled() => return self.store.eviction_ends(true),
                () = self.store.room_wanted() => {}
                _ = looks.tick() => self.store.eviction_is_there(),
                _ = writes.tick() => {
                    self.write_down().await;
                    self.forget().await;
                }
            }
            self.count_the_rest().await;
            self.make_room().await;
        }
    }

    /// Writes down when images were used, and how much is stored. What cannot be written now is written next time.
    pub async fn write_down(&self) {
        if let Err(error) = self.ledger.write_uses().await {
            tracing::warn!(%error, "when images were used could not be written down");
        }
        if let Err(error) = self.store.write_account().await {
            tracing::warn!(%error, "how much is stored could not be written down");
        }
    }

    /// So that the ledger does not grow for ever.
    async fn forget(&self) {
        let before = self.clock.now().saturating_sub(REMEMBER_FOR);
        let forgotten = self.ledger.forget(before.unwrap_or(Timestamp::UNIX_EPOCH), FORGET_AT_ONCE).await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, "what was not used for long could not be forgotten");
        }
    }

    /// Makes room if there is too little, for what is waited for and a little more.
    pub async fn make_room(&mut self) {
        let missing = self.store.missing();
        if missing == 0 {
            return;
        }
        self.store.eviction_begins();
        let mut evicted = Evicted::default();
        let done = self.evict(self.goal(), &mut evicted).await;
        let too_little = self.store.missing() > 0;
        self.store.eviction_ends(too_little || done.is_err());
        if let Err(error) = done {
            tracing::error!(%error, "room could not be made");
        } else if too_little && !self.was_vain {
            let (freed, kept) = (evicted.bytes(), evicted.kept);
            tracing::warn!(missing, freed, kept, "nothing more can be evicted; what finds no room is not kept");
        }
        self.was_vain = too_little;
        if evicted.bytes() > 0 || evicted.images > 0 {
            let usage = self.store.usage();
            tracing::info!(
                images = evicted.images,
                orphans = evicted.orphans,
                bytes = evicted.bytes(),
                oldest_use = evicted.oldest_use.map(tracing::field::display),
                stored = usage.bytes,
                "evicted"
            );
        }
    }

    /// Looks through the whole folder, puts the account right, removes what no kept image names, and evicts images until
    /// no more than `target` bytes are stored; without a target, until the limits hold. `rehearse`: says what would go, and
    /// changes nothing.
    ///
    /// # Errors
    /// What the disk or the ledger says. What went until then is gone.
    pub async fn collect(&mut self, target: Option<u64>, rehearse: bool) -> Result<Collected, GcError> {
        let mode = if rehearse { Mode::Rehearse } else { Mode::Evict };
        if rehearse {
            self.ledger.rehearse().await?;
        }
        self.ledger.no_later_than(self.clock.now()).await?;
        let (mut collected, mut evicted) = (Collected::default(), Evicted::default());
        for folder in 0..=u8::MAX {
            let counted = self.store.count(folder).await?;
            if counted.believed.is_some_and(|believed| believed != counted.usage) {
                collected.miscounted_folders += 1;
            }
            collected.foreign_files.extend(counted.foreign);
            self.remove_orphans(counted.content, mode, &mut evicted).await?;
        }
        let stored = self.store.usage().bytes - if rehearse { evicted.orphan_bytes } else { 0 };
        let too_much = match target {
            Some(target) => stored.saturating_sub(target),
            None => match self.store.missing().saturating_sub(if rehearse { evicted.orphan_bytes } else { 0 }) {
                0 => 0,
                missing => missing.saturating_add(stored / SLACK),
            },
        };
        self.evict_images(evicted.orphan_bytes + too_much, mode, &mut evicted).await?;
        let usage = self.store.usage();
        collected.images = self.ledger.images().await?;
        (collected.stored_blobs, collected.stored_bytes) = (usage.blobs, usage.bytes);
        collected.evicted = evicted;
        Ok(collected)
    }

    /// What was not counted at the start.
    async fn count_the_rest(&self) {
        while let Some(folder) = self.store.uncounted()
            && !self.stop.is_cancelled()
        {
            if let Err(error) = self.store.count(folder).await {
                tracing::error!(%error, "how much is stored could not be counted");
                return;
            }
        }
    }

    async fn evict(&mut self, goal: u64, evicted: &mut Evicted) -> Result<(), GcError> {
        // What waits to be written counts: it was used just now.
        self.ledger.write_uses().await?;
        self.ledger.no_later_than(self.clock.now()).await?;
        self.sweep(goal, evicted).await?;
        // Folders were counted on the way, and what was written down before may have been wrong.
        let goal = goal.min(evicted.bytes().saturating_add(self.goal()));
        self.evict_images(goal, Mode::Evict, evicted).await
    }

    /// How many bytes should go now.
    fn goal(&self) -> u64 {
        match self.store.missing() {
            0 => 0,
            missing => missing.saturating_add(self.store.usage().bytes / SLACK),
        }
    }

    /// Looks through the folders for what no kept image names: what a crash or a refusal left.
    async fn sweep(&mut self, goal: u64, evicted: &mut Evicted) -> Result<(), GcError> {
        let started = Instant::now();
        if self.sweep.done_at.is_some_and(|done_at| done_at.elapsed() < SWEEP_EVERY) {
            return Ok(());
        }
        let stop = self.stop.clone();
        while evicted.bytes() < goal && started.elapsed() < SWEEP_FOR && !stop.is_cancelled() {
            let content = self.store.count(self.sweep.next).await?.content;
            self.remove_orphans(content, Mode::Evict, evicted).await?;
            self.sweep.next = self.sweep.next.wrapping_add(1);
            if self.sweep.next == 0 {
                self.sweep.done_at = Some(Instant::now());
                return Ok(());
            }
        }
        Ok(())
    }

    async fn remove_orphans(&self, content: Vec<Digest>, mode: Mode, evicted: &mut Evicted) -> Result<(), GcError> {
        let (files, bytes) = self.remove_unnamed(content, mode).await?;
        evicted.orphans += files;
        evicted.orphan_bytes += bytes;
        if mode == Mode::Evict && bytes > 0 {
            self.metrics.evicted(0, bytes);
            self.store.room_made();
        }
        Ok(())
    }

    /// Image after image, until so many bytes went in all.
    async fn evict_images(&self, goal: u64, mode: Mode, evicted: &mut Evicted) -> Result<(), GcError> {
        let now = self.clock.now();
        // One more: with no idle time at all, what was used in this very moment may go.
        let until = now.saturating_sub(self.options.idle).unwrap_or(now).saturating_add(Duration::from_millis(1));
        let mut pages = Pages::before(until.unwrap_or(now));
        while evicted.bytes() < goal {
            let page = self.ledger.least_used(&mut pages).await?;
            if page.is_empty() {
                return Ok(());
            }
            for image in page {
                if evicted.bytes() >= goal || self.stop.is_cancelled() {
                    return Ok(());
                }
                match self.is_kept(&image) {
                    true => evicted.kept += 1,
                    false => self.evict_image(&image, mode, evicted).await?,
                }
            }
        }
        Ok(())
    }

    async fn evict_image(&self, image: &ImageUse, mode: Mode, evicted: &mut Evicted) -> Result<(), GcError> {
        let Some(below) = self.ledger.let_go(image).await? else { return Ok(()) };
        let (_, bytes) = self.remove_unnamed(below, mode).await?;
        evicted.images += 1;
        evicted.image_bytes += bytes;
        evicted.oldest_use.get_or_insert(image.used_at);
        if mode == Mode::Evict {
            self.metrics.evicted(1, bytes);
            self.store.room_made();
            let ImageUse { repository, digest, used_at } = image;
            tracing::debug!(%repository, %digest, %used_at, bytes, "image evicted");
        }
        Ok(())
    }

    fn is_kept(&self, image: &ImageUse) -> bool {
        let name = image.repository.to_string();
        self.options.keep.iter().any(|pattern| pattern.matches(&name))
    }

    /// Takes out what no kept image names. Returns how many files, and how many bytes.
    async fn remove_unnamed(&self, digests: Vec<Digest>, mode: Mode) -> Result<(u64, u64), GcError> {
        let (mut files, mut bytes) = (0, 0);
        for some in digests.chunks(AT_ONCE) {
            let (store, idle) = (Arc::clone(&self.store), self.options.idle);
            let gone = self.ledger.unnamed(some.to_vec(), move |digest| match mode {
                Mode::Evict => store.set_aside(digest, idle).map(Gone::Aside),
                Mode::Rehearse => store.size(digest, idle).map(Gone::Would),
            });
            let gone = gone.await?;
            files += gone.len() as u64;
            bytes += gone.iter().map(Gone::size).sum::<u64>();
            // Removing large files takes a while.
            let _removed = tokio::task::spawn_blocking(move || drop(gone)).await;
        }
        Ok((files, bytes))
    }
}

/// One file that goes.
enum Gone {
    Aside(SetAside),
    Would(u64),
}

impl Gone {
    fn size(&self) -> u64 {
        match self {
            Self::Aside(aside) => aside.size(),
            Self::Would(size) => *size,
        }
    }
}
