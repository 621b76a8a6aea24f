//! The checked form: only parsed types, every file read, every default filled in.
//!
//! Each part of the program takes its own small options; the composition root makes them from this.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::oci::{Registry, Repository};
use crate::secret::Secret;
use crate::size::Size;
use crate::trust::{Pattern, Policy, TrustRoot};

use super::check;
use super::env::Override;
use super::finding::{Finding, Problems, Warning};
use super::read::{FILE_MAX, read};
use super::source::Sources;

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What messages call it: the path of the file, or `builtin.toml`.
    pub name: String,
    /// Environment variables that changed something.
    pub overrides: Vec<Override>,
    /// Where clients connect.
    pub server: Server,
    /// What we mirror. Never empty; no registry twice.
    pub upstreams: Vec<Upstream>,
    /// How we reach upstreams.
    pub network: Network,
    /// Who must have signed what.
    pub policy: Policy,
    /// The trusted root of policies that name none.
    pub default_root: TrustRoot,
    /// Files that were read: the configuration file, if there is one, and all that it names: trusted roots, keys,
    /// certificates, passwords. When one of them changes, settings should be read anew. None twice.
    pub files: Vec<PathBuf>,
    /// Where content is kept, and how much of it.
    pub cache: Cache,
    /// The listener for health and metrics.
    pub admin_listen: SocketAddr,
    /// What is logged, and how.
    pub log: Log,
    /// Bounds on work.
    pub limits: Limits,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Addresses to listen on. Never empty, unless `inherited`.
    pub listen: Vec<SocketAddr>,
    /// `"systemd"`: listen on the sockets that the service manager passes.
    pub inherited: bool,
    /// For clients that name no registry. One of the upstreams.
    pub default_upstream: Option<Registry>,
    /// How long running downloads may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// More connections wait to be accepted.
    pub max_connections: usize,
    /// Whether the HTTP/1.1 status line of a refusal says why.
    pub deny_reason: bool,
    /// Plain HTTP without it.
    pub tls: Option<Tls>,
}

/// `[server.tls]`: what stood in the two files. Whether they belong together is for the listener to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain in PEM, ours first.
    pub chain: String,
    /// Its private key in PEM.
    pub key: Secret,
}

/// `[upstream."NAME"]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The name clients use.
    pub registry: Registry,
    /// Scheme, host and port; nothing else.
    pub url: Url,
    /// PEM certificates to trust besides the system's.
    pub ca: Option<Vec<u8>>,
    /// How we log in.
    pub credentials: Credentials,
    /// Further hosts that may be asked for tokens, and so get the credentials.
    pub token_realms: Vec<HostPort>,
    /// Further hosts that a redirect may lead to.
    pub redirect_hosts: Vec<HostPort>,
    /// Where signatures lie, if not beside the image: a repository of one of the upstreams.
    pub signatures_in: Option<Repository>,
    /// How long where a tag led is used again without asking. Zero: never.
    pub tag_ttl: Duration,
    /// How long it is used where upstream is away. Zero: never.
    pub stale_if_error: Duration,
}

/// How we log in to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    None,
    /// With what `docker login` stored.
    DockerConfig,
    /// With a user and a password read from a file.
    Login {
        /// Without a colon.
        username: String,
        /// Not empty.
        password: Secret,
    },
}

/// A host, perhaps with a port. Prints as it is written in the file, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address.
    pub host: url::Host,
    /// Not 0.
    pub port: Option<u16>,
}

/// `[network]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The HTTP proxy in between.
    pub proxy: Proxy,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait between two bytes.
    pub read_timeout: Duration,
    /// How often a failed request is sent again.
    pub retries: u32,
}

/// The HTTP proxy between us and upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// What `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    Env,
    /// None, whatever the environment says.
    None,
    /// This one. Holds no password.
    Url(Url),
}

/// `[cache]`
#[derive(Clone, Debug)]
pub struct Cache {
    /// The folder; only we write there.
    pub dir: PathBuf,
    /// Most that is stored.
    pub max_size: Size,
    /// So much of the file system stays free.
    pub min_free: Size,
    /// Images of these repositories are never evicted.
    pub keep: Vec<Pattern>,
    /// How what is kept is checked again.
    pub integrity: Integrity,
}

/// The keys of `[cache]` about checking again what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Integrity {
    /// When stored content is hashed on its way out.
    pub verify_reads: VerifyReads,
    /// How often everything stored is hashed again beside the work, if at all.
    pub scrub: Option<Duration>,
    /// How often cached images are proven again besides when the policy changes, if at all.
    pub reverify: Option<Duration>,
}

/// When stored content is hashed on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyReads {
    /// When it was not hashed since it last changed, as far as its file tells.
    OnChange,
    /// Always.
    Always,
}

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// From which level on.
    pub level: LogLevel,
    /// Whether each request gets a line.
    pub access: bool,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text.
    Text,
    /// JSON.
    Json,
}

/// From which level on is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// A person must look.
    Error,
    /// Somebody may have to look.
    Warn,
    /// What happened.
    Info,
    /// Why it happened.
    Debug,
    /// Everything.
    Trace,
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time for finding and checking the signatures of one image.
    pub signature_deadline: Duration,
    /// Most downloads from all upstreams at once.
    pub concurrent_fetches: usize,
    /// Most of them from one upstream.
    pub fetches_per_upstream: usize,
    /// Most requests for tags, manifests and signatures to one upstream at once.
    pub requests_per_upstream: usize,
}

impl LogLevel {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

impl Settings {
    /// Reads a file and the environment.
    ///
    /// # Errors
    /// All problems of the file, the variables and the files it names.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), Problems> {
        let name = path.display().to_string();
        // More is said to be too much, and not read.
        let beginning = |file: fs::File| {
            let mut text = String::new();
            file.take(FILE_MAX as u64 + 1).read_to_string(&mut text).map(|_| text)
        };
        let text = fs::File::open(path).and_then(beginning).map_err(|error| {
            let mut finding = Finding::new(None, &format!("cannot read {name}: {error}"), None);
            finding.help("name another file with -c FILE");
            Problems::one(finding)
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let (mut settings, warnings) = Self::from_sources(&name, &text, base, &environment())?;
        settings.files.insert(0, path.to_owned());
        Ok((settings, warnings))
    }

    /// As [`Self::load`], from an ordinary file only: a pipe in its place would be waited for, for ever.
    ///
    /// # Errors
    /// All problems of the file, the files it names, and the variables.
    pub fn load_again(path: &Path) -> Result<(Self, Vec<Warning>), Problems> {
        match fs::metadata(path) {
            Ok(about) if !about.is_file() => {
                let mut finding = Finding::new(None, &format!("cannot read {}: not a file", path.display()), None);
                finding.help("put an ordinary file there: write a new one beside it and rename it");
                Err(Problems::one(finding))
            }
            _ => Self::load(path),
        }
    }

    /// Without a file: loopback, five public registries, and nothing is blocked. The environment counts.
    ///
    /// # Errors
    /// All problems of the variables.
    pub fn builtin() -> Result<(Self, Vec<Warning>), Problems> {
        Self::from_sources("builtin.toml", include_str!("builtin.toml"), Path::new(""), &environment())
    }

    /// Reads a text alone. Relative paths in it start at `base`.
    ///
    /// # Errors
    /// All problems of the text and the files it names.
    pub fn from_text(name: &str, text: &str, base: &Path) -> Result<(Self, Vec<Warning>), Problems> {
        Self::from_sources(name, text, base, &[])
    }

    /// Reads a text with these environment variables over it.
    ///
    /// # Errors
    /// All problems of the text, the variables and the files they name.
    pub fn from_sources(
        name: &str,
        text: &str,
        base: &Path,
        variables: &[(String, String)],
    ) -> Result<(Self, Vec<Warning>), Problems> {
        let mut sources = Sources::of_file(name, text);
        let read = read(text, base, variables, &mut sources)?;
        check::settings(name, read)
    }
}

/// What is not UTF-8 is no value of ours, and is refused as one instead of passed over.
fn environment() -> Vec<(String, String)> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
}
