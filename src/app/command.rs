//! From the command line to the part that does it.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;

use crate::cli::{Args, Command, Exit, ImageArgument, Input, Show, check_config, config_file, judge_image};
use crate::config::{self, Settings};
use crate::oci::Registry;
use crate::tasks::Tasks;
use crate::telemetry::{LogFormat, LogOptions, init_logging};
use crate::trust::{Demand, Enforcement, KeySigner, Pattern, Policy, PublicKey, Rule, Signer, Tlog};
use crate::upstream::UpstreamOptions;

use super::{demo, parts, serve};

/// Reads the command line, does what it says, and returns the exit code.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime"), Exit::Internal),
    };
    match runtime.block_on(dispatch(args)) {
        Ok(exit) => exit.into(),
        Err(Failure(error, exit)) => fail(&error, exit),
    }
}

/// An error with the exit code that it means.
struct Failure(anyhow::Error, Exit);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into(), Exit::Internal)
    }
}

fn usage(error: anyhow::Error) -> Failure {
    Failure(error, Exit::Usage)
}

/// Says what failed and why, each cause on a line of its own. Nobody is left to hear it if that fails.
fn fail(error: &anyhow::Error, exit: Exit) -> ExitCode {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  because: {cause}\n"));
    }
    let _unheard = io::stderr().write_all(text.as_bytes());
    exit.into()
}

async fn dispatch(args: Args) -> Result<Exit, Failure> {
    let level = args.level("warn");
    match &args.command {
        Command::Version => {
            writeln!(io::stdout(), "assay {}", env!("CARGO_PKG_VERSION"))?;
            Ok(Exit::Ok)
        }
        Command::Check { input } => {
            let colour = args.colour.on(io::stderr().is_terminal());
            Ok(check_config(
                config_file(input.config.as_deref()).as_deref(),
                colour,
                &mut io::stdout(),
                &mut io::stderr(),
            )?)
        }
        Command::Demo { once, port } => {
            log(&args, LogFormat::Text, args.level("error"))?;
            Ok(demo::demo(*once, *port).await?)
        }
        Command::Serve { input, listen } => {
            let mut settings = settings(&args, input.config.as_deref())?;
            let written = settings.log;
            log(&args, log_format(written.format), args.level(written.level.as_str()))?;
            if !listen.is_empty() {
                settings.server.listen.clone_from(listen);
            }
            Ok(serve::serve(settings).await?)
        }
        Command::Verify { image, keys, json, input } => {
            log(&args, LogFormat::Text, level)?;
            judge(&args, image, input, keys, None, Show { json: *json, steps: false }).await
        }
        Command::Explain { image, policy, json, input } => {
            log(&args, LogFormat::Text, level)?;
            judge(&args, image, input, &[], policy.as_deref(), Show { json: *json, steps: true }).await
        }
    }
}

fn log(args: &Args, format: LogFormat, level: &'static str) -> Result<(), Failure> {
    let colour = args.colour.on(io::stderr().is_terminal());
    init_logging(&LogOptions { format, level, colour }).map_err(|error| usage(error.into()))
}

fn log_format(written: config::LogFormat) -> LogFormat {
    match written {
        config::LogFormat::Auto => LogFormat::Auto,
        config::LogFormat::Text => LogFormat::Text,
        config::LogFormat::Json => LogFormat::Json,
    }
}

/// The configuration, with its warnings told. All problems are told at once.
fn settings(args: &Args, named: Option<&Path>) -> Result<Settings, Failure> {
    let colour = args.colour.on(io::stderr().is_terminal());
    let loaded = match config_file(named) {
        Some(path) => Settings::load(&path),
        None => Settings::builtin(),
    };
    let (settings, warnings) = loaded
        .map_err(|problems| usage(anyhow::anyhow!("the configuration cannot be used\n{}", problems.render(colour))))?;
    if !args.quiet && matches!(args.command, Command::Serve { .. }) {
        for warning in &warnings {
            writeln!(io::stderr(), "{}\n", warning.render(colour))?;
        }
    }
    Ok(settings)
}

/// `verify` and `explain`: the gate of `serve` on a cache folder that is gone afterwards.
async fn judge(
    args: &Args,
    image: &ImageArgument,
    input: &Input,
    keys: &[PathBuf],
    other_policy: Option<&Path>,
    show: Show,
) -> Result<Exit, Failure> {
    let settings = settings(args, input.config.as_deref())?;
    let policy = match (keys, other_policy) {
        ([], None) => settings.policy.clone(),
        ([], Some(path)) => self::settings(args, Some(path))?.policy,
        (keys, _) => policy_of_keys(image, keys)?,
    };
    let configured = settings.upstreams.iter().any(|one| one.registry == *image.name.repository.registry());
    // Whoever names keys names the registry too; the configured world is for the configured policy.
    let more = match (keys.is_empty(), configured && !image.plain_http) {
        (true, _) | (false, true) => Vec::new(),
        (false, false) => vec![ad_hoc_upstream(image)?],
    };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let tasks = Tasks::new();
    let wanted = parts::Wanted {
        folder: folder.path(),
        policy,
        upstreams: parts::upstreams(&settings, more)?,
        limits: parts::limits(&settings),
        fetches_max: settings.limits.concurrent_fetches,
        metrics: Arc::default(),
    };
    let puller = parts::puller(wanted, &tasks)?;
    tokio::select! {
        // Nothing outlives the command, so it may be dropped where it is.
        exit = judge_image(&puller, &image.name, show) => Ok(exit?),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

fn policy_of_keys(image: &ImageArgument, keys: &[PathBuf]) -> Result<Policy, Failure> {
    let signer = |path: &PathBuf| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let key = PublicKey::from_pem(&text).with_context(|| name.clone())?;
        anyhow::Ok(Signer::Key(KeySigner { name, key, not_before: None, not_after: None }))
    };
    let signers = keys.iter().map(signer).collect::<Result<Vec<_>, _>>().map_err(usage)?;
    let demand = Demand { signers, tlog: Tlog::Off, ..Demand::default() };
    let pattern = Pattern::parse(&image.name.repository.to_string()).map_err(|error| usage(error.into()))?;
    Ok(Policy::new(vec![Rule::new("command line".to_owned(), vec![pattern], Enforcement::Enforce(demand))], None))
}

fn ad_hoc_upstream(image: &ImageArgument) -> Result<UpstreamOptions, Failure> {
    let registry = image.name.repository.registry();
    let host = if *registry == Registry::docker_hub() { "registry-1.docker.io" } else { registry.as_str() };
    let scheme = if image.plain_http { "http" } else { "https" };
    let url = format!("{scheme}://{host}").parse().map_err(|error| usage(anyhow::Error::new(error)))?;
    Ok(UpstreamOptions::new(registry.clone(), url))
}
