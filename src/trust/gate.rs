//! The gate: from a manifest and what was found about it to a proof, a refusal, or "could not check".

use std::sync::Arc;

use jiff::Timestamp;

use crate::oci::{Digest, Manifest, Repository};

use super::artefact::{self, NotAnArtefact};
use super::policy::{Demand, Enforcement, Require, Rule};
use super::proof::{Artefact, Verified};
use super::signature::{Candidate, Subject, examine};
use super::verdict::{CandidateReport, Decision, Found, Looked, Reason, SignerSeen, Verdict};

/// Everything that was found where signatures of one digest may lie.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What may be signatures.
    pub candidates: Vec<Candidate>,
    /// Every place that was looked at, with what came of it.
    pub looked_at: Vec<Looked>,
}

/// The three outcomes.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made once for each judgement, and taken apart at once")]
pub enum Judgement {
    /// May be served: signed as demanded, or the rule is `audit` or `off` (the verdict says which).
    Allow(Verified<Manifest>),
    /// Looked at, and not signed as demanded.
    Refuse(Arc<Verdict>),
    /// Something needed could not be had. Try again later; never taken for "unsigned".
    Unknown(Arc<Verdict>),
}

/// Judges a manifest afresh.
pub fn judge(manifest: Manifest, repository: &Repository, rule: &Rule, search: &Search, now: Timestamp) -> Judgement {
    let (decision, candidates) = match rule.demand() {
        None => (Decision::Unchecked, Vec::new()),
        Some(demand) => {
            let subject = Subject { repository, digest: manifest.digest(), demand, now };
            let reports: Vec<_> = search.candidates.iter().map(|candidate| examine(candidate, &subject)).collect();
            (decide(demand, &reports, &search.looked_at), reports)
        }
    };
    let verdict = Arc::new(Verdict {
        looked_at: search.looked_at.clone(),
        candidates,
        ..verdict(repository, manifest.digest(), rule, decision, now)
    });
    match (&verdict.decision, rule.enforcement()) {
        (Decision::Refused { .. }, Enforcement::Enforce(_)) => Judgement::Refuse(verdict),
        (Decision::Unknown { .. }, Enforcement::Enforce(_)) => Judgement::Unknown(verdict),
        _ => Judgement::Allow(Verified::mint(manifest, verdict)),
    }
}

/// A verdict as it is kept, together with the signatures that it rests on.
///
/// The signatures are checked again when it is taken up, so whoever can write to the ledger can make
/// us forget, but not believe.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Recorded {
    /// What was decided.
    pub verdict: Verdict,
    /// The candidates that satisfied the rule.
    pub proofs: Vec<Candidate>,
}

impl Recorded {
    /// What to keep of a judgement. `search` must be the one that was judged.
    pub fn of(verdict: &Verdict, search: &Search) -> Self {
        let good = |at: usize| verdict.candidates.get(at).is_some_and(|report| !report.signers.is_empty());
        let proofs = search.candidates.iter().enumerate().filter(|(at, _)| good(*at)).map(|(_, c)| c.clone()).collect();
        Self { verdict: verdict.clone(), proofs }
    }
}

/// Takes up a verdict that was recorded earlier, without any network. `None` when it says nothing
/// today: another repository, digest, rule or key set, not verified then, or not verified by what
/// was recorded now (a key is no longer trusted, or somebody edited the record).
pub fn recall(
    manifest: Manifest,
    repository: &Repository,
    rule: &Rule,
    recorded: Recorded,
    now: Timestamp,
) -> Option<Verified<Manifest>> {
    let Recorded { verdict, proofs } = recorded;
    let same = verdict.repository == *repository
        && verdict.digest == manifest.digest()
        && verdict.fingerprint == rule.fingerprint()
        && verdict.is_verified();
    if !same {
        return None;
    }
    match judge(manifest, repository, rule, &Search { candidates: proofs, looked_at: verdict.looked_at }, now) {
        Judgement::Allow(verified) if verified.verdict().is_verified() => Some(verified),
        _ => None,
    }
}

/// Whether a verdict reached under this very rule still holds at this moment: the keys that it rests
/// on must be trusted now, too.
pub fn still_stands(verdict: &Verdict, rule: &Rule, now: Timestamp) -> bool {
    let Decision::Verified { signers } = &verdict.decision else { return false };
    let Some(demand) = rule.demand() else { return false };
    let valid: Vec<SignerSeen> = signers
        .iter()
        .filter(|seen| demand.signers.iter().any(|s| s.key.fingerprint() == seen.key && s.is_valid_at(now)))
        .cloned()
        .collect();
    missing(demand, &valid).is_none()
}

/// Lets a signature artefact pass if it really has the form of one. Its payloads are looked at again
/// when they are served.
pub fn pass_artefact(
    manifest: Manifest,
    repository: &Repository,
    rule: &Rule,
    now: Timestamp,
) -> Result<Artefact, NotAnArtefact> {
    artefact::check_manifest(&manifest)?;
    let verdict = verdict(repository, manifest.digest(), rule, Decision::Artefact, now);
    Ok(Artefact::mint(manifest, Arc::new(verdict)))
}

/// A refusal that needed no look at signatures.
pub fn refuse(
    repository: &Repository,
    digest: Digest,
    rule: &Rule,
    reason: Reason,
    detail: String,
    now: Timestamp,
) -> Verdict {
    verdict(repository, digest, rule, Decision::Refused { reason, detail }, now)
}

fn verdict(repository: &Repository, digest: Digest, rule: &Rule, decision: Decision, now: Timestamp) -> Verdict {
    Verdict {
        repository: repository.clone(),
        digest,
        rule: rule.name().to_owned(),
        mode: rule.enforcement().mode().to_owned(),
        fingerprint: rule.fingerprint(),
        judged_at: now,
        decision,
        looked_at: Vec::new(),
        candidates: Vec::new(),
    }
}

fn decide(demand: &Demand, reports: &[CandidateReport], looked_at: &[Looked]) -> Decision {
    let mut signers: Vec<SignerSeen> = Vec::new();
    for seen in reports.iter().flat_map(|report| &report.signers) {
        if !signers.contains(seen) {
            signers.push(seen.clone());
        }
    }
    let Some(lack) = missing(demand, &signers) else { return Decision::Verified { signers } };

    // A good signature may lie where we could not look, so a failure outweighs every refusal.
    let failed: Vec<String> = looked_at
        .iter()
        .filter_map(|looked| match &looked.found {
            Found::Failed(why) => Some(format!("{}: {why}", looked.place)),
            _ => None,
        })
        .collect();
    if !failed.is_empty() {
        return Decision::Unknown { detail: failed.join("; ") };
    }
    if !signers.is_empty() {
        return Decision::Refused { reason: Reason::MissingSigner, detail: lack };
    }
    if let Some((reason, detail)) = nearest_miss(reports) {
        return Decision::Refused { reason, detail };
    }
    let over = looked_at.iter().find_map(|looked| match &looked.found {
        Found::OverLimit(what) => Some(format!("{}: {what}", looked.place)),
        _ => None,
    });
    if let Some(detail) = over {
        return Decision::Refused { reason: Reason::OverLimit, detail };
    }
    let places: Vec<&str> = looked_at.iter().map(|looked| looked.place.as_str()).collect();
    Decision::Refused {
        reason: Reason::NoSignature,
        detail: format!("no signature found (looked at: {})", places.join(", ")),
    }
}

/// What is lacking for the demand, or `None` when it is met.
fn missing(demand: &Demand, seen: &[SignerSeen]) -> Option<String> {
    let has = |fingerprint: Digest| seen.iter().any(|signer| signer.key == fingerprint);
    let lacking: Vec<&str> =
        demand.signers.iter().filter(|s| !has(s.key.fingerprint())).map(|s| s.name.as_str()).collect();
    let met = match demand.require {
        _ if demand.signers.is_empty() => false,
        Require::Any => lacking.len() < demand.signers.len(),
        Require::All => lacking.is_empty(),
    };
    (!met).then(|| format!("not signed by {}", lacking.join(", ")))
}

/// The failed check of the candidate that came furthest: the reason a person most likely needs.
fn nearest_miss(reports: &[CandidateReport]) -> Option<(Reason, String)> {
    let report = reports.iter().max_by_key(|report| report.checks.iter().filter(|check| check.passed).count())?;
    let failed = report.checks.iter().rev().find(|check| !check.passed)?;
    let others = match reports.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Some((failed.reason?, format!("{}: {}: {}{others}", report.place, failed.name, failed.detail)))
}
