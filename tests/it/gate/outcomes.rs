//! The three outcomes, and the modes in which a rule can be.

use assay::trust::{Candidate, Decision, Found, Judgement, Looked, Material, Outcome, Reason, Require};

use super::world::{
    ALLOWED, Bundle, Classic, LAYOUTS, Mode, Scene, WORLD, assert_none, candidate, edited, key, looked, refused,
};

/// One candidate for each reason that a candidate can fail for, and none at all.
fn failing() -> Vec<(Reason, Vec<Candidate>)> {
    let classic = |change: fn(&mut Classic)| {
        let mut material = Classic::honest();
        change(&mut material);
        vec![material.candidate()]
    };
    let other = WORLD.other_image.index.digest;
    vec![
        (Reason::NoSignature, Vec::new()),
        (Reason::UntrustedKey, classic(|c| c.signer = &WORLD.stranger)),
        (Reason::MalformedSignature, classic(|c| c.payload = b"{}".to_vec())),
        (Reason::NotASignature, classic(|c| c.payload = edited(&c.payload, "image signature", "image attestation"))),
        (Reason::OverLimit, classic(|c| c.payload.resize(100_000, b' '))),
        (Reason::WrongSubject, {
            let mut material = Classic::honest();
            material.payload = edited(&material.payload, &WORLD.subject().to_string(), &other.to_string());
            vec![material.candidate()]
        }),
    ]
}

fn scene(candidates: Vec<Candidate>, looked_at: Vec<Looked>) -> Scene {
    let mut scene = Scene::with(candidates);
    scene.search.looked_at = looked_at;
    scene
}

#[test]
fn what_was_not_found_is_said_as_it_is() {
    let unrelated = || Found::Unrelated("an attestation".to_owned());
    let over = || Found::OverLimit("more than 64 layers".to_owned());
    for (looked_at, expected) in [
        (vec![], Reason::NoSignature),
        (vec![looked("referrers", Found::Nothing), looked("tag .sig", Found::Nothing)], Reason::NoSignature),
        (vec![looked("referrers", unrelated())], Reason::NoSignature),
        (vec![looked("referrers", Found::Candidates(0))], Reason::NoSignature),
        (vec![looked("referrers", over())], Reason::OverLimit),
        (vec![looked("referrers", over()), looked("tag .sig", Found::Nothing)], Reason::OverLimit),
    ] {
        assert_eq!(scene(vec![], looked_at.clone()).outcome(), refused(expected), "row 5 and 8: {looked_at:?}");
    }
    for good in [Classic::honest().candidate(), Bundle::honest().candidate()] {
        assert_eq!(scene(vec![good], vec![looked("referrers", over())]).outcome(), ALLOWED);
    }
}

#[test]
fn a_failed_look_up_is_never_taken_for_unsigned() {
    let failed = || looked("referrers", Found::Failed("503 Service Unavailable".to_owned()));
    let over = || looked("tag .sig", Found::OverLimit("too many".to_owned()));
    let nothing = || looked("tag .sig", Found::Nothing);
    for (reason, candidates) in failing() {
        let without = scene(candidates.clone(), vec![nothing()]).outcome();
        assert_eq!(without, refused(reason), "the sibling whose look-ups succeed");
        for looked_at in [vec![failed()], vec![nothing(), failed()], vec![failed(), nothing()], vec![over(), failed()]]
        {
            assert_eq!(scene(candidates.clone(), looked_at).outcome(), "unknown", "row 25, beside {}", reason.code());
        }
    }
    for layout in LAYOUTS {
        let mut both = Scene::honest(layout);
        both.search.looked_at = vec![failed()];
        assert_eq!(both.outcome(), ALLOWED, "a good signature elsewhere is enough");
        both.require = Require::All;
        both.signers.push(key("second", &WORLD.second));
        assert_eq!(both.outcome(), "unknown", "the other signature may lie where we could not look");
        both.search.looked_at = vec![nothing()];
        assert_eq!(both.outcome(), refused(Reason::MissingSigner));
    }
}

#[test]
fn audit_serves_and_says_what_it_would_have_refused() {
    let mut all = failing();
    let mut missing = Scene::honest(LAYOUTS[0]);
    missing.require = Require::All;
    missing.signers.push(key("second", &WORLD.second));
    all.push((Reason::MissingSigner, missing.search.candidates.clone()));
    for (reason, candidates) in all {
        let mut scene = Scene { mode: Mode::Audit, ..scene(candidates, vec![]) };
        if reason == Reason::MissingSigner {
            (scene.require, scene.signers) = (Require::All, missing.signers.clone());
        }
        let Judgement::Allow(verified) = scene.judge() else { panic!("audit serves") };
        let verdict = verified.verdict();
        assert_eq!(verdict.refusal().map(|(reason, _)| reason), Some(reason));
        assert_eq!((verdict.outcome(), verdict.mode.as_str()), ("audit", "audit"));
        assert!(!verdict.is_verified());
        assert_eq!(verdict.signer_names(), "");
    }

    let failed = looked("referrers", Found::Failed("timeout".to_owned()));
    let Judgement::Allow(verified) = (Scene { mode: Mode::Audit, ..scene(vec![], vec![failed]) }).judge() else {
        panic!("audit serves")
    };
    assert!(matches!(&verified.verdict().decision, Decision::Unknown { detail } if detail.contains("timeout")));
    assert_eq!(verified.verdict().outcome(), "audit");

    for layout in LAYOUTS {
        let honest = Scene { mode: Mode::Audit, ..Scene::honest(layout) };
        assert_eq!(honest.outcome(), ALLOWED, "signed is signed");
        let nobody = Scene { signers: vec![], ..honest };
        assert_eq!(nobody.outcome(), "allow audit", "without signers, nothing is verified");
    }
}

#[test]
fn off_looks_at_nothing() {
    for (_, candidates) in failing() {
        let failed = looked("referrers", Found::Failed("timeout".to_owned()));
        let Judgement::Allow(verified) = (Scene { mode: Mode::Off, ..scene(candidates, vec![failed]) }).judge() else {
            panic!("off serves")
        };
        assert_eq!(verified.verdict().decision, Decision::Unchecked);
        assert!(verified.verdict().candidates.is_empty());
        assert!(!verified.verdict().is_verified());
    }
    for layout in LAYOUTS {
        assert_eq!(Scene { mode: Mode::Off, ..Scene::honest(layout) }.outcome(), "allow off", "nobody looked");
    }
}

/// Who asks about one image must not get the answer about another.
#[test]
fn what_is_asked_must_be_what_was_signed() {
    for layout in LAYOUTS {
        let honest = Scene::honest(layout);
        assert_eq!(honest.outcome(), ALLOWED);
        let note = assay::demo::ImageBuilder::new("Hello").note("one annotation more").build();
        for (what, manifest) in [
            ("row 26: a child of the signed index", WORLD.child()),
            ("row 4: another image", super::world::parse(&WORLD.other_image.index.bytes)),
            ("row 21: the same index with a note", super::world::parse(&note.index.bytes)),
            ("row 21: the same index with a space behind it", {
                let bytes = [&WORLD.image.index.bytes[..], b" "].concat();
                super::world::parse(&bytes.into())
            }),
        ] {
            let scene = Scene { manifest, ..Scene::honest(layout) };
            assert_eq!(scene.outcome(), refused(Reason::WrongSubject), "{what}, {layout:?}");
        }
        // And a signature of the child is none of the index.
        let mut recursive = Scene::honest(layout);
        recursive.manifest = WORLD.child();
        let (from, to) = (WORLD.subject().hex(), WORLD.child().digest().hex());
        recursive.search.candidates = vec![match layout {
            super::world::Layout::Classic => {
                let honest = Classic::honest();
                Classic { payload: edited(&honest.payload, &from, &to), ..honest }.candidate()
            }
            super::world::Layout::Bundle => {
                let honest = Bundle::honest();
                Bundle { payload: edited(&honest.payload, &from, &to), ..honest }.candidate()
            }
        }];
        assert_eq!(recursive.outcome(), ALLOWED, "cosign sign --recursive");
    }
}

#[test]
fn the_reason_is_that_of_the_candidate_that_came_furthest() {
    let reasons = [Reason::UntrustedKey, Reason::NotASignature, Reason::WrongSubject];
    let all = failing();
    let mut candidates = Vec::new();
    for reason in reasons {
        candidates.extend(all.iter().find(|(failed, _)| *failed == reason).unwrap().1.clone());
        assert_eq!(scene(candidates.clone(), vec![]).outcome(), refused(reason));
        let backwards: Vec<_> = candidates.iter().rev().cloned().collect();
        assert_eq!(scene(backwards, vec![]).outcome(), refused(reason));
    }
}

#[test]
fn a_verdict_tells_each_step() {
    let mut all: Vec<Candidate> = failing().into_iter().flat_map(|(_, candidates)| candidates).collect();
    all.push(Bundle::honest().candidate());
    let scene = Scene::with(all.clone());
    let Judgement::Allow(verified) = scene.judge() else { panic!("one is good") };
    let verdict = verified.verdict();
    assert_eq!((verdict.digest, &verdict.repository), (WORLD.subject(), &scene.repository));
    assert_eq!((verdict.rule.as_str(), verdict.judged_at), ("acme", scene.now));
    assert_eq!(verdict.looked_at, scene.search.looked_at);
    assert_eq!(verdict.candidates.len(), all.len());
    let (good, bad) = verdict.candidates.split_last().unwrap();
    assert!(good.checks.iter().all(|check| check.outcome != Outcome::Failed && check.reason.is_none()));
    assert!(good.checks.iter().any(|check| check.passed()));
    assert_eq!(good.signers.len(), 1);
    for report in bad {
        let (failed, passed) = report.checks.split_last().unwrap();
        assert!(!failed.passed() && failed.reason.is_some() && !failed.detail.is_empty());
        assert!(passed.iter().all(|check| check.outcome != Outcome::Failed), "nothing runs after a failure");
        assert!(report.signers.is_empty());
    }
    let text = serde_json::to_string(&**verdict).unwrap();
    assert_eq!(&serde_json::from_str::<assay::trust::Verdict>(&text).unwrap(), &**verdict);
}

/// Nobody signed these words, and people read them in logs and terminals.
#[test]
fn what_strangers_write_is_quoted_plainly_and_briefly() {
    let evil = format!("x\n\u{1b}[31mallowed\u{7}{}", "A".repeat(100_000));
    let json = |value: serde_json::Value| candidate("referrers", Material::Bundle(value.to_string().into()));
    let mut typed = serde_json::from_str::<serde_json::Value>("{}").unwrap();
    typed[&evil] = 1.into();
    let envelope = serde_json::json!({ "payload": "", "payloadType": evil, "signatures": [{ "sig": "" }] });
    let material = serde_json::json!({ "publicKey": { "hint": evil } });
    let twice = format!(r#"{{{0}:1,{0}:2}}"#, serde_json::json!(evil));
    let mut classic = Classic::honest();
    classic.signature = Some(evil.clone());
    for candidate in [
        json(typed),
        json(serde_json::json!({ "mediaType": evil, "verificationMaterial": material, "dsseEnvelope": envelope })),
        json(serde_json::json!({ "verificationMaterial": material, "dsseEnvelope": envelope })),
        json(serde_json::json!({ "verificationMaterial": evil, "dsseEnvelope": evil })),
        candidate("referrers", Material::Bundle(twice.into())),
        classic.candidate(),
    ] {
        let Judgement::Refuse(verdict) = scene(vec![candidate], vec![]).judge() else { panic!("nobody signed this") };
        let (_, detail) = verdict.refusal().unwrap();
        assert!(!detail.chars().any(char::is_control), "{detail:?}");
        assert!(detail.chars().count() < 1000, "{} characters", detail.chars().count());
        for check in verdict.candidates.iter().flat_map(|report| &report.checks) {
            assert!(!check.detail.chars().any(char::is_control) && check.detail.chars().count() < 1000);
        }
    }
}

#[test]
fn every_reason_has_one_code_and_a_next_step() {
    use Reason::*;
    let all = [
        NoPolicy,
        NoSignature,
        MalformedSignature,
        UntrustedKey,
        KeyOutsideValidity,
        NotASignature,
        WrongSubject,
        WrongReference,
        MissingSigner,
        OverLimit,
        NotNamed,
        NotAnArtefact,
        UnsafeManifest,
    ];
    let mut wrong = Vec::new();
    for reason in all {
        let written = serde_json::to_value(reason).unwrap();
        if written != reason.code() || reason.next_step().is_empty() {
            wrong.push(format!("{reason:?}: {written}"));
        }
    }
    assert_none(&wrong);
}
