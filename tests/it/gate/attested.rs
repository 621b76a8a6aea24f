//! What a rule wants attested: of platforms, in each mode; what is kept of it; and how long it stands.

use std::sync::Arc;

use assay::demo::{Signer, Statement};
use assay::oci::{Digest, Manifest};
use assay::trust::{
    self, About, AttestationDemand, Candidate, Decision, Demand, Enforcement, Found, Judgement, Reason, Require, Rule,
    Search, Tlog, Verdict, Verified, attested_by, judge, judge_platform, still_stands,
};
use jiff::SignedDuration;
use serde_json::json;

use super::world::{ALLOWED, Bundle, Mode, REPOSITORY, WORLD, at, key, looked, outcome, refused, repository};

const NOW: &str = "2026-06-01T00:00:00Z";
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// Signed by the release key, and attested by the second, whose time ends with the year.
fn demand(about: Option<About>) -> Demand {
    let mut attester = key("second", &WORLD.second);
    attester.not_after = Some(at("2026-12-31T00:00:00Z"));
    let asked = |about| AttestationDemand {
        predicate_type: PROVENANCE.to_owned(),
        about,
        require: Require::Any,
        signers: vec![trust::Signer::Key(attester.clone())],
        conditions: vec![],
    };
    Demand {
        signers: vec![trust::Signer::Key(key("release", &WORLD.release))],
        attestations: about.map(asked).into_iter().collect(),
        tlog: Tlog::Off,
        ..Demand::default()
    }
}

fn rule(mode: Mode, demand: Demand) -> Rule {
    let enforcement = match mode {
        Mode::Enforce => Enforcement::Enforce(demand),
        Mode::Audit => Enforcement::Audit(demand),
        Mode::Off => panic!("asks for nothing"),
    };
    Rule::new("acme".to_owned(), vec![], enforcement)
}

fn attestation(signer: &'static Signer, subject: Digest) -> Candidate {
    let statement = Statement::attestation(subject, PROVENANCE, json!({}));
    Bundle { signer, ..Bundle::saying(&statement) }.candidate()
}

fn found(candidates: impl Into<Vec<Candidate>>) -> Search {
    Search { candidates: candidates.into(), looked_at: vec![looked("referrers", Found::Nothing)] }
}

fn verified(judgement: Judgement) -> Verified<Manifest> {
    match judgement {
        Judgement::Allow(verified) => verified,
        other => panic!("{}", outcome(&other)),
    }
}

/// The index as it was verified, with these candidates.
fn index(rule: &Rule, candidates: impl Into<Vec<Candidate>>) -> Verified<Manifest> {
    verified(judge(WORLD.index(), &repository(REPOSITORY), rule, &found(candidates), at(NOW)))
}

fn platform(rule: &Rule, search: &Search) -> Judgement {
    let index = index(rule, [Bundle::honest().candidate()]);
    let platform = index.manifest(WORLD.child().digest()).unwrap().open(WORLD.child()).unwrap();
    judge_platform(platform, &repository(REPOSITORY), rule, search, at(NOW))
}

#[test]
fn what_is_not_attested_of_a_platform_is_refused_or_unknown_and_in_audit_served() {
    let attested = attestation(&WORLD.second, WORLD.child().digest());
    let failed = Search { candidates: vec![], looked_at: vec![looked("referrers", Found::Failed("503".to_owned()))] };
    for (search, enforced, audited) in [
        (found([attested]), ALLOWED.to_owned(), ALLOWED),
        (found([]), refused(Reason::MissingAttestation), "allow audit"),
        (failed, "unknown".to_owned(), "allow audit"),
    ] {
        let judged = |mode| outcome(&platform(&rule(mode, demand(Some(About::Platform))), &search));
        assert_eq!((judged(Mode::Enforce), judged(Mode::Audit).as_str()), (enforced, audited));
        assert_eq!(outcome(&platform(&rule(Mode::Enforce, demand(None)), &search)), ALLOWED, "nothing is asked");
        assert!(!demand(None).asks_of_platforms() && !demand(Some(About::Index)).asks_of_platforms());
    }
}

#[test]
fn what_attests_a_platform_is_kept_and_nothing_else() {
    let child = WORLD.child().digest();
    let candidates = [
        attestation(&WORLD.stranger, child),
        attestation(&WORLD.second, child),
        attestation(&WORLD.second, WORLD.subject()),
        Bundle::honest().candidate(),
    ];
    let text = |candidates: &[Candidate]| serde_json::to_string(candidates).unwrap();
    let proof = text(&candidates[1..2]);
    let search = found(candidates);
    let rule = rule(Mode::Enforce, demand(Some(About::Platform)));
    let judged = verified(platform(&rule, &search));
    let kept = attested_by(judged.verdict(), &search);
    assert_eq!(text(&kept), proof);
    assert_eq!(outcome(&platform(&rule, &found(kept))), ALLOWED, "what was kept proves it again");
}

/// A verdict on the signed index, with its attestation if `about` asks for it.
fn verdict(demand: &Demand) -> Verdict {
    let candidates = [Bundle::honest().candidate(), attestation(&WORLD.second, WORLD.subject())];
    Verdict::clone(index(&rule(Mode::Enforce, demand.clone()), candidates).verdict())
}

fn stands(verdict: &Verdict, demand: &Demand, now: &str) -> bool {
    still_stands(verdict, &rule(Mode::Enforce, demand.clone()), at(now))
}

#[test]
fn a_verdict_stands_for_the_signers_that_it_names() {
    let demand = demand(None);
    let honest = verdict(&demand);
    assert!(stands(&honest, &demand, NOW));
    for change in [
        |verdict: &mut Verdict| verdict.decision = Decision::Verified { signers: vec![] },
        |verdict: &mut Verdict| verdict.decision = Decision::Unchecked,
        |verdict: &mut Verdict| {
            let Decision::Verified { signers } = &mut verdict.decision else { panic!("verified") };
            signers[0].id = WORLD.subject();
        },
    ] {
        let mut changed = honest.clone();
        change(&mut changed);
        assert!(!stands(&changed, &demand, NOW), "{:?}", changed.decision);
    }
    let other = Demand { require: Require::All, ..demand };
    assert!(!stands(&honest, &other, NOW), "under another rule");
}

#[test]
fn a_verdict_stands_as_long_as_its_signatures_are_young_enough() {
    let bounded = Demand { max_signature_age: Some(SignedDuration::from_hours(24)), ..demand(None) };
    // Nothing proves here when it was made, so the gate refuses it under this rule; logs would have said it so.
    let mut signed = verdict(&demand(None));
    signed.fingerprint = rule(Mode::Enforce, bounded.clone()).fingerprint();
    assert!(!stands(&signed, &bounded, NOW), "of unknown age");
    let Decision::Verified { signers } = &mut signed.decision else { panic!("verified") };
    signers[0].signed_at = Some(at(NOW));
    assert!(stands(&signed, &bounded, NOW));
    assert!(stands(&signed, &bounded, "2026-06-02T00:00:00Z"));
    assert!(!stands(&signed, &bounded, "2026-06-02T00:00:01Z"));
}

#[test]
fn a_verdict_stands_as_long_as_its_attestations_do() {
    let late = "2027-01-01T00:00:00Z";
    let asked = demand(Some(About::Index));
    let honest = verdict(&asked);
    assert!(stands(&honest, &asked, NOW));
    assert!(!stands(&honest, &asked, late), "the attester's key is over");
    assert!(stands(&verdict(&demand(None)), &demand(None), late), "nobody asks for it");
    let mut stripped = honest;
    stripped.candidates.clear();
    assert!(!stands(&stripped, &asked, NOW), "not attested");
}

/// The verdict on an index tells nothing about platforms, and need not: each has a verdict of its own.
#[test]
fn a_platforms_attestation_counts_in_the_platforms_verdict() {
    let asked = demand(Some(About::Platform));
    let late = "2027-01-01T00:00:00Z";
    let index = verdict(&asked);
    assert!(stands(&index, &asked, NOW) && stands(&index, &asked, late));
    let search = found([attestation(&WORLD.second, WORLD.child().digest())]);
    let platform = verified(platform(&rule(Mode::Enforce, asked.clone()), &search));
    let platform: &Arc<Verdict> = platform.verdict();
    assert!(stands(platform, &asked, NOW));
    assert!(!stands(platform, &asked, late), "the attester's key is over");
}
