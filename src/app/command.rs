//! From the command line to the part that does it.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::cli::{Args, Command, Exit, GcAsked, Show, check_config, config_file};
use crate::config::{self, Settings};
use crate::telemetry::{LogFormat, LogLevel, LogOptions, init_logging};

use super::systemd::Inherited;
use super::{demo, gc, judge, scrub, serve, trust};

/// How long threads may take to end that cannot be told to. Then the process ends without them.
const THREADS_GRACE: Duration = Duration::from_secs(2);

/// Reads the command line, does what it says, and returns the exit code.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let serves = matches!(args.command, Command::Serve { .. });
    let inherited = match if serves { Inherited::take() } else { Ok(Inherited::none()) } {
        Ok(inherited) => inherited,
        Err(error) => return fail(&error, Exit::Usage),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime"), Exit::Internal),
    };
    let ended = runtime.block_on(dispatch(args, inherited));
    // What still runs on threads of its own cannot be dropped: a read from a disk that hangs, a credential helper.
    runtime.shutdown_timeout(THREADS_GRACE);
    match ended {
        Ok(exit) => exit.into(),
        Err(Failure(error, exit)) => fail(&error, exit),
    }
}

/// An error with the exit code that it means.
pub(super) struct Failure(pub(super) anyhow::Error, pub(super) Exit);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into(), Exit::Internal)
    }
}

pub(super) fn usage(error: anyhow::Error) -> Failure {
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

async fn dispatch(args: Args, inherited: Inherited) -> Result<Exit, Failure> {
    let level = args.level("warn");
    match &args.command {
        Command::Trust { command } => {
            log(&args, LogFormat::Text, level)?;
            trust::trust(command).await
        }
        Command::Scrub { delete, json, input } => {
            log(&args, LogFormat::Text, level)?;
            scrub::scrub(&args, input, scrub::Wish { delete: *delete, json: *json }).await
        }
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
            let settings = settings(&args, input.config.as_deref())?;
            let written = settings.log;
            let log = log(&args, log_format(written.format), args.level(written.level.as_str()))?;
            let level = |level: config::LogLevel| log.set(args.level(level.as_str()));
            let how = serve::How { config: config_file(input.config.as_deref()), listen, inherited, level: &level };
            Ok(serve::serve(settings, how).await?)
        }
        Command::Gc { dry_run, target, json, input } => {
            let settings = settings(&args, input.config.as_deref())?;
            log(&args, LogFormat::Text, level)?;
            gc::gc(&settings, GcAsked { target: *target, dry_run: *dry_run, json: *json }).await
        }
        Command::Verify { image, signers, no_find_parent, json, input } => {
            log(&args, LogFormat::Text, level)?;
            let by = judge::By::Signers { signers, find_parent: !no_find_parent };
            judge::judge(&args, image, input, by, Show { json: *json, steps: !args.quiet }).await
        }
        Command::Explain { image, policy, json, input } => {
            log(&args, LogFormat::Text, level)?;
            let by = judge::By::Policy { file: policy.as_deref() };
            judge::judge(&args, image, input, by, Show { json: *json, steps: !args.quiet }).await
        }
    }
}

fn log(args: &Args, format: LogFormat, level: &'static str) -> Result<LogLevel, Failure> {
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
pub(super) fn settings(args: &Args, named: Option<&Path>) -> Result<Settings, Failure> {
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
