//! `[cache]`: where content is kept, how much of it, and what always stays.

use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::size::{Bytes, Size};

use super::super::file::{self, Text};
use super::super::report::Report;
use super::super::settings::{Cache, Upstream};
use super::{integrity, pattern};

const DIR: &str = "/var/lib/assay";

/// Some fifty images as servers run them. A disk that has less to give is guarded by [`MIN_FREE`].
const MAX_SIZE: Size = Size::Bytes(50 << 30);

/// Kubernetes and systemd's journal begin to make room at about so little.
const MIN_FREE: Size = Size::Percent(10);

/// Layers of a gigabyte are common.
const SMALL: u64 = 1 << 30;

pub(super) fn cache(written: file::Cache, upstreams: &[Spanned<Upstream>], report: &mut Report<'_>) -> Cache {
    let integrity = integrity::integrity(&written, report);
    let dir = written.dir.map_or_else(
        || PathBuf::from(DIR),
        |dir| {
            if dir.get_ref().is_empty() {
                report.error(dir.span(), "empty").help("name a folder that only assay writes to");
            }
            report.file(&dir)
        },
    );
    let (max_size, min_free) =
        (size(written.max_size.as_ref(), MAX_SIZE, report), size(written.min_free.as_ref(), MIN_FREE, report));
    let whole = file_system(&dir);
    if let (Some(text), Some(whole)) = (&written.min_free, whole)
        && min_free.of(whole) >= whole
    {
        let message = format!("the file system has {} in all: nothing can ever be kept", Bytes(whole));
        report.warn(text.span(), message).help(format!("the default is \"{MIN_FREE}\""));
    }
    if let Some(text) = &written.max_size
        && max_size.of(whole.unwrap_or(u64::MAX)) < SMALL
    {
        report
            .warn(text.span(), "less than many single layers have")
            .help("what does not fit is passed on and fetched again for each client");
    }
    Cache { dir, max_size, min_free, keep: keep(&written.keep, upstreams, report), integrity }
}

fn size(written: Option<&Text>, default: Size, report: &mut Report<'_>) -> Size {
    let Some(text) = written else { return default };
    text.get_ref().parse().unwrap_or_else(|error: crate::size::NotASize| {
        report.error(text.span(), error.to_string()).help("or a share of the file system, such as \"10%\"");
        default
    })
}

fn keep(written: &[Text], upstreams: &[Spanned<Upstream>], report: &mut Report<'_>) -> Vec<crate::trust::Pattern> {
    let mut patterns = Vec::new();
    for text in written {
        let Some(parsed) = pattern::parse(text, report) else { continue };
        let may_match = |one: &Spanned<Upstream>| pattern::may_match_in(&parsed, &one.get_ref().registry);
        if !upstreams.is_empty() && !upstreams.iter().any(may_match) {
            report.warn(text.span(), "matches nothing: no upstream of that name").help("add it, or take this out");
        }
        patterns.push(parsed);
    }
    patterns
}

/// How many bytes the file system has on which the folder is, or will be. `None` if it does not say.
fn file_system(dir: &Path) -> Option<u64> {
    let there = dir.ancestors().find(|one| one.exists())?;
    let about = rustix::fs::statvfs(there).ok()?;
    Some(about.f_blocks.saturating_mul(about.f_frsize))
}
