//! Logging in: from a challenge to an `Authorization` header, kept per repository.
//!
//! Credentials go to two places only: the upstream's own origin (Basic), and a token realm that the
//! upstream's own host, the operator or the short list here vouches for (CVE-2026-33540). We ask for
//! `pull` on the one repository, never for what the challenge suggests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method};
use moka::Expiry;
use moka::future::Cache;
use serde::Deserialize;
use url::Url;

use super::challenge::Challenge;
use super::credentials::Logins;
use super::error::{Asked, UpstreamError};
use super::guard::{Guard, Purpose, host_of};
use super::transport::{Request, Transport};
use crate::oci::{Registry, Repository};

/// Largest answer of a token service. Real tokens have a few KiB.
const TOKEN_BODY_MAX: u64 = 64 * 1024;
/// Most repositories whose login we remember.
const GRANTS_MAX: u64 = 10_000;
/// What a token lives at least, and when it says nothing (distribution's token specification).
const TOKEN_TTL_MIN: Duration = Duration::from_secs(60);
/// What we use a token for at most, so that a revoked login ends.
const TOKEN_TTL_MAX: Duration = Duration::from_secs(60 * 60);
/// How long before its end we stop using a token.
const EARLY: Duration = Duration::from_secs(10);
/// How long Basic is sent without being asked again.
const BASIC_TTL: Duration = Duration::from_secs(5 * 60);
/// Registries whose tokens come from another host, which is as much theirs.
const REALMS: [(&str, &str); 2] = [("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// A header that opens one repository for a while.
pub(super) struct Grant {
    header: HeaderValue,
    lasts: Duration,
}

/// One upstream's logins.
pub(super) struct Auth {
    registry: Registry,
    own: Url,
    transport: Arc<Transport>,
    guard: Arc<Guard>,
    logins: Logins,
    grants: Cache<String, Arc<Grant>>,
}

impl Grant {
    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }
}

impl Auth {
    pub(super) fn new(
        registry: Registry,
        own: Url,
        transport: Arc<Transport>,
        guard: Arc<Guard>,
        logins: Logins,
    ) -> Self {
        let grants = Cache::builder().max_capacity(GRANTS_MAX).expire_after(AsGranted).build();
        Self { registry, own, transport, guard, logins, grants }
    }

    /// What opened this repository before, if it still should.
    pub(super) async fn known(&self, repository: &Repository) -> Option<Arc<Grant>> {
        self.grants.get(repository.path()).await
    }

    /// Drops a grant that did not open. One that others got meanwhile stays.
    pub(super) async fn forget(&self, repository: &Repository, stale: &Arc<Grant>) {
        if self.known(repository).await.is_some_and(|known| Arc::ptr_eq(&known, stale)) {
            self.grants.invalidate(repository.path()).await;
        }
    }

    /// Answers the challenge of a 401 that the upstream's own origin sent. A crowd makes one request.
    /// Cancel safe: a waiter takes over.
    ///
    /// # Errors
    /// `Unauthorized`, `Blocked`, or what the request to the token service ended with.
    pub(super) async fn answer(
        &self,
        repository: &Repository,
        asked: &Asked,
        headers: &HeaderMap,
    ) -> Result<Arc<Grant>, UpstreamError> {
        let challenges: Vec<Challenge> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header| Challenge::parse_all(header.to_str().ok()?).ok())
            .flatten()
            .collect();
        let obtain = self.obtain(repository, asked, &challenges);
        self.grants.try_get_with(repository.path().to_owned(), obtain).await.map_err(|error| (*error).clone())
    }

    async fn obtain(
        &self,
        repository: &Repository,
        asked: &Asked,
        challenges: &[Challenge],
    ) -> Result<Arc<Grant>, UpstreamError> {
        let unauthorized = |why: &str| UpstreamError::Unauthorized { asked: asked.clone(), why: why.to_owned() };
        let bearer = challenges.iter().find(|challenge| challenge.is("bearer"));
        if let Some(bearer) = bearer {
            let realm = bearer.param("realm").ok_or_else(|| unauthorized("the challenge names no token service"))?;
            let realm = self.realm(realm).map_err(|why| UpstreamError::Blocked { asked: asked.clone(), why })?;
            return self.token(repository, realm, bearer.param("service")).await.map(Arc::new);
        }
        if !challenges.iter().any(|challenge| challenge.is("basic")) {
            return Err(unauthorized("no challenge that we can answer (Bearer or Basic)"));
        }
        let login = self.logins.login().await.map_err(|error| unauthorized(&error.to_string()))?;
        let login = login.ok_or_else(|| unauthorized("a login is wanted, and no credentials are configured"))?;
        let header = login.header().map_err(|error| unauthorized(&error.to_string()))?;
        Ok(Arc::new(Grant { header, lasts: BASIC_TTL }))
    }

    /// Checks where a challenge wants us to get a token.
    ///
    /// # Errors
    /// A sentence with the setting that would allow it.
    fn realm(&self, text: &str) -> Result<Url, String> {
        let mut url = Url::parse(text).map_err(|_| "the token service is not a URL".to_owned())?;
        let plain_is_fine = self.own.scheme() == "http" && url.scheme() == "http";
        if url.scheme() != "https" && !plain_is_fine {
            return Err(format!("the token service `{}` is not https", host_of(&url)));
        }
        let place = |url: &Url| (url.host().map(|host| host.to_owned()), url.port_or_known_default());
        let built_in = |url: &Url| {
            url.scheme() == "https"
                && url.port().is_none()
                && REALMS.contains(&(self.registry.as_str(), url.host_str().unwrap_or_default()))
        };
        if place(&url) != place(&self.own) && !self.guard.is_listed(&url, Purpose::Realm) && !built_in(&url) {
            return Err(format!(
                "the token service `{}` is another host than the registry's; {}",
                host_of(&url),
                self.guard.hint(&url, Purpose::Realm)
            ));
        }
        self.guard.check(&url, Purpose::Realm).map_err(|why| format!("the token service {why}"))?;
        url.set_fragment(None);
        Ok(url)
    }

    /// Asks the token service (distribution specification, `auth/token.md`). Redirects are not followed.
    async fn token(
        &self,
        repository: &Repository,
        mut url: Url,
        service: Option<&str>,
    ) -> Result<Grant, UpstreamError> {
        let asked = Asked::new(format_args!("token for {repository}"), host_of(&url));
        let unauthorized = |why: String| UpstreamError::Unauthorized { asked: asked.clone(), why };
        let login = self.logins.login().await.map_err(|error| unauthorized(error.to_string()))?;
        let login = login.map(|login| login.header()).transpose().map_err(|error| unauthorized(error.to_string()))?;
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            query.append_pair("scope", &format!("repository:{}:pull", repository.path()));
        }
        let request = Request {
            method: Method::GET,
            url: &url,
            accept: None,
            authorization: login.as_ref(),
            purpose: Purpose::Realm,
            from: 0,
        };
        let answer = self.transport.send(&asked, request).await?;
        match answer.status().as_u16() {
            200 => {}
            401 | 403 if login.is_none() => {
                return Err(unauthorized("the token service gives no token to anonymous users".to_owned()));
            }
            401 | 403 => return Err(unauthorized("the token service does not accept the credentials".to_owned())),
            300..=399 => {
                return Err(UpstreamError::Blocked { asked, why: "the token service redirects us".to_owned() });
            }
            _ => return Err(answer.refused()),
        }
        let body = answer.refuse_encoded()?.read(TOKEN_BODY_MAX).await?;
        let lied = |lie: &str| UpstreamError::Lied { asked: asked.clone(), lie: lie.to_owned() };
        read_token(&body).ok_or_else(|| lied("answers without a usable token"))
    }
}

/// What a token service answers; nothing else of it is read. Has no `Debug`: it holds a secret.
#[derive(Deserialize)]
struct TokenBody {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

fn read_token(body: &[u8]) -> Option<Grant> {
    let body: TokenBody = serde_json::from_slice(body).ok()?;
    let token = [body.token, body.access_token].into_iter().flatten().find(|token| !token.is_empty())?;
    // RFC 6750's alphabet, so that a token cannot become another header or parameter.
    if !token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)) {
        return None;
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    let said = body.expires_in.map_or(TOKEN_TTL_MIN, Duration::from_secs);
    Some(Grant { header, lasts: said.clamp(TOKEN_TTL_MIN, TOKEN_TTL_MAX) - EARLY })
}

/// Each grant expires when it says.
struct AsGranted;

impl Expiry<String, Arc<Grant>> for AsGranted {
    fn expire_after_create(&self, _: &String, grant: &Arc<Grant>, _: Instant) -> Option<Duration> {
        Some(grant.lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::{Credentials, NetworkOptions, Proxy, UpstreamOptions};
    use super::*;
    use crate::telemetry::Metrics;
    use proptest::prelude::*;

    fn auth(registry: &str, url: &str, realms: &[&str]) -> Auth {
        let mut options = UpstreamOptions::new(registry.parse().unwrap(), url.parse().unwrap());
        options.token_realms = realms.iter().map(|&realm| realm.to_owned()).collect();
        let network = NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
        let guard = Arc::new(Guard::new(&options, &network.proxy).unwrap());
        let transport = Arc::new(
            Transport::new(&options, &network, Arc::clone(&guard), Arc::new(Metrics::new()).upstream("a")).unwrap(),
        );
        let logins = Logins::new(&Credentials::None, &options.registry);
        Auth::new(options.registry, options.url, transport, guard, logins)
    }

    #[test]
    fn a_realm_is_ours_listed_or_well_known() {
        let plain = auth("reg.example", "https://reg.example", &["tokens.example:8443"]);
        for good in ["https://reg.example/token", "https://reg.example:443/t?x=y", "https://tokens.example:8443/"] {
            assert!(plain.realm(good).is_ok(), "{good}");
        }
        for bad in [
            "http://reg.example/token",
            "https://reg.example:8443/token",
            "https://sub.reg.example/token",
            "https://reg.example.evil.example/token",
            "https://reg.example@evil.example/token",
            "https://u:p@reg.example/token",
            "https://tokens.example/",
            "https://auth.docker.io/token",
            "//reg.example/token",
            "/token",
            "",
        ] {
            assert!(plain.realm(bad).is_err(), "{bad}");
        }
        let evil = plain.realm("https://evil.example:1/x?secret").unwrap_err();
        assert!(evil.ends_with("add `evil.example:1` to upstream.\"reg.example\".token_realms"), "{evil}");

        let hub = auth("docker.io", "https://registry-1.docker.io", &[]);
        assert!(hub.realm("https://auth.docker.io/token").is_ok());
        assert!(hub.realm("http://auth.docker.io/token").is_err());
        assert!(hub.realm("https://auth.docker.io:444/token").is_err());
        assert!(hub.realm("https://gitlab.com/jwt/auth").is_err());
        let gitlab = auth("registry.gitlab.com", "https://registry.gitlab.com", &[]);
        assert!(gitlab.realm("https://gitlab.com/jwt/auth").is_ok());

        let http = auth("reg.example", "http://reg.example:5000", &["10.0.0.1"]);
        assert!(http.realm("http://reg.example:5000/token").is_ok());
        assert!(http.realm("http://10.0.0.1/token").is_ok(), "listed, whatever its address");
        assert!(http.realm("http://reg.example/token").is_err());
        assert!(http.realm("http://10.0.0.2/token").is_err());
    }

    #[test]
    fn tokens_are_read_strictly() {
        let lasts = |body: &str| read_token(body.as_bytes()).map(|grant| grant.lasts.as_secs());
        assert_eq!(lasts(r#"{"token":"a"}"#), Some(50));
        assert_eq!(lasts(r#"{"access_token":"a","expires_in":300}"#), Some(290));
        assert_eq!(lasts(r#"{"token":"","access_token":"a","expires_in":1}"#), Some(50));
        assert_eq!(lasts(r#"{"token":"a","expires_in":999999999}"#), Some(3590));
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\r\nX: y"}"#,
            r#"{"token":"a b"}"#,
            r#"{"token":"a","token":"b"}"#,
            r#"{"token":1}"#,
            r#"{"token":"a","expires_in":-1}"#,
        ] {
            assert_eq!(lasts(bad), None, "{bad}");
        }
        let grant = read_token(br#"{"token":"hunter2"}"#).unwrap();
        assert_eq!(format!("{:?}", grant.header), "Sensitive");
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_token(&body);
        }
    }
}
