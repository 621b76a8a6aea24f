//! The code's own promises about itself: layers, and who may do what only one place should do.

#[path = "tidy/source.rs"]
mod source;

use source::{Source, Token, sources};

/// Folder (or file) at the top of `src/`, and what of ours it may use besides itself and the helpers.
const LAYERS: [(&str, &[&str]); 12] = [
    ("oci", &[]),
    ("trust", &["oci"]),
    ("store", &["oci"]),
    ("upstream", &["oci"]),
    ("ledger", &["oci", "trust"]),
    ("tuf", &["oci"]),
    ("pull", &["oci", "trust", "store", "upstream", "ledger"]),
    ("upkeep", &["oci", "trust", "store", "ledger"]),
    ("http", &["oci", "pull"]),
    ("config", &["oci", "trust"]),
    ("cli", &["oci", "trust", "pull", "upkeep", "ledger", "tuf"]),
    ("demo", &["oci"]),
];

/// They know no business; what they may use of ours.
const HELPERS: [(&str, &[&str]); 7] = [
    ("clock", &[]),
    ("fair", &[]),
    ("removal", &[]),
    ("secret", &[]),
    ("size", &[]),
    ("tasks", &[]),
    ("telemetry", &["clock"]),
];

/// What decides must not depend on the time of day, on running tasks, or on what is logged.
const WITHOUT_HELPERS: [&str; 2] = ["oci", "trust"];

/// Where the parts are put together.
const EVERYTHING: [&str; 3] = ["app", "main", "lib"];

/// Single files that may use more: file, what, and why.
const MAY_USE_MORE: [(&str, &str, &str); 1] =
    [("cli/check_config.rs", "config", "it reads the configuration as `serve` would and shows what is wrong")];

/// The only places where a proof may begin, and how often.
const MINTS: [(&str, usize); 2] = [("trust/gate.rs", 3), ("trust/proof.rs", 1)];

/// What only one place does: the words, where, and why.
const ONE_PLACE: [(&[&str], &[&str], &str); 15] = [
    (&["tokio", "::", "spawn"], &["tasks.rs"], "every task has an owner and an end"),
    (&["task", "::", "spawn"], &["tasks.rs"], "every task has an owner and an end"),
    (&["Timestamp", "::", "now"], &["clock.rs"], "tests move the hand of the clock"),
    (&["SystemTime", "::", "now"], &["clock.rs"], "tests move the hand of the clock"),
    (
        &["rusqlite", "::"],
        &[
            "ledger/sqlite.rs",
            "ledger/patient.rs",
            "ledger/damaged.rs",
            "ledger/images.rs",
            "ledger/tags.rs",
            "ledger/verdicts.rs",
        ],
        "another database can take its place",
    ),
    (&["reqwest", "::"], &["upstream/", "tuf/mirror.rs"], "all ways to the network have the same guards"),
    (&["sigstore_tuf", "::"], &["tuf/"], "one place fetches trust material"),
    (&["sigstore_trust_root", "::"], &["tuf/"], "one place fetches trust material"),
    (&["sigstore_crypto", "::"], &["trust/key.rs", "demo/"], "one place checks bare signatures"),
    (
        &["sigstore_verify", "::"],
        &["trust/verifier.rs", "trust/root.rs", "trust/origin.rs"],
        "one place knows the Sigstore verifier",
    ),
    (&["sigstore_types", "::"], &["trust/", "demo/"], "signature formats are the gate's business"),
    (&["toml", "::"], &["config/", "app.rs", "app/"], "the configuration is read in one place"),
    (&["listenfd", "::"], &["app/systemd.rs"], "one place knows the service manager"),
    (&["sd_notify", "::"], &["app/systemd.rs"], "one place knows the service manager"),
    (&["unsafe"], &[], "nothing here needs it"),
];

/// Files that begin without saying what they are for.
const WITHOUT_DOCS: [(&str, &str); 1] = [("main.rs", "nothing in it yet")];

const LINES_MAX: usize = 500;

#[test]
fn layers_point_one_way() {
    let wrong: Vec<_> = sources().iter().filter(|source| !source.is_test).flat_map(wrong_edges).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_one_place_does_is_done_there() {
    let wrong: Vec<_> = sources().iter().filter(|source| !source.is_test).flat_map(out_of_place).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn proofs_are_minted_where_we_think() {
    for source in sources() {
        let wanted = MINTS.iter().find(|(file, _)| *file == source.file).map_or(0, |(_, times)| *times);
        assert_eq!(mints(&source), wanted, "`mint` in {}", source.file);
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|source| silent(source) && !source.is_test)
        .filter(|source| !WITHOUT_DOCS.iter().any(|(file, _)| *file == source.file))
        .map(|source| source.file)
        .collect();
    assert!(wrong.is_empty(), "no `//!` at the top of {wrong:?}");
}

#[test]
fn files_can_be_read_in_one_go() {
    let long: Vec<_> = sources().into_iter().filter(|s| s.text.lines().count() > LINES_MAX).map(|s| s.file).collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

#[test]
fn nothing_turns_certificate_checks_off() {
    for source in sources() {
        for word in ["danger_accept_invalid", "tls_danger", "dangerous()"] {
            assert!(!source.text.contains(word), "`{word}` in {}", source.file);
        }
    }
}

#[test]
fn every_reason_for_a_refusal_is_explained() {
    let errors = include_str!("../docs/errors.md");
    let verdict = sources().into_iter().find(|source| source.file == "trust/verdict.rs").expect("it is there");
    let codes: Vec<_> = verdict.text.lines().filter_map(|line| line.trim().strip_prefix("Self::")).collect();
    let codes = codes.iter().filter_map(|line| line.split_once(" => \"")).map(|(_, rest)| rest.trim_end_matches("\","));
    let codes: Vec<_> = codes.filter(|code| code.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    assert!(codes.contains(&"NO_SIGNATURE") && codes.len() > 20, "{codes:?}");
    let silent: Vec<_> = codes.iter().filter(|code| !errors.contains(&format!("| `{code}` |"))).collect();
    assert!(silent.is_empty(), "docs/errors.md says nothing of {silent:?}");
}

/// Each use of ours that the layers do not allow.
fn wrong_edges(source: &Source) -> Vec<String> {
    let folder = source.file.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    if EVERYTHING.contains(&folder) {
        return Vec::new();
    }
    let is_helper = |name: &str| HELPERS.iter().any(|(helper, _)| *helper == name);
    let Some((_, allowed)) = LAYERS.iter().chain(&HELPERS).find(|(name, _)| *name == folder) else {
        return vec![format!("{}: say in tests/tidy.rs what `{folder}` may use", source.file)];
    };
    let may_use = |target: &str| {
        target == folder
            || allowed.contains(&target)
            || (is_helper(target) && !is_helper(folder) && !WITHOUT_HELPERS.contains(&folder))
            || MAY_USE_MORE.iter().any(|(file, what, _)| *file == source.file && *what == target)
    };
    uses(source)
        .into_iter()
        .filter(|used| !may_use(used.text))
        .map(|used| format!("{}:{}: `{folder}` may not use `{}`", source.file, used.line, used.text))
        .collect()
}

/// What stands behind each path to the crate's root: `crate::x`, `crate::{x, y}`, `super::super::x`.
fn uses(source: &Source) -> Vec<Token<'_>> {
    let tokens = source.tokens();
    let text = |at: usize| tokens.get(at).map_or("", |token: &Token<'_>| token.text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let root = match text(at) {
            // `$crate` and `pub(crate)` go nowhere.
            "crate" if text(at + 1) == "::" || text(at + 1) == "as" => Some(at + 1),
            "super" => {
                let chain = (0..).take_while(|n| text(at + 2 * n) == "super" && text(at + 2 * n + 1) == "::").count();
                let behind = at + 2 * chain;
                let reaches_root = chain >= source.depth();
                at = behind.max(at + 1) - 1;
                (reaches_root && chain > 0).then_some(behind - 1)
            }
            _ => None,
        };
        at += 1;
        match root {
            Some(root) if text(root) == "::" && text(root + 1) == "{" => {
                found.extend(names_in_group(&tokens[root + 1..]))
            }
            Some(root) => found.extend(tokens.get(root + 1)),
            None => {}
        }
    }
    found
}

/// The first word of each part of `{a::b, c::{d, e}, f}`.
fn names_in_group<'a>(group: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut depth = 0;
    let mut names = Vec::new();
    let mut expects_name = false;
    for token in group {
        match token.text {
            "{" => (depth, expects_name) = (depth + 1, depth == 0),
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => expects_name = depth == 1,
            _ if expects_name => {
                names.push(*token);
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn out_of_place(source: &Source) -> Vec<String> {
    let tokens = source.tokens();
    let texts: Vec<&str> = tokens.iter().map(|token| token.text).collect();
    let mut wrong = Vec::new();
    for (words, places, why) in ONE_PLACE {
        if places.iter().any(|place| source.file.starts_with(place)) {
            continue;
        }
        for (at, _) in texts.windows(words.len()).enumerate().filter(|(_, seen)| *seen == words) {
            wrong.push(format!("{}:{}: `{}`: {why}", source.file, tokens[at].line, words.concat()));
        }
    }
    wrong
}

/// How often a proof is minted, or `mint` is named so that somebody else could call it.
fn mints(source: &Source) -> usize {
    let tokens = source.tokens();
    (0..tokens.len()).filter(|at| tokens[*at].text == "mint" && (*at == 0 || tokens[at - 1].text != "fn")).count()
}

#[test]
fn a_wrong_edge_is_noticed() {
    for (file, text, wrong) in [
        (
            "store/disk.rs",
            "use crate::oci::Digest;\nuse crate::trust::Verified;",
            &["2: `store` may not use `trust`"][..],
        ),
        (
            "store/disk.rs",
            "use crate::{oci::{Digest, Claim}, clock, ledger::Ledger};",
            &["1: `store` may not use `ledger`"],
        ),
        ("upstream/client.rs", "fn f(v: &crate::trust::Verdict) {}", &["1: `upstream` may not use `trust`"]),
        ("oci/digest.rs", "use super::super::store::Sealed;", &["1: `oci` may not use `store`"]),
        ("oci/mod.rs", "use super::{clock::Clock, oci::Digest};", &["1: `oci` may not use `clock`"]),
        ("pull/a/b.rs", "use super::super::super::http::Body;", &["1: `pull` may not use `http`"]),
        ("trust/gate.rs", "let now = crate::clock::now();", &["1: `trust` may not use `clock`"]),
        ("telemetry/log.rs", "use crate::{clock::Clock, tasks::Tasks};", &["1: `telemetry` may not use `tasks`"]),
        ("clock.rs", "use super::telemetry::Log;", &["1: `clock` may not use `telemetry`"]),
        ("http/a.rs", "use crate::*;", &["1: `http` may not use `*`"]),
        ("http/a.rs", "use crate as all;", &["1: `http` may not use `all`"]),
        ("cli/explain.rs", "use crate::config::Settings;", &["1: `cli` may not use `config`"]),
        ("cli/check_config.rs", "use crate::config::Settings;", &[]),
        ("surprise/a.rs", "", &[" say in tests/tidy.rs what `surprise` may use"]),
        ("app.rs", "use crate::store::DiskStore;", &[]),
        ("store/disk.rs", "use super::spool::Spool; use super::super::oci::Digest; pub(crate) fn f() {}", &[]),
        ("store/disk.rs", "// use crate::trust::X;\n/* crate::trust */ let x = \"crate::trust::Y\";", &[]),
        (
            "store/disk.rs",
            "let quote = '\"'; let x = r#\"crate::trust \"quoted\" \"#; /* a /* b */ crate::trust */",
            &[],
        ),
        ("store/disk.rs", "#[cfg(test)]\nmod tests { use crate::trust::X; }\nuse crate::oci::Digest;", &[]),
        ("store/disk.rs", "#[cfg(test)]\nmod tests;\nuse crate::trust::X;", &["3: `store` may not use `trust`"]),
        (
            "store/disk.rs",
            "let c = '{'; fn f<'a>(x: &'a str) {}\nuse crate::trust::X;",
            &["2: `store` may not use `trust`"],
        ),
    ] {
        let wanted: Vec<_> = wrong.iter().map(|wrong| format!("{file}:{wrong}")).collect();
        assert_eq!(wrong_edges(&Source::new(file, text)), wanted, "{text}");
    }
}

#[test]
fn what_is_out_of_place_is_noticed() {
    for (file, text, count) in [
        ("pull/fill.rs", "tokio::spawn(async {});", 1),
        ("pull/fill.rs", "self.tasks.spawn(work); tokio::task::spawn_blocking(f);", 0),
        ("pull/fill.rs", "tokio::task::spawn(f);", 1),
        ("tasks.rs", "tokio::spawn(async {});", 0),
        ("trust/gate.rs", "let now = jiff::Timestamp::now();", 1),
        ("trust/gate.rs", "let x = sigstore_crypto::verify_signature(); // unsafe", 1),
        ("trust/key.rs", "use sigstore_crypto::KeyAlgorithm;", 0),
        ("ledger/record.rs", "use rusqlite::Row;", 1),
        ("pull/resolve.rs", "reqwest::get(url); unsafe { f() }", 2),
    ] {
        assert_eq!(out_of_place(&Source::new(file, text)).len(), count, "{file}: {text}");
    }
    let source = Source::new("pull/admit.rs", "// mint\nlet a = Verified::mint; Artefact::mint(m, v); fn mint() {}");
    assert_eq!(mints(&source), 2, "a function that is only named counts, too");
}
