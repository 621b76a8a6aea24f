//! Registry hosts and repository names, canonical from birth.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest repository path we take, with Docker Hub's `library/`. The distribution spec lets clients limit host + path to 255.
pub const PATH_MAX: usize = 255;

/// A registry as operators and clients name it: a host with an optional port, in lower case.
///
/// It is a name to look up among the configured upstreams, never an address to dial. Docker Hub's
/// aliases (`index.docker.io`, `registry-1.docker.io`) become `docker.io`. Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Registry(Arc<str>);

/// Why a text is not a registry or repository name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The host has characters that no host has.
    #[error("`{0}` is not a registry host")]
    Host(String),
    /// The port is not a number from 1 to 65535.
    #[error("`{0}` has no valid port")]
    Port(String),
    /// The path breaks the distribution spec's grammar.
    #[error(
        "`{0}` is not a repository name (lower-case components of letters, digits, `.`, `_` and `-`, separated by `/`)"
    )]
    Path(String),
    /// More than [`PATH_MAX`] characters.
    #[error("repository name is longer than {PATH_MAX} characters")]
    TooLong,
}

impl Registry {
    /// Docker Hub.
    pub fn docker_hub() -> Self {
        Self("docker.io".into())
    }

    /// Whether this is Docker Hub, whose one-component names belong to `library/`.
    pub fn is_docker_hub(&self) -> bool {
        &*self.0 == "docker.io"
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Registry {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let lower = text.to_ascii_lowercase();
        let (host, port) = match lower.rsplit_once(':') {
            Some((host, port)) if !lower.ends_with(']') => (host, Some(port)),
            _ => (lower.as_str(), None),
        };
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let valid = match bracketed {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.len() <= 253
                    && host.split('.').all(|label| {
                        !label.is_empty()
                            && !label.starts_with('-')
                            && !label.ends_with('-')
                            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                    })
            }
        };
        if !valid {
            return Err(NameError::Host(cut(text)));
        }
        if let Some(port) = port
            && (port.is_empty()
                || !port.bytes().all(|b| b.is_ascii_digit())
                || port.parse::<u16>().map_or(true, |p| p == 0))
        {
            return Err(NameError::Port(cut(text)));
        }
        Ok(match lower.as_str() {
            "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => Self::docker_hub(),
            _ => Self(lower.into()),
        })
    }
}

/// A repository of one registry. Always valid and canonical; safe as a key, as a path and in a log. Clones share the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    registry: Registry,
    path: Arc<str>,
}

impl Repository {
    /// Checks `path` against the distribution spec's grammar for `<name>`; Docker Hub's short names
    /// get their `library/`.
    pub fn new(registry: Registry, path: &str) -> Result<Self, NameError> {
        let library = if registry.is_docker_hub() && !path.contains('/') { "library/" } else { "" };
        if library.len() + path.len() > PATH_MAX {
            return Err(NameError::TooLong);
        }
        if !path.split('/').all(is_component) {
            return Err(NameError::Path(cut(path)));
        }
        let path = if library.is_empty() { path.into() } else { format!("{library}{path}").into() };
        Ok(Self { registry, path })
    }

    /// The registry that holds it.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The path below the registry, as its own API takes it.
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    let mut last_was_word = false;
    for b in text.bytes() {
        if alphanumeric(b) {
            let known = matches!(separator.as_str(), "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
            if !known || (!separator.is_empty() && !last_was_word) {
                return false;
            }
            separator.clear();
            last_was_word = true;
        } else if matches!(b, b'.' | b'_' | b'-') && last_was_word {
            separator.push(char::from(b));
        } else {
            return false;
        }
    }
    last_was_word && separator.is_empty()
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registry({self})")
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({self})")
    }
}

impl FromStr for Repository {
    type Err = NameError;

    /// `host/path`; the host must be written out.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (host, path) = text.split_once('/').ok_or_else(|| NameError::Path(cut(text)))?;
        Self::new(host.parse()?, path)
    }
}

impl Serialize for Repository {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Repository {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn docker_hub_has_one_name() {
        for alias in ["docker.io", "index.docker.io", "registry-1.docker.io", "Docker.IO"] {
            let registry: Registry = alias.parse().unwrap();
            assert_eq!(Repository::new(registry, "alpine").unwrap().to_string(), "docker.io/library/alpine");
        }
    }

    #[test]
    fn odd_hosts_are_refused() {
        for bad in [
            "", ":5000", "a..b", "-a", "a-", "a:0", "a:65536", "a:", "a:x", "a b", "a/b", "[::1", "[zz]", "a@b",
            "é.fr", "a:+80",
        ] {
            assert!(bad.parse::<Registry>().is_err(), "{bad}");
        }
        for good in ["localhost", "localhost:5000", "127.0.0.1:80", "[::1]:5000", "ghcr.io", "a_b"] {
            assert!(good.parse::<Registry>().is_ok(), "{good}");
        }
    }

    #[test]
    fn odd_paths_are_refused() {
        let hub: Registry = "ghcr.io".parse().unwrap();
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a/../b", "..", ".", "a._b", "a___b", "_a", "a_", "a b", "a%2fb", "a:b",
            "a\0", "é",
        ] {
            assert!(Repository::new(hub.clone(), bad).is_err(), "{bad}");
        }
        for good in ["a", "a/b", "a-b", "a--b", "a__b", "a.b", "0", "a---b/c_d"] {
            assert!(Repository::new(hub.clone(), good).is_ok(), "{good}");
        }
        assert!(Repository::new(hub.clone(), &"a".repeat(255)).is_ok());
        assert_eq!(Repository::new(hub, &"a".repeat(256)), Err(NameError::TooLong));
    }

    #[test]
    fn a_short_name_is_as_long_as_it_is_written_out() {
        let longest = "a".repeat(PATH_MAX - "library/".len());
        let repository = Repository::new(Registry::docker_hub(), &longest).unwrap();
        assert_eq!(repository.to_string().parse::<Repository>(), Ok(repository));
        assert_eq!(Repository::new(Registry::docker_hub(), &format!("{longest}a")), Err(NameError::TooLong));
    }

    proptest! {
        #[test]
        fn a_repository_parses_what_it_prints(host in "[a-z]{1,8}(\\.[a-z]{2,5}){0,2}(:[1-9][0-9]{0,3})?", path in "[a-z0-9]{1,5}([._/-][a-z0-9]{1,5}){0,4}") {
            let repository = Repository::new(host.parse().unwrap(), &path).unwrap();
            prop_assert_eq!(repository.to_string().parse::<Repository>(), Ok(repository));
        }

        #[test]
        fn nothing_that_parses_can_leave_a_folder(text in "[a-zA-Z0-9./_%:@-]{0,40}") {
            if let Ok(repository) = text.parse::<Repository>() {
                prop_assert!(!repository.path().split('/').any(|c| c == ".." || c == "." || c.is_empty()));
            }
        }
    }
}
