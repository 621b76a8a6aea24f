//! `assay gc`: the eviction of a server that is not running.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{Exit, GcAsked, show_gc};
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::store::StoreError;
use crate::telemetry::Metrics;
use crate::upkeep::{EvictionOptions, Evictor};

use super::command::Failure;
use super::parts;

pub(super) async fn gc(settings: &Settings, asked: GcAsked) -> Result<Exit, Failure> {
    let dir = &settings.cache.dir;
    if !dir.exists() {
        // Opening it would make it.
        return Err(Failure(anyhow::anyhow!("there is no cache folder {}", dir.display()), Exit::NotFound));
    }
    let metrics = Metrics::new();
    let kept =
        parts::open(dir, parts::space(settings), parts::verify_reads(settings), &metrics).map_err(
            |error| match error.downcast_ref() {
                Some(StoreError::InUse(_)) => {
                    error.context("gc is for a server that is stopped; a running one evicts by itself")
                }
                _ => error,
            },
        )?;
    // Nobody is pulling.
    let options = EvictionOptions { keep: settings.cache.keep.clone(), idle: Duration::ZERO };
    let mut evictor =
        Evictor::new(Arc::clone(&kept.store), kept.ledger, Arc::new(SystemClock), metrics.space(), options);
    let collected = evictor.collect(asked.target, asked.dry_run).await?;
    if !asked.dry_run {
        evictor.write_down().await;
    }
    show_gc(&collected, asked, &mut io::stdout())?;
    Ok(Exit::Ok)
}
