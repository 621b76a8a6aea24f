//! Reads the configuration again while Assay runs: on SIGHUP, and when a file that it rests on has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{Problems, Settings, Warning};
use crate::pull::Puller;
use crate::telemetry::{Metrics, ReloadOutcome};
use crate::trust::{Policy, Rule};

/// How often the files are looked at. A digest that is put on a deny list is refused this much later.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps the policy in force as the files say it.
pub(super) struct Reload {
    config: Option<PathBuf>,
    /// What needs a restart was taken from these.
    running: Settings,
    puller: Arc<Puller>,
    metrics: Arc<Metrics>,
    files: Vec<PathBuf>,
    /// How the files were just before they were read last. A file without a mark was not read yet.
    marks: Marks,
    /// What is wrong with the files as they are.
    failure: Option<String>,
}

/// By which a change of a file is noticed: modification time, size and inode. `None`: not there.
type Mark = Option<(i64, i64, u64, u64)>;

type Marks = BTreeMap<PathBuf, Mark>;

type Loaded = Result<(Settings, Vec<Warning>), Problems>;

/// Why the files are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Because {
    /// Somebody asked for it, and wants an answer.
    Asked,
    /// A file has changed, or there was something wrong with one.
    Changed,
}

impl Reload {
    /// `running` are the settings as the files said them at start; `config` is the file they came from.
    pub(super) fn new(running: Settings, config: Option<PathBuf>, puller: Arc<Puller>, metrics: Arc<Metrics>) -> Self {
        let files = watched(&running);
        Self { config, running, puller, metrics, files, marks: Marks::new(), failure: None }
    }

    /// Works until `stop`. The files are read once at the beginning: they may have changed since they were read.
    pub(super) async fn run(mut self, mut hang_up: Signal, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // All only wait.
            let because = tokio::select! {
                () = stop.cancelled() => return,
                _ = hang_up.recv() => Because::Asked,
                _ = ticks.tick() => Because::Changed,
            };
            self.look(because).await;
        }
    }

    async fn look(&mut self, because: Because) {
        let (files, config) = (self.files.clone(), self.config.clone());
        let (before, must) = (self.marks.clone(), because == Because::Asked || self.failure.is_some());
        let looking = tokio::task::spawn_blocking(move || {
            // The marks first: what changes while it is read is read again.
            let marks = marks(&files);
            (must || marks != before).then(|| (marks, load(config.as_deref())))
        });
        let Ok(Some((marks, loaded))) = looking.await else { return };
        self.marks = marks;
        match loaded {
            Ok((fresh, warnings)) => self.take_over(&fresh, &warnings, because),
            Err(problems) => self.stay(problems.render(false), because),
        }
    }

    fn take_over(&mut self, fresh: &Settings, warnings: &[Warning], because: Because) {
        let changes = changes(&self.puller.policy(), &fresh.policy);
        // Also where nothing seems to differ: what is in force must be what stands in the files.
        self.puller.replace_policy(fresh.policy.clone());
        self.files = watched(fresh);
        self.marks.retain(|file, _| self.files.contains(file));
        let mended = self.failure.take().is_some();
        let restart = needs_restart(&self.running, fresh);
        if changes.is_empty() && restart.is_empty() && !mended && because == Because::Changed {
            return;
        }
        self.metrics.reload(ReloadOutcome::Ok);
        match changes.is_empty() {
            true => tracing::info!("the configuration was read again; the policy is the same"),
            false => tracing::info!(
                changes = changes.join("; "),
                "the configuration was read again; a new policy is in force"
            ),
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if !restart.is_empty() {
            tracing::warn!(settings = restart.join(", "), "these settings have changed and need a restart");
        }
        if fresh.policy.rules().iter().all(|rule| rule.enforcement().mode() != "enforce") {
            tracing::warn!("AUDIT ONLY: no rule is enforced, nothing is blocked.");
        }
    }

    fn stay(&mut self, problems: String, because: Because) {
        // Once for each change, though it is tried again and again until it can be used.
        if because == Because::Asked || self.failure.as_ref() != Some(&problems) {
            self.metrics.reload(ReloadOutcome::Failed);
            tracing::error!(%problems, "the configuration cannot be used; the policy from before stays in force");
        }
        self.failure = Some(problems);
    }
}

fn load(config: Option<&Path>) -> Loaded {
    match config {
        Some(path) => Settings::load_again(path),
        None => Settings::builtin(),
    }
}

/// The files on which a configuration rests.
fn watched(settings: &Settings) -> Vec<PathBuf> {
    settings.trust_files.clone()
}

fn marks(files: &[PathBuf]) -> Marks {
    let mark = |file: &PathBuf| {
        // Through links: a mounted ConfigMap changes by a link that leads elsewhere.
        let seen = std::fs::metadata(file).ok();
        let mark = seen.map(|seen| (seen.mtime(), seen.mtime_nsec(), seen.size(), seen.ino()));
        (file.clone(), mark)
    };
    files.iter().map(mark).collect()
}

/// What differs between two policies, for people.
fn changes(old: &Policy, new: &Policy) -> Vec<String> {
    let (before, after) = (by_name(old), by_name(new));
    let mut changes = Vec::new();
    let mut say = |what: &str, names: Vec<&str>| {
        if !names.is_empty() {
            let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
            changes.push(format!("{what} {}", quoted.join(", ")));
        }
    };
    say("rules added:", after.keys().filter(|name| !before.contains_key(*name)).copied().collect());
    say("rules removed:", before.keys().filter(|name| !after.contains_key(*name)).copied().collect());
    let differs = |(name, rules): (&&str, &Vec<String>)| before.get(*name).is_some_and(|before| before != rules);
    say("rules changed:", after.iter().filter(|(name, rules)| differs((name, rules))).map(|(name, _)| *name).collect());
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

fn by_name(policy: &Policy) -> BTreeMap<&str, Vec<String>> {
    let mut rules: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for rule in policy.rules() {
        rules.entry(rule.name()).or_default().push(description(rule));
    }
    rules
}

fn description(rule: &Rule) -> String {
    let patterns: Vec<_> = rule.patterns().iter().map(|pattern| pattern.as_str()).collect();
    format!("{:?} {patterns:?} {:?}", rule.fingerprint(), rule.terms())
}

fn roots(policy: &Policy) -> BTreeSet<String> {
    let demands = policy.rules().iter().filter_map(|rule| rule.demand());
    demands.flat_map(|demand| &demand.roots).map(|root| format!("{} ({})", root.name(), root.fingerprint())).collect()
}

/// Settings besides the policy that differ, by name.
fn needs_restart(running: &Settings, fresh: &Settings) -> Vec<String> {
    let (old, new) = (&running.server, &fresh.server);
    let differs = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") != format!("{b:?}");
    let single = [
        ("server.listen", differs(&old.listen, &new.listen)),
        ("server.default_upstream", old.default_upstream != new.default_upstream),
        ("server.shutdown_grace", old.shutdown_grace != new.shutdown_grace),
        ("server.max_connections", old.max_connections != new.max_connections),
        ("server.deny_reason", old.deny_reason != new.deny_reason),
        ("server.tls", differs(&old.tls, &new.tls)),
        ("network", differs(&running.network, &fresh.network)),
        ("cache", differs(&running.cache, &fresh.cache)),
        ("admin.listen", running.admin_listen != fresh.admin_listen),
        ("log", differs(&running.log, &fresh.log)),
        ("limits", differs(&running.limits, &fresh.limits)),
    ];
    let mut names: Vec<String> =
        single.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect();
    let upstreams = |settings: &Settings| -> BTreeMap<String, String> {
        settings.upstreams.iter().map(|one| (one.registry.to_string(), upstream(one))).collect()
    };
    let (old, new) = (upstreams(running), upstreams(fresh));
    let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    names.extend(
        all.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(|name| format!("upstream.\"{name}\"")),
    );
    names
}

/// Everything about an upstream. A password counts by whether it is the same, and is not shown.
fn upstream(one: &crate::config::Upstream) -> String {
    let password = match &one.credentials {
        crate::config::Credentials::Login { password, .. } => {
            crate::oci::Digest::of(password.expose().as_bytes()).to_string()
        }
        _ => String::new(),
    };
    format!("{one:?} {password}")
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_changed_is_told_by_name() {
        let (a, b, c) = (rule("a", "ghcr.io/a/**"), rule("b", "ghcr.io/b/**"), rule("c", "ghcr.io/c/**"));
        let told = |old: &str, new: &str| changes(&settings(old).policy, &settings(new).policy).join("; ");
        assert_eq!(told(&format!("{a}{b}"), &format!("{a}{b}")), "");
        assert_eq!(told(&format!("{a}{b}"), &format!("{b}{c}")), r#"rules added: "c"; rules removed: "a""#);
        assert_eq!(told(&format!("{a}{b}"), &format!("{b}{a}")), "rules are tried in another order");
        assert_eq!(told(&a, &rule("a", "ghcr.io/x/**")), r#"rules changed: "a""#);
    }

    /// A pipe would hold up every later change, and the end of the program.
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let problems = |path: &str| load(Some(Path::new(path))).unwrap_err().render(false);
        assert!(problems("/dev/null").contains("not a file"));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!problems(file.path().to_str().unwrap()).contains("not a file"), "an empty file is one");
    }

    #[test]
    fn what_needs_a_restart_is_told_by_name() {
        let a = rule("a", "ghcr.io/a/**");
        let told = |old: &str, new: &str| needs_restart(&settings(old), &settings(new)).join(", ");
        assert_eq!(told(&a, &rule("b", "ghcr.io/b/**")), "", "the policy needs none");
        let more = format!("{a}[server]\nlisten = [\"127.0.0.1:5999\"]\n[admin]\nlisten = \"127.0.0.1:5998\"\n");
        assert_eq!(told(&a, &more), "server.listen, admin.listen");
        let upstream = format!("{a}[upstream.\"quay.io\"]\nurl = \"https://quay.io\"\n");
        assert_eq!(told(&a, &upstream), r#"upstream."quay.io""#);
    }
}
