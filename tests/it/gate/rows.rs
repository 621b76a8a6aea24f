//! Tables of refusals: honest material, one change, and the reason.

use assay::oci::Digest;
use assay::trust::Reason;

use super::world::{ALLOWED, Bundle, Classic, LAYOUTS, Layout, Scene, WORLD, assert_none, refused};

/// One thing wrong, and the reason it is refused for.
pub struct Row {
    /// Of the list of advisories.
    number: u8,
    name: &'static str,
    classic: Option<fn(&mut Classic)>,
    bundle: Option<fn(&mut Bundle)>,
    reason: Reason,
}

pub const fn both(
    number: u8,
    name: &'static str,
    classic: fn(&mut Classic),
    bundle: fn(&mut Bundle),
    reason: Reason,
) -> Row {
    Row { number, name, classic: Some(classic), bundle: Some(bundle), reason }
}

pub const fn classic(number: u8, name: &'static str, change: fn(&mut Classic), reason: Reason) -> Row {
    Row { number, name, classic: Some(change), bundle: None, reason }
}

pub const fn bundle(number: u8, name: &'static str, change: fn(&mut Bundle), reason: Reason) -> Row {
    Row { number, name, classic: None, bundle: Some(change), reason }
}

pub fn subject() -> String {
    WORLD.subject().to_string()
}

pub fn other() -> Digest {
    WORLD.other_image.index.digest
}

fn sibling(layout: Layout) -> String {
    Scene::honest(layout).outcome()
}

/// Each row is refused for its reason, and its honest sibling is allowed.
pub fn run(rows: &[Row]) {
    let mut wrong = Vec::new();
    for Row { number, name, classic, bundle, reason } in rows {
        let candidates = LAYOUTS.map(|layout| match layout {
            Layout::Classic => classic.map(|change| {
                let mut material = Classic::honest();
                change(&mut material);
                (layout, material.candidate())
            }),
            Layout::Bundle => bundle.map(|change| {
                let mut material = Bundle::honest();
                change(&mut material);
                (layout, material.candidate())
            }),
        });
        for (layout, candidate) in candidates.into_iter().flatten() {
            assert_eq!(sibling(layout), ALLOWED, "the honest sibling of {name}");
            let outcome = Scene::with([candidate]).outcome();
            if outcome != refused(*reason) {
                wrong.push(format!("row {number}, {layout:?}: {name}: {outcome}, expected {}", reason.code()));
            }
        }
    }
    assert_none(&wrong);
}
