//! What an operator says about upstreams: settings, already parsed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::oci::{Registry, Repository};
use crate::secret::Secret;

/// One registry that we may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamOptions {
    /// The name under which clients ask for it.
    pub registry: Registry,
    /// Where it is: `http` or `https`, a host, perhaps a port and a path in front of `/v2/`. Not looked
    /// at when there is a `folder`.
    pub url: Url,
    /// An OCI image layout on this machine, in the place of a registry: nothing is dialled.
    pub folder: Option<PathBuf>,
    /// PEM certificates to trust besides the system's. Nothing turns verification off.
    pub ca: Vec<Vec<u8>>,
    /// How we log in.
    pub credentials: Credentials,
    /// Further hosts (`host` or `host:port`) that may be asked for tokens, and so get the credentials.
    pub token_realms: Vec<String>,
    /// Further hosts (`host` or `host:port`) that a redirect may lead to, whatever their address.
    pub redirect_hosts: Vec<String>,
    /// Where signatures of all its images lie, when that is not beside each image: what cosign is told
    /// with `COSIGN_REPOSITORY`. May be on another configured registry.
    pub signatures_in: Option<Repository>,
    /// How old an answer about a tag may be.
    pub freshness: Freshness,
}

/// How old an answer about where a tag leads may be. What it leads to passes the gate in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// So long it is used again without asking. Zero: it never is.
    pub tag_ttl: Duration,
    /// So long it is used where upstream is away. Zero: it never is.
    pub stale_if_error: Duration,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            // One question for the HEAD and the GET of one pull and for a whole rollout; too short for somebody who
            // pushes a tag and pulls it again to notice.
            tag_ttl: Duration::from_secs(5),
            // A night and the morning after.
            stale_if_error: Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl UpstreamOptions {
    /// An upstream without credentials, trusting the system's certificates.
    pub fn new(registry: Registry, url: Url) -> Self {
        Self {
            registry,
            url,
            folder: None,
            ca: Vec::new(),
            credentials: Credentials::None,
            token_realms: Vec::new(),
            redirect_hosts: Vec::new(),
            signatures_in: None,
            freshness: Freshness::default(),
        }
    }

    /// An OCI image layout folder as an upstream: what `registry` names is looked for in `folder`.
    pub fn layout(registry: Registry, folder: impl Into<PathBuf>) -> Self {
        let url = Url::parse("file:///").expect("a valid URL");
        Self { folder: Some(folder.into()), ..Self::new(registry, url) }
    }
}

/// How we log in to a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Not at all.
    None,
    /// With what `docker login` stored; runs credential helpers. No entry means not at all.
    DockerConfig,
    /// With these.
    Basic {
        /// Without a colon.
        username: String,
        /// Or an access token, as registries have it.
        password: Secret,
    },
}

/// How we reach the network; the same for all upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkOptions {
    /// The HTTP proxy in between.
    pub proxy: Proxy,
    /// Longest wait for a connection: name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Longest wait between two bytes.
    pub read_timeout: Duration,
    /// How often a failed request is sent again.
    pub retries: u32,
    /// Most requests for small things (tags, manifests, signatures) at one time, to each upstream.
    pub requests_max: usize,
    /// Most blobs at one time, from each upstream.
    pub fetches_max: usize,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            proxy: Proxy::Env,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            retries: 3,
            // More would only queue up over there.
            requests_max: 64,
            fetches_max: 64,
        }
    }
}

/// The HTTP proxy in between.
///
/// A proxy resolves names itself, so the address rules then hold only for addresses written out in a
/// redirect; the proxy has to refuse internal names.
#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    Env,
    /// None, whatever the environment says.
    None,
    /// This one, except for what `NO_PROXY` lists. User and password may stand in it.
    Url(Url),
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env => f.write_str("Env"),
            Self::None => f.write_str("None"),
            // Only what cannot hold a password.
            Self::Url(url) => write!(f, "Url({}://{})", url.scheme(), url.host_str().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_does_not_print_its_password() {
        let proxy = Proxy::Url("http://me:hunter2@proxy.example:3128".parse().unwrap());
        assert_eq!(format!("{proxy:?}"), "Url(http://proxy.example)");
    }
}
