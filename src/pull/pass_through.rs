//! Content for one client while it cannot be kept: straight from upstream, hashed as it passes.
//!
//! As with content that is kept, the last 64 KiB stay here until the digest of the whole is known. "The whole"
//! is what this client got, byte by byte: where its answer began from a spool, that beginning is hashed first.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::oci::{ByteRange, Claim, Hasher};
use crate::store::{HOLD_BACK, Incoming};
use crate::upstream::blob_time;

use super::places::Places;
use super::resume::{Arriving, Source};
use super::servable::ContentError;

/// Contents that pass through from one upstream at once; more wait in turn. Each goes as fast as its client
/// reads, so they may have half of the places that an upstream has for blobs, and fetches keep the others.
pub(super) const PASSING_MAX: usize = 32;

/// Pieces go on as they come: here they go to no other thread, and what is gathered is held for each client.
const EACH: u64 = 1;

/// How much of what was sent is read back at a time.
const PIECE: usize = 256 * 1024;

/// The way of one blob around the disk.
#[derive(Clone)]
pub(super) struct Detour {
    pub(super) source: Source,
    pub(super) places: Arc<Places>,
}

/// One client's content on its way through.
pub struct PassThrough {
    arriving: Arriving,
    claim: Claim,
    /// Over everything from the first byte of the content on, whoever wanted it.
    hasher: Hasher,
    /// What this client is to get of it.
    wanted: ByteRange,
    held: VecDeque<Bytes>,
    held_bytes: u64,
    is_right: bool,
    _place: OwnedSemaphorePermit,
}

/// Why nothing passes.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPassage {
    #[error("no place became free in time")]
    Crowded,
    #[error(transparent)]
    Upstream(#[from] crate::upstream::UpstreamError),
}

impl Detour {
    /// Begins with the first byte, of which a client may want only a part: the digest is about the whole.
    /// Returns when upstream's headers are here. Cancel safe.
    pub(super) async fn begin(&self, part: Option<ByteRange>) -> Result<PassThrough, NoPassage> {
        let place = self.place().await.ok_or(NoPassage::Crowded)?;
        let arriving = self.source.open(EACH, || ()).await?;
        let claim = self.source.claim;
        let wanted = part.unwrap_or(ByteRange { start: 0, end: claim.size });
        Ok(self.passing(arriving, Hasher::default(), wanted, place))
    }

    /// Goes on where a spool failed. Its client has what the spool holds up to `sent`: the digest is to be that
    /// of this beginning and of what upstream sends now, together. Cancel safe.
    pub(super) async fn go_on(&self, spool: &Incoming, sent: u64) -> Result<PassThrough, ContentError> {
        let claim = self.source.claim;
        let broken = |why: &str| ContentError::Rejected(claim.digest, why.into());
        let place = self.place().await.ok_or_else(|| broken("no place to pass through became free in time"))?;
        let mut hasher = Hasher::default();
        while hasher.seen() < sent {
            let length = usize::try_from(sent - hasher.seen()).unwrap_or(PIECE).min(PIECE);
            let read = spool.read_at(hasher.seen(), length).await;
            let piece = read.map_err(|error| ContentError::Io(claim.digest, error))?;
            if piece.is_empty() {
                return Err(broken("the spool is shorter than what was sent"));
            }
            hasher.update(&piece);
        }
        let wanted = ByteRange { start: sent, end: claim.size };
        Ok(self.passing(self.source.go_on_at(sent, EACH), hasher, wanted, place))
    }

    /// Waits for a place, as long as the content itself may take.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let Source { upstream, claim, .. } = &self.source;
        timeout(blob_time(claim.size), self.places.take(upstream.registry())).await.ok()
    }

    fn passing(
        &self,
        arriving: Arriving,
        hasher: Hasher,
        wanted: ByteRange,
        place: OwnedSemaphorePermit,
    ) -> PassThrough {
        self.source.metrics.passing_through();
        let claim = self.source.claim;
        PassThrough {
            arriving,
            claim,
            hasher,
            wanted,
            held: VecDeque::new(),
            held_bytes: 0,
            is_right: false,
            _place: place,
        }
    }
}

impl PassThrough {
    /// Which content.
    pub(super) fn claim(&self) -> Claim {
        self.claim
    }

    /// The next piece, `None` at the end. Never yields the last [`HOLD_BACK`] bytes of what is wanted before
    /// the whole was found right. Cancel safe: a dropped call loses only the wait.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        let Claim { digest, .. } = self.claim;
        loop {
            if self.is_right {
                return Ok(self.held.pop_front());
            }
            if let Some(piece) = self.free() {
                return Ok(Some(piece));
            }
            match self.arriving.next().await {
                Ok(Some(pieces)) => pieces.into_iter().for_each(|piece| self.take(piece)),
                Ok(None) => {
                    let got = std::mem::take(&mut self.hasher).finish();
                    if got != digest {
                        self.held.clear();
                        return Err(ContentError::Rejected(digest, format!("it hashes to {got}").into()));
                    }
                    self.is_right = true;
                }
                Err(error) => {
                    let why = super::from_upstream::with_causes(&error);
                    return Err(ContentError::Rejected(digest, why.into()));
                }
            }
        }
    }

    fn take(&mut self, mut piece: Bytes) {
        let start = self.hasher.seen();
        self.hasher.update(&piece);
        let inside = |offset: u64, piece: &Bytes| {
            usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX).min(piece.len())
        };
        piece.truncate(inside(self.wanted.end, &piece));
        drop(piece.split_to(inside(self.wanted.start, &piece)));
        if !piece.is_empty() {
            self.held_bytes += piece.len() as u64;
            self.held.push_back(piece);
        }
    }

    /// What is held beyond the end that must stay.
    fn free(&mut self) -> Option<Bytes> {
        let spare = usize::try_from(self.held_bytes.saturating_sub(HOLD_BACK)).unwrap_or(usize::MAX);
        if spare == 0 {
            return None;
        }
        let mut piece = self.held.pop_front()?;
        if piece.len() > spare {
            self.held.push_front(piece.split_off(spare));
        }
        self.held_bytes -= piece.len() as u64;
        Some(piece)
    }
}
