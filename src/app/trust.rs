//! `assay trust`: shows trusted roots, and brings a file of trust material up to date.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::cli::{Exit, RootName, TrustCommand, Update, UpdateArgs, trust_report};
use crate::clock::{Clock as _, SystemClock};
use crate::trust::{PUBLIC_GOOD, ROOT_MAX, TrustRoot};
use crate::tuf::{self, FetchOptions, Fetched, Instance, Source, TufError};

use super::command::{Failure, usage};

/// Does it, prints the outcome to standard output, and returns the exit code.
pub(super) async fn trust(command: &TrustCommand) -> Result<Exit, Failure> {
    match command {
        TrustCommand::Show { root, json } => {
            let root = read_root(root)?;
            print(*json, || trust_report::show_text(&root), || trust_report::show_json(&root))
        }
        TrustCommand::Diff { old, new, json } => {
            let (old, new) = (read_root(old)?, read_root(new)?);
            print(*json, || trust_report::diff_text(&old, &new), || trust_report::diff_json(&old, &new))
        }
        TrustCommand::Update(args) => tokio::select! {
            exit = update(args) => exit,
            // Dropped where it is: the file is replaced in one step, and metadata is kept in one.
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        },
    }
}

fn print(json: bool, text: impl Fn() -> String, value: impl Fn() -> Value) -> Result<Exit, Failure> {
    writeln!(io::stdout(), "{}", if json { value().to_string() } else { text() })?;
    Ok(Exit::Ok)
}

async fn update(args: &UpdateArgs) -> Result<Exit, Failure> {
    let folder = args.output.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(usage(anyhow!("there is no folder {}; make it, or name another file with -o", folder.display())));
    }
    let old = match there(&args.output)? {
        true => Some(read_file(&args.output).map_err(not_ours)?),
        false => None,
    };
    let fetched = tuf::fetch(&options(args)?, SystemClock.now()).await.map_err(|error| not_updated(args, error))?;
    let new = usable(&args.output, &fetched)?;
    if old.as_ref().map(TrustRoot::fingerprint) != Some(new.fingerprint()) {
        tuf::replace_file(&args.output, &fetched.bytes)
            .with_context(|| format!("cannot write {}", args.output.display()))?;
    }
    let update = Update { file: &args.output, old: old.as_ref(), new: &new, metadata: &fetched.metadata };
    print(args.json, || trust_report::update_text(&update), || trust_report::update_json(&update))
}

fn options(args: &UpdateArgs) -> Result<FetchOptions, Failure> {
    let instance = match args.root {
        RootName::PublicGood => Instance::PublicGood,
        RootName::Staging => Instance::Staging,
        RootName::GitHub => Instance::GitHub,
    };
    let initial_root = match &args.initial_root {
        Some(file) => read_bounded(file)?,
        None => instance.initial_root().to_vec(),
    };
    let source = Source::new(args.mirror.as_deref().unwrap_or(instance.url()), initial_root);
    let ca = args.ca.as_deref().map(read_bounded).transpose()?;
    Ok(FetchOptions {
        source: source.map_err(|error| not_updated(args, error))?,
        folder: args.metadata_folder(),
        ca: ca.into_iter().collect(),
        deadline: Duration::from_secs(args.deadline),
        target_max: ROOT_MAX,
    })
}

/// Verified is not yet usable: the signers may have signed what this version cannot read.
fn usable(file: &Path, fetched: &Fetched) -> Result<TrustRoot, Failure> {
    let cannot = || format!("what was fetched cannot be used; {} is as it was", file.display());
    TrustRoot::from_json(&file.display().to_string(), &fetched.bytes)
        .with_context(cannot)
        .map_err(|error| Failure(error, Exit::Integrity))
}

fn not_updated(args: &UpdateArgs, error: TufError) -> Failure {
    let exit = match &error {
        TufError::Setup(_) | TufError::InitialRoot(_) => Exit::Usage,
        TufError::Mirror(mirror) if mirror.is_attack() => Exit::Integrity,
        TufError::Refused(_) => Exit::Integrity,
        TufError::NoTarget(_) => Exit::NotFound,
        TufError::Mirror(_) | TufError::Deadline(_) | TufError::Unfinished(_) | TufError::Busy(_) => Exit::Unavailable,
        TufError::Damaged { .. } | TufError::Keep { .. } => Exit::Internal,
    };
    let context = format!("{} was not updated", args.output.display());
    Failure(anyhow::Error::new(error).context(context), exit)
}

/// A slip of the pen in `-o` must not cost a file that is something else.
fn not_ours(Failure(error, exit): Failure) -> Failure {
    Failure(
        error.context("will not replace a file that is no trusted root; move it away, or name another with -o"),
        exit,
    )
}

fn there(path: &Path) -> Result<bool, Failure> {
    path.try_exists().with_context(|| format!("cannot look at {}", path.display())).map_err(usage)
}

fn read_root(path: &Path) -> Result<TrustRoot, Failure> {
    if path == Path::new(PUBLIC_GOOD) {
        return Ok(TrustRoot::public_good()?);
    }
    read_file(path)
}

fn read_file(path: &Path) -> Result<TrustRoot, Failure> {
    let name = path.display().to_string();
    TrustRoot::from_json(&name, &read_bounded(path)?).with_context(|| name.clone()).map_err(usage)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = || format!("cannot read {}", path.display());
    let failed = |error: io::Error| {
        let exit = if error.kind() == io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Usage };
        Failure(anyhow::Error::new(error).context(cannot()), exit)
    };
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|file| file.take(ROOT_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > ROOT_MAX {
        return Err(usage(anyhow!("longer than {ROOT_MAX} bytes").context(cannot())));
    }
    Ok(bytes)
}
