//! The keys of `[cache]` about checking again what is kept.

use std::time::Duration;

use super::super::file;
use super::super::report::Report;
use super::super::settings::{Integrity, VerifyReads};
use super::value;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Disks lose a few sectors in a year; a week finds one before many.
const SCRUB: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Keys end at midnight and signatures grow old by days.
const REVERIFY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn integrity(written: &file::Cache, report: &mut Report<'_>) -> Integrity {
    Integrity {
        verify_reads: written.verify_reads.unwrap_or(VerifyReads::OnChange),
        scrub: value::interval(written.scrub.as_ref(), SCRUB, HOUR, report),
        reverify: value::interval(written.reverify.as_ref(), REVERIFY, Duration::from_secs(60), report),
    }
}
