//! When a signature was made, where one signer signed more than once.

use assay::trust::{Decision, Demand, Enforcement, Judgement, Rule, Search, Tlog, judge};
use jiff::{SignedDuration, Timestamp};

use super::case::{By, Case, Form, index, trusted};
use crate::support::sigstore::{SIGNED_AT, Signed, TrustedRoot};

fn logged(at: Timestamp) -> Case {
    Case { logged_at: at, ..Case::honest((Form::Classic, By::Key)) }
}

/// When the only signer is said to have signed, with these candidates in this order.
fn signed_at(times: [Timestamp; 2]) -> Option<Timestamp> {
    let case = logged(SIGNED_AT);
    let demand = Demand { roots: vec![trusted("root", &case.roots[0])], ..case.demand.clone() };
    let rule = Rule::new("acme".to_owned(), vec![], Enforcement::Enforce(demand));
    let search = Search { candidates: times.map(|at| logged(at).candidate()).to_vec(), looked_at: vec![] };
    let Judgement::Allow(verified) = judge(index(), &case.repository, &rule, &search, case.now) else {
        panic!("both are good");
    };
    let Decision::Verified { signers } = &verified.verdict().decision else { panic!("verified") };
    assert_eq!(signers.len(), 1);
    signers[0].signed_at
}

/// Upstream decides in which order signatures come, and must not decide by it how old an image is: with the first of
/// two that counts, a tag that goes on to what was signed again is taken for one that goes back.
#[test]
fn who_signed_twice_counts_as_of_the_last_time() {
    let later = SIGNED_AT + SignedDuration::from_hours(24 * 7);
    assert_eq!(signed_at([SIGNED_AT, SIGNED_AT]), Some(SIGNED_AT));
    assert_eq!(signed_at([later, SIGNED_AT]), Some(later));
    assert_eq!(signed_at([SIGNED_AT, later]), Some(later));
}

/// As for a root of timestamps only, whose signers had their signatures logged all the same, in a log of others.
#[test]
fn where_no_log_is_asked_an_entry_in_one_changes_nothing() {
    for form in [Form::Stamped, Form::RekorV2] {
        let outcome = |edit: fn(Signed, &Case) -> Signed| {
            let mut case = Case::honest((form, By::Keyless));
            case.demand.tlog = Tlog::Off;
            case.root(TrustedRoot::timestamps_only);
            Case { edit, ..case }.outcome()
        };
        assert_eq!(outcome(|signed, _| signed), Ok(()), "{form:?}");
        assert_eq!(outcome(|signed, _| signed.without_log_entry()), Ok(()), "{form:?}");
        // Its word for the time is worth nothing.
        assert!(outcome(|signed, _| signed.without_timestamps()).is_err(), "{form:?}");
    }
}

/// Nothing but the log proves when a key was used, and where none is needed one that is there still says it.
#[test]
fn where_a_log_is_optional_an_entry_that_holds_proves_the_time() {
    let seen = |edit: fn(Signed, &Case) -> Signed| {
        let mut case = Case { edit, ..Case::honest((Form::Classic, By::Key)) };
        case.demand.tlog = Tlog::Optional;
        let demand = Demand { roots: vec![trusted("root", &case.roots[0])], ..case.demand.clone() };
        let rule = Rule::new("acme".to_owned(), vec![], Enforcement::Enforce(demand));
        let search = Search { candidates: vec![case.candidate()], looked_at: vec![] };
        let Judgement::Allow(verified) = judge(index(), &case.repository, &rule, &search, case.now) else {
            panic!("good without an entry");
        };
        let report = &verified.verdict().candidates[0];
        let log = report.checks.iter().find(|check| check.name == "log").expect("the log is spoken of");
        (report.signers[0].signed_at, log.passed(), log.detail.clone())
    };
    let (time, passed, detail) = seen(|signed, _| signed);
    assert_eq!((time, passed), (Some(SIGNED_AT), true), "{detail}");
    let (time, passed, detail) = seen(|signed, _| signed.without_log_entry());
    assert_eq!((time, passed), (None, false));
    assert!(detail.starts_with("there is no entry"), "{detail}");
    let (time, passed, detail) = seen(|signed, case| signed.swap_log_entry_with(&case.with_another_key().signed()));
    assert_eq!((time, passed), (None, false));
    assert!(detail.starts_with("the rule says tlog = \"optional\", and "), "{detail}");
}
