//! Logs and metrics: how they are written, and the words they share.
//!
//! Knows no business: it is told what happened, in words from closed lists, and never asks.

mod logging;
mod metrics;
mod outcome;

pub use logging::{LogFormat, LogLevel, LogOptions, LoggingError, init as init_logging};
pub use metrics::{InForceSeen, Metrics, OpenConnection, RequestSeen, RootSeen, SpaceMetrics, UpstreamMeter};
pub use outcome::{
    CacheOutcome, CachedOutcome, FillOutcome, ReloadOutcome, RequestKind, RollbackOutcome, ScrubOutcome,
    UpstreamOutcome, VerdictOutcome,
};
