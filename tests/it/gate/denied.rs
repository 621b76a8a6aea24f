//! Deny lists: refused in every mode, whoever signed it.

use assay::oci::Digest;
use assay::trust::{Decision, Judgement, Reason, Recorded, Terms, denied, judge, recall};

use super::world::{ALLOWED, LAYOUTS, Mode, Scene, WORLD, outcome, refused};

fn rule(scene: &Scene, digest: Digest) -> assay::trust::Rule {
    scene.rule().with_terms(Terms { denied_digests: [digest].into(), ..Terms::default() })
}

#[test]
fn what_is_on_the_deny_list_is_refused_in_every_mode_and_nothing_else() {
    for layout in LAYOUTS {
        for (mode, allowed) in [(Mode::Enforce, ALLOWED), (Mode::Audit, ALLOWED), (Mode::Off, "allow off")] {
            let scene = Scene { mode, ..Scene::honest(layout) };
            let judged = |digest| {
                let judged =
                    judge(scene.manifest.clone(), &scene.repository, &rule(&scene, digest), &scene.search, scene.now);
                outcome(&judged)
            };
            assert_eq!(judged(WORLD.subject()), refused(Reason::Denied), "{mode:?}");
            assert_eq!(judged(WORLD.other_image.index.digest), allowed, "{mode:?}");
        }
    }
}

#[test]
fn a_refusal_names_the_rule_that_denies() {
    let scene = Scene::honest(LAYOUTS[0]);
    let rule = rule(&scene, WORLD.subject());
    let Some(Decision::Refused { reason, detail }) = denied(&rule, WORLD.subject()) else { panic!("denied") };
    assert_eq!(reason, Reason::Denied);
    assert_eq!(detail, format!("{} is on the deny list of rule \"acme\"", WORLD.subject()));
    assert_eq!(denied(&rule, WORLD.child().digest()), None);
}

/// Also with a record that says that it was verified under this very rule.
#[test]
fn what_is_denied_now_is_not_taken_up_from_the_record() {
    for layout in LAYOUTS {
        let scene = Scene::honest(layout);
        let Judgement::Allow(verified) = scene.judge() else { panic!("signed") };
        for (digest, is_taken_up) in [(WORLD.other_image.index.digest, true), (WORLD.subject(), false)] {
            let rule = rule(&scene, digest);
            let mut recorded = Recorded::of(verified.verdict(), &scene.search);
            recorded.verdict.fingerprint = rule.fingerprint();
            let recalled = recall(scene.manifest.clone(), &scene.repository, &rule, recorded, scene.now);
            assert_eq!(recalled.is_some(), is_taken_up);
        }
    }
}
