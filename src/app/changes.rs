//! What differs between two configurations, for people.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Cache, Limits, Log, Server, Settings, Upstream};
use crate::trust::{Pattern, Policy, Rule};

/// What has changed, in a few words each. Nothing secret is shown.
pub(super) fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut changes = policy(&old.policy, &new.policy);
    changes.extend(upstreams(old, new));
    let others = [
        ("network", old.network != new.network),
        ("limits.signature_deadline", old.limits.signature_deadline != new.limits.signature_deadline),
        ("limits.requests_per_upstream", old.limits.requests_per_upstream != new.limits.requests_per_upstream),
        ("limits.fetches_per_upstream", old.limits.fetches_per_upstream != new.limits.fetches_per_upstream),
        ("server.default_upstream", old.server.default_upstream != new.server.default_upstream),
        ("server.deny_reason", old.server.deny_reason != new.server.deny_reason),
        ("the certificate (server.tls)", old.server.tls != new.server.tls),
        ("log.level", old.log.level != new.log.level),
        ("log.access", old.log.access != new.log.access),
    ];
    changes.extend(others.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()));
    changes
}

/// Keys whose value has changed and counts only after a restart. What such a key decides was opened at start: a
/// socket, a folder. Every key is named here, so that none is forgotten.
pub(super) fn needs_restart(started: &Settings, fresh: &Settings) -> Vec<&'static str> {
    let Settings {
        name: _,
        overrides: _,
        server,
        upstreams: _,
        network: _,
        policy: _,
        default_root: _,
        files: _,
        cache: Cache { dir, max_size, min_free, keep, integrity },
        admin_listen,
        log,
        limits,
    } = fresh;
    let Server { listen, inherited, default_upstream: _, shutdown_grace, max_connections, deny_reason: _, tls } =
        server;
    let Log { format, level: _, access: _ } = log;
    let Limits { signature_deadline: _, concurrent_fetches, requests_per_upstream: _, fetches_per_upstream: _ } =
        limits;
    let old = &started.server;
    let all = [
        ("server.listen", (&old.listen, old.inherited) != (listen, *inherited)),
        ("server.shutdown_grace", old.shutdown_grace != *shutdown_grace),
        ("server.max_connections", old.max_connections != *max_connections),
        // Another certificate counts at once, but TLS where there was none is another protocol.
        ("server.tls", old.tls.is_some() != tls.is_some()),
        ("cache.dir", started.cache.dir != *dir),
        ("cache.max_size", started.cache.max_size != *max_size),
        ("cache.min_free", started.cache.min_free != *min_free),
        ("cache.keep", patterns(&started.cache.keep) != patterns(keep)),
        ("cache.verify_reads", started.cache.integrity.verify_reads != integrity.verify_reads),
        ("cache.scrub", started.cache.integrity.scrub != integrity.scrub),
        ("cache.reverify", started.cache.integrity.reverify != integrity.reverify),
        ("admin.listen", started.admin_listen != *admin_listen),
        ("limits.concurrent_fetches", started.limits.concurrent_fetches != *concurrent_fetches),
        ("log.format", started.log.format != *format),
    ];
    all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn policy(old: &Policy, new: &Policy) -> Vec<String> {
    let (before, after) = (by_name(old), by_name(new));
    let mut changes = differences("rules", &before, &after);
    let kept = |policy: &Policy, other: &BTreeMap<&str, Vec<String>>| {
        let names = policy.rules().iter().map(|rule| rule.name().to_owned());
        names.filter(|name| other.contains_key(name.as_str())).collect::<Vec<_>>()
    };
    if kept(old, &after) != kept(new, &before) {
        changes.push("rules are tried in another order".to_owned());
    }
    let (old_roots, new_roots) = (roots(old), roots(new));
    changes.extend(new_roots.difference(&old_roots).map(|root| format!("trusted root added: {root}")));
    changes.extend(old_roots.difference(&new_roots).map(|root| format!("trusted root removed: {root}")));
    if old.no_rule_hint() != new.no_rule_hint() {
        changes.push("the hint for images without a rule".to_owned());
    }
    changes
}

fn upstreams(old: &Settings, new: &Settings) -> Vec<String> {
    fn by_name(settings: &Settings) -> BTreeMap<&str, &Upstream> {
        settings.upstreams.iter().map(|one| (one.registry.as_str(), one)).collect()
    }
    differences("upstreams", &by_name(old), &by_name(new))
}

/// What was added, removed and changed, by name.
fn differences<V: PartialEq>(what: &str, before: &BTreeMap<&str, V>, after: &BTreeMap<&str, V>) -> Vec<String> {
    let added = after.keys().filter(|name| !before.contains_key(*name));
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let differs = |(name, now): &(&&str, &V)| before.get(*name).is_some_and(|then| then != *now);
    let changed = after.iter().filter(differs).map(|(name, _)| name);
    let said = |how: &str, names: Vec<&&str>| {
        let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
        (!quoted.is_empty()).then(|| format!("{what} {how}: {}", quoted.join(", ")))
    };
    let all = [said("added", added.collect()), said("removed", removed.collect()), said("changed", changed.collect())];
    all.into_iter().flatten().collect()
}

fn by_name(policy: &Policy) -> BTreeMap<&str, Vec<String>> {
    let mut rules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for rule in policy.rules() {
        rules.entry(rule.name()).or_default().push(description(rule));
    }
    rules
}

fn description(rule: &Rule) -> String {
    format!("{:?} {:?} {:?}", rule.fingerprint(), patterns(rule.patterns()), rule.terms())
}

fn patterns(of: &[Pattern]) -> Vec<&str> {
    of.iter().map(Pattern::as_str).collect()
}

fn roots(policy: &Policy) -> BTreeSet<String> {
    let demands = policy.rules().iter().filter_map(|rule| rule.demand());
    demands.flat_map(|demand| &demand.roots).map(|root| format!("{} ({})", root.name(), root.fingerprint())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(text: &str) -> Settings {
        let base = r#"
version = 1
[upstream."ghcr.io"]
url = "https://ghcr.io"
"#;
        Settings::from_text("test.toml", &format!("{base}{text}"), Path::new("")).unwrap().0
    }

    fn rule(name: &str, images: &str) -> String {
        format!("[[policy]]\nname = \"{name}\"\nimages = [\"{images}\"]\nmode = \"off\"\n")
    }

    fn told(old: &str, new: &str) -> String {
        changes(&settings(old), &settings(new)).join("; ")
    }

    #[test]
    fn what_changed_in_the_policy_is_told_by_name() {
        let (a, b, c) = (rule("a", "ghcr.io/a/**"), rule("b", "ghcr.io/b/**"), rule("c", "ghcr.io/c/**"));
        assert_eq!(told(&format!("{a}{b}"), &format!("{a}{b}")), "");
        assert_eq!(told(&format!("{a}{b}"), &format!("{b}{c}")), r#"rules added: "c"; rules removed: "a""#);
        assert_eq!(told(&format!("{a}{b}"), &format!("{b}{a}")), "rules are tried in another order");
        assert_eq!(told(&a, &rule("a", "ghcr.io/x/**")), r#"rules changed: "a""#);
    }

    #[test]
    fn what_changed_elsewhere_is_told_by_name() {
        let a = rule("a", "ghcr.io/a/**");
        let quay = |url: &str| format!("{a}[upstream.\"quay.io\"]\nurl = \"{url}\"\n");
        assert_eq!(told(&a, &quay("https://quay.io")), r#"upstreams added: "quay.io""#);
        assert_eq!(told(&quay("https://quay.io"), &quay("https://q.example")), r#"upstreams changed: "quay.io""#);
        let rest =
            "[network]\nretries = 1\n[limits]\nsignature_deadline = \"1s\"\n[log]\nlevel = \"debug\"\naccess = false\n";
        assert_eq!(told(&a, &format!("{a}{rest}")), "network; limits.signature_deadline; log.level; log.access");
    }

    #[test]
    fn what_needs_a_restart_is_told_by_name() {
        let a = rule("a", "ghcr.io/a/**");
        let told = |old: &str, new: &str| needs_restart(&settings(old), &settings(new)).join(", ");
        assert_eq!(told(&a, &rule("b", "ghcr.io/b/**")), "", "the policy needs none");
        let more = format!("{a}[server]\nlisten = [\"127.0.0.1:5999\"]\n[admin]\nlisten = \"127.0.0.1:5998\"\n");
        assert_eq!(told(&a, &more), "server.listen, admin.listen");
        let passed = format!("{a}[server]\nlisten = [\"127.0.0.1:5050\", \"systemd\"]\n");
        assert_eq!(told(&a, &passed), "server.listen");
        let upstream = format!("{a}[upstream.\"quay.io\"]\nurl = \"https://quay.io\"\n");
        assert_eq!(told(&a, &upstream), "", "upstreams need none");
    }
}
