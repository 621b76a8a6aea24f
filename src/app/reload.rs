//! Reads the configuration again while Assay runs: on SIGHUP, and when a file that it rests on has changed.
//!
//! First everything is made that can fail, then all of it is put in force; so a configuration that cannot be used
//! changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{LogLevel, Settings, Warning};
use crate::http::{Certificate, LiveOptions};
use crate::pull::{InForce, Puller};
use crate::telemetry::{Metrics, ReloadOutcome};
use crate::upstream::Upstreams;

use super::changes::{changes, needs_restart};
use super::parts;
use super::serve::{observe, registry_options};
use super::systemd::Manager;

/// How often the files are looked at. A digest that is put on a deny list is refused this much later.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps in force what the files say.
pub(super) struct Reload<'a> {
    config: Option<PathBuf>,
    /// As the files said at start: what needs a restart was taken from these.
    started: Settings,
    /// As they said when they could last be used.
    running: Settings,
    live: Live<'a>,
    /// How the files were just before they were read last. A file without a mark was not read yet.
    marks: Marks,
    /// What is wrong with the files as they are.
    failure: Option<String>,
    /// What was last said to need a restart.
    restart: Vec<&'static str>,
}

/// What takes up a changed configuration.
pub(super) struct Live<'a> {
    pub(super) puller: Arc<Puller>,
    pub(super) registry: LiveOptions,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) level: &'a (dyn Fn(LogLevel) + Send + Sync),
    pub(super) metrics: Arc<Metrics>,
    pub(super) manager: Manager,
}

/// A configuration of which nothing is left to fail.
struct Fresh {
    settings: Settings,
    warnings: Vec<Warning>,
    upstreams: Upstreams,
    certificate: Option<Certificate>,
}

/// By which a change of a file is noticed: modification time, size and inode. `None`: not there.
type Mark = Option<(i64, i64, u64, u64)>;

type Marks = BTreeMap<PathBuf, Mark>;

/// Why the files are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Because {
    /// Somebody asked for it, and wants an answer.
    Asked,
    /// A file has changed, or there was something wrong with one.
    Changed,
}

impl<'a> Reload<'a> {
    /// `started` are the settings as the files said them at start; `config` is the file they came from.
    pub(super) fn new(started: Settings, config: Option<PathBuf>, live: Live<'a>) -> Self {
        Self {
            config,
            running: started.clone(),
            started,
            live,
            marks: Marks::new(),
            failure: None,
            restart: Vec::new(),
        }
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
            if because == Because::Asked {
                self.live.manager.reloading();
            }
            self.look(because).await;
            if because == Because::Asked {
                self.live.manager.ready(match &self.failure {
                    None => "serving",
                    Some(_) => "serving with an earlier configuration: the files cannot be used, see the log",
                });
            }
        }
    }

    async fn look(&mut self, because: Because) {
        let (files, config) = (self.running.files.clone(), self.config.clone());
        let (before, must) = (self.marks.clone(), because == Because::Asked || self.failure.is_some());
        let in_force = self.live.puller.in_force();
        let looking = tokio::task::spawn_blocking(move || {
            // The marks first: what changes while it is read is read again.
            let marks = marks(&files);
            (must || marks != before).then(|| (marks, prepare(config.as_deref(), &in_force.upstreams)))
        });
        let Ok(Some((marks, prepared))) = looking.await else { return };
        self.marks = marks;
        match prepared {
            Ok(fresh) => self.take_over(fresh, because),
            Err(why) => self.stay(why, because),
        }
    }

    /// Nothing here can fail.
    fn take_over(&mut self, fresh: Fresh, because: Because) {
        let Fresh { settings, warnings, upstreams, certificate } = fresh;
        let changes = changes(&self.running, &settings);
        // Also where nothing seems to differ: what is in force must be what stands in the files.
        let live = &self.live;
        live.puller.put_in_force(InForce { policy: Arc::new(settings.policy.clone()), upstreams: Arc::new(upstreams) });
        live.puller.replace_limits(parts::limits(&settings));
        live.registry.replace(registry_options(&settings, &live.metrics));
        if let (Some(ours), Some(other)) = (&live.certificate, &certificate) {
            ours.replace(other);
        }
        (live.level)(settings.log.level);
        observe(&settings, live.certificate.as_deref(), &live.metrics);
        let restart = needs_restart(&self.started, &settings);
        self.running = settings;
        self.marks.retain(|file, _| self.running.files.contains(file));
        let mended = self.failure.take().is_some();
        if !changes.is_empty() || mended || restart != self.restart || because == Because::Asked {
            self.tell(&changes, &warnings);
        }
        if !restart.is_empty() && (because == Because::Asked || restart != self.restart) {
            tracing::warn!(settings = restart.join(", "), "these settings have changed and need a restart");
        }
        self.restart = restart;
    }

    fn tell(&self, changes: &[String], warnings: &[Warning]) {
        self.live.metrics.reload(ReloadOutcome::Ok);
        match changes.is_empty() {
            true => tracing::info!("the configuration was read again; what is in force is the same"),
            false => tracing::info!(changes = changes.join("; "), "the configuration was read again and is in force"),
        }
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if self.running.policy.rules().iter().all(|rule| rule.enforcement().mode() != "enforce") {
            tracing::warn!("AUDIT ONLY: no rule is enforced, nothing is blocked.");
        }
    }

    fn stay(&mut self, problems: String, because: Because) {
        // Once for each change, though it is tried again and again until it can be used.
        if because == Because::Asked || self.failure.as_ref() != Some(&problems) {
            self.live.metrics.reload(ReloadOutcome::Failed);
            tracing::error!(%problems, "the configuration cannot be used; the one from before stays in force");
        }
        self.failure = Some(problems);
    }
}

/// Reads the files and makes everything of them that can fail.
fn prepare(config: Option<&Path>, before: &Upstreams) -> Result<Fresh, String> {
    let loaded = match config {
        Some(path) => Settings::load_again(path),
        None => Settings::builtin(),
    };
    let (settings, warnings) = loaded.map_err(|problems| problems.render(false))?;
    let made = || {
        let upstreams = parts::renewed(&settings, before)?;
        anyhow::Ok((upstreams, parts::certificate(&settings.server)?))
    };
    let (upstreams, certificate) = made().map_err(|error| format!("{error:#}"))?;
    Ok(Fresh { settings, warnings, upstreams, certificate })
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

#[cfg(test)]
mod tests {
    use crate::upstream::NetworkOptions;

    use super::*;

    /// A pipe would hold up every later change, and the end of the program.
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let before = Upstreams::new(Vec::new(), NetworkOptions::default()).unwrap();
        let problems = |path: &str| prepare(Some(Path::new(path)), &before).err().unwrap();
        assert!(problems("/dev/null").contains("not a file"));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!problems(file.path().to_str().unwrap()).contains("not a file"), "an empty file is one");
    }
}
