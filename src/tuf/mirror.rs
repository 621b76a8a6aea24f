//! Asks a mirror for files: the only file here that knows the HTTP client.
//!
//! Reads at most what it is told to, follows redirects within the mirror's host only, decodes nothing, and always
//! verifies certificates. Whether the bytes are true is not decided here.

use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use sigstore_tuf::Repository;
use sigstore_tuf::transport::FetchFuture;
use url::Url;

use super::{MirrorError, Source, TufError};

/// Longest wait for a connection: name, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait between two bytes; the whole update has a deadline besides.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A web server that moves a folder needs one or two.
const REDIRECTS_MAX: usize = 3;

/// One TUF repository on a web server: metadata in its folder, targets in `targets/` below.
pub(super) struct Mirror {
    base: Url,
    client: reqwest::Client,
}

impl Mirror {
    /// `ca` are PEM certificates to trust besides the system's. The proxy is the environment's.
    ///
    /// # Errors
    /// `Setup` when a certificate or the environment's proxy cannot be used.
    pub(super) fn new(source: &Source, ca: &[Vec<u8>]) -> Result<Self, TufError> {
        let mut certificates = Vec::new();
        for pem in ca {
            let read = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if read.is_empty() {
                return Err(TufError::Setup("the CA file holds no PEM certificate that can be used".to_owned()));
            }
            certificates.extend(read);
        }
        let built = match certificates.is_empty() {
            false => builder().tls_certs_merge(certificates).build(),
            true => match builder().build() {
                // A machine without system certificates can still ask over plain HTTP.
                Err(_) if source.url.scheme() == "http" => builder().tls_certs_only([]).build(),
                built => built,
            },
        };
        let client =
            built.map_err(|error| TufError::Setup(format!("cannot set up the HTTP client: {}", told(&error))))?;
        Ok(Self { base: source.url.clone(), client })
    }

    /// The file, or `None` when it would be the next root and there is none.
    async fn get(&self, folder: &str, name: &str, limit: u64) -> Result<Option<Vec<u8>>, MirrorError> {
        if !is_plain(name) {
            return Err(MirrorError::OddName(name.to_owned()));
        }
        let odd = |_| MirrorError::OddName(name.to_owned());
        let url = self.base.join(folder).and_then(|base| base.join(name)).map_err(odd)?;
        let unreachable =
            |error: reqwest::Error| MirrorError::Unreachable { url: url.clone(), source: error.without_url().into() };
        let mut answer = self.client.get(url.clone()).send().await.map_err(unreachable)?;
        match answer.status().as_u16() {
            200 => {}
            // Only the end of the chain of roots is found by asking for what is not there; some object stores
            // then say 403.
            404 | 403 if is_root(name) => return Ok(None),
            status => return Err(MirrorError::Status { url, status }),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(MirrorError::TooLong { url, limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    fn fetch<'a>(&'a self, folder: &'a str, name: &'a str, limit: u64) -> FetchFuture<'a> {
        Box::pin(async move {
            let failed = |error: MirrorError| sigstore_tuf::Error::transport_with_source(name, error);
            self.get(folder, name, limit).await.map_err(failed)
        })
    }
}

impl Repository for Mirror {
    fn fetch_metadata<'a>(&'a self, name: &'a str, max_length: u64) -> FetchFuture<'a> {
        self.fetch("", name, max_length)
    }

    fn fetch_target<'a>(&'a self, path: &'a str, max_length: u64) -> FetchFuture<'a> {
        self.fetch("targets/", path, max_length)
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(Policy::custom(|attempt| match redirect_is_fine(&attempt) {
            true => attempt.follow(),
            false => attempt.error("it redirects elsewhere; if that is right, name that URL as the mirror"),
        }))
}

/// A mirror cannot send us to other hosts (perhaps internal ones), nor from TLS to plain HTTP.
fn redirect_is_fine(attempt: &Attempt<'_>) -> bool {
    let to = attempt.url();
    attempt.previous().len() <= REDIRECTS_MAX
        && attempt.previous().iter().all(|from| {
            let same_place = from.scheme() == to.scheme() && from.port_or_known_default() == to.port_or_known_default();
            from.host_str() == to.host_str() && (same_place || to.scheme() == "https")
        })
}

/// One step of a path, made of letters that mean only themselves. Metadata chooses these names.
fn is_plain(name: &str) -> bool {
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~' | b'%');
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(letters)
}

fn is_root(name: &str) -> bool {
    name.strip_suffix(".root.json").is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit()))
}

/// An error and its causes, on one line.
fn told(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for plain in ["2.root.json", "timestamp.json", "3.team%2Fa.json", "abcd.trusted_root.json"] {
            assert!(is_plain(plain), "{plain}");
        }
        for odd in ["", "..", "../x", "/x", "a/b", ".hidden", "http://a", "a?b", "a#b", "a\\b", "ä"] {
            assert!(!is_plain(odd), "{odd}");
        }
        assert!(is_root("12.root.json") && !is_root("12.timestamp.json") && !is_root("../2.root.json"));
    }
}
