//! A report for programs: one object, schema `assay.verify/v1`.

use serde_json::{Value, json};

use crate::pull::PullError;
use crate::trust::{Decision, Verdict};

use super::Report;
use super::cosign::cosign;

pub(super) fn json(report: &Report<'_>) -> Value {
    let verdict = report.verdict();
    let refused = report.refused();
    let explained = report.result.as_ref().ok();
    let signers = match verdict.map(|verdict| &verdict.decision) {
        Some(Decision::Verified { signers }) => json!(signers),
        _ => json!([]),
    };
    let via = explained.and_then(|explained| explained.parent.as_ref()).map(|parent| {
        json!({
            "index": parent.index,
            "tag": parent.tag.as_ref().map(ToString::to_string),
            "platform": parent.platform,
        })
    });
    let detail = refused.as_ref().map(|refused| refused.detail.to_owned()).or_else(|| failure(report));
    json!({
        "schema": "assay.verify/v1",
        "image": report.asked.shown,
        "repository": report.asked.repository.to_string(),
        "subject": explained.map(|explained| explained.digest).or(verdict.map(|verdict| verdict.digest)),
        "verdict": report.outcome(),
        "exit": report.exit() as u8,
        "rule": verdict.map(|verdict| &verdict.rule),
        "mode": verdict.map(|verdict| &verdict.mode),
        "judged_at": verdict.map(|verdict| verdict.judged_at),
        "via": via,
        "signers": signers,
        "attestations": verdict.map(attestations).unwrap_or_default(),
        "reason": refused.as_ref().map(|refused| refused.reason.code()),
        "detail": detail,
        "next_step": refused.as_ref().map(|refused| &refused.next_step),
        "looked_at": verdict.map(|verdict| &verdict.looked_at),
        "candidates": verdict.map(|verdict| &verdict.candidates),
        "cosign": cosign(report).map(|cosign| json!({ "commands": cosign.commands, "lacks": cosign.lacks })),
    })
}

fn attestations(verdict: &Verdict) -> Vec<Value> {
    let seen = verdict.candidates.iter().flat_map(|candidate| &candidate.attestations);
    seen.map(|seen| json!({ "predicate_type": seen.predicate_type, "signers": seen.signers })).collect()
}

/// What failed, where nothing was decided.
fn failure(report: &Report<'_>) -> Option<String> {
    match (report.result, report.verdict().map(|verdict| &verdict.decision)) {
        (Err(PullError::CouldNotCheck { detail, .. }), _) | (_, Some(Decision::Unknown { detail })) => {
            Some(detail.clone())
        }
        (Err(error), _) => Some(error.to_string()),
        (Ok(_), _) => None,
    }
}
