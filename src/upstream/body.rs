//! A blob on its way in.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, Sleep};

use super::error::{Asked, UpstreamError};
use super::fair::Place;

/// How long the end of an answer may be awaited of which every byte is here.
const END_AFTER: Duration = Duration::from_secs(1);

/// The bytes of a blob as they come. They are counted, but **not** hashed.
///
/// Yields at most the claimed number of bytes, or those of them that were asked for, and ends (`None`) only
/// if exactly that many came; else with one `Err`: `Cut` when the body ended early, `Lied` when more came,
/// `TimedOut` on a stall or after the total time. After an error it is over. Dropping it closes the connection.
pub struct BlobStream {
    asked: Asked,
    wanted: Span,
    open: Option<Open>,
}

/// Which bytes of a blob are wanted, and which come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Offset of the first byte that comes: `from`, or less where upstream does not know ranges.
    pub(super) begins: u64,
    /// Offset of the first byte that is wanted.
    pub(super) from: u64,
    /// Offset behind the last byte of both.
    pub(super) size: u64,
}

struct Open {
    chunks: BoxStream<'static, Result<Bytes, UpstreamError>>,
    /// Offset of the byte that comes next.
    seen: u64,
    stall_after: Duration,
    stall: Pin<Box<Sleep>>,
    /// Whether `stall` runs. It starts when a read waits, so a slow reader is no stall.
    waiting: bool,
    deadline: Pin<Box<Sleep>>,
    _place: Option<Place>,
}

/// How long the bytes may take, and whose place they hold.
pub(super) struct Pace {
    /// Longest wait between two chunks.
    pub(super) stall_after: Duration,
    /// When all must be here.
    pub(super) deadline: Instant,
    /// The place that is given back at the end.
    pub(super) place: Option<Place>,
}

impl BlobStream {
    pub(super) fn new(
        asked: Asked,
        chunks: BoxStream<'static, Result<Bytes, UpstreamError>>,
        wanted: Span,
        pace: Pace,
    ) -> Self {
        let Pace { stall_after, deadline, place } = pace;
        let open = Open {
            chunks,
            seen: wanted.begins,
            stall_after,
            stall: Box::pin(tokio::time::sleep(stall_after)),
            waiting: false,
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            _place: place,
        };
        Self { asked, wanted, open: Some(open) }
    }
}

impl Open {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        asked: &Asked,
        wanted: Span,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        loop {
            let mut chunk = std::task::ready!(self.poll_any(cx, asked, wanted.size));
            if let Some(Ok(bytes)) = &mut chunk {
                let start = self.seen - bytes.len() as u64;
                let early = usize::try_from(wanted.from.saturating_sub(start)).unwrap_or(usize::MAX);
                drop(bytes.split_to(early.min(bytes.len())));
                if bytes.is_empty() && start < wanted.from {
                    continue;
                }
            }
            return Poll::Ready(chunk);
        }
    }

    /// The next bytes, wanted or not.
    fn poll_any(
        &mut self,
        cx: &mut Context<'_>,
        asked: &Asked,
        claimed: u64,
    ) -> Poll<Option<Result<Bytes, UpstreamError>>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(UpstreamError::TimedOut { asked: asked.clone() })));
        }
        let chunk = match self.chunks.as_mut().poll_next(cx) {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => {
                if !self.waiting {
                    self.waiting = true;
                    let is_whole = self.seen == claimed;
                    let longest = if is_whole { self.stall_after.min(END_AFTER) } else { self.stall_after };
                    self.stall.as_mut().reset(Instant::now() + longest);
                }
                return self
                    .stall
                    .as_mut()
                    .poll(cx)
                    .map(|()| Some(Err(UpstreamError::TimedOut { asked: asked.clone() })));
            }
        };
        self.waiting = false;
        Poll::Ready(match chunk {
            Some(Ok(chunk)) => {
                self.seen = self.seen.saturating_add(chunk.len() as u64);
                if self.seen > claimed {
                    let lie = format!("sends more than the {claimed} bytes that its descriptor says");
                    return Poll::Ready(Some(Err(UpstreamError::Lied { asked: asked.clone(), lie })));
                }
                Some(Ok(chunk))
            }
            Some(Err(UpstreamError::Cut { asked, source, .. })) => {
                Some(Err(UpstreamError::Cut { asked, seen: self.seen, source }))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.seen < claimed => {
                Some(Err(UpstreamError::Cut { asked: asked.clone(), seen: self.seen, source: None }))
            }
            None => None,
        })
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, UpstreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(open) = &mut this.open else {
            return Poll::Ready(None);
        };
        let polled = match open.poll(cx, &this.asked, this.wanted) {
            // All is here; how the connection ends is no longer of interest. The digest decides.
            Poll::Ready(Some(Err(UpstreamError::Cut { .. } | UpstreamError::TimedOut { .. })))
                if open.seen == this.wanted.size =>
            {
                Poll::Ready(None)
            }
            polled => polled,
        };
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            this.open = None;
        }
        polled
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").field("asked", &self.asked).field("wanted", &self.wanted).finish_non_exhaustive()
    }
}
