//! The table of refusals: what went wrong in software of this kind, by the rows of the list of advisories, against
//! signatures of a private Sigstore in every form in which it can go wrong. Each refusal stands beside an honest sibling,
//! different in one thing, which is allowed; and each says what was found.

use std::collections::BTreeMap;

mod any_artifact;
mod attestations;
mod case;
mod certificate;
mod content;
mod evidence;
mod identity;
mod keys;
mod limits;
mod log;
mod parsing;
mod proofs;
mod reading;
mod references;
mod row;
mod times;
mod timestamps;
mod transport;

/// Rows of the list.
const ROWS: std::ops::RangeInclusive<u8> = 1..=34;

/// Rows without a refusal here.
const NOT_APPLICABLE: [(u8, &str); 4] = [
    (27, "the conformance suite is not ours to bring along; `fixtures_keyless.rs` runs it where it is there"),
    (32, "no input reaches it: the versions that are locked are looked at below"),
    (33, "`tuf.rs` has a repository of its own for it"),
    (34, "about signing; nothing here signs"),
];

/// How many refusals there are for each row of the list, each with its honest sibling.
fn cases() -> BTreeMap<u8, usize> {
    let of_the_gate = [
        attestations::rows(),
        certificate::rows(),
        content::rows(),
        identity::rows(),
        keys::rows(),
        limits::rows(),
        log::rows(),
        proofs::rows(),
        reading::rows(),
        references::rows(),
        timestamps::rows(),
    ];
    let of_the_gate = of_the_gate.into_iter().flatten().map(|row| (row.number, row.shapes.len()));
    let of_manifests = parsing::TEXTS.iter().map(|text| (text.number, parsing::KINDS));
    let of_strangers = transport::STRANGERS.iter().map(|stranger| (stranger.number, transport::PLACES));
    let of_upstreams = transport::LIES.iter().map(|lie| (lie.number, 1));
    let mut cases = BTreeMap::new();
    for (number, count) in of_the_gate.chain(of_manifests).chain(of_strangers).chain(of_upstreams) {
        *cases.entry(number).or_default() += count;
    }
    cases
}

#[test]
fn every_row_of_the_list_has_a_refusal_or_a_reason() {
    let cases = cases();
    for number in ROWS {
        let why = NOT_APPLICABLE.iter().find(|(row, _)| *row == number).map(|(_, why)| *why);
        match (cases.get(&number), why) {
            (Some(count), None) => println!("row {number}: {count} cases"),
            (None, Some(why)) => println!("row {number}: {why}"),
            (Some(_), Some(_)) => panic!("row {number} is both covered and not applicable"),
            (None, None) => panic!("row {number} has neither a case nor a reason"),
        }
    }
    assert!(cases.keys().all(|number| ROWS.contains(number)));
    let total: usize = cases.values().sum();
    println!("{} of {} rows, {total} refusals, each beside an honest sibling", cases.len(), ROWS.count());
    assert!(total > 1000, "{total}: most of the table is gone");
}

/// Row 32: RUSTSEC-2023-0053, RUSTSEC-2026-0049 and others of rustls-webpki, RUSTSEC-2026-0044 and others of aws-lc-sys.
#[test]
fn dependencies_are_past_their_advisories() {
    for (name, floor) in [("rustls-webpki", [0, 103, 13]), ("aws-lc-sys", [0, 39, 0])] {
        let versions = locked(name);
        assert!(!versions.is_empty(), "{name} is not locked");
        assert!(versions.iter().all(|version| *version >= floor), "{name}: {versions:?}, must be {floor:?} or later");
    }
    assert!([0, 103, 12] < [0, 103, 13] && [0, 39, 0] < [1, 0, 0], "versions compare by their numbers");
}

fn locked(name: &str) -> Vec<[u64; 3]> {
    let lock = include_str!("../../Cargo.lock");
    let version = |text: &str| {
        let mut parts = text.split(['.', '-', '+']).map(|part| part.parse().unwrap());
        [(); 3].map(|()| parts.next().unwrap())
    };
    lock.split("[[package]]")
        .filter(|package| package.contains(&format!("\nname = \"{name}\"\n")))
        .filter_map(|package| package.split("version = \"").nth(1)?.split('"').next())
        .map(version)
        .collect()
}
