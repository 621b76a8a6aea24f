//! The gate: from a manifest and what was found about it to a proof, a refusal, or "could not check".

use std::sync::Arc;

use jiff::Timestamp;

use crate::oci::{Digest, Manifest, Repository};

use super::artefact::{self, NotAnArtefact};
use super::attestation::{About, AttestationDemand};
use super::candidate::Candidate;
use super::demand::{Demand, Require};
use super::examine::{Subject, examine};
use super::policy::{Enforcement, Rule};
use super::proof::{Artefact, Verified};
use super::signer::Signer;
use super::verdict::{CandidateReport, Decision, Found, Looked, Reason, SignerSeen, Verdict};

/// Most bytes of signatures in a record that the rule did not ask for: some ten bundles. Whoever may push
/// can add any number of them.
const OTHERS_MAX: usize = 128 * 1024;

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
    let digest = manifest.digest();
    let (decision, candidates) = match (denied(rule, digest), rule.demand()) {
        (Some(refused), _) => (refused, Vec::new()),
        (None, None) => (Decision::Unchecked, Vec::new()),
        (None, Some(demand)) => {
            // An image without an index is its own platform.
            let asked = |about: About| about == About::Index || manifest.image().is_some();
            let attestations: Vec<_> = demand.attestations.iter().filter(|demand| asked(demand.about)).collect();
            let subject = Subject { repository, digest, demand, attestations, now };
            let reports: Vec<_> = search.candidates.iter().map(|candidate| examine(candidate, &subject)).collect();
            let decision = signed(demand, &reports, &search.looked_at)
                .and_then(|signers| attested(&subject, &reports, &search.looked_at).map(|()| signers))
                .map_or_else(|refused| refused, |signers| Decision::Verified { signers });
            (decision, reports)
        }
    };
    let verdict = Arc::new(Verdict {
        looked_at: search.looked_at.clone(),
        candidates,
        ..verdict(repository, digest, rule, decision, now)
    });
    // What is denied is never served, not even where nothing else is enforced.
    let enforced = matches!(rule.enforcement(), Enforcement::Enforce(_)) || denied(rule, digest).is_some();
    match &verdict.decision {
        Decision::Refused { .. } if enforced => Judgement::Refuse(verdict),
        Decision::Unknown { .. } if enforced => Judgement::Unknown(verdict),
        _ => Judgement::Allow(Verified::mint(manifest, verdict)),
    }
}

/// Judges what is attested about a platform's manifest that a verified index names. Whose attestations the
/// rule does not ask for passes as it is. Else the verdict is the index's, and tells of the attestations behind
/// what it tells of the index. In audit mode what is lacking is recorded in the verdict, and it passes.
pub fn judge_platform(
    platform: Verified<Manifest>,
    repository: &Repository,
    rule: &Rule,
    search: &Search,
    now: Timestamp,
) -> Judgement {
    let Some(demand) = rule.demand().filter(|demand| demand.asks_of_platforms()) else {
        return Judgement::Allow(platform);
    };
    let digest = platform.get().digest();
    let attestations: Vec<_> = demand.attestations.iter().filter(|demand| demand.about == About::Platform).collect();
    let subject = Subject { repository, digest, demand, attestations, now };
    let candidates: Vec<_> = search.candidates.iter().map(|candidate| examine(candidate, &subject)).collect();
    let enforced = matches!(rule.enforcement(), Enforcement::Enforce(_));
    let verdict = match attested(&subject, &candidates, &search.looked_at) {
        Err(lacking) => Verdict {
            looked_at: search.looked_at.clone(),
            candidates,
            ..verdict(repository, digest, rule, lacking, now)
        },
        Ok(()) => {
            let mut both = Verdict::clone(platform.verdict());
            both.looked_at.extend(search.looked_at.iter().cloned());
            both.candidates.extend(candidates);
            both
        }
    };
    let verdict = Arc::new(verdict);
    match &verdict.decision {
        Decision::Refused { .. } if enforced => Judgement::Refuse(verdict),
        Decision::Unknown { .. } if enforced => Judgement::Unknown(verdict),
        _ => Judgement::Allow(Verified::mint(platform.get().clone(), verdict)),
    }
}

/// What to keep of a platform's judgement: the candidates by which it is attested. `search` must be the one
/// that [`judge_platform`] judged last.
pub fn attested_by(verdict: &Verdict, search: &Search) -> Vec<Candidate> {
    let reports = verdict.candidates.iter().rev();
    let proofs = reports.zip(search.candidates.iter().rev()).filter(|(report, _)| report.counts());
    proofs.map(|(_, candidate)| candidate.clone()).collect()
}

/// The refusal of a digest that the rule's deny list names.
pub fn denied(rule: &Rule, digest: Digest) -> Option<Decision> {
    let detail = || format!("{digest} is on the deny list of rule \"{}\"", rule.name());
    let refused = || Decision::Refused { reason: Reason::Denied, detail: detail() };
    rule.terms().denied_digests.contains(&digest).then(refused)
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
    /// Others that were found beside them, as far as there is room: another rule may ask for these.
    #[serde(default)]
    pub others: Vec<Candidate>,
}

impl Recorded {
    /// What to keep of a judgement. `search` must be the one that was judged.
    pub fn of(verdict: &Verdict, search: &Search) -> Self {
        let counts = |at: usize| verdict.candidates.get(at).is_some_and(CandidateReport::counts);
        let (proofs, others): (Vec<_>, Vec<_>) = search.candidates.iter().enumerate().partition(|(at, _)| counts(*at));
        let mut room = OTHERS_MAX;
        let fits = |candidate: &&Candidate| {
            let left = room.checked_sub(candidate.material.size());
            room = left.unwrap_or(room);
            left.is_some()
        };
        Self {
            verdict: verdict.clone(),
            proofs: proofs.into_iter().map(|(_, candidate)| candidate.clone()).collect(),
            others: others.into_iter().map(|(_, candidate)| candidate).filter(fits).cloned().collect(),
        }
    }

    /// A refusal. Nothing can be taken up from it, so no signatures are kept.
    pub fn refusal(verdict: &Verdict) -> Self {
        Self { verdict: verdict.clone(), proofs: Vec::new(), others: Vec::new() }
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
    let Recorded { verdict, proofs, .. } = recorded;
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

/// Judges anew by the signatures of a record, under whatever rule holds now and without any network. The recorded
/// verdict counts for nothing. `None` when these signatures do not suffice, which says nothing about the image:
/// there may be others upstream.
pub fn rejudge(
    manifest: Manifest,
    repository: &Repository,
    rule: &Rule,
    recorded: Recorded,
    now: Timestamp,
) -> Option<(Verified<Manifest>, Recorded)> {
    let Recorded { verdict, proofs, others } = recorded;
    if verdict.repository != *repository || verdict.digest != manifest.digest() {
        return None;
    }
    let search = Search { candidates: proofs.into_iter().chain(others).collect(), looked_at: verdict.looked_at };
    match judge(manifest, repository, rule, &search, now) {
        Judgement::Allow(verified) if verified.verdict().is_verified() => {
            let afresh = Recorded::of(verified.verdict(), &search);
            Some((verified, afresh))
        }
        _ => None,
    }
}

/// Whether a verdict still holds at this moment: reached under this very rule, by keys that are trusted now, too, where
/// nothing proves when they were used, and by signatures that are still young enough.
pub fn still_stands(verdict: &Verdict, rule: &Rule, now: Timestamp) -> bool {
    let Decision::Verified { signers } = &verdict.decision else { return false };
    let Some(demand) = rule.demand().filter(|_| verdict.fingerprint == rule.fingerprint()) else { return false };
    let stands = |signer: &Signer, seen: &SignerSeen| match (signer, seen.signed_at) {
        (Signer::Key(key), None) => key.is_valid_at(now),
        _ => true,
    };
    let young = |seen: &SignerSeen| match (demand.max_signature_age, seen.signed_at) {
        (None, _) => true,
        (Some(age), Some(signed)) => now.duration_since(signed) <= age,
        (Some(_), None) => false,
    };
    let holds = |seen: &SignerSeen, signer: &Signer, id| seen.id == id && stands(signer, seen) && young(seen);
    let ids = rule.ids();
    let attested = |(asked, (id, signers)): (&AttestationDemand, &(Digest, Vec<Digest>))| {
        let seen = || attesters(&verdict.candidates, *id);
        // What is asked about platforms is in the verdicts on platforms only.
        let is_elsewhere = asked.about == About::Platform && seen().next().is_none();
        let signers = asked.signers.iter().zip(signers.iter().copied());
        is_elsewhere || met(asked.require, signers, |signer, id| seen().any(|seen| holds(seen, signer, id)))
    };
    let wanted = demand.signers.iter().zip(ids.signers.iter().copied());
    let signed = || met(demand.require, wanted, |signer, id| signers.iter().any(|seen| holds(seen, signer, id)));
    (!demand.asks_for_a_signature() || signed()) && demand.attestations.iter().zip(&ids.attestations).all(attested)
}

/// Who was found to attest what is asked.
fn attesters(reports: &[CandidateReport], id: Digest) -> impl Iterator<Item = &SignerSeen> {
    let found = reports.iter().flat_map(|report| &report.attestations).filter(move |seen| seen.demand == id);
    found.flat_map(|seen| &seen.signers)
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

/// Who signed as demanded, or why that is not known or not so.
fn signed(demand: &Demand, reports: &[CandidateReport], looked_at: &[Looked]) -> Result<Vec<SignerSeen>, Decision> {
    let mut signers: Vec<SignerSeen> = Vec::new();
    let attested = reports.iter().flat_map(|report| &report.attestations).filter(|_| !demand.asks_for_a_signature());
    let attesters = attested.flat_map(|seen| &seen.signers);
    for seen in reports.iter().flat_map(|report| &report.signers).chain(attesters) {
        match signers.iter_mut().find(|other| (other.id, &other.name) == (seen.id, &seen.name)) {
            // Who signed twice counts as of the last time: upstream decides in which order we see them.
            Some(known) if known.signed_at < seen.signed_at => *known = seen.clone(),
            Some(_) => {}
            None => signers.push(seen.clone()),
        }
    }
    if demand.is_met(|_, id| signers.iter().any(|seen| seen.id == id)) {
        return Ok(signers);
    }
    let lack = format!("not signed by {}", demand.lacking(&signers).join(", "));
    Err(refusal(reports, looked_at, (!signers.is_empty()).then_some((Reason::MissingSigner, lack))))
}

/// Whether everything is attested that is asked about this digest.
fn attested(subject: &Subject<'_>, reports: &[CandidateReport], looked_at: &[Looked]) -> Result<(), Decision> {
    let lacks = |asked: &&&AttestationDemand| {
        let asked_id = asked.id();
        let signers = asked.signers.iter().map(|signer| (signer, signer.id()));
        !met(asked.require, signers, |_, id| attesters(reports, asked_id).any(|seen| seen.id == id))
    };
    let Some(lacking) = subject.attestations.iter().find(lacks) else { return Ok(()) };
    let is_of_type = |report: &&CandidateReport| {
        report.checks.iter().any(|check| check.name == "predicate type" && check.detail == lacking.predicate_type)
    };
    let wrong = reports
        .iter()
        .filter(is_of_type)
        .flat_map(|report| report.checks.iter().rev())
        .find(|check| matches!(check.reason, Some(Reason::WrongAttestation)));
    let lack = match wrong {
        Some(check) => (Reason::WrongAttestation, format!("{}: {}", lacking.predicate_type, check.detail)),
        None => {
            let names: Vec<&str> = lacking.signers.iter().map(Signer::name).collect();
            let detail = format!("no attestation `{}` by {}", lacking.predicate_type, names.join(" or "));
            (Reason::MissingAttestation, detail)
        }
    };
    Err(refusal(reports, looked_at, Some(lack)))
}

/// The decision where something lacks: "could not check" before everything else, then what is lacking,
/// then what is wrong with what was found.
fn refusal(reports: &[CandidateReport], looked_at: &[Looked], lack: Option<(Reason, String)>) -> Decision {
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
    let over = looked_at.iter().find_map(|looked| match &looked.found {
        Found::OverLimit(what) => Some(format!("{}: {what}", looked.place)),
        _ => None,
    });
    match (lack.or_else(|| nearest_miss(reports)), over) {
        (Some((reason, detail)), None) => return Decision::Refused { reason, detail },
        // What is wrong with what was read tells more, and yet the good one may lie in the rest.
        (Some((reason, detail)), Some(over)) => {
            return Decision::Refused { reason, detail: format!("{detail}; not everything was read: {over}") };
        }
        (None, Some(detail)) => return Decision::Refused { reason: Reason::OverLimit, detail },
        (None, None) => {}
    }
    let places: Vec<&str> = looked_at.iter().map(|looked| looked.place.as_str()).collect();
    Decision::Refused {
        reason: Reason::NoSignature,
        detail: format!("no signature found (looked at: {})", places.join(", ")),
    }
}

/// Whether one of the signers, or every one, is there. Nobody is nobody.
pub(super) fn met<'a>(
    require: Require,
    mut signers: impl ExactSizeIterator<Item = (&'a Signer, Digest)>,
    is_there: impl Fn(&Signer, Digest) -> bool,
) -> bool {
    match require {
        _ if signers.len() == 0 => false,
        Require::Any => signers.any(|(signer, id)| is_there(signer, id)),
        Require::All => signers.all(|(signer, id)| is_there(signer, id)),
    }
}

/// The failed check of the candidate that came furthest: the reason a person most likely needs.
fn nearest_miss(reports: &[CandidateReport]) -> Option<(Reason, String)> {
    let report = reports.iter().max_by_key(|report| report.checks.iter().filter(|check| check.passed()).count())?;
    let failed = report.checks.iter().rev().find(|check| check.reason.is_some())?;
    let others = match reports.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    // A difference names its field itself.
    let name = if failed.difference.is_some() { String::new() } else { format!("{}: ", failed.name) };
    Some((failed.reason?, format!("{}: {name}{}{others}", report.place, failed.detail)))
}
