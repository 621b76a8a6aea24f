//! Follows content that is still arriving.
//!
//! The last 64 KiB stay here until the digest is known: a client may read ahead of verification,
//! but can never hold complete bad content.

use bytes::Bytes;

use crate::oci::Claim;
use crate::store::{HOLD_BACK, Incoming, Progress};

use super::servable::ContentError;

/// How much is read at a time.
const PIECE: u64 = 256 * 1024;

/// One client's place in content that is still arriving.
pub struct Tail {
    incoming: Incoming,
    sent: u64,
}

impl Tail {
    pub(super) fn follow(incoming: Incoming) -> Self {
        Self { incoming, sent: 0 }
    }

    /// The next piece, `None` at the end. Never yields the last [`HOLD_BACK`] bytes of what is not
    /// sealed. Cancel safe: a dropped call loses only the wait.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        let Claim { digest, size } = self.incoming.want();
        loop {
            let limit = match self.incoming.progress() {
                Progress::Writing(written) => written.min(size.saturating_sub(HOLD_BACK)),
                Progress::Sealed => size,
                Progress::Failed(why) => return Err(ContentError::Rejected(digest, why)),
            };
            if self.sent == size && limit == size {
                return Ok(None);
            }
            if limit > self.sent {
                let length = usize::try_from((limit - self.sent).min(PIECE)).expect("a piece is small");
                let piece = self.incoming.read_at(self.sent, length).await.map_err(|e| ContentError::Io(digest, e))?;
                if piece.is_empty() {
                    return Err(ContentError::Rejected(digest, "the spool is shorter than what was written".into()));
                }
                self.sent += piece.len() as u64;
                return Ok(Some(piece));
            }
            if !self.incoming.changed().await
                && !matches!(self.incoming.progress(), Progress::Sealed | Progress::Failed(_))
            {
                return Err(ContentError::Rejected(digest, "the fetch was stopped".into()));
            }
        }
    }
}
