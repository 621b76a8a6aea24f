//! The command line of `assay trust`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// What to do with trust material.
#[derive(Clone, Debug, Subcommand)]
pub enum TrustCommand {
    /// Show the authorities and logs of a trusted root
    Show {
        /// A trusted_root.json; public-good is the one that ships in this program
        #[arg(value_name = "FILE|public-good", default_value = crate::trust::PUBLIC_GOOD)]
        root: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Fetch the newest trusted_root.json over TUF, and replace FILE if it differs
    Update(UpdateArgs),
    /// Show what changed from one trusted root to another; both read: exit code 0, whatever changed
    Diff {
        /// A trusted_root.json, or public-good
        #[arg(value_name = "OLD")]
        old: PathBuf,
        /// A trusted_root.json, or public-good
        #[arg(value_name = "NEW")]
        new: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// `assay trust update`.
#[derive(Clone, Debug, clap::Args)]
pub struct UpdateArgs {
    /// Whose trust material; their TUF root metadata ships in this program
    #[arg(long, value_name = "NAME", default_value = "public-good", conflicts_with = "initial_root")]
    pub root: RootName,
    /// A mirror of it; with --initial-root, any other TUF repository
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,
    /// TUF root.json with which trust begins; get it by a way that you trust
    #[arg(long, value_name = "FILE", requires = "mirror")]
    pub initial_root: Option<PathBuf>,
    /// The file to replace
    #[arg(short, long, value_name = "FILE", default_value = "trusted_root.json")]
    pub output: PathBuf,
    /// Where verified TUF metadata is kept, so that versions never go backwards; else FILE.tuf
    #[arg(long, value_name = "DIR")]
    pub metadata: Option<PathBuf>,
    /// PEM certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Longest that it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub deadline: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The public Sigstore instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RootName {
    /// sigstore.dev
    PublicGood,
    /// sigstage.dev
    Staging,
    /// GitHub's own, for attestations of private repositories
    #[value(name = "github")]
    GitHub,
}

impl UpdateArgs {
    /// Where verified metadata is kept.
    pub fn metadata_folder(&self) -> PathBuf {
        self.metadata.clone().unwrap_or_else(|| {
            let mut beside = self.output.clone().into_os_string();
            beside.push(".tuf");
            beside.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Args, Command};
    use super::*;
    use clap::Parser as _;

    fn parse(line: &str) -> Result<TrustCommand, clap::Error> {
        Args::try_parse_from(line.split(' ')).map(|args| match args.command {
            Command::Trust { command } => command,
            other => panic!("{other:?}"),
        })
    }

    fn update(line: &str) -> UpdateArgs {
        match parse(line).unwrap() {
            TrustCommand::Update(update) => update,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commands_as_people_write_them() {
        assert!(matches!(parse("assay trust show"), Ok(TrustCommand::Show { root, json: false })
            if root.to_str() == Some("public-good")));
        assert!(matches!(parse("assay trust diff a b --json"), Ok(TrustCommand::Diff { json: true, .. })));
        let plain = update("assay trust update");
        assert_eq!((plain.root, plain.deadline), (RootName::PublicGood, 60));
        assert_eq!(plain.metadata_folder().to_str(), Some("trusted_root.json.tuf"));
        let other = update("assay trust update --mirror https://a --initial-root r -o /etc/x.json --metadata m");
        assert_eq!(other.metadata_folder().to_str(), Some("m"));
        assert!(update("assay trust update --root staging --mirror https://a").initial_root.is_none());
        assert_eq!(update("assay trust update --root github").root, RootName::GitHub);
    }

    #[test]
    fn half_a_repository_is_none() {
        for line in [
            "assay trust",
            "assay trust update --initial-root r",
            "assay trust update --root staging --mirror https://a --initial-root r",
            "assay trust update --root other",
            "assay trust update --deadline 0",
            "assay trust diff a",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
