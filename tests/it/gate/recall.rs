//! Verdicts from the ledger: whoever can write to it can make us forget, not believe.

use std::sync::Arc;

use assay::trust::{
    Decision, DockerReference, Enforcement, Judgement, Material, Recorded, Require, Rule, SignerSeen, Verified, recall,
    rejudge,
};

use super::world::{
    ALLOWED, Bundle, Classic, LAYOUTS, Layout, Mode, Scene, WORLD, assert_none, at, key, outcome, parse, repository,
};

fn judged(scene: &Scene) -> Recorded {
    let verdict = match scene.judge() {
        Judgement::Allow(verified) => Arc::clone(verified.verdict()),
        Judgement::Refuse(verdict) | Judgement::Unknown(verdict) => verdict,
    };
    // As the ledger keeps it.
    let text = serde_json::to_string(&Recorded::of(&verdict, &scene.search)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn recalled(scene: &Scene, recorded: Recorded) -> Option<Verified<assay::oci::Manifest>> {
    recall(scene.manifest.clone(), &scene.repository, &scene.rule(), recorded, scene.now)
}

#[test]
fn an_honest_record_is_taken_up() {
    for layout in LAYOUTS {
        for mode in [Mode::Enforce, Mode::Audit] {
            let mut scene = Scene { mode, ..Scene::honest(layout) };
            let recorded = judged(&scene);
            assert_eq!(recorded.proofs.len(), 1);
            scene.now = at("2027-01-01T00:00:00Z");
            let verified = recalled(&scene, recorded).expect("nothing changed");
            assert_eq!(verified.get().digest(), WORLD.subject());
            assert_eq!(verified.repository(), &scene.repository);
            assert_eq!(outcome(&Judgement::Allow(verified)), ALLOWED);
        }
    }
}

#[test]
fn only_what_verified_is_kept() {
    let stranger = || Classic { signer: &WORLD.stranger, ..Classic::honest() }.candidate();
    let mut candidates = vec![stranger(), Bundle::honest().candidate(), stranger(), Classic::honest().candidate()];
    candidates.insert(0, super::world::candidate("junk", Material::Bundle("junk".into())));
    let recorded = judged(&Scene::with(candidates));
    let places: Vec<_> = recorded.proofs.iter().map(|proof| proof.place.as_str()).collect();
    assert_eq!(places, ["referrers", "tag .sig"]);
    assert_eq!(recorded.others.len(), 3, "beside them, for another rule");
    assert!(judged(&Scene::with([stranger()])).proofs.is_empty());
}

/// What somebody did to the record, or what changed since. Nothing of it may be believed.
type Change = fn(&mut Scene, &mut Recorded);

const CHANGES: &[(&str, Change)] = &[
    ("asked in another repository", |scene, _| scene.repository = repository("registry.test/acme/other")),
    ("recorded for another repository", |_, r| r.verdict.repository = repository("registry.test/acme/other")),
    ("asked for another digest", |scene, _| scene.manifest = parse(&WORLD.other_image.index.bytes)),
    ("asked for a child", |scene, _| scene.manifest = WORLD.child()),
    ("recorded for another digest", |_, r| r.verdict.digest = WORLD.child().digest()),
    ("another image, and the record says that it is this", |scene, r| {
        scene.manifest = parse(&WORLD.other_image.index.bytes);
        r.verdict.digest = scene.manifest.digest();
    }),
    ("another repository, and the record says that it is this", |scene, r| {
        scene.reference = DockerReference::Repository;
        scene.repository = repository("registry.test/acme/other");
        r.verdict.repository = scene.repository.clone();
        r.verdict.fingerprint = scene.rule().fingerprint();
    }),
    ("the rule's key was replaced", |scene, _| scene.signers = vec![key("release", &WORLD.second)]),
    ("the rule's key was replaced, and the record says that it was always this", |scene, r| {
        scene.signers = vec![key("release", &WORLD.second)];
        r.verdict.fingerprint = scene.rule().fingerprint();
        let now = signer_seen(&scene.signers[0]);
        r.verdict.decision = Decision::Verified { signers: vec![now] };
    }),
    ("a key was added to the rule", |scene, _| scene.signers.push(key("second", &WORLD.second))),
    ("the rule asks for all", |scene, _| scene.require = Require::All),
    ("the rule asks for a reference", |scene, _| scene.reference = DockerReference::Repository),
    ("the rule has a period", |scene, _| scene.signers[0].not_before = Some(at("2020-01-01T00:00:00Z"))),
    ("the rule went from enforce to audit", |scene, _| scene.mode = Mode::Audit),
    ("the rule was turned off", |scene, _| scene.mode = Mode::Off),
    ("the rule was turned off, and the record says it always was", |scene, r| {
        scene.mode = Mode::Off;
        r.verdict.fingerprint = scene.rule().fingerprint();
    }),
    ("nobody is left in the rule", |scene, r| {
        scene.signers.clear();
        r.verdict.fingerprint = scene.rule().fingerprint();
    }),
    ("the proofs are gone", |_, r| r.proofs.clear()),
    ("the proofs are a stranger's", |_, r| {
        r.proofs = vec![Classic { signer: &WORLD.stranger, ..Classic::honest() }.candidate()];
    }),
    ("the proofs are about another image", |_, r| {
        let (from, to) = (WORLD.subject().to_string(), WORLD.other_image.index.digest.to_string());
        let honest = Classic::honest();
        r.proofs = vec![Classic { payload: super::world::edited(&honest.payload, &from, &to), ..honest }.candidate()];
    }),
    ("one bit of the proof changed", |_, r| {
        for proof in &mut r.proofs {
            let (Material::Classic { payload: bytes, .. }
            | Material::ClassicAttestation { envelope: bytes, .. }
            | Material::Bundle(bytes)) = &mut proof.material;
            let mut changed = bytes.to_vec();
            let at = changed.len() / 2;
            changed[at] ^= 1;
            *bytes = changed.into();
        }
    }),
    ("the record says refused", |_, r| {
        let reason = assay::trust::Reason::NoSignature;
        r.verdict.decision = Decision::Refused { reason, detail: String::new() };
    }),
    ("the record says unknown", |_, r| r.verdict.decision = Decision::Unknown { detail: String::new() }),
    ("the record says unchecked", |_, r| r.verdict.decision = Decision::Unchecked),
    ("the record says artefact", |_, r| r.verdict.decision = Decision::Artefact),
];

#[test]
fn nothing_else_is_taken_up() {
    let mut wrong = Vec::new();
    for layout in LAYOUTS {
        for (name, change) in CHANGES {
            let mut scene = Scene::honest(layout);
            let mut recorded = judged(&scene);
            assert!(recalled(&scene, recorded.clone()).is_some(), "the honest sibling");
            change(&mut scene, &mut recorded);
            if recalled(&scene, recorded).is_some() {
                wrong.push(format!("{layout:?}: {name}"));
            }
        }
    }
    assert_none(&wrong);
}

/// A forged "verified" for what was never signed.
#[test]
fn a_stored_mark_proves_nothing() {
    for (candidates, mode) in
        [(vec![], Mode::Enforce), (vec![], Mode::Audit), (vec![Classic::honest().candidate()], Mode::Off)]
    {
        let scene = Scene { mode, ..Scene::with(candidates) };
        let mut recorded = judged(&scene);
        let signer = signer_seen(&key("release", &WORLD.release));
        recorded.verdict.decision = Decision::Verified { signers: vec![signer] };
        recorded.proofs = scene.search.candidates.clone();
        assert!(recalled(&scene, recorded).is_none(), "{mode:?}");
    }
}

fn rejudged(scene: &Scene, recorded: Recorded) -> Option<(Verified<assay::oci::Manifest>, Recorded)> {
    rejudge(scene.manifest.clone(), &scene.repository, &scene.rule(), recorded, scene.now)
}

/// What was found beside the proofs may be what another rule asks for.
#[test]
fn another_rule_is_met_by_what_is_on_record_or_not_at_all() {
    let second = || Classic { signer: &WORLD.second, ..Classic::honest() }.candidate();
    let mut scene = Scene::with([Bundle::honest().candidate(), second()]);
    let recorded = judged(&scene);
    scene.signers = vec![key("second", &WORLD.second)];
    assert!(recalled(&scene, recorded.clone()).is_none(), "the verdict itself counts for nothing");
    let (verified, afresh) = rejudged(&scene, recorded.clone()).expect("the second has signed it, too");
    assert_eq!(verified.verdict().signer_names(), "second");
    assert_eq!(verified.verdict().fingerprint, scene.rule().fingerprint());
    assert!(recalled(&scene, afresh.clone()).is_some());
    assert_eq!((afresh.proofs.len(), afresh.others.len()), (1, 1), "nothing is forgotten on the way");

    scene.signers = vec![key("stranger", &WORLD.stranger)];
    assert!(rejudged(&scene, recorded.clone()).is_none());
    let mut scene = Scene { mode: Mode::Audit, ..scene };
    assert!(rejudged(&scene, recorded.clone()).is_none(), "in audit mode, too: there may be more upstream");
    scene.mode = Mode::Off;
    assert!(rejudged(&scene, recorded).is_none());
}

/// Changes of rules aside, nothing that somebody does to a record or asks elsewhere is believed here either.
#[test]
fn nothing_forged_is_judged_to_be_signed() {
    let mut wrong = Vec::new();
    for layout in LAYOUTS {
        for (name, change) in CHANGES {
            let mut scene = Scene::honest(layout);
            let mut recorded = judged(&scene);
            assert!(rejudged(&scene, recorded.clone()).is_some(), "the honest sibling");
            change(&mut scene, &mut recorded);
            // These leave the signature as it is, and the rule that holds now is met by it.
            let is_met = [
                "a key was added to the rule",
                "the rule has a period",
                "the rule asks for all",
                "the rule went from enforce to audit",
                "the record says refused",
                "the record says unknown",
                "the record says unchecked",
                "the record says artefact",
            ];
            // Only the classic layout says for which repository it was made.
            let has_reference = matches!(layout, Layout::Classic) && *name == "the rule asks for a reference";
            if rejudged(&scene, recorded).is_some() != (is_met.contains(name) || has_reference) {
                wrong.push(format!("{layout:?}: {name}"));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn what_lies_beside_the_proofs_is_bounded() {
    let junk = |n: usize| super::world::candidate(&format!("junk {n}"), Material::Bundle(vec![b'x'; 50_000].into()));
    let mut candidates: Vec<_> = (0..20).map(junk).collect();
    candidates.push(Bundle::honest().candidate());
    let recorded = judged(&Scene::with(candidates));
    assert_eq!((recorded.proofs.len(), recorded.others.len()), (1, 2));
}

#[test]
fn a_record_ends_with_its_key() {
    for layout in LAYOUTS {
        let mut scene = Scene::honest(layout);
        scene.signers[0].not_after = Some(at("2026-12-31T00:00:00Z"));
        let recorded = judged(&scene);
        scene.now = at("2026-12-31T00:00:00Z");
        assert!(recalled(&scene, recorded.clone()).is_some());
        scene.now = at("2027-01-01T00:00:00Z");
        assert!(recalled(&scene, recorded).is_none(), "row 12");
    }
}

#[test]
fn what_is_shown_is_what_was_found_now() {
    let mut scene = Scene::honest(Layout::Bundle);
    let mut recorded = judged(&scene);
    let somebody =
        SignerSeen { name: "the president".to_owned(), id: WORLD.subject(), ..signer_seen(&key("x", &WORLD.release)) };
    recorded.verdict.decision = Decision::Verified { signers: vec![somebody] };
    recorded.verdict.rule = "another".to_owned();
    scene.now = at("2026-07-01T00:00:00Z");
    let verified = recalled(&scene, recorded).unwrap();
    assert_eq!(verified.verdict().signer_names(), "release");
    assert_eq!((verified.verdict().rule.as_str(), verified.verdict().judged_at), ("acme", scene.now));
}

#[test]
fn a_rules_fingerprint_is_what_it_demands() {
    let changes: [fn(&mut Scene); 8] = [
        |s| s.signers = vec![key("release", &WORLD.second)],
        |s| s.signers.push(key("second", &WORLD.second)),
        |s| s.signers.clear(),
        |s| s.require = Require::All,
        |s| s.reference = DockerReference::Repository,
        |s| s.signers[0].not_before = Some(at("2020-01-01T00:00:00Z")),
        |s| s.signers[0].not_after = Some(at("2020-01-01T00:00:00Z")),
        |s| s.mode = Mode::Audit,
    ];
    let honest = || Scene::honest(Layout::Classic);
    let mut seen = vec![honest().rule().fingerprint()];
    for change in changes {
        let mut scene = honest();
        change(&mut scene);
        let fingerprint = scene.rule().fingerprint();
        assert!(!seen.contains(&fingerprint), "change {}", seen.len());
        seen.push(fingerprint);
    }
    let remap = |ours: &str, signed: &str| {
        let reference = DockerReference::Remap { ours: ours.to_owned(), signed: signed.to_owned() };
        Scene { reference, ..honest() }.rule().fingerprint()
    };
    assert_ne!(remap("a", "b"), remap("b", "a"));
    assert_ne!(remap("a", "b"), remap("a", "c"));

    let mut renamed = honest();
    renamed.signers[0].name = "somebody".to_owned();
    let rule = renamed.rule();
    let Enforcement::Enforce(_) = rule.enforcement() else { panic!("enforced") };
    let renamed = Rule::new("other".to_owned(), vec![], rule.enforcement().clone());
    assert_eq!(renamed.fingerprint(), seen[0], "names are not part of it");
}

fn signer_seen(signer: &assay::trust::KeySigner) -> SignerSeen {
    let key = signer.key.fingerprint();
    let seen = serde_json::json!({ "name": signer.name, "id": key, "key": key });
    serde_json::from_value(seen).unwrap()
}
