//! Where an upstream may send us: the rules for redirects and token realms, and the resolver that
//! holds them.
//!
//! A URL is checked before we dial (literal addresses, user names, lists), and a name again when it is
//! resolved, so that a name cannot turn into an internal address in between. What is the upstream's own
//! host was written by the operator and may be anywhere.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use url::{Host, Url};

use super::address::Class;
use super::error::SetupError;
use super::options::{Proxy, UpstreamOptions};
use crate::oci::Registry;

/// How many of its own addresses we remember; a name has few.
const OWN_ADDRESSES_MAX: usize = 64;

/// Why the upstream sends us somewhere, and so which list allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To fetch content there.
    Redirect,
    /// To get a token there.
    Realm,
}

impl Purpose {
    fn key(self) -> &'static str {
        match self {
            Self::Redirect => "redirect_hosts",
            Self::Realm => "token_realms",
        }
    }
}

/// The rules of one upstream.
#[derive(Debug)]
pub(super) struct Guard {
    registry: Registry,
    own: Url,
    redirect_hosts: Vec<HostRule>,
    token_realms: Vec<HostRule>,
    /// Names of HTTP proxies: the resolver must find them, the upstream must not lead to them.
    proxies: Vec<String>,
    home: Mutex<Home>,
}

/// Where the upstream itself lives.
#[derive(Debug, Default)]
struct Home {
    /// What its name resolved to last.
    addresses: Vec<IpAddr>,
    /// The class of the address that really answered as this upstream. Not what DNS says: whoever
    /// owns the name could answer `10.0.0.1` for a moment, but not complete a TLS handshake there.
    class: Option<Class>,
}

/// The resolver found addresses, but none that this name may have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{host}` has {class} ({address})")]
pub(super) struct Refused {
    host: String,
    address: IpAddr,
    class: Class,
}

/// `host` (at the usual port) or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostRule {
    host: Host,
    port: Option<u16>,
}

impl HostRule {
    fn parse(entry: &str) -> Option<Self> {
        let parse = |scheme: &str| Url::parse(&format!("{scheme}://{entry}")).ok();
        let (https, http) = (parse("https")?, parse("http")?);
        let bare = https.path() == "/"
            && https.query().is_none()
            && https.fragment().is_none()
            && https.username().is_empty()
            && https.password().is_none()
            && !entry.contains(['/', '\\', '@', '?', '#'])
            && !entry.ends_with(':');
        // Url drops a scheme's own port, so each scheme shows the other's.
        let port = https.port().or(http.port());
        bare.then_some(Self { host: https.host()?.to_owned(), port })
    }

    fn allows(&self, url: &Url) -> bool {
        url.host().is_some_and(|host| host == self.host)
            && self.port.map_or(url.port().is_none(), |port| url.port_or_known_default() == Some(port))
    }
}

impl Guard {
    pub(super) fn new(options: &UpstreamOptions, proxy: &Proxy) -> Result<Self, SetupError> {
        let list = |purpose: Purpose, entries: &[String]| {
            entries
                .iter()
                .map(|entry| {
                    HostRule::parse(entry).ok_or_else(|| SetupError::Host {
                        registry: options.registry.clone(),
                        key: purpose.key(),
                        entry: entry.clone(),
                    })
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let class = literal(&options.url).map(Class::of);
        Ok(Self {
            registry: options.registry.clone(),
            own: options.url.clone(),
            redirect_hosts: list(Purpose::Redirect, &options.redirect_hosts)?,
            token_realms: list(Purpose::Realm, &options.token_realms)?,
            proxies: proxy_hosts(proxy),
            home: Mutex::new(Home { addresses: Vec::new(), class }),
        })
    }

    /// Whether this URL is on the upstream's own scheme, host and port.
    pub(super) fn is_own_origin(&self, url: &Url) -> bool {
        url.origin() == self.own.origin()
    }

    /// Whether the operator listed this host and port for this purpose.
    pub(super) fn is_listed(&self, url: &Url, purpose: Purpose) -> bool {
        let list = match purpose {
            Purpose::Redirect => &self.redirect_hosts,
            Purpose::Realm => &self.token_realms,
        };
        list.iter().any(|rule| rule.allows(url))
    }

    /// Checks a URL that the upstream named, before anything is dialled.
    ///
    /// # Errors
    /// A sentence that names the rule and the setting that would allow it.
    pub(super) fn check(&self, url: &Url, purpose: Purpose) -> Result<(), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("leads to something other than http or https".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("leads to {} with a user name in the URL", host_of(url)));
        }
        if url.host() == self.own.host() || self.is_listed(url, purpose) {
            return Ok(());
        }
        if let Some(address) = literal(url) {
            return self.judge(address).map_err(|class| self.refusal(url, purpose, class));
        }
        if url.host_str().is_some_and(|name| self.is_exempt(name)) {
            // The resolver will not look at this name, so nobody would.
            let why = format!("leads to `{}`, a host known for another purpose or port", host_of(url));
            return Err(format!("{why}; {}", self.hint(url, purpose)));
        }
        Ok(())
    }

    /// Resolves a name, keeping only addresses it may have.
    ///
    /// # Errors
    /// What the system's resolver says, or [`Refused`]. Cancel safe.
    pub(super) async fn resolve(
        &self,
        name: &str,
    ) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host((name, 0)).await?.collect();
        if self.own.host_str() == Some(name) {
            self.home().addresses = found.iter().take(OWN_ADDRESSES_MAX).map(SocketAddr::ip).collect();
            return Ok(found);
        }
        if self.is_exempt(name) {
            return Ok(found);
        }
        let mut refused = None;
        let kept: Vec<_> = found
            .into_iter()
            .filter(|found| match self.judge(found.ip()) {
                Ok(()) => true,
                Err(class) => {
                    refused = Some(Refused { host: name.to_owned(), address: found.ip(), class });
                    false
                }
            })
            .collect();
        match refused {
            Some(refused) if kept.is_empty() => Err(Box::new(refused)),
            _ => Ok(kept),
        }
    }

    /// Learns which address answered for a URL of ours.
    pub(super) fn answered(&self, url: &Url, peer: SocketAddr) {
        if !self.is_own_origin(url) {
            return;
        }
        let mut home = self.home();
        // A proxy's address is not among them, and then says nothing about the upstream.
        if home.addresses.contains(&peer.ip()) {
            home.class = Some(Class::of(peer.ip()));
        }
    }

    /// The sentence for a name that [`Guard::resolve`] refused.
    pub(super) fn explain(&self, url: &Url, purpose: Purpose, refused: &Refused) -> String {
        self.refusal(url, purpose, refused.class)
    }

    /// What to add to which setting, so that this URL is allowed.
    pub(super) fn hint(&self, url: &Url, purpose: Purpose) -> String {
        let key = format!("upstream.\"{}\".{}", self.registry, purpose.key());
        format!("if that is right, add `{}` to {key}", host_of(url))
    }

    fn refusal(&self, url: &Url, purpose: Purpose, class: Class) -> String {
        format!("leads to `{}`, which has {class}; {}", host_of(url), self.hint(url, purpose))
    }

    fn judge(&self, address: IpAddr) -> Result<(), Class> {
        let class = Class::of(address);
        if class.allowed_from(self.home().class) { Ok(()) } else { Err(class) }
    }

    fn is_exempt(&self, name: &str) -> bool {
        let mut listed = self.redirect_hosts.iter().chain(&self.token_realms);
        listed.any(|rule| matches!(&rule.host, Host::Domain(domain) if domain == name))
            || self.proxies.iter().any(|proxy| proxy == name)
    }

    fn home(&self) -> std::sync::MutexGuard<'_, Home> {
        self.home.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `host` or `host:port`, as the lists take it.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(v4) => Some(v4.into()),
        Host::Ipv6(v6) => Some(v6.into()),
        Host::Domain(_) => None,
    }
}

/// The names of the proxies that the client may dial. What macOS and Windows store elsewhere we do not see.
fn proxy_hosts(proxy: &Proxy) -> Vec<String> {
    let host = |url: Url| url.host_str().map(str::to_owned);
    match proxy {
        Proxy::None => Vec::new(),
        Proxy::Url(url) => host(url.clone()).into_iter().collect(),
        Proxy::Env => ["http_proxy", "https_proxy", "all_proxy"]
            .iter()
            .flat_map(|name| [std::env::var(name), std::env::var(name.to_uppercase())])
            .flatten()
            .filter_map(|value| {
                let value = if value.contains("://") { value } else { format!("http://{value}") };
                Url::parse(&value).ok().and_then(host)
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard(url: &str, redirect_hosts: &[&str], proxy: &Proxy) -> Guard {
        let mut options = UpstreamOptions::new("reg.example".parse().unwrap(), url.parse().unwrap());
        options.redirect_hosts = redirect_hosts.iter().map(|&host| host.to_owned()).collect();
        Guard::new(&options, proxy).unwrap()
    }

    fn redirect(guard: &Guard, url: &str) -> Result<(), String> {
        guard.check(&url.parse().unwrap(), Purpose::Redirect)
    }

    #[test]
    fn literal_addresses_are_judged_without_dialling() {
        let local = guard("http://127.0.0.1:5000", &[], &Proxy::None);
        assert_eq!(redirect(&local, "http://127.0.0.1:9/x"), Ok(()));
        assert_eq!(redirect(&local, "http://127.8.8.8/x"), Ok(()));
        assert_eq!(redirect(&local, "https://8.8.8.8/x"), Ok(()));
        for bad in [
            "http://10.0.0.1/",
            "http://169.254.169.254/",
            "http://0x0a000001/",
            "http://167772161/",
            "http://[::ffff:a00:1]/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "ftp://127.0.0.1/",
            "http://u@127.0.0.1/",
            "http://:p@127.0.0.1/",
        ] {
            assert!(redirect(&local, bad).is_err(), "{bad}");
        }
        let public = guard("https://reg.example", &[], &Proxy::None);
        for bad in ["http://127.0.0.1/", "http://10.0.0.1/", "http://[::1]/", "http://2130706433/"] {
            assert!(redirect(&public, bad).is_err(), "{bad}");
        }
        assert!(
            redirect(&public, "http://10.0.0.1:81/")
                .unwrap_err()
                .ends_with("add `10.0.0.1:81` to upstream.\"reg.example\".redirect_hosts")
        );
    }

    #[test]
    fn a_listed_host_may_have_any_address_at_its_port() {
        let guard = guard("https://reg.example", &["10.0.0.1:81", "cdn.internal"], &Proxy::None);
        assert_eq!(redirect(&guard, "http://10.0.0.1:81/"), Ok(()));
        assert!(redirect(&guard, "http://10.0.0.1/").is_err());
        assert_eq!(redirect(&guard, "https://cdn.internal/"), Ok(()));
        assert!(redirect(&guard, "https://cdn.internal:8443/").is_err());
        assert!(guard.check(&"https://cdn.internal/".parse().unwrap(), Purpose::Realm).is_err());
    }

    #[test]
    fn an_upstream_cannot_lead_us_to_the_proxy() {
        let proxy = Proxy::Url("http://proxy.internal:3128".parse().unwrap());
        let guard = guard("https://reg.example", &[], &proxy);
        assert!(redirect(&guard, "http://proxy.internal:3128/").is_err());
        assert!(guard.is_exempt("proxy.internal"));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let public = guard("https://reg.example", &[], &Proxy::None);
        let error = public.resolve("localhost").await.unwrap_err();
        assert!(error.downcast_ref::<Refused>().is_some(), "{error}");
        for allowed in [
            guard("http://127.0.0.1", &[], &Proxy::None),
            guard("https://reg.example", &["localhost"], &Proxy::None),
            guard("https://localhost", &[], &Proxy::None),
        ] {
            assert!(!allowed.resolve("localhost").await.unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn home_is_where_it_answered_not_what_dns_says() {
        let guard = guard("http://localhost:5000", &[], &Proxy::None);
        let own = "http://localhost:5000/v2/".parse().unwrap();
        assert!(!guard.resolve("localhost").await.unwrap().is_empty());
        assert!(redirect(&guard, "http://127.0.0.1/").is_err(), "nobody answered yet");
        guard.answered(&own, "10.0.0.1:3128".parse().unwrap());
        assert!(redirect(&guard, "http://10.0.0.1/").is_err(), "a proxy answered");
        guard.home().addresses = vec!["127.0.0.1".parse().unwrap()];
        guard.answered(&own, "127.0.0.1:5000".parse().unwrap());
        assert_eq!(redirect(&guard, "http://127.0.0.1/"), Ok(()));
    }

    #[test]
    fn host_rules() {
        for bad in ["", "https://a", "a/b", "a:0x", "u@a", "a?b", "a#b", "a:", ":80", "a b", "[::1"] {
            assert_eq!(HostRule::parse(bad), None, "{bad}");
        }
        let allows = |rule: &str, url: &str| HostRule::parse(rule).unwrap().allows(&url.parse().unwrap());
        assert!(allows("a.example", "https://a.example/x"));
        assert!(allows("A.example", "http://a.example/x"));
        assert!(allows("a.example:443", "https://a.example/x"));
        assert!(!allows("a.example:443", "http://a.example/x"));
        assert!(allows("a.example:80", "http://a.example/x"));
        assert!(!allows("a.example", "https://a.example:8443/x"));
        assert!(!allows("a.example", "https://b.a.example/x"));
        assert!(!allows("a.example", "https://a.example.evil/x"));
        assert!(allows("[::1]:5000", "http://[::1]:5000/"));
    }

    proptest! {
        #[test]
        fn no_entry_makes_a_rule_panic(entry in "\\PC{0,40}") {
            let _ = HostRule::parse(&entry);
        }
    }
}
