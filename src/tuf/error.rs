//! Why trust material could not be fetched.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// Why there is no new trust material. In each case the old one is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// What was asked for makes no sense: a URL, a certificate, a proxy.
    #[error("{0}")]
    Setup(String),
    /// Trust cannot begin with this.
    #[error("the initial root metadata cannot be used")]
    InitialRoot(#[source] sigstore_tuf::Error),
    /// The mirror did not give what was asked for.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// It was still going on.
    #[error("the update took longer than {} s", .0.as_secs_f32())]
    Deadline(Duration),
    /// More new root metadata than one run follows; a further run goes on from there.
    #[error("the update did not reach the newest metadata")]
    Unfinished(#[source] sigstore_tuf::Error),
    /// Metadata or the target is not what it must be: signatures, versions, dates, lengths, hashes.
    #[error("what the mirror sent does not verify")]
    Refused(#[source] sigstore_tuf::Error),
    /// The verified metadata does not list the target.
    #[error("the repository holds no {0}")]
    NoTarget(&'static str),
    /// Another update uses the same metadata folder.
    #[error("another update is using {}", .0.display())]
    Busy(PathBuf),
    /// The metadata that earlier runs verified is no longer readable, so "never backwards" could not be held.
    #[error("the kept metadata {} is damaged; to begin anew from the initial root, remove it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Our own disk.
    #[error("cannot keep metadata in {}", path.display())]
    Keep {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What a mirror did instead of answering well.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No connection, or one that broke or fell silent.
    #[error("cannot fetch {url}")]
    Unreachable {
        /// What was asked for.
        url: Url,
        /// What the HTTP client says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another status than 200.
    #[error("{url} answers {status}")]
    Status {
        /// What was asked for.
        url: Url,
        /// The status.
        status: u16,
    },
    /// More bytes than there may be. They were not read.
    #[error("{url} is longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: Url,
        /// The most that there may be: what signed metadata says, else the limit of the role.
        limit: u64,
    },
    /// The metadata names a file that no repository has, such as `../x`. It was not asked for.
    #[error("the metadata leads to a file named {0:?}")]
    OddName(String),
}

impl MirrorError {
    /// Whether this is somebody's doing rather than a mirror that is away.
    pub fn is_attack(&self) -> bool {
        matches!(self, Self::TooLong { .. } | Self::OddName(_))
    }
}

impl TufError {
    /// What an error of the TUF client means here.
    pub(super) fn of(error: sigstore_tuf::Error) -> Self {
        match error {
            sigstore_tuf::Error::Transport { source: Some(source), message } => match source.downcast() {
                Ok(mirror) => Self::Mirror(*mirror),
                Err(source) => Self::Unfinished(sigstore_tuf::Error::Transport { message, source: Some(source) }),
            },
            error @ sigstore_tuf::Error::Transport { .. } => Self::Unfinished(error),
            error => Self::Refused(error),
        }
    }
}
