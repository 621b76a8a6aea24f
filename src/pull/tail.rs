//! Follows content that is still arriving.
//!
//! The last 64 KiB stay here until the digest is known: a client may read ahead of verification,
//! but can never hold complete bad content.

use std::sync::Arc;

use bytes::Bytes;

use crate::oci::{ByteRange, Claim};
use crate::store::{Failure, HOLD_BACK, Incoming, Progress};

use super::pass_through::{Detour, PassThrough};
use super::servable::ContentError;

/// How much is read at a time.
const PIECE: u64 = 256 * 1024;

/// One client's place in content that is still arriving.
pub struct Tail {
    incoming: Incoming,
    at: u64,
    end: u64,
    /// A part is complete by itself for HTTP, so nothing of it may leave before the seal.
    is_part: bool,
    /// How to go on when the disk fails.
    detour: Option<Detour>,
    passing: Option<Box<PassThrough>>,
}

impl Tail {
    pub(super) fn follow(incoming: Incoming, part: Option<ByteRange>) -> Self {
        let size = incoming.want().size;
        let (at, end) = part.map_or((0, size), |part| (part.start, part.end.min(size)));
        Self { incoming, at, end, is_part: part.is_some(), detour: None, passing: None }
    }

    /// When the disk fails, goes on this way.
    pub(super) fn or_else(&mut self, detour: Detour) {
        self.detour = Some(detour);
    }

    /// The next piece, `None` at the end. Never yields the last [`HOLD_BACK`] bytes of what is not
    /// sealed. Cancel safe: a dropped call loses only the wait.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        let Claim { digest, size } = self.incoming.want();
        loop {
            if let Some(passing) = &mut self.passing {
                return passing.next().await;
            }
            let progress = self.incoming.progress();
            let limit = match &progress {
                Progress::Writing(_) if self.is_part => 0,
                Progress::Writing(written) => (*written).min(size.saturating_sub(HOLD_BACK)),
                Progress::Sealed(_) => self.end,
                Progress::Failed(Failure::Disk(_)) if !self.is_part && self.detour.is_some() => {
                    self.pass_through().await?;
                    continue;
                }
                Progress::Failed(Failure::Disk(why) | Failure::GivenUp(why)) => {
                    return Err(ContentError::Rejected(digest, Arc::clone(why)));
                }
            };
            if self.at >= self.end && limit == self.end {
                return Ok(None);
            }
            if limit > self.at {
                let length = usize::try_from((limit - self.at).min(PIECE)).expect("a piece is small");
                let piece = self.incoming.read_at(self.at, length).await.map_err(|e| ContentError::Io(digest, e))?;
                if piece.is_empty() {
                    return Err(ContentError::Rejected(digest, "the spool is shorter than what was written".into()));
                }
                // Asked behind the reading: what changes later was not read.
                if let Progress::Sealed(state) = progress
                    && !self.incoming.is_still(state)
                {
                    return Err(ContentError::Rejected(digest, "the file changed on disk".into()));
                }
                self.at += piece.len() as u64;
                return Ok(Some(piece));
            }
            if !self.incoming.changed().await
                && !matches!(self.incoming.progress(), Progress::Sealed(_) | Progress::Failed(_))
            {
                return Err(ContentError::Rejected(digest, "the fetch was stopped".into()));
            }
        }
    }

    /// The disk failed, which says nothing about the content: the rest comes from upstream.
    async fn pass_through(&mut self) -> Result<(), ContentError> {
        if let Some(detour) = &self.detour {
            self.passing = Some(Box::new(detour.go_on(&self.incoming, self.at).await?));
        }
        Ok(())
    }
}
