//! The only response body the listener takes. Private inside: it was made from a `Servable`, or from
//! a page that this folder wrote itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body::{Body, Frame, SizeHint};

use crate::oci::Digest;
use crate::pull::{ContentError, Servable};

use super::access::AccessLine;

/// What is sent to a client, and the access line that is written when it was.
pub struct ServeBody {
    source: Source,
    left: u64,
    line: Option<AccessLine>,
}

enum Source {
    Page(Bytes),
    Content(Digest, BoxStream<'static, Result<Bytes, ContentError>>),
    /// Nothing more will come.
    Over,
}

impl ServeBody {
    /// Content that was proved servable.
    pub(super) fn content(servable: Servable, line: Option<AccessLine>) -> Self {
        let (digest, left) = (servable.claim().digest, servable.length());
        let pieces = stream::try_unfold(servable.into_content(), |mut content| async move {
            Ok(content.next().await?.map(|piece| (piece, content)))
        });
        Self { source: Source::Content(digest, pieces.boxed()), left, line }
    }

    /// A page that this folder wrote.
    pub(super) fn page(page: Bytes, line: Option<AccessLine>) -> Self {
        Self { left: page.len() as u64, source: Source::Page(page), line }
    }

    /// No bytes: the answer to a HEAD, or "you have it already".
    pub(super) fn nothing(line: Option<AccessLine>) -> Self {
        Self { source: Source::Over, left: 0, line }
    }

    /// A body of `length` bytes that come as a test wants them.
    #[cfg(test)]
    pub(super) fn scripted(length: u64, pieces: BoxStream<'static, Result<Bytes, ContentError>>) -> Self {
        Self { source: Source::Content(Digest::of(b"scripted"), pieces), left: length, line: None }
    }

    /// Counts a piece. A body that is longer or shorter than was promised ends in an error, so that
    /// the client can never take it for complete.
    fn account(
        &mut self,
        digest: Digest,
        piece: Option<Result<Bytes, ContentError>>,
    ) -> Option<Result<Bytes, ContentError>> {
        let wrong = |what: &str| ContentError::Rejected(digest, what.into());
        let checked = match piece {
            Some(Ok(piece)) if piece.len() as u64 > self.left => Some(Err(wrong("more bytes than promised"))),
            None if self.left > 0 => Some(Err(wrong("fewer bytes than promised"))),
            other => other,
        };
        match &checked {
            Some(Ok(piece)) => {
                self.left -= piece.len() as u64;
                if let Some(line) = &mut self.line {
                    line.sent(piece.len());
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%digest, error = error as &dyn std::error::Error, "answer broken off");
                self.source = Source::Over;
            }
            None => self.source = Source::Over,
        }
        checked
    }
}

impl Body for ServeBody {
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        let piece = match &mut self.source {
            Source::Over => return Poll::Ready(None),
            Source::Page(page) if page.is_empty() => None,
            Source::Page(page) => {
                let page = std::mem::take(page);
                self.left = 0;
                if let Some(line) = &mut self.line {
                    line.sent(page.len());
                }
                Some(Ok(page))
            }
            Source::Content(digest, pieces) => {
                let digest = *digest;
                let piece = std::task::ready!(pieces.poll_next_unpin(cx));
                self.account(digest, piece)
            }
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fixture::Image;
    use http_body_util::BodyExt as _;

    fn scripted(length: u64, pieces: &[&'static str]) -> ServeBody {
        let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect();
        ServeBody::scripted(length, stream::iter(pieces).boxed())
    }

    #[tokio::test]
    async fn a_body_has_the_promised_length_or_an_error() {
        let mut body = scripted(6, &["abc", "def"]);
        assert_eq!(body.size_hint().exact(), Some(6));
        body.frame().await.unwrap().unwrap();
        assert_eq!(body.size_hint().exact(), Some(3));
        assert!(!body.is_end_stream());
        body.frame().await.unwrap().unwrap();
        assert!(body.is_end_stream() && body.frame().await.is_none());

        for (length, pieces) in [(7, ["abc", "def"]), (5, ["abc", "def"]), (1, ["", ""])] {
            let error = scripted(length, &pieces).collect().await.err();
            assert!(matches!(error, Some(ContentError::Rejected(..))), "{length}");
        }
    }

    #[tokio::test]
    async fn pages_and_empty_answers_know_their_size() {
        let page = ServeBody::page(Bytes::from_static(b"{}"), None);
        assert_eq!(page.size_hint().exact(), Some(2));
        assert_eq!(page.collect().await.unwrap().to_bytes(), "{}");
        assert!(ServeBody::nothing(None).is_end_stream());
        assert!(ServeBody::page(Bytes::new(), None).collect().await.unwrap().to_bytes().is_empty());
    }

    #[tokio::test]
    async fn content_is_sent_as_it_was_admitted() {
        let image = Image::new().await;
        let body = ServeBody::content(image.manifest(), None);
        assert_eq!(body.size_hint().exact(), Some(image.manifest_bytes().len() as u64));
        assert_eq!(body.collect().await.unwrap().to_bytes(), image.manifest_bytes());
        let body = ServeBody::content(image.layer_part(10..20).await, None);
        assert_eq!(body.size_hint().exact(), Some(10));
        assert_eq!(body.collect().await.unwrap().to_bytes(), image.layer()[10..20]);
    }
}
