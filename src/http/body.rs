//! The only response body the listener takes. Private inside: it was made from a `Servable`, or from
//! a page that this folder wrote itself.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http_body::{Body, Frame, SizeHint};

use crate::oci::Digest;
use crate::pull::{Content, ContentError, Piece, Servable};

use super::access::AccessLine;
use super::file_socket::Outlet;

/// What is sent to a client, and the access line that is written when it was.
pub struct ServeBody {
    source: Source,
    left: u64,
    line: Option<AccessLine>,
    /// Where parts of files go, if the connection can send them.
    outlet: Option<Outlet>,
}

enum Source {
    Page(Bytes),
    Content(Digest, Content),
    /// The same, once it is asked for.
    Pieces(Digest, BoxStream<'static, Result<Piece, ContentError>>),
    /// Nothing more will come.
    Over,
}

impl ServeBody {
    /// Content that was proved servable.
    pub(super) fn content(servable: Servable, line: Option<AccessLine>) -> Self {
        let (digest, left) = (servable.claim().digest, servable.length());
        Self { source: Source::Content(digest, servable.into_content()), left, line, outlet: None }
    }

    /// A page that this folder wrote.
    pub(super) fn page(page: Bytes, line: Option<AccessLine>) -> Self {
        Self { left: page.len() as u64, source: Source::Page(page), line, outlet: None }
    }

    /// No bytes: the answer to a HEAD, or "you have it already".
    pub(super) fn nothing(line: Option<AccessLine>) -> Self {
        Self { source: Source::Over, left: 0, line, outlet: None }
    }

    /// A body of `length` bytes that come as a test wants them.
    #[cfg(test)]
    pub(super) fn scripted(length: u64, pieces: BoxStream<'static, Result<Bytes, ContentError>>) -> Self {
        let pieces = pieces.map(|piece| piece.map(Piece::Memory)).boxed();
        Self { source: Source::Pieces(Digest::of(b"scripted"), pieces), left: length, line: None, outlet: None }
    }

    /// Parts of files may go to `outlet`, and the body gives what stands in for them.
    pub(super) fn through(self, outlet: Option<Outlet>) -> Self {
        Self { outlet, ..self }
    }

    /// Counts a piece. A body that is longer or shorter than was promised ends in an error, so that
    /// the client can never take it for complete.
    fn account(
        &mut self,
        digest: Digest,
        piece: Option<Result<Piece, ContentError>>,
    ) -> Option<Result<Piece, ContentError>> {
        let wrong = |what: &str| ContentError::Rejected(digest, what.into());
        let checked = match piece {
            Some(Ok(piece)) if length(&piece) as u64 > self.left => Some(Err(wrong("more bytes than promised"))),
            None if self.left > 0 => Some(Err(wrong("fewer bytes than promised"))),
            other => other,
        };
        match &checked {
            Some(Ok(piece)) => {
                self.left -= length(piece) as u64;
                if let Some(line) = &mut self.line {
                    line.sent(length(piece));
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

    /// What hyper gets of a piece.
    fn bytes(&self, piece: Piece) -> Bytes {
        match (piece, &self.outlet) {
            (Piece::Memory(bytes), _) => bytes,
            (Piece::File(slice), Some(outlet)) => outlet.put(slice),
            // Nobody was asked for files. Too few bytes end the connection.
            (Piece::File(_), None) => Bytes::new(),
        }
    }
}

fn pieces(content: Content, by_file: bool) -> BoxStream<'static, Result<Piece, ContentError>> {
    let next = move |mut content: Content| async move {
        let piece = match by_file {
            true => content.next_piece().await?,
            false => content.next().await?.map(Piece::Memory),
        };
        Ok(piece.map(|piece| (piece, content)))
    };
    stream::try_unfold(content, next).boxed()
}

fn length(piece: &Piece) -> usize {
    match piece {
        Piece::Memory(bytes) => bytes.len(),
        Piece::File(slice) => slice.left(),
    }
}

impl Body for ServeBody {
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        if let Some(outlet) = &self.outlet {
            // What comes next may be the end, for which is looked whether all before it was right.
            ready!(outlet.poll_empty(cx));
        }
        if let Source::Content(digest, content) = &mut self.source {
            if let Content::Whole(bytes) = content {
                // All of it is here: nothing needs to be waited for.
                let (digest, bytes) = (*digest, std::mem::take(bytes));
                self.source = Source::Over;
                let piece = self.account(digest, (!bytes.is_empty()).then_some(Ok(Piece::Memory(bytes))));
                return Poll::Ready(piece.map(|piece| Ok(Frame::data(self.bytes(piece?)))));
            }
            let (digest, content) = (*digest, std::mem::replace(content, Content::Nothing));
            self.source = Source::Pieces(digest, pieces(content, self.outlet.is_some()));
        }
        let piece = match &mut self.source {
            Source::Pieces(digest, pieces) => {
                let digest = *digest;
                let piece = ready!(pieces.poll_next_unpin(cx));
                self.account(digest, piece)
            }
            Source::Page(page) if !page.is_empty() => {
                let page = std::mem::take(page);
                self.left = 0;
                if let Some(line) = &mut self.line {
                    line.sent(page.len());
                }
                Some(Ok(Piece::Memory(page)))
            }
            Source::Page(_) | Source::Content(..) | Source::Over => None,
        };
        Poll::Ready(piece.map(|piece| Ok(Frame::data(self.bytes(piece?)))))
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
