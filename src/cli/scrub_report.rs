//! What a scrub found, for people and for programs.

use std::path::Path;

use serde_json::{Value, json};

use crate::telemetry::ScrubOutcome;
use crate::upkeep::{Finding, Summary};

use super::plain::plain;

/// For people.
pub fn text(summary: &Summary, deleted: bool) -> String {
    let Summary { files, bytes, changed, foreign, unreadable, findings } = summary;
    let mut lines: Vec<String> = findings.iter().map(line).collect();
    let found = changed + foreign + unreadable;
    let named = findings.len() as u64;
    if found > named {
        lines.push(format!("… and {} more", found - named));
    }
    lines.push(format!(
        "{files} files, {bytes} bytes hashed: {changed} changed, {foreign} foreign, {unreadable} unreadable"
    ));
    if found > 0 {
        let gone = if deleted { "were removed" } else { "are in the folder `quarantine`, as far as there is room" };
        lines.push(format!("They {gone}; content is fetched again when it is next asked for. See the log for what could not be taken away."));
    }
    lines.join("\n") + "\n"
}

fn line(finding: &Finding) -> String {
    match finding {
        Finding::Content(digest, ScrubOutcome::Changed) => format!("changed     {digest}"),
        Finding::Content(digest, ScrubOutcome::Unreadable) => format!("unreadable  {digest}"),
        Finding::Content(digest, ScrubOutcome::Foreign) => {
            format!("foreign     {digest} (a link, a second name, another owner, or no file)")
        }
        Finding::Foreign(path) => format!("foreign     {}", shown(path)),
    }
}

/// For programs: schema `assay.scrub/v1`.
pub fn json(summary: &Summary, deleted: bool) -> Value {
    let found = |finding: &Finding| match finding {
        Finding::Content(digest, outcome) => json!({ "outcome": outcome.as_str(), "digest": digest.to_string() }),
        Finding::Foreign(path) => json!({ "outcome": ScrubOutcome::Foreign.as_str(), "path": path.to_string_lossy() }),
    };
    json!({
        "schema": "assay.scrub/v1",
        "files": summary.files,
        "bytes": summary.bytes,
        "changed": summary.changed,
        "foreign": summary.foreign,
        "unreadable": summary.unreadable,
        "disposal": if deleted { "deleted" } else { "quarantined" },
        "findings": summary.findings.iter().map(found).collect::<Vec<_>>(),
    })
}

/// Whoever could write there chose the name.
fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy())
}
