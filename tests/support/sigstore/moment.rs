//! When things happen. Nothing here depends on the real time, but verifiers refuse log entries of the
//! future, so all of it has passed.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// 2026-01-01T00:00:00Z: authorities and logs begin.
pub const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);
/// 2036-01-01T00:00:00Z: their certificates end.
pub const END: Timestamp = Timestamp::constant(2_082_758_400, 0);
/// 2026-06-01T12:00:00Z: signers get their certificates.
pub const ISSUED_AT: Timestamp = Timestamp::constant(1_780_315_200, 0);
/// Five seconds later: signatures are made, logged and timestamped.
pub const SIGNED_AT: Timestamp = Timestamp::constant(1_780_315_205, 0);
/// How long a signer's certificate holds.
pub const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// When something may be relied upon (`validFor`); both ends are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: Timestamp,
    /// `None` while it is in use.
    pub end: Option<Timestamp>,
}

impl Window {
    pub const ALWAYS: Self = Self::since(BEGINNING);

    pub const fn since(start: Timestamp) -> Self {
        Self { start, end: None }
    }

    pub const fn until(end: Timestamp) -> Self {
        Self { start: BEGINNING, end: Some(end) }
    }

    pub(super) fn json(self) -> Value {
        match self.end {
            None => json!({ "start": self.start.to_string() }),
            Some(end) => json!({ "start": self.start.to_string(), "end": end.to_string() }),
        }
    }
}

/// Certificates and timestamps know whole seconds only.
pub(super) fn whole_seconds(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap()
}
