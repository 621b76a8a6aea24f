//! The command tree, and where the configuration is looked for.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use super::exit;
use super::image_argument::ImageArgument;
use super::signer_args::SignerArgs;
use super::trust_args::TrustCommand;
use crate::oci::ImageName;

/// Where a configuration is looked for when none is named.
const PLACES: [&str; 2] = ["proxy.toml", "/etc/assay/proxy.toml"];

/// A verifying pull-through cache for OCI registries: nothing unverified is ever served.
#[derive(Clone, Debug, Parser)]
#[command(name = "assay", version, after_help = exit::HELP, max_term_width = 100)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,

    /// Say less: only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Whether output is coloured; colour never carries meaning
    #[arg(long = "color", global = true, value_name = "WHEN", default_value = "auto")]
    pub colour: Colour,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the proxy; without a configuration file on 127.0.0.1:5050, and nothing is blocked
    Serve {
        /// Where the configuration is
        #[command(flatten)]
        input: Input,
        /// Listen here instead of on server.listen; may be repeated
        #[arg(long, value_name = "ADDRESS:PORT")]
        listen: Vec<SocketAddr>,
    },
    /// Show what the proxy does, with images of its own: no network and no configuration needed
    Demo {
        /// Run through all cases and end, instead of staying up for your own tries
        #[arg(long)]
        once: bool,
        /// Port on 127.0.0.1
        #[arg(long, default_value_t = 5050)]
        port: u16,
    },
    /// Check the configuration and everything it names
    Check {
        /// Where the configuration is
        #[command(flatten)]
        input: Input,
    },
    /// Check an image's signatures, by signers named here or by the configured policy
    Verify {
        /// The image
        #[command(flatten)]
        image: ImageArgs,
        /// Who must have signed
        #[command(flatten)]
        signers: Box<SignerArgs>,
        /// Do not look through the repository's tags for an index that names a platform's manifest
        #[arg(long)]
        no_find_parent: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Where the configuration is
        #[command(flatten)]
        input: Input,
    },
    /// Show what the proxy would decide about an image, and why; nothing is cached
    Explain {
        /// The image
        #[command(flatten)]
        image: ImageArgs,
        /// Use the policies of this file instead
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Where the configuration is
        #[command(flatten)]
        input: Input,
    },
    /// Make room in the cache folder while the server is stopped, and put its account right
    Gc {
        /// Say what would go, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Leave no more than this, such as 80GiB; without it, what [cache] max_size and min_free allow
        #[arg(long, value_name = "SIZE", value_parser = crate::size::parse_bytes)]
        target: Option<u64>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Where the configuration is
        #[command(flatten)]
        input: Input,
    },
    /// Hash everything stored again, and take away what is not right; while the proxy is stopped
    Scrub {
        /// Remove it instead of moving it to `quarantine` in the cache folder
        #[arg(long)]
        delete: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
        /// Where the configuration is
        #[command(flatten)]
        input: Input,
    },
    /// Show trust material, compare it, and bring it up to date
    Trust {
        /// What to do
        #[command(subcommand)]
        command: TrustCommand,
    },
    /// Print the version
    Version,
}

/// Which image is meant.
#[derive(Clone, Debug, clap::Args)]
pub struct ImageArgs {
    /// Such as ghcr.io/acme/api:1.4 or nginx@sha256:…; http://host:port/name:tag asks without TLS; oci:DIR,
    /// oci:DIR:tag or oci:DIR@sha256:… is in an OCI image layout folder
    pub image: ImageArgument,
    /// The name that an image in a layout folder goes by, so that policies can be about it
    #[arg(long = "as", value_name = "NAME")]
    pub known_as: Option<ImageName>,
}

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
pub struct Input {
    /// Configuration; else ./proxy.toml, else /etc/assay/proxy.toml, else a built-in one that blocks nothing
    #[arg(short, long, value_name = "FILE", env = "ASSAY_CONFIG")]
    pub config: Option<PathBuf>,
}

impl Args {
    /// The level of the log when the configuration says `configured`.
    pub fn level(&self, configured: &'static str) -> &'static str {
        match (self.quiet, self.verbose) {
            (true, _) => "warn",
            (false, 0) => configured,
            (false, 1) => "debug",
            (false, _) => "trace",
        }
    }
}

impl Colour {
    /// Whether a stream that is a terminal, or is none, gets colour.
    pub fn on(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// The configuration to read: the one named, else the first that is there. `None` means the built-in.
pub fn config_file(named: Option<&Path>) -> Option<PathBuf> {
    first_there(named, &PLACES.map(Path::new))
}

fn first_there(named: Option<&Path>, places: &[&Path]) -> Option<PathBuf> {
    // A file that is there but cannot be read must not be passed over: what runs instead blocks nothing.
    let is_there = |path: &Path| !matches!(path.symlink_metadata(), Err(e) if e.kind() == io::ErrorKind::NotFound);
    named.or_else(|| places.iter().copied().find(|path| is_there(path))).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use insta::assert_snapshot;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_tree_is_sound() {
        Args::command().debug_assert();
        assert_snapshot!(Args::command().render_long_help().to_string(), @r#"
    A verifying pull-through cache for OCI registries: nothing unverified is ever served

    Usage: assay [OPTIONS] <COMMAND>

    Commands:
      serve    Run the proxy; without a configuration file on 127.0.0.1:5050, and nothing is blocked
      demo     Show what the proxy does, with images of its own: no network and no configuration needed
      check    Check the configuration and everything it names
      verify   Check an image's signatures, by signers named here or by the configured policy
      explain  Show what the proxy would decide about an image, and why; nothing is cached
      gc       Make room in the cache folder while the server is stopped, and put its account right
      scrub    Hash everything stored again, and take away what is not right; while the proxy is stopped
      trust    Show trust material, compare it, and bring it up to date
      version  Print the version
      help     Print this message or the help of the given subcommand(s)

    Options:
      -q, --quiet
              Say less: only warnings and errors

      -v, --verbose...
              Say more; twice for everything

          --color <WHEN>
              Whether output is coloured; colour never carries meaning

              Possible values:
              - auto:   On a terminal, unless NO_COLOR is set
              - always: Always
              - never:  Never
              
              [default: auto]

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Exit codes:
        0  ok
        1  internal error
        2  bad usage or configuration
        3  refused by policy, or not verified
        4  no such image, tag or file
        5  upstream or network unavailable: says nothing about the image, trying again may help
        7  content is not what its digest says, or trust material does not verify
      130  interrupted
    "#);
    }

    #[test]
    fn commands_as_people_write_them() {
        let args = parse("assay serve -c a.toml --listen 0.0.0.0:80 --listen [::]:80 -vv").unwrap();
        let Command::Serve { input, listen } = &args.command else { panic!("{args:?}") };
        assert_eq!((input.config.as_deref(), listen.len()), (Some(Path::new("a.toml")), 2));
        assert_eq!(args.level("info"), "trace");
        let args = parse("assay verify nginx --key a.pub --key b.pub --json --color never").unwrap();
        let Command::Verify { image, signers, json, .. } = &args.command else { panic!("{args:?}") };
        let shown = image.image.to_string();
        assert_eq!((shown.as_str(), signers.keys.len(), *json), ("docker.io/library/nginx:latest", 2, true));
        assert!(!args.colour.on(true));
        assert_eq!(parse("assay -q check").unwrap().level("info"), "warn");
        assert!(matches!(parse("assay demo --once").unwrap().command, Command::Demo { once: true, port: 5050 }));
    }

    #[test]
    fn bad_lines_exit_with_2() {
        for line in [
            "assay",
            "assay bake",
            "assay gc --target 80",
            "assay gc --target 10%",
            "assay verify",
            "assay verify Nginx",
            "assay serve --listen x",
            "assay -q -v check",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_first_configuration_that_is_there_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (absent, there, dangling) = (path("absent"), path("there"), path("dangling"));
        std::fs::write(&there, "").unwrap();
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        let named = Path::new("named");
        assert_eq!(first_there(Some(named), &[&there]).as_deref(), Some(named), "even if it is not there");
        assert_eq!(first_there(None, &[&absent, &there]), Some(there.clone()));
        assert_eq!(first_there(None, &[&dangling, &there]), Some(dangling.clone()), "broken is not absent");
        assert_eq!(first_there(None, &[&absent]), None);
    }
}
