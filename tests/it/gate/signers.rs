//! Several signers, and the times in which their keys are trusted.

use assay::demo::Signer;
use assay::trust::{Candidate, Decision, Judgement, Reason, Require, still_stands};

use super::world::{ALLOWED, Bundle, Classic, LAYOUTS, Layout, Scene, WORLD, assert_none, at, edited, key, refused};

fn by(layout: Layout, signer: &'static Signer) -> Candidate {
    match layout {
        Layout::Classic => Classic { signer, ..Classic::honest() }.candidate(),
        Layout::Bundle => Bundle { signer, ..Bundle::honest() }.candidate(),
    }
}

/// A validly signed statement about another image.
fn astray(signer: &'static Signer) -> Candidate {
    let (from, to) = (WORLD.subject().hex(), WORLD.other_image.index.digest.hex());
    let honest = Bundle { signer, ..Bundle::honest() };
    Bundle { payload: edited(&honest.payload, &from, &to), ..honest }.candidate()
}

fn attestation(signer: &'static Signer) -> Candidate {
    let honest = Bundle { signer, ..Bundle::honest() };
    Bundle { payload: edited(&honest.payload, "sigstore.dev/cosign/sign/v1", "slsa.dev/provenance/v1"), ..honest }
        .candidate()
}

fn names(scene: &Scene) -> Vec<String> {
    let Judgement::Allow(verified) = scene.judge() else { return Vec::new() };
    match &verified.verdict().decision {
        Decision::Verified { signers } => signers.iter().map(|signer| signer.name.clone()).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn any_and_all_count_keys() {
    use Require::{All, Any};
    let (release, second, stranger) = (&WORLD.release, &WORLD.second, &WORLD.stranger);
    let missing = || refused(Reason::MissingSigner);
    let untrusted = || refused(Reason::UntrustedKey);
    let mut wrong = Vec::new();
    for one in LAYOUTS {
        for other in LAYOUTS {
            let (a, b, c) = (|| by(one, release), || by(other, second), || by(other, stranger));
            for (what, require, rule, candidates, expected) in [
                ("any, by the first", Any, vec![release, second], vec![a()], ALLOWED.to_owned()),
                ("any, by the second", Any, vec![release, second], vec![b()], ALLOWED.to_owned()),
                ("any, by both", Any, vec![release, second], vec![a(), b()], ALLOWED.to_owned()),
                ("any, by neither", Any, vec![release, second], vec![c()], untrusted()),
                ("all, each in a candidate of its own", All, vec![release, second], vec![a(), b()], ALLOWED.to_owned()),
                ("all, the other way round", All, vec![release, second], vec![b(), a()], ALLOWED.to_owned()),
                ("all, among strangers", All, vec![release, second], vec![c(), a(), c(), b()], ALLOWED.to_owned()),
                ("all, by the first", All, vec![release, second], vec![a()], missing()),
                ("all, by the second", All, vec![release, second], vec![b()], missing()),
                ("all, twice by the first", All, vec![release, second], vec![a(), a(), by(other, release)], missing()),
                ("all, by the first and a stranger", All, vec![release, second], vec![a(), c()], missing()),
                ("all, by strangers", All, vec![release, second], vec![c(), c()], untrusted()),
                (
                    "all, the second about another image",
                    All,
                    vec![release, second],
                    vec![a(), astray(second)],
                    missing(),
                ),
                ("all, the second attests", All, vec![release, second], vec![a(), attestation(second)], missing()),
                ("all of one", All, vec![release], vec![a()], ALLOWED.to_owned()),
                ("all of three, by two", All, vec![release, second, stranger], vec![a(), b()], missing()),
                // One key under two names is one key; configurations should not say this.
                ("all, one key twice", All, vec![release, release], vec![a()], ALLOWED.to_owned()),
                ("all, one key twice, by another", All, vec![release, release], vec![b()], untrusted()),
                ("all, one key twice and another", All, vec![release, release, second], vec![a()], missing()),
                ("any of nobody", Any, vec![], vec![a()], untrusted()),
                ("all of nobody", All, vec![], vec![a()], untrusted()),
                ("all of nobody, nothing found", All, vec![], vec![], refused(Reason::NoSignature)),
            ] {
                let mut scene = Scene { require, ..Scene::with(candidates) };
                scene.signers = rule.iter().zip(0..).map(|(signer, n)| key(&format!("signer {n}"), signer)).collect();
                let outcome = scene.outcome();
                if outcome != expected {
                    wrong.push(format!("row 13, {one:?} and {other:?}: {what}: {outcome}, expected {expected}"));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn a_verdict_names_everybody_who_signed_once() {
    let candidates = vec![
        by(Layout::Classic, &WORLD.release),
        by(Layout::Bundle, &WORLD.release),
        by(Layout::Classic, &WORLD.second),
        by(Layout::Classic, &WORLD.stranger),
    ];
    let mut scene = Scene { require: Require::All, ..Scene::with(candidates) };
    scene.signers = vec![key("release", &WORLD.release), key("security", &WORLD.second)];
    assert_eq!(names(&scene), ["release", "security"]);
    scene.require = Require::Any;
    assert_eq!(names(&scene), ["release", "security"]);
    scene.signers = vec![key("release", &WORLD.release), key("release again", &WORLD.release)];
    assert_eq!(names(&scene), ["release", "release again"], "a key with two names");
}

#[test]
fn a_key_counts_only_in_its_time() {
    let mut wrong = Vec::new();
    for layout in LAYOUTS {
        for (not_before, not_after, now, trusted) in [
            (None, None, "2026-06-01T00:00:00Z", true),
            (Some("2026-06-01T00:00:00Z"), None, "2026-06-01T00:00:00Z", true),
            (Some("2026-06-01T00:00:00Z"), None, "2026-05-31T23:59:59.999999999Z", false),
            (Some("2026-06-01T00:00:00Z"), None, "2036-06-01T00:00:00Z", true),
            (None, Some("2026-06-01T00:00:00Z"), "2026-06-01T00:00:00Z", true),
            (None, Some("2026-06-01T00:00:00Z"), "2026-06-01T00:00:00.000000001Z", false),
            (None, Some("2026-06-01T00:00:00Z"), "1970-01-01T00:00:00Z", true),
            (Some("2026-01-01T00:00:00Z"), Some("2026-12-31T00:00:00Z"), "2026-06-01T00:00:00Z", true),
            (Some("2026-01-01T00:00:00Z"), Some("2026-12-31T00:00:00Z"), "2025-06-01T00:00:00Z", false),
            (Some("2026-01-01T00:00:00Z"), Some("2026-12-31T00:00:00Z"), "2027-06-01T00:00:00Z", false),
            (Some("2026-12-31T00:00:00Z"), Some("2026-01-01T00:00:00Z"), "2026-06-01T00:00:00Z", false),
            (Some("2026-06-01T02:00:00+02:00"), None, "2026-06-01T00:00:00Z", true),
        ] {
            let mut scene = Scene { now: at(now), ..Scene::honest(layout) };
            scene.signers[0].not_before = not_before.map(at);
            scene.signers[0].not_after = not_after.map(at);
            let expected = if trusted { ALLOWED.to_owned() } else { refused(Reason::KeyOutsideValidity) };
            let outcome = scene.outcome();
            if outcome != expected {
                wrong.push(format!("row 12, {layout:?}: {not_before:?} to {not_after:?} at {now}: {outcome}"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn one_key_in_time_is_enough_for_any_and_not_for_all() {
    for layout in LAYOUTS {
        let mut scene = Scene::with([by(layout, &WORLD.release), by(layout, &WORLD.second)]);
        scene.signers = vec![key("old", &WORLD.release), key("new", &WORLD.second)];
        scene.signers[0].not_after = Some(at("2026-01-01T00:00:00Z"));
        assert_eq!(scene.outcome(), ALLOWED);
        assert_eq!(names(&scene), ["new"], "a key that is over does not count as a signer");
        scene.require = Require::All;
        assert_eq!(scene.outcome(), refused(Reason::MissingSigner));
        scene.now = at("2025-12-31T00:00:00Z");
        assert_eq!(scene.outcome(), ALLOWED);

        // Only the old key signed: its time decides, though the new key is in time.
        let mut scene = Scene { signers: scene.signers, ..Scene::with([by(layout, &WORLD.release)]) };
        assert_eq!(scene.outcome(), refused(Reason::KeyOutsideValidity));
        // The same key in two periods.
        scene.signers[1] = key("renewed", &WORLD.release);
        scene.signers[1].not_before = Some(at("2026-05-01T00:00:00Z"));
        assert_eq!(names(&scene), ["renewed"]);
    }
}

#[test]
fn a_verdict_stands_as_long_as_its_keys_do() {
    let mut scene = Scene::with([by(Layout::Classic, &WORLD.release), by(Layout::Bundle, &WORLD.second)]);
    scene.signers = vec![key("old", &WORLD.release), key("new", &WORLD.second)];
    scene.signers[0].not_after = Some(at("2026-12-31T00:00:00Z"));
    for (require, later) in [(Require::Any, true), (Require::All, false)] {
        scene.require = require;
        let Judgement::Allow(verified) = scene.judge() else { panic!("signed by both") };
        let stands = |now| still_stands(verified.verdict(), &scene.rule(), at(now));
        assert!(stands("2026-06-01T00:00:00Z"));
        assert!(stands("2026-12-31T00:00:00Z"));
        assert_eq!(stands("2027-01-01T00:00:00Z"), later, "{require:?}");
    }
}
