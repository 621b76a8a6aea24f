//! What can go wrong when we ask an upstream, as outcomes that callers tell apart.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::oci::{ManifestError, Registry, Repository};

/// An underlying error. Shared, because one failed request may have many waiters.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// What was asked, and which host: the beginning of every message. Never holds a query or a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    what: String,
    host: String,
}

impl Asked {
    pub(super) fn new(what: impl fmt::Display, host: impl Into<String>) -> Self {
        Self { what: what.to_string(), host: host.into() }
    }

    /// The same question, put to another host.
    pub(super) fn of(&self, host: &str) -> Self {
        Self { what: self.what.clone(), host: host.to_owned() }
    }

    /// The host that was asked, with its port unless it is the usual one.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.what, self.host)
    }
}

/// When to come back to an upstream that too many wait for.
const CROWD_GONE_AFTER: Duration = Duration::from_secs(5);

/// Why an upstream gave us nothing to use.
#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    /// It says 404. The only outcome that means "there is none".
    #[error("{asked}: not found")]
    NotFound {
        /// What was asked.
        asked: Asked,
    },
    /// We could not log in, or the login is not accepted.
    #[error("{asked}: login refused: {why}")]
    Unauthorized {
        /// What was asked.
        asked: Asked,
        /// What exactly failed.
        why: String,
    },
    /// It says 403.
    #[error("{asked}: forbidden")]
    Forbidden {
        /// What was asked.
        asked: Asked,
    },
    /// It says 429.
    #[error("{asked}: too many requests")]
    RateLimited {
        /// What was asked.
        asked: Asked,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// So many wait to ask it that this one would come too late.
    #[error("{asked}: too many questions wait for their turn")]
    Crowded {
        /// What was to be asked.
        asked: Asked,
    },
    /// Any other status than the wanted one.
    #[error("{asked}: answered with status {status}")]
    Unavailable {
        /// What was asked.
        asked: Asked,
        /// The status.
        status: u16,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// No connection, or it broke before there was an answer.
    #[error("{asked}: cannot be reached")]
    Unreachable {
        /// What was asked.
        asked: Asked,
        /// Why.
        source: Cause,
    },
    /// It failed several times in a row, and this question was not put to it.
    #[error("{asked}: not asked just now, since upstream failed several times in a row: {why}")]
    Suspended {
        /// What would have been asked.
        asked: Asked,
        /// How it failed last.
        why: &'static str,
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// Too long without an answer, between two bytes, or altogether.
    #[error("{asked}: timed out")]
    TimedOut {
        /// What was asked.
        asked: Asked,
    },
    /// More than we read of this kind.
    #[error("{asked}: larger than {limit} bytes")]
    TooLarge {
        /// What was asked.
        asked: Asked,
        /// The most we take.
        limit: u64,
    },
    /// What came contradicts what was asked, or itself.
    #[error("{asked}: {lie}")]
    Lied {
        /// What was asked.
        asked: Asked,
        /// The contradiction.
        lie: String,
    },
    /// Something came that says itself that it is no manifest, and is none: a login page, a proxy's error page.
    #[error("{asked}: answered with {sent_as:?} instead of a manifest")]
    NoManifest {
        /// What was asked.
        asked: Asked,
        /// Its media type.
        sent_as: String,
    },
    /// The manifest came, but cannot be used.
    #[error("{asked}: unusable manifest")]
    Manifest {
        /// What was asked.
        asked: Asked,
        /// Why.
        source: ManifestError,
    },
    /// It sent us somewhere we do not go. The text names the setting that would allow it, if one can.
    #[error("{asked}: {why}")]
    Blocked {
        /// What was asked.
        asked: Asked,
        /// Which rule, and which setting.
        why: String,
    },
    /// The body ended early.
    #[error("{asked}: cut off after {seen} bytes")]
    Cut {
        /// What was asked.
        asked: Asked,
        /// How many bytes came.
        seen: u64,
        /// What the connection says about it, if anything.
        source: Option<Cause>,
    },
}

impl UpstreamError {
    /// How long to wait before asking once more, at least `backoff`; `None` when that is pointless, or
    /// upstream wants a longer pause than anybody waits for.
    pub fn pause(&self, backoff: Duration) -> Option<Duration> {
        super::retry::delay(self, backoff)
    }

    /// When the upstream wants us back, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Suspended { retry_after, .. } => Some(*retry_after),
            Self::Crowded { .. } => Some(CROWD_GONE_AFTER),
            _ => None,
        }
    }

    /// In a few words, that upstream is away: it cannot be reached, is silent, broken or tired of us. `None` for an
    /// answer to what was asked, be it a lie.
    pub fn away(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => Some("it cannot be reached"),
            Self::TimedOut { .. } => Some("it does not answer"),
            Self::Cut { .. } => Some("it cuts its answers off"),
            Self::RateLimited { .. } => Some("it answers with status 429: too many requests"),
            // 501 is about the question.
            Self::Unavailable { status: 500 | 502..=599, .. } => Some("it answers with a status of 5xx"),
            Self::NoManifest { .. } => Some("it answers with something else than a registry does"),
            Self::Suspended { why, .. } => Some(why),
            _ => None,
        }
    }
}

/// Why settings do not make an upstream.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The URL cannot be one of a registry.
    #[error("upstream {registry}: url: {problem}")]
    Url {
        /// Which upstream.
        registry: Registry,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two upstreams for one registry.
    #[error("upstream {registry} is configured twice")]
    Twice {
        /// Which.
        registry: Registry,
    },
    /// The repository of its signatures is on a registry that is no upstream.
    #[error("upstream {registry}: signatures_in: `{repository}` is on a registry that is not configured")]
    SignaturesIn {
        /// Which upstream.
        registry: Registry,
        /// Where its signatures should be.
        repository: Repository,
    },
    /// A folder is no OCI image layout that we can read.
    #[error("{folder}: {problem}")]
    Layout {
        /// Which folder.
        folder: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry of `token_realms` or `redirect_hosts` is not `host` or `host:port`.
    #[error("upstream {registry}: {key}: `{entry}` is not a host or host:port")]
    Host {
        /// Which upstream.
        registry: Registry,
        /// Which list.
        key: &'static str,
        /// Which entry.
        entry: String,
    },
    /// A certificate cannot be read.
    #[error("upstream {registry}: ca: not a PEM certificate")]
    Ca {
        /// Which upstream.
        registry: Registry,
        /// Why, if there is more to say.
        source: Option<Cause>,
    },
    /// The proxy's URL cannot be used.
    #[error("network: proxy cannot be used")]
    Proxy {
        /// Why.
        source: Cause,
    },
    /// The HTTP client could not be made; usually no system certificates were found.
    #[error("upstream {registry}: no HTTP client")]
    Client {
        /// Which upstream.
        registry: Registry,
        /// Why.
        source: Cause,
    },
}

/// An error and its causes in one line.
pub(super) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
