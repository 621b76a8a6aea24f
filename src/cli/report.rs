//! What the gate says about an image, for people and for programs.

use serde_json::{Value, json};

use crate::oci::ImageName;
use crate::pull::{Explanation, PullError};
use crate::trust::{CandidateReport, Decision, SignerSeen, Verdict};

use super::Exit;

/// The outcome of a judgement as `verify` and `explain` show it.
pub struct Report<'a> {
    image: &'a ImageName,
    result: &'a Result<Explanation, PullError>,
}

impl<'a> Report<'a> {
    /// Of this image.
    pub fn new(image: &'a ImageName, result: &'a Result<Explanation, PullError>) -> Self {
        Self { image, result }
    }

    /// What the command exits with. "Could not check" is never mixed with "refused".
    pub fn exit(&self) -> Exit {
        match self.result {
            Ok(explained) if explained.verdict.is_verified() => Exit::Ok,
            Ok(explained) if matches!(explained.verdict.decision, Decision::Unknown { .. }) => Exit::Unavailable,
            Ok(_) | Err(PullError::Refused(_)) => Exit::Denied,
            Err(PullError::UnknownRegistry(_)) => Exit::Usage,
            Err(PullError::NotFound { .. }) => Exit::NotFound,
            Err(PullError::CouldNotCheck { .. } | PullError::Upstream { .. }) => Exit::Unavailable,
            Err(PullError::BadContent { .. }) => Exit::Integrity,
            Err(PullError::Range { .. } | PullError::Internal(_)) => Exit::Internal,
        }
    }

    fn verdict(&self) -> Option<&Verdict> {
        match self.result {
            Ok(explained) => Some(&explained.verdict),
            Err(PullError::Refused(refusal)) => refusal.verdict.as_deref(),
            Err(PullError::CouldNotCheck { verdict, .. }) => verdict.as_deref(),
            Err(_) => None,
        }
    }

    /// One word.
    fn outcome(&self) -> &'static str {
        match self.result {
            Ok(explained) => match (&explained.verdict.decision, explained.verdict.mode.as_str()) {
                (Decision::Verified { .. }, _) => "verified",
                (Decision::Artefact, _) => "artefact",
                (Decision::Unchecked, _) => "not checked",
                (Decision::Refused { .. }, _) => "would be refused",
                (Decision::Unknown { .. }, _) => "could not check",
            },
            Err(PullError::Refused(_)) => "refused",
            Err(PullError::NotFound { .. }) => "not found",
            Err(PullError::CouldNotCheck { .. } | PullError::Upstream { .. }) => "could not check",
            Err(PullError::BadContent { .. }) => "bad content",
            Err(PullError::UnknownRegistry(_)) => "not configured",
            Err(PullError::Range { .. } | PullError::Internal(_)) => "internal error",
        }
    }

    /// For people. `steps` shows every check.
    pub fn text(&self, steps: bool) -> String {
        let mut lines = vec![format!("{} {}", if self.exit() == Exit::Ok { "✔" } else { "✖" }, self.image)];
        let mut line = |name: &str, value: &str| lines.push(format!("  {name:<10} {value}"));
        line("verdict", self.outcome());
        if let Ok(explained) = self.result {
            line("digest", &explained.digest.to_string());
            if explained.verdict.digest != explained.digest {
                line("vouched by", &format!("index {}, which names it", explained.verdict.digest));
            }
        }
        if let Some(verdict) = self.verdict() {
            line("rule", &format!("\"{}\" (mode {})", verdict.rule, verdict.mode));
            if let Decision::Verified { signers } = &verdict.decision {
                for signer in signers {
                    line("signer", &signer_line(signer));
                }
                line("log", "not checked (tlog = \"off\")");
            }
            if let (Some((reason, detail)), Ok(_)) = (verdict.refusal(), self.result) {
                line("reason", &format!("{}: {detail}", reason.code()));
                line("next step", reason.next_step());
            }
        }
        match self.result {
            Err(PullError::Refused(refusal)) => {
                lines.push(format!("  {:<10} {}: {}", "reason", refusal.reason.code(), refusal.detail));
                lines.push(format!("  {:<10} {}", "next step", refusal.next_step));
            }
            Ok(_) => {}
            Err(error @ PullError::UnknownRegistry(_)) => {
                lines.push(format!("  {:<10} {error}", "cause"));
                lines.push(format!(
                    "  {:<10} add an [upstream] for it to the configuration, or name the signer with --key",
                    "next step"
                ));
            }
            Err(error) => lines.push(format!("  {:<10} {error}", "cause")),
        }
        if steps && let Some(verdict) = self.verdict() {
            lines.extend(step_lines(verdict));
        }
        if steps && let Some(command) = self.cosign_command() {
            lines.push(format!("  {:<10} {command}", "cosign"));
        }
        lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n")
    }

    /// For programs: one object, schema `assay.verify/v1`.
    pub fn json(&self) -> Value {
        let verdict = self.verdict();
        let refusal = match self.result {
            Err(PullError::Refused(refusal)) => {
                Some((refusal.reason.code(), refusal.detail.clone(), refusal.next_step.clone()))
            }
            _ => verdict.and_then(Verdict::refusal).map(|(r, d)| (r.code(), d.to_owned(), r.next_step().to_owned())),
        };
        let subject = self.result.as_ref().ok().map(|explained| explained.digest);
        let via = self
            .result
            .as_ref()
            .ok()
            .filter(|e| e.verdict.digest != e.digest)
            .map(|e| json!({ "index": e.verdict.digest }));
        let signers = match verdict.map(|v| &v.decision) {
            Some(Decision::Verified { signers }) => json!(signers),
            _ => json!([]),
        };
        json!({
            "schema": "assay.verify/v1",
            "image": self.image.to_string(),
            "subject": subject,
            "verdict": self.outcome(),
            "rule": verdict.map(|v| &v.rule),
            "mode": verdict.map(|v| &v.mode),
            "via": via,
            "signers": signers,
            "reason": refusal.as_ref().map(|r| r.0),
            "detail": refusal.as_ref().map(|r| r.1.clone()).or_else(|| self.result.as_ref().err().map(ToString::to_string)),
            "next_step": refusal.as_ref().map(|r| r.2.clone()),
            "looked_at": verdict.map(|v| &v.looked_at),
            "candidates": verdict.map(|v| &v.candidates),
        })
    }

    /// The same check with another tool, as far as it can make it.
    fn cosign_command(&self) -> Option<String> {
        let verdict = self.verdict()?;
        let key = match &verdict.decision {
            Decision::Verified { signers } => signers.first()?.name.clone(),
            _ => "KEY.pub".to_owned(),
        };
        Some(format!("cosign verify --key {key} --insecure-ignore-tlog {}@{}", self.image.repository, verdict.digest))
    }
}

fn step_lines(verdict: &Verdict) -> Vec<String> {
    let looked =
        verdict.looked_at.iter().map(|looked| format!("  {:<10} {}: {}", "looked at", looked.place, looked.found));
    let count = verdict.candidates.len();
    let candidates = verdict
        .candidates
        .iter()
        .enumerate()
        .flat_map(move |(at, candidate)| candidate_lines(at + 1, count, candidate));
    looked.chain(candidates).collect()
}

fn signer_line(signer: &SignerSeen) -> String {
    match (&signer.key, &signer.identity) {
        (Some(key), _) => format!("{} (key {key})", signer.name),
        (None, identity) => {
            let issuer = signer.issuer.as_deref().unwrap_or("unknown");
            format!("{} (issuer {issuer})", identity.as_deref().unwrap_or(&signer.name))
        }
    }
}

/// Only checks that ran are shown.
fn candidate_lines(number: usize, count: usize, candidate: &CandidateReport) -> Vec<String> {
    let mut lines = vec![format!("  signature {number} of {count} ({}, {})", candidate.format, candidate.place)];
    for check in &candidate.checks {
        lines.push(format!("    {} {:<16} {}", if check.passed() { "✔" } else { "✖" }, check.name, check.detail));
    }
    lines
}

/// One line without what steers a terminal or turns its text around: details hold upstream's words.
fn plain(line: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    line.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pull::Refusal;
    use crate::trust::Reason;

    #[test]
    fn upstreams_words_cannot_steer_the_terminal_or_add_a_line() {
        let image: ImageName = "ghcr.io/acme/app:1".parse().unwrap();
        let refusal = Refusal {
            repository: image.repository.clone(),
            asked: "1".to_owned(),
            reason: Reason::UnsafeManifest,
            rule: None,
            detail: "`x\u{1b}[2J\n  verdict    verified\u{202e}`".to_owned(),
            next_step: String::new(),
            verdict: None,
        };
        let text = Report::new(&image, &Err(PullError::Refused(Box::new(refusal)))).text(true);
        assert!(text.contains("`x\u{fffd}[2J\u{fffd}  verdict    verified\u{fffd}`"), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}
