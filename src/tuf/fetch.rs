//! One update: from the initial root to verified bytes of `trusted_root.json`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sigstore_tuf::metadata::Role;
use sigstore_tuf::{Error, TrustedMetadataSet, Updater, UpdaterConfig};

use super::kept::Kept;
use super::mirror::Mirror;
use super::{Source, TufError};

/// The name of the target; the same in all Sigstore repositories.
pub const TARGET: &str = "trusted_root.json";

/// Largest root, snapshot and targets metadata. The public instances' are below 20 KiB; private ones with many
/// delegations have more.
const METADATA_MAX: u64 = 1024 * 1024;
/// Largest timestamp metadata, which is fetched without a signed length; it has some 500 bytes.
const TIMESTAMP_MAX: u64 = 16 * 1024;
/// Most new roots that one run follows. A root lasts for months.
const ROOTS_MAX: u32 = 64;
/// Most roles that are looked through for the target.
const ROLES_MAX: u32 = 16;

/// What to fetch, and within which bounds.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// From where.
    pub source: Source,
    /// Where verified metadata is kept, so that versions never go backwards. Its parent must be there.
    pub folder: PathBuf,
    /// PEM certificates to trust besides the system's.
    pub ca: Vec<Vec<u8>>,
    /// Longest that the whole of it may take.
    pub deadline: Duration,
    /// Largest target, in bytes.
    pub target_max: u64,
}

/// A target that the repository's signers vouch for, now.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The target: of the signed length and hash.
    pub bytes: Vec<u8>,
    /// Root, timestamp, snapshot and targets, in this order.
    pub metadata: [RoleSeen; 4],
}

/// Metadata that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleSeen {
    /// `root`, `timestamp`, `snapshot` or `targets`.
    pub role: &'static str,
    /// Never lower than in any run before with the same folder, unless a new root changed the role's keys.
    pub version: u64,
    /// When it must have been renewed.
    pub expires: Timestamp,
}

/// Brings the metadata up to date and fetches [`TARGET`]. `now` decides what is expired.
///
/// When it fails, what was kept is as before, save for new roots that were verified.
///
/// # Errors
/// Each [`TufError`] says what it means. Cancel safe: dropping it leaves what was kept as before.
pub async fn fetch(options: &FetchOptions, now: Timestamp) -> Result<Fetched, TufError> {
    let mirror = Mirror::new(&options.source, &options.ca)?;
    let updater = Updater::new(mirror, &options.source.initial_root).map_err(TufError::InitialRoot)?;
    let kept = Arc::new(Kept::open(&options.folder)?);
    let updater = updater.with_config(limits(options.target_max)).with_store(Arc::clone(&kept));
    let outcome = match tokio::time::timeout(options.deadline, run(updater, now)).await {
        Err(_) => Err(TufError::Deadline(options.deadline)),
        Ok(outcome) => outcome,
    };
    kept.save(outcome.is_ok())?;
    outcome
}

async fn run(mut updater: Updater, now: Timestamp) -> Result<Fetched, TufError> {
    updater.refresh(now).await.map_err(TufError::of)?;
    let bytes = match updater.get_target(TARGET, now).await {
        Err(Error::TargetNotFound(_)) => return Err(TufError::NoTarget(TARGET)),
        got => got.map_err(TufError::of)?,
    };
    let metadata = seen(updater.trusted()).ok_or(TufError::Refused(Error::NotRefreshed))?;
    Ok(Fetched { bytes, metadata })
}

fn limits(target_max: u64) -> UpdaterConfig {
    let mut limits = UpdaterConfig::default();
    limits.root_max_length = METADATA_MAX;
    limits.timestamp_max_length = TIMESTAMP_MAX;
    limits.snapshot_max_length = METADATA_MAX;
    limits.targets_max_length = METADATA_MAX;
    limits.target_max_length = target_max;
    limits.max_root_rotations = ROOTS_MAX;
    limits.max_delegations = ROLES_MAX;
    limits
}

fn seen(trusted: &TrustedMetadataSet) -> Option<[RoleSeen; 4]> {
    fn one(role: &'static str, metadata: &impl Role) -> RoleSeen {
        RoleSeen { role, version: metadata.version(), expires: metadata.expires() }
    }
    Some([
        one("root", trusted.root()),
        one("timestamp", trusted.timestamp()?),
        one("snapshot", trusted.snapshot()?),
        one("targets", trusted.targets_role("targets")?),
    ])
}
