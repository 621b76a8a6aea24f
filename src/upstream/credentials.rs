//! Where our own login for a registry comes from.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};
use http::HeaderValue;
use moka::future::Cache;
use tokio::sync::Semaphore;

use super::options::Credentials;
use crate::oci::Registry;
use crate::secret::Secret;

/// How long a login from a helper is used; helpers hand out short-lived ones too.
const LOGIN_TTL: Duration = Duration::from_secs(5 * 60);
/// How long a helper may take. Some ask a cloud's API.
const HELPER_TIMEOUT: Duration = Duration::from_secs(10);
/// What helpers say when they have nothing (docker-credential-helpers, `credentials/error.go`).
const HELPER_HAS_NONE: &str = "credentials not found in native keychain";

/// A user name and a password.
#[derive(Clone, Debug)]
pub(super) struct Login {
    username: String,
    password: Secret,
}

/// No login to be had, though there should be one. The text holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct LoginError(String);

/// The source of one upstream's login.
pub(super) enum Logins {
    /// Known, or known to be none.
    Fixed(Option<Login>),
    /// Docker's configuration, read again from time to time.
    Docker(DockerLogins),
}

pub(super) struct DockerLogins {
    server: String,
    config: Option<PathBuf>,
    cache: Cache<(), Option<Login>>,
    /// A helper that hangs must not pile up threads: one at a time.
    running: Arc<Semaphore>,
}

impl Login {
    /// The `Authorization` header.
    ///
    /// # Errors
    /// When the user name has a colon, which Basic cannot express.
    pub(super) fn header(&self) -> Result<HeaderValue, LoginError> {
        if self.username.contains(':') {
            return Err(LoginError("the user name has a colon".to_owned()));
        }
        let pair = STANDARD.encode(format!("{}:{}", self.username, self.password.expose()));
        let mut header = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 is plain ASCII");
        header.set_sensitive(true);
        Ok(header)
    }
}

impl Logins {
    pub(super) fn new(credentials: &Credentials, registry: &Registry) -> Self {
        match credentials {
            Credentials::None => Self::Fixed(None),
            Credentials::Basic { username, password } => {
                Self::Fixed(Some(Login { username: username.clone(), password: password.clone() }))
            }
            Credentials::DockerConfig => Self::Docker(DockerLogins {
                // The one entry that is not filed under the registry's host.
                server: if registry.is_docker_hub() {
                    "https://index.docker.io/v1/".to_owned()
                } else {
                    registry.as_str().to_owned()
                },
                config: config_path(),
                cache: Cache::builder().max_capacity(1).time_to_live(LOGIN_TTL).build(),
                running: Arc::new(Semaphore::new(1)),
            }),
        }
    }

    /// The login, `None` for anonymous. Callers at the same time share one look-up. Cancel safe.
    pub(super) async fn login(&self) -> Result<Option<Login>, LoginError> {
        match self {
            Self::Fixed(login) => Ok(login.clone()),
            Self::Docker(docker) => {
                docker.cache.try_get_with((), docker.look_up()).await.map_err(|error| (*error).clone())
            }
        }
    }
}

impl DockerLogins {
    async fn look_up(&self) -> Result<Option<Login>, LoginError> {
        let Some(config) = self.config.clone() else {
            return Ok(None);
        };
        let busy = || LoginError(format!("the docker credential helper did not answer within {HELPER_TIMEOUT:?}"));
        let permit = Arc::clone(&self.running).try_acquire_owned().map_err(|_| busy())?;
        let server = self.server.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // Held until the helper ends, also when nobody waits any more.
            let _permit = permit;
            read(&config, &server)
        });
        match tokio::time::timeout(HELPER_TIMEOUT, reading).await {
            Err(_) => Err(busy()),
            Ok(Err(_)) => Err(LoginError("reading the docker credentials failed".to_owned())),
            Ok(Ok(login)) => login,
        }
    }
}

/// `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
fn config_path() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker")))?;
    Some(folder.join("config.json"))
}

/// Reads the login for `server`; may run a helper and block.
fn read(config: &Path, server: &str) -> Result<Option<Login>, LoginError> {
    let file = match File::open(config) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LoginError(format!("cannot read {}: {error}", config.display()))),
    };
    match docker_credential::get_credential_from_reader(io::BufReader::new(file), server) {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            Ok(Some(Login { username, password: Secret::new(password) }))
        }
        Ok(DockerCredential::IdentityToken(_)) => Err(LoginError(format!(
            "docker has an identity token for {server}, which is not supported; log in with a user name and an access token"
        ))),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.trim() == HELPER_HAS_NONE => Ok(None),
        // What a helper printed may be a secret; its name is enough to go and look.
        Err(CredentialRetrievalError::HelperFailure { helper, .. }) => Err(LoginError(format!("`{helper}` failed"))),
        Err(error) => Err(LoginError(format!("{}: {error}", config.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_config(json: &str, server: &str) -> Result<Option<(String, String)>, LoginError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, json).unwrap();
        read(&path, server).map(|login| login.map(|l| (l.username, l.password.expose().to_owned())))
    }

    #[test]
    fn docker_config_entries_are_found_by_exact_host() {
        let json = r#"{"auths":{"reg.example:5000":{"auth":"bWU6c2VjcmV0"},"https://index.docker.io/v1/":{"auth":"aHViOnB3"}}}"#;
        let me = Some(("me".to_owned(), "secret".to_owned()));
        assert_eq!(with_config(json, "reg.example:5000"), Ok(me));
        assert_eq!(with_config(json, "https://index.docker.io/v1/"), Ok(Some(("hub".to_owned(), "pw".to_owned()))));
        for other in ["reg.example", "reg.example:500", "sub.reg.example:5000", "reg.example:5000.evil.example"] {
            assert_eq!(with_config(json, other), Ok(None), "{other}");
        }
    }

    #[test]
    fn what_is_unusable_says_so_without_its_secret() {
        let token = r#"{"auths":{"reg.example":{"identitytoken":"hunter2"}}}"#;
        let error = with_config(token, "reg.example").unwrap_err().to_string();
        assert!(error.contains("identity token") && !error.contains("hunter2"), "{error}");
        assert!(with_config("{", "reg.example").is_err());
        assert!(with_config(r#"{"auths":{"reg.example":{"auth":"!"}}}"#, "reg.example").is_err());
        assert!(with_config(r#"{"credHelpers":{"reg.example":"assay-no-such-helper"}}"#, "reg.example").is_err());
        assert!(matches!(read(Path::new("/nonexistent/config.json"), "reg.example"), Ok(None)));
    }

    #[test]
    fn the_header_is_basic_and_hidden() {
        let login = Login { username: "me".to_owned(), password: Secret::new("secret") };
        let header = login.header().unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic bWU6c2VjcmV0");
        assert_eq!(format!("{header:?}"), "Sensitive");
        assert!(Login { username: "a:b".to_owned(), ..login }.header().is_err());
    }
}
