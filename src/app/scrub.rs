//! `assay scrub`: everything stored is hashed again while nothing else uses the cache folder.

use std::io::{self, Write as _};

use anyhow::Context as _;

use crate::cli::{Args, Exit, Input, scrub_report};
use crate::store::{DiskStore, Disposal, Reading};
use crate::upkeep::{self, Manner};

use super::command::{Failure, settings};

/// What to do besides hashing.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub(super) delete: bool,
    pub(super) json: bool,
}

pub(super) async fn scrub(args: &Args, input: &Input, Wish { delete, json }: Wish) -> Result<Exit, Failure> {
    let folder = settings(args, input.config.as_deref())?.cache.dir;
    // Opening makes what is not there.
    if !folder.join("blobs").is_dir() {
        let error = anyhow::anyhow!("{} is no cache folder ([cache] dir, or ASSAY_CACHE__DIR)", folder.display());
        return Err(Failure(error, Exit::NotFound));
    }
    let store = DiskStore::open(&folder).context("cannot scrub; a running proxy does so by itself ([cache] scrub)")?;
    let disposal = if delete { Disposal::Delete } else { Disposal::Quarantine };
    let manner = Manner { reading: Reading::FromDisk, disposal, rate: None };
    let summary = upkeep::everything(&store, manner).await.context("cannot scrub")?;
    let mut out = io::stdout();
    match json {
        true => writeln!(out, "{}", scrub_report::json(&summary, delete))?,
        false => write!(out, "{}", scrub_report::text(&summary, delete))?,
    }
    Ok(if summary.is_clean() { Exit::Ok } else { Exit::Integrity })
}
