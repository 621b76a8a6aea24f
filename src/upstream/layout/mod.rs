//! An OCI image layout folder in the place of a registry (OCI image spec, image-layout.md).
//!
//! What it holds is read once, when it is opened; content is read, and held against its digest, when it is
//! asked for. No path comes from a document: blobs are opened by digest only, and no link is followed.

mod contents;
mod folder;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use tokio::time::Instant;

use self::contents::Contents;
use self::folder::{Folder, ReadError};
use super::body::{BlobStream, Pace, Span};
use super::error::{Asked, SetupError, UpstreamError};
use super::listing::TagPage;
use super::referrers::Referrers;
use crate::oci::{Claim, Digest, Manifest, Reference, Tag};

/// How much of a blob is read at a time.
const CHUNK: usize = 64 * 1024;
/// Longest wait for one chunk; a folder may lie on another machine.
const STALL: Duration = Duration::from_secs(30);
/// How many images a message lists.
const SHOWN_MAX: usize = 10;

/// A layout folder.
pub struct Layout {
    shown: String,
    folder: Arc<Folder>,
    contents: Contents,
}

/// The layout does not hold exactly one image, so it must be said which one is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotOneImage {
    /// The folder, as it was given.
    pub folder: String,
    /// What is there: the digest and, where it has one, the name.
    pub images: Vec<(Digest, Option<String>)>,
}

impl Layout {
    /// Reads what a folder holds: `oci-layout`, `index.json` and every manifest that can be reached from
    /// there (up to 4096 of 64 MiB altogether). Blocks while it reads.
    ///
    /// # Errors
    /// [`SetupError::Layout`] when it is no layout of version 1.0.0, or cannot be read.
    pub fn open(folder: &Path) -> Result<Self, SetupError> {
        let shown = folder.display().to_string();
        let problem = |problem: String| SetupError::Layout { folder: shown.clone(), problem };
        let folder = Folder::open(folder).map_err(|error| problem(error.to_string()))?;
        let contents = Contents::read(&folder).map_err(problem)?;
        Ok(Self { shown, folder: Arc::new(folder), contents })
    }

    /// The images in it, with their names as `index.json` writes them. Signatures and what else refers to
    /// an image are left out.
    pub fn images(&self) -> &[(Digest, Option<String>)] {
        &self.contents.images
    }

    /// The digest of the only image in it. Signatures and what else refers to an image do not count.
    ///
    /// # Errors
    /// [`NotOneImage`], which lists what is there.
    pub fn only_image(&self) -> Result<Digest, NotOneImage> {
        match self.contents.images.as_slice() {
            [(digest, _)] => Ok(*digest),
            images => Err(NotOneImage { folder: self.shown.clone(), images: images.to_vec() }),
        }
    }

    pub(super) fn resolve(&self, tag: &Tag) -> Result<Digest, UpstreamError> {
        let asked = self.asked(format_args!("tag {tag}"));
        let named = self.contents.tags.get(tag).into_iter().flatten().copied().collect::<Vec<_>>();
        match named.as_slice() {
            [] => Err(UpstreamError::NotFound { asked }),
            [digest] => Ok(*digest),
            [one, other, ..] => {
                let lie = format!("index.json gives this name to {one} and to {other}; ask by digest");
                Err(UpstreamError::Lied { asked, lie })
            }
        }
    }

    pub(super) async fn manifest_within(&self, reference: &Reference, limit: u64) -> Result<Manifest, UpstreamError> {
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self.resolve(tag)?,
        };
        let asked = self.asked(format_args!("manifest {reference}"));
        let bytes = self.whole(&asked, digest, limit).await?;
        let media_type = self.contents.types.get(&digest).map(|media_type| media_type.as_str());
        Manifest::parse(bytes, media_type).map_err(|source| UpstreamError::Manifest { asked, source })
    }

    pub(super) async fn small_blob(&self, claim: Claim, max: u64) -> Result<Bytes, UpstreamError> {
        let asked = self.asked(format_args!("blob {}", claim.digest));
        if claim.size > max {
            return Err(UpstreamError::TooLarge { asked, limit: max });
        }
        let bytes = self.whole(&asked, claim.digest, claim.size).await.map_err(|error| match error {
            UpstreamError::TooLarge { asked, limit } => {
                UpstreamError::Lied { asked, lie: format!("has more than the {limit} bytes that its descriptor says") }
            }
            error => error,
        })?;
        if (bytes.len() as u64) < claim.size {
            return Err(UpstreamError::Cut { asked, seen: bytes.len() as u64, source: None });
        }
        Ok(bytes)
    }

    pub(super) async fn blob_from(
        &self,
        claim: Claim,
        from: u64,
        deadline: Instant,
    ) -> Result<BlobStream, UpstreamError> {
        let asked = self.asked(format_args!("blob {}", claim.digest));
        let file = self.in_folder(&asked, move |folder| Ok(folder.blob(claim.digest)?)).await?;
        let length = file.metadata().map_err(|error| unreadable(asked.clone(), error))?.len();
        if length != claim.size {
            let lie = format!("has {length} bytes, but its descriptor says {}", claim.size);
            return Err(UpstreamError::Lied { asked, lie });
        }
        let mut file = tokio::fs::File::from_std(file);
        file.seek(SeekFrom::Start(from)).await.map_err(|error| unreadable(asked.clone(), error))?;
        let pace = Pace { stall_after: STALL, deadline, place: None };
        let wanted = Span { begins: from, from, size: claim.size };
        Ok(BlobStream::new(asked.clone(), chunks(asked, file).boxed(), wanted, pace))
    }

    /// What could not be read might refer to anything, so then the answer is a failure.
    pub(super) fn referrers(&self, subject: Digest, max: usize) -> Result<Referrers, UpstreamError> {
        if let Some(unread) = &self.contents.unread {
            let asked = self.asked(format_args!("referrers of {subject}"));
            return Err(UpstreamError::Lied { asked, lie: format!("not everything in it can be read: {unread}") });
        }
        let all = self.contents.referrers.get(&subject).map(Vec::as_slice).unwrap_or_default();
        let descriptors: Vec<_> = all.iter().take(max).cloned().collect();
        Ok(Referrers { truncated: descriptors.len() < all.len(), descriptors, ..Referrers::default() })
    }

    pub(super) fn tags(&self, n: Option<u32>, last: Option<&Tag>) -> TagPage {
        let n = n.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let mut behind = self.contents.tags.keys().filter(|tag| last.is_none_or(|last| *tag > last));
        let tags = behind.by_ref().take(n).cloned().collect();
        TagPage { tags, more: behind.next().is_some() }
    }

    /// A whole blob of at most `limit` bytes; it has that digest.
    async fn whole(&self, asked: &Asked, digest: Digest, limit: u64) -> Result<Bytes, UpstreamError> {
        let bytes = self.in_folder(asked, move |folder| folder.read_blob(digest, limit)).await?;
        let got = Digest::of(&bytes);
        if got == digest {
            return Ok(bytes);
        }
        Err(UpstreamError::Lied { asked: asked.clone(), lie: format!("its content hashes to {got}") })
    }

    /// Runs file operations where they hold up nobody.
    async fn in_folder<T: Send + 'static>(
        &self,
        asked: &Asked,
        work: impl FnOnce(&Folder) -> Result<Option<T>, ReadError> + Send + 'static,
    ) -> Result<T, UpstreamError> {
        let folder = Arc::clone(&self.folder);
        let done = tokio::task::spawn_blocking(move || work(&folder)).await.expect("file operations do not panic");
        let asked = asked.clone();
        match done {
            Ok(Some(done)) => Ok(done),
            Ok(None) => Err(UpstreamError::NotFound { asked }),
            Err(ReadError::TooLarge(limit)) => Err(UpstreamError::TooLarge { asked, limit }),
            Err(ReadError::Io(error)) => Err(unreadable(asked, error)),
        }
    }

    fn asked(&self, what: fmt::Arguments<'_>) -> Asked {
        Asked::new(what, self.shown.clone())
    }
}

fn unreadable(asked: Asked, error: std::io::Error) -> UpstreamError {
    UpstreamError::Unreachable { asked, source: Arc::new(error) }
}

/// The bytes of a file as they are read.
fn chunks(
    asked: Asked,
    file: tokio::fs::File,
) -> impl futures_util::Stream<Item = Result<Bytes, UpstreamError>> + Send + 'static {
    stream::unfold(Some((asked, file)), |open| async move {
        let (asked, mut file) = open?;
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match file.read_buf(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(chunk.freeze()), Some((asked, file)))),
            Err(error) => Some((Err(unreadable(asked, error)), None)),
        }
    })
}

impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layout").field("folder", &self.shown).finish_non_exhaustive()
    }
}

impl fmt::Display for NotOneImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, images } = self;
        if images.is_empty() {
            return write!(f, "{folder} holds no image");
        }
        write!(f, "{folder} holds {} images; say which one is meant:", images.len())?;
        for (digest, name) in images.iter().take(SHOWN_MAX) {
            write!(f, " {digest}")?;
            if let Some(name) = name {
                write!(f, " ({})", name.escape_debug())?;
            }
        }
        if images.len() > SHOWN_MAX { f.write_str(" and more") } else { Ok(()) }
    }
}
