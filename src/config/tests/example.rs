//! `proxy.toml.example` is complete, loads, and tells the truth about defaults.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::{GOOD, Lab};
use crate::config::file;

const EXAMPLE: &str = include_str!("../../../proxy.toml.example");

/// With every setting that is commented out in force.
fn everything() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()) => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(uncomment).collect()
}

#[test]
fn it_loads_as_it_is_shipped() {
    let (_, warnings) = Lab::new().load(EXAMPLE);
    assert_eq!(warnings.len(), 1, "only that `public` is in audit mode: {warnings:?}");
}

#[test]
fn it_loads_with_everything_in_force() {
    let lab = Lab::new();
    let copy = |from: &str, to: &str| lab.write(to, &std::fs::read_to_string(lab.path().join(from)).unwrap());
    copy("tls.crt", "tls/tls.crt");
    copy("tls.key", "tls/tls.key");
    copy("tls.crt", "tls/acme-root.crt");
    copy("acme.pub", "keys/acme-2026.pub");
    copy("password", "registry-password");
    copy("root.json", "private_root.json");
    let text = everything().replace("/etc/assay/", &format!("{}/", lab.path().display()));
    let (settings, warnings) = lab.load(&text);
    let shown: String = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "only that `public` is in audit mode: {shown}");
    assert!(settings.server.tls.is_some());
    assert_eq!(settings.policy.rules().len(), 2);
    assert_eq!(settings.upstreams.len(), 5);
}

#[test]
fn its_values_are_the_defaults() {
    let lab = Lab::new();
    let minimal = GOOD.replace("ghcr.io", "docker.io");
    let ((example, _), (minimal, _)) = (lab.load(EXAMPLE), lab.load(&minimal));
    let show = |s: &crate::config::Settings| {
        format!("{:#?} {:#?} {:?} {} {:#?} {:#?}", s.server, s.network, s.cache, s.admin_listen, s.log, s.limits)
    };
    assert_eq!(show(&example), show(&minimal));
}

/// serde itself says which keys a table has.
fn keys_of<T: Deserialize<'static> + std::fmt::Debug>() -> BTreeSet<String> {
    let text: &'static str = "no_such_key = 1";
    let error = T::deserialize(toml::Deserializer::parse(text).unwrap()).expect_err("the key does not exist");
    let (_, expected) = error.message().split_once("expected").expect("serde names the known ones");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_it() {
    // Keys of tables that a comment shows as an alternative.
    let text = everything()
        .replace("docker_reference = \"ignore\"", "docker_reference = { exact = \"x\", ours = \"a\", signed = \"b\" }")
        .replace("find_parent = false", "find_parent = { tags = 50, timeout = \"10s\" }");
    for alternative in ["{ exact = ", "{ ours = ", "{ tags = 50, timeout = \"10s\" }"] {
        assert!(EXAMPLE.contains(alternative), "the alternative is shown");
    }
    let root = DeTable::parse(&text).unwrap();
    let missing = |path: &str, known: BTreeSet<String>| {
        let mut found = vec![root.get_ref().clone()];
        for name in path.split('.').filter(|name| !name.is_empty()) {
            found = found.iter().flat_map(|table| below(table, name)).collect();
        }
        let there = found.iter().flat_map(DeTable::keys).map(|key| key.get_ref().clone().into_owned()).collect();
        let missing: Vec<_> = known.difference(&there).cloned().collect();
        assert!(missing.is_empty(), "[{path}] lacks {missing:?}");
    };
    missing("", keys_of::<file::File>());
    missing("server", keys_of::<file::Server>());
    missing("server.tls", keys_of::<file::Tls>());
    missing("upstream.docker·io", keys_of::<file::Upstream>());
    missing("upstream.registry·acme·internal.credentials", keys_of::<file::Login>());
    missing("network", keys_of::<file::Network>());
    missing("policy", keys_of::<file::Policy>());
    missing("policy.docker_reference", keys_of::<file::Reference>());
    missing("policy.find_parent", keys_of::<file::ParentSearch>());
    missing("policy.deny", keys_of::<file::Deny>());
    missing("policy.signer", keys_of::<file::Signer>());
    missing("policy.attestation", keys_of::<file::Attestation>());
    missing("trust", keys_of::<file::Trust>());
    missing("policy_default", keys_of::<file::PolicyDefault>());
    missing("cache", keys_of::<file::Cache>());
    missing("admin", keys_of::<file::Admin>());
    missing("log", keys_of::<file::Log>());
    missing("limits", keys_of::<file::Limits>());
}

/// The tables called `name` (a `·` stands for a dot in a name) directly below.
fn below<'i>(table: &DeTable<'i>, name: &str) -> Vec<DeTable<'i>> {
    match table.get(name.replace('·', ".").as_str()).map(toml::Spanned::get_ref) {
        Some(DeValue::Table(inner)) => vec![inner.clone()],
        Some(DeValue::Array(items)) => items.iter().filter_map(|item| item.get_ref().as_table()).cloned().collect(),
        _ => Vec::new(),
    }
}

/// A variable for a number or a switch must not arrive as text.
#[test]
fn every_key_that_is_no_text_is_known_to_the_environment() {
    let text = everything();
    let mut bare = BTreeSet::new();
    fn walk(table: &DeTable<'_>, bare: &mut BTreeSet<String>) {
        for (key, value) in table {
            match value.get_ref() {
                DeValue::Integer(_) | DeValue::Boolean(_) => drop(bare.insert(key.get_ref().clone().into_owned())),
                DeValue::Table(inner) => walk(inner, bare),
                _ => {}
            }
        }
    }
    let mut root = DeTable::parse(&text).unwrap().into_inner();
    root.remove("policy").expect("no variable sets a policy");
    walk(&root, &mut bare);
    bare.remove("version");
    assert_eq!(bare, crate::config::env::BARE.into_iter().map(str::to_owned).collect());
}
