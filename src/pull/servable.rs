//! The only thing that can become a response body. Every constructor asks for a proof.

use std::sync::Arc;

use bytes::Bytes;

use crate::oci::{ByteRange, Claim, Digest, Manifest};
use crate::store::{Incoming, Piece, StoredBlob, StoredError, StoredReader};
use crate::trust::{AdmittedBlob, Artefact, Inspected, Verdict, Verified};

use super::pass_through::{Detour, PassThrough};
use super::tail::Tail;

/// The media type of blobs: their real one stands in the manifest that names them.
const BLOB_TYPE: &str = "application/octet-stream";

/// A proof together with content of the same digest, ready to be sent.
pub struct Servable {
    claim: Claim,
    media_type: &'static str,
    range: Option<ByteRange>,
    verdict: Arc<Verdict>,
    content: Content,
}

/// Where the bytes come from.
pub enum Content {
    /// Nothing is sent (HEAD).
    Nothing,
    /// From memory.
    Whole(Bytes),
    /// From the store.
    Stored(Box<StoredReader>),
    /// From a fetch that is running.
    Arriving(Box<Tail>),
    /// From upstream, past the disk.
    Passing(Box<PassThrough>),
}

/// Why a body breaks off. The connection is then cut (HTTP/1.1) or the stream reset (HTTP/2).
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The content turned out to be other than admitted, or never came.
    #[error("content of {0} broke off: {1}")]
    Rejected(Digest, Arc<str>),
    /// The disk failed.
    #[error("cannot read the spool of {0}")]
    Io(Digest, #[source] std::io::Error),
    /// What was stored changed or cannot be read.
    #[error(transparent)]
    Stored(#[from] StoredError),
}

impl Servable {
    /// A verified manifest.
    pub fn manifest(manifest: &Verified<Manifest>) -> Self {
        Self::document(manifest.get(), Arc::clone(manifest.verdict()))
    }

    /// A signature artefact's manifest.
    pub fn artefact(artefact: &Artefact) -> Self {
        Self::document(artefact.manifest(), Arc::clone(artefact.verdict()))
    }

    /// An artefact's payload that was looked at.
    pub fn inspected(payload: &Inspected) -> Self {
        Self {
            claim: payload.blob().claim(),
            media_type: BLOB_TYPE,
            range: None,
            verdict: Arc::clone(payload.blob().verdict()),
            content: Content::Whole(payload.bytes().clone()),
        }
    }

    /// The same, or a part of it, from the store, so that a slow client holds no memory. `None` if it is
    /// another's content.
    pub async fn inspected_stored(
        payload: &Inspected,
        blob: StoredBlob,
        range: Option<ByteRange>,
    ) -> Result<Option<Self>, ContentError> {
        let claim = payload.blob().claim();
        if blob.claim() != claim || range.is_some_and(|range| range.end > claim.size) {
            return Ok(None);
        }
        let reader = match range {
            None => blob.read_whole(),
            Some(range) => blob.read_range(range).await?,
        };
        Ok(Some(Self { range, content: Content::Stored(Box::new(reader)), ..Self::inspected(payload) }))
    }

    /// An admitted blob's size and digest, without its bytes.
    pub fn head(admitted: &AdmittedBlob) -> Self {
        Self::blob(admitted, Content::Nothing)
    }

    /// An admitted blob from the store. `None` if it is another's content.
    pub fn stored(admitted: &AdmittedBlob, blob: StoredBlob) -> Option<Self> {
        (blob.claim() == admitted.claim()).then(|| Self::blob(admitted, Content::Stored(Box::new(blob.read_whole()))))
    }

    /// A part of an admitted blob from the store. `None` if it is another's content.
    pub async fn stored_range(
        admitted: &AdmittedBlob,
        blob: StoredBlob,
        range: ByteRange,
    ) -> Result<Option<Self>, ContentError> {
        if blob.claim() != admitted.claim() || range.end > admitted.claim().size {
            return Ok(None);
        }
        let content = Content::Stored(Box::new(blob.read_range(range).await?));
        Ok(Some(Self { range: Some(range), ..Self::blob(admitted, content) }))
    }

    /// An admitted blob, or a part of it, that is still arriving. `None` if it is another's content.
    pub fn arriving(admitted: &AdmittedBlob, incoming: Incoming, range: Option<ByteRange>) -> Option<Self> {
        (incoming.want() == admitted.claim()).then(|| {
            let content = Content::Arriving(Box::new(Tail::follow(incoming, range)));
            Self { range, ..Self::blob(admitted, content) }
        })
    }

    /// What is arriving goes on this way when the disk fails.
    pub(super) fn or_else(mut self, detour: Detour) -> Self {
        if let Content::Arriving(tail) = &mut self.content {
            tail.or_else(detour);
        }
        self
    }

    /// An admitted blob, or a part of it, that passes without being kept. `None` if it is another's content.
    pub(super) fn passing(admitted: &AdmittedBlob, passing: PassThrough, range: Option<ByteRange>) -> Option<Self> {
        (passing.claim() == admitted.claim())
            .then(|| Self { range, ..Self::blob(admitted, Content::Passing(Box::new(passing))) })
    }

    /// An admitted blob that lies in memory. `None` if it is another's content.
    pub(super) fn in_memory(admitted: &AdmittedBlob, bytes: Bytes) -> Option<Self> {
        let Claim { digest, size } = admitted.claim();
        (bytes.len() as u64 == size && Digest::of(&bytes) == digest)
            .then(|| Self::blob(admitted, Content::Whole(bytes)))
    }

    fn blob(admitted: &AdmittedBlob, content: Content) -> Self {
        let verdict = Arc::clone(admitted.verdict());
        Self { claim: admitted.claim(), media_type: BLOB_TYPE, range: None, verdict, content }
    }

    fn document(manifest: &Manifest, verdict: Arc<Verdict>) -> Self {
        Self {
            claim: Claim { digest: manifest.digest(), size: manifest.bytes().len() as u64 },
            media_type: manifest.media_type().as_str(),
            range: None,
            verdict,
            content: Content::Whole(manifest.bytes().clone()),
        }
    }

    /// Digest and size of the whole, whatever part is sent.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// For `Content-Type`.
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// The part that is sent; `None` for the whole.
    pub fn range(&self) -> Option<ByteRange> {
        self.range
    }

    /// Why it may be sent.
    pub fn verdict(&self) -> &Arc<Verdict> {
        &self.verdict
    }

    /// How many bytes a GET sends.
    pub fn length(&self) -> u64 {
        self.range.map_or(self.claim.size, ByteRange::length)
    }

    /// The bytes. A part of what lies in memory is cut out here.
    pub fn into_content(self) -> Content {
        self.content
    }

    /// Restricts content that lies in memory to a part; the rest is dropped.
    pub(super) fn cut(mut self, range: ByteRange) -> Self {
        if let Content::Whole(bytes) = &self.content {
            let (start, end) = (range.start as usize, range.end as usize);
            self.content = Content::Whole(bytes.slice(start..end));
            self.range = Some(range);
        }
        self
    }
}

impl Content {
    /// The next piece, which may be a part of a file that nobody has read yet; `None` at the end. Cancel safe.
    pub async fn next_piece(&mut self) -> Result<Option<Piece>, ContentError> {
        match self {
            Self::Stored(reader) => Ok(reader.next_piece().await?),
            other => Ok(other.next().await?.map(Piece::Memory)),
        }
    }

    /// The next piece in memory, `None` at the end. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Whole(bytes) => Ok((!bytes.is_empty()).then(|| std::mem::take(bytes))),
            Self::Stored(reader) => Ok(reader.next().await?),
            Self::Arriving(tail) => tail.next().await,
            Self::Passing(passing) => passing.next().await,
        }
    }
}
