//! What a verdict tells: each step of a good signature, and of a bad one what came closest.

use assay::trust::{
    CandidateReport, Demand, Difference, Enforcement, Judgement, Matcher, Outcome, Reason, Rule, Search, Signer, Tlog,
    judge,
};

use super::case::{By, Case, Form, WORKFLOW, identity, index, key_signer, trusted};
use crate::support::sigstore::{GITHUB, SIGSTORE, TransparencyLog, TrustedRoot};

fn report(case: &Case) -> CandidateReport {
    let demand = Demand { roots: vec![trusted("root", &case.roots[0])], ..case.demand.clone() };
    let rule = Rule::new("acme".to_owned(), vec![], Enforcement::Enforce(demand));
    let search = Search { candidates: vec![case.candidate()], looked_at: vec![] };
    let Judgement::Allow(verified) = judge(index(), &case.repository, &rule, &search, case.now) else {
        panic!("good");
    };
    verified.verdict().candidates[0].clone()
}

/// The detail of a step that passed, or why it was not needed.
fn step(case: &Case, name: &str) -> Result<String, String> {
    let report = report(case);
    let check = report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}"));
    match check.outcome {
        Outcome::NotNeeded => Err(check.detail.clone()),
        _ => Ok(check.detail.clone()),
    }
}

#[test]
fn a_verdict_tells_which_log_proved_it_and_how() {
    let how = |form, by| step(&Case::honest((form, by)), "log").unwrap();
    let entry = |log: &TransparencyLog, proofs| format!("entry 2 of {}, by {proofs}", log.url());
    let (v1, v2) = (&SIGSTORE.rekor_v1, &SIGSTORE.rekor_v2);
    for by in [By::Keyless, By::Key] {
        assert_eq!(how(Form::Classic, by), entry(v1, "signed entry timestamp"));
        assert_eq!(how(Form::Bundle03, by), entry(v1, "inclusion proof, checkpoint and signed entry timestamp"));
        assert_eq!(how(Form::RekorV2, by), entry(v2, "inclusion proof and checkpoint"));
    }
    let mut unlogged = Case::honest((Form::Stamped, By::Keyless));
    unlogged.demand.tlog = Tlog::Off;
    unlogged.root(TrustedRoot::timestamps_only);
    assert_eq!(step(&unlogged, "log"), Err("the trusted root names none".to_owned()));
}

#[test]
fn a_verdict_tells_what_proved_the_time() {
    let when = |form| step(&Case::honest((form, By::Keyless)), "signing time");
    assert_eq!(when(Form::Bundle03), Ok("2026-06-01T12:00:05Z, by the log".to_owned()));
    assert_eq!(when(Form::Stamped), Ok("2026-06-01T12:00:05Z, by 1 timestamp(s)".to_owned()));
    let bare = Case { edit: |signed, _| signed.without_timestamps(), ..Case::honest((Form::RekorV2, By::Key)) };
    assert_eq!(step(&bare, "signing time"), Err("a key needs none".to_owned()));
}

#[test]
fn a_verdict_tells_who_signed() {
    let keyless = report(&Case::honest((Form::Bundle03, By::Keyless)));
    let (case, seen) = (Case::honest((Form::Bundle03, By::Key)), &keyless.signers[0]);
    assert_eq!(seen.identity.as_deref(), Some(WORKFLOW));
    assert_eq!(seen.issuer.as_deref(), Some(GITHUB));
    assert_eq!(seen.claims.get("source_ref").map(String::as_str), Some("refs/tags/v1.0.0"));
    assert_eq!((seen.key, seen.root.as_deref()), (None, Some("root")));
    let by_key = report(&case).signers.remove(0);
    assert_eq!(by_key.key, Some(key_signer(&case.key).key.fingerprint()));
    assert_eq!((by_key.identity, by_key.issuer), (None, None));
    assert!(by_key.claims.is_empty());
}

/// Why it is refused, and the difference if it is an identity's.
fn refused(case: &Case) -> (Reason, String, Option<Difference>) {
    let demand = Demand { roots: vec![trusted("root", &case.roots[0])], ..case.demand.clone() };
    let rule = Rule::new("acme".to_owned(), vec![], Enforcement::Enforce(demand));
    let search = Search { candidates: vec![case.candidate()], looked_at: vec![] };
    let Judgement::Refuse(verdict) = judge(index(), &case.repository, &rule, &search, case.now) else {
        panic!("bad");
    };
    let failed = verdict.candidates[0].checks.last().unwrap().clone();
    (failed.reason.unwrap(), failed.detail, failed.difference.map(|difference| *difference))
}

#[test]
fn a_refusal_tells_the_signer_that_came_closest() {
    let wrong_name = || identity(Matcher::exact(GITHUB), Matcher::exact("https://github.com/acme/other"));
    let wrong_issuer = || identity(Matcher::exact("https://token.actions.test"), Matcher::exact(WORKFLOW));
    let of = |signers: Vec<Signer>| {
        let mut case = Case::honest((Form::Bundle03, By::Keyless));
        case.trust(signers);
        let (_, detail, difference) = refused(&case);
        let difference = difference.unwrap();
        (difference.field, difference.signed_by, detail.contains("more signers do not fit"))
    };
    assert_eq!(of(vec![wrong_name()]), ("identity".to_owned(), None, false));
    assert_eq!(of(vec![wrong_issuer()]), ("issuer".to_owned(), Some(WORKFLOW.to_owned()), false));
    for both in [vec![wrong_name(), wrong_issuer()], vec![wrong_issuer(), wrong_name()]] {
        assert_eq!(of(both), ("identity".to_owned(), None, true), "who vouched is right, so it is closer");
    }
}

/// A statement that cannot be read says so only where all else is right, as far as it can be known.
#[test]
fn a_refusal_tells_what_failed_and_not_what_else_is_wrong() {
    let unreadable = |_: &[u8]| b"{}".to_vec();
    let case = Case { written: unreadable, ..Case::honest((Form::Bundle03, By::Keyless)) };
    assert_eq!(refused(&case).0, Reason::MalformedSignature);
    let unlogged = Case { edit: |signed, _| signed.without_log_entry(), ..case };
    assert_eq!(refused(&unlogged).0, Reason::NotInLog);
}
