//! A report for people: what happened, why, and what to do next; then every step.

use crate::pull::{Parent, PullError};
use crate::trust::{CandidateReport, Decision, Difference, Outcome, Signer, SignerSeen, Verdict};

use super::cosign::cosign;
use super::{Refused, Report};
use crate::cli::Exit;
use crate::cli::plain::plain;

/// What a certificate says that a person wants to know, and what we call it here.
const CLAIMS: [(&str, &str); 6] = [
    ("source_repository", "source"),
    ("source_ref", "ref"),
    ("source_digest", "commit"),
    ("trigger", "trigger"),
    ("run", "run"),
    ("environment", "environment"),
];

/// Fulcio's older names for the same, for certificates that have no others.
const OLDER_CLAIMS: [(&str, &str); 4] = [
    ("github_workflow_repository", "source_repository"),
    ("github_workflow_ref", "source_ref"),
    ("github_workflow_sha", "source_digest"),
    ("github_workflow_trigger", "trigger"),
];

pub(super) fn text(report: &Report<'_>, steps: bool) -> String {
    let mut lines = Lines(vec![format!("{} {}", mark(report), report.asked.shown)]);
    lines.field("verdict", verdict_in_words(report));
    subject(report, &mut lines);
    if let Some(verdict) = report.verdict() {
        lines.field("rule", format!("\"{}\" (mode {})", verdict.rule, verdict.mode));
        signers(verdict, &mut lines);
        attestations(verdict, &mut lines);
    }
    match report.refused() {
        Some(refused) => reason(report, &refused, &mut lines),
        None => failure(report, &mut lines),
    }
    if steps && let Some(verdict) = report.verdict() {
        let shown = report.nearest_difference().map(|(_, difference)| difference.clone());
        steps_of(verdict, shown.as_ref(), &mut lines);
    }
    commands(report, &mut lines);
    lines.0.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n")
}

/// Lines with their labels in one column.
struct Lines(Vec<String>);

impl Lines {
    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push(format!("  {name:<10} {value}"));
    }

    fn below(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push(format!("    {name:<12} {value}"));
    }
}

fn mark(report: &Report<'_>) -> char {
    match report.exit() {
        Exit::Ok => '✔',
        // Not known is not bad.
        Exit::Unavailable => '?',
        _ => '✖',
    }
}

fn verdict_in_words(report: &Report<'_>) -> String {
    let outcome = report.outcome();
    match (report.result, report.verdict().map(|verdict| (&verdict.decision, verdict.mode.as_str()))) {
        (Ok(_), Some((Decision::Refused { .. }, mode))) => format!("{outcome}; mode {mode} serves it all the same"),
        (Ok(_), Some((Decision::Unknown { .. }, mode))) => format!("{outcome}; mode {mode} serves it all the same"),
        (Ok(_), Some((Decision::Unchecked, _))) => format!("{outcome}: the rule is off and serves everything"),
        (Ok(_), Some((Decision::Artefact, _))) => {
            format!("{outcome}: a signature, attestation or bill of materials, no image; it is passed on unchecked")
        }
        (Err(PullError::CouldNotCheck { .. } | PullError::Upstream { .. }), _) => {
            format!("{outcome}: this is no refusal, and says nothing about the image")
        }
        _ => outcome.to_owned(),
    }
}

fn subject(report: &Report<'_>, lines: &mut Lines) {
    match report.result {
        Ok(explained) => {
            lines.field("digest", explained.digest);
            if let Some(parent) = &explained.parent {
                lines.field("vouched by", vouched(parent, &explained.verdict));
            }
        }
        Err(_) => {
            if let Some(verdict) = report.verdict() {
                lines.field("digest", verdict.digest);
            }
        }
    }
}

fn vouched(parent: &Parent, verdict: &Verdict) -> String {
    let tag = parent.tag.as_ref().map(|tag| format!(" (tag {tag})")).unwrap_or_default();
    let named = match &parent.platform {
        Some(platform) => format!("which names it as its platform {platform}"),
        None => "which names it".to_owned(),
    };
    let signed = if verdict.is_verified() { " and is signed" } else { "" };
    format!("index {}{tag}, {named}{signed}", parent.index)
}

fn signers(verdict: &Verdict, lines: &mut Lines) {
    let Decision::Verified { signers } = &verdict.decision else { return };
    for signer in signers {
        signer_lines("signer", signer, lines);
    }
}

fn signer_lines(label: &str, signer: &SignerSeen, lines: &mut Lines) {
    lines.field(label, signer.identity.as_deref().unwrap_or(&signer.name));
    if signer.identity.as_deref().is_some_and(|identity| identity != signer.name) {
        lines.below("in the rule", &signer.name);
    }
    if let Some(key) = &signer.key {
        lines.below("key", key);
    }
    if let Some(issuer) = &signer.issuer {
        lines.below("issuer", issuer);
    }
    for (name, label) in CLAIMS {
        let older = OLDER_CLAIMS.iter().find(|(_, newer)| *newer == name).map(|(older, _)| *older);
        let value = signer.claims.get(name).or_else(|| signer.claims.get(older?));
        if let Some(value) = value {
            lines.below(label, value);
        }
    }
    if let Some(root) = &signer.root {
        lines.below("trust root", root);
    }
    match &signer.log {
        Some(log) => lines.below("log", format!("entry {} of {}", log.index, log.log)),
        None => lines.below("log", "not needed by the rule, and not relied on"),
    }
    if let Some(at) = signer.signed_at {
        lines.below("signed at", at);
    }
}

fn attestations(verdict: &Verdict, lines: &mut Lines) {
    for seen in verdict.candidates.iter().flat_map(|candidate| &candidate.attestations) {
        lines.field("attested", &seen.predicate_type);
        for signer in &seen.signers {
            lines.below("by", signer.identity.as_deref().unwrap_or(&signer.name));
        }
    }
}

fn reason(report: &Report<'_>, refused: &Refused<'_>, lines: &mut Lines) {
    match report.nearest_difference() {
        None => lines.field("reason", format!("{}: {}", refused.reason.code(), refused.detail)),
        Some((_, difference)) => {
            lines.field("reason", format!("{}: it is signed, but not as the rule says", refused.reason.code()));
            difference_lines(difference, "    ", lines);
            let identities =
                report.demand().map_or(0, |demand| demand.signers.iter().filter_map(Signer::identity).count());
            if identities > 1 {
                lines.0.push(format!("    (the nearest of {identities} identities that the rule names)"));
            }
        }
    }
    lines.field("next step", &refused.next_step);
}

/// What was found and what was expected, one below the other, with a caret where they part.
fn difference_lines(difference: &Difference, indent: &str, lines: &mut Lines) {
    let Difference { field, found, expected, at, signed_by } = difference;
    let width = field.chars().count().max("signed by".len());
    let mut line = |label: &str, value: &str| lines.0.push(format!("{indent}{label:<width$}  {value}"));
    match found {
        None => line(field, "(does not stand in the certificate)"),
        Some(found) => {
            line(field, found);
            let before = found.get(..*at).unwrap_or_default().chars().count();
            let caret = if *at < found.len() { "^ differs from here on" } else { "^ ends here, and more is expected" };
            line("", &format!("{}{caret}", " ".repeat(before)));
        }
    }
    line("expected", expected);
    if let Some(identity) = signed_by {
        line("signed by", identity);
    }
}

/// What could not be had, where nothing was decided.
fn failure(report: &Report<'_>, lines: &mut Lines) {
    let again = "try again; if it stays so, ask whoever runs the registry";
    match (report.result, report.verdict().map(|verdict| &verdict.decision)) {
        (Err(PullError::CouldNotCheck { detail, .. }), _) | (Ok(_), Some(Decision::Unknown { detail })) => {
            lines.field("cause", detail);
            lines.field("next step", again);
        }
        (Ok(_), _) => {}
        (Err(error), _) => {
            match error {
                // In a layout folder, registry and repository are names that nobody has written.
                PullError::NotFound { .. } if report.asked.shown.starts_with("oci:") => {
                    lines.field("cause", format!("there is no {}", report.asked.shown));
                }
                _ => lines.field("cause", error),
            }
            match error {
                PullError::UnknownRegistry(_) => lines.field(
                    "next step",
                    "add an [upstream] for it to the configuration, or name the signer to `assay verify`: --key FILE, or --issuer URL with --identity NAME",
                ),
                PullError::Upstream { .. } => lines.field("next step", again),
                PullError::NotFound { .. } => lines.field("next step", "check the name, the tag and the digest"),
                _ => {}
            }
        }
    }
}

/// `shown` is what was told in full above.
fn steps_of(verdict: &Verdict, shown: Option<&Difference>, lines: &mut Lines) {
    for looked in &verdict.looked_at {
        lines.field("looked at", format!("{}: {}", looked.place, looked.found));
    }
    let count = verdict.candidates.len();
    for (at, candidate) in (1..).zip(&verdict.candidates) {
        lines.field("found", format!("{at} of {count}: {} at {}", candidate.format, candidate.place));
        candidate_lines(candidate, shown, lines);
    }
}

/// Only checks that ran are shown.
fn candidate_lines(candidate: &CandidateReport, shown: Option<&Difference>, lines: &mut Lines) {
    for check in &candidate.checks {
        let mark = match check.outcome {
            Outcome::Passed => '✔',
            Outcome::Failed => '✖',
            Outcome::NotNeeded => '–',
        };
        let detail = match (check.outcome, &check.difference) {
            (Outcome::NotNeeded, _) => format!("not needed: {}", check.detail),
            (_, Some(difference)) if Some(&**difference) == shown => "not as the rule says (see above)".to_owned(),
            (_, Some(_)) => "not as the rule says".to_owned(),
            _ => check.detail.clone(),
        };
        lines.0.push(format!("    {mark} {:<16} {detail}", check.name));
        if let Some(difference) = check.difference.as_deref().filter(|difference| Some(*difference) != shown) {
            difference_lines(difference, "        ", lines);
        }
    }
}

fn commands(report: &Report<'_>, lines: &mut Lines) {
    let Some(cosign) = cosign(report) else { return };
    for command in &cosign.commands {
        lines.field("cosign", command);
    }
    for lack in &cosign.lacks {
        match cosign.commands.is_empty() {
            true => lines.field("cosign", lack),
            false => lines.field("", format!("(it does not check {lack})")),
        }
    }
}
