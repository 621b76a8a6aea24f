//! All upstreams there are. A registry that is not here is not asked, whoever names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::client::Client;
use super::error::SetupError;
use super::layout::Layout;
use super::options::{NetworkOptions, UpstreamOptions};
use super::source::{Elsewhere, Source, Upstream};
use crate::oci::Registry;
use crate::telemetry::Metrics;

/// The closed world of configured registries.
#[derive(Debug)]
pub struct Upstreams {
    by_registry: BTreeMap<Registry, Arc<Upstream>>,
    made_of: BTreeMap<Registry, UpstreamOptions>,
    network: NetworkOptions,
    metrics: Arc<Metrics>,
}

impl Upstreams {
    /// Checks the settings and makes a client for each upstream. Nothing is dialled, so this works while
    /// upstreams are down. Blocks shortly to read the system's certificates, and the manifests of folders.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn new(upstreams: Vec<UpstreamOptions>, network: NetworkOptions) -> Result<Self, SetupError> {
        Self::counted(upstreams, network, Arc::default())
    }

    /// As [`Self::new`]; what they are asked is counted.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn counted(
        upstreams: Vec<UpstreamOptions>,
        network: NetworkOptions,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SetupError> {
        Self::make(upstreams, network, metrics, None)
    }

    /// The upstreams of another configuration. One whose settings are the same is the same as before, with its
    /// connections, its logins and what it learnt; the others are made anew.
    ///
    /// # Errors
    /// As [`Self::new`]. Nothing has changed then.
    pub fn renewed(&self, upstreams: Vec<UpstreamOptions>, network: NetworkOptions) -> Result<Self, SetupError> {
        Self::make(upstreams, network, Arc::clone(&self.metrics), Some(self))
    }

    fn make(
        upstreams: Vec<UpstreamOptions>,
        network: NetworkOptions,
        metrics: Arc<Metrics>,
        before: Option<&Self>,
    ) -> Result<Self, SetupError> {
        let mut made_of = BTreeMap::new();
        for options in upstreams {
            let registry = options.registry.clone();
            if made_of.insert(registry.clone(), options).is_some() {
                return Err(SetupError::Twice { registry });
            }
        }
        let is_reload = before.is_some();
        let before = before.filter(|before| before.network == network);
        let mut sources = BTreeMap::new();
        for (registry, options) in &made_of {
            let same = before.filter(|before| before.made_of.get(registry) == Some(options));
            let source = match same.and_then(|before| before.by_registry.get(registry)) {
                Some(upstream) => Arc::clone(upstream.source()),
                None => Arc::new(source(options.clone(), &network, &metrics)?),
            };
            sources.insert(registry.clone(), source);
        }
        let mut by_registry = BTreeMap::new();
        for (registry, source) in &sources {
            let options = made_of.get(registry);
            let elsewhere = options.and_then(|options| options.signatures_in.clone()).map(|repository| {
                let source = sources.get(repository.registry()).map(Arc::clone);
                let missing = SetupError::SignaturesIn { registry: registry.clone(), repository: repository.clone() };
                source.ok_or(missing).map(|source| Elsewhere { source, repository })
            });
            let elsewhere = elsewhere.transpose()?;
            let same = before.and_then(|before| before.get(registry));
            let upstream = match same.filter(|same| same.is_made_of(source, elsewhere.as_ref())) {
                Some(same) => same,
                None => {
                    let freshness = options.map(|options| options.freshness).unwrap_or_default();
                    Arc::new(
                        Upstream::new(registry.clone(), Arc::clone(source), elsewhere, freshness).by_reload(is_reload),
                    )
                }
            };
            by_registry.insert(registry.clone(), upstream);
        }
        Ok(Self { by_registry, made_of, network, metrics })
    }

    /// The upstream for a registry, if one is configured. An exact match, port included.
    pub fn get(&self, registry: &Registry) -> Option<Arc<Upstream>> {
        self.by_registry.get(registry).cloned()
    }

    /// All configured registries, in order.
    pub fn registries(&self) -> impl Iterator<Item = &Registry> {
        self.by_registry.keys()
    }
}

fn source(options: UpstreamOptions, network: &NetworkOptions, metrics: &Arc<Metrics>) -> Result<Source, SetupError> {
    Ok(match &options.folder {
        Some(folder) => Source::Folder(Layout::open(folder)?),
        None => Source::Registry(Box::new(Client::new(options, network, metrics)?)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::options::{Credentials, Proxy};
    use super::*;
    use crate::secret::Secret;

    fn make(upstreams: &[(&str, &str)]) -> Result<Upstreams, SetupError> {
        let upstreams = upstreams
            .iter()
            .map(|(registry, url)| UpstreamOptions::new(registry.parse().unwrap(), url.parse().unwrap()))
            .collect();
        Upstreams::new(upstreams, NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() })
    }

    #[test]
    fn only_what_is_configured_is_found() {
        let upstreams = make(&[("ghcr.io", "https://ghcr.io"), ("a:5000", "http://a:5000/prefix/")]).unwrap();
        assert_eq!(upstreams.registries().map(Registry::as_str).collect::<Vec<_>>(), ["a:5000", "ghcr.io"]);
        assert!(upstreams.get(&"GHCR.io".parse().unwrap()).is_some());
        for other in ["a", "a:500", "ghcr.io:443", "sub.ghcr.io"] {
            assert!(upstreams.get(&other.parse().unwrap()).is_none(), "{other}");
        }
    }

    #[test]
    fn unusable_settings_are_named() {
        let error = |upstreams: &[(&str, &str)]| make(upstreams).unwrap_err().to_string();
        assert_eq!(error(&[("a", "http://a"), ("a", "http://b")]), "upstream a is configured twice");
        assert_eq!(error(&[("a", "ftp://a")]), "upstream a: url: must start with https:// or http://");
        assert!(error(&[("a", "https://u:hunter2@a")]).contains("use credentials"));
        assert!(!error(&[("a", "https://u:hunter2@a")]).contains("hunter2"));
        assert!(error(&[("a", "https://a/?x")]).contains("query"));
    }

    #[test]
    fn signatures_lie_on_configured_registries_only() {
        let at = |registry: &str, signatures_in: Option<&str>| {
            let repository = |text: &str| {
                let (host, path) = text.split_once('/').unwrap();
                crate::oci::Repository::new(host.parse().unwrap(), path).unwrap()
            };
            let url = format!("https://{registry}").parse().unwrap();
            let signatures_in = signatures_in.map(repository);
            UpstreamOptions { signatures_in, ..UpstreamOptions::new(registry.parse().unwrap(), url) }
        };
        let network = || NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
        let error = Upstreams::new(vec![at("a", Some("b/sigs"))], network()).unwrap_err();
        let want = "upstream a: signatures_in: `b/sigs` is on a registry that is not configured";
        assert_eq!(error.to_string(), want);
        for there in ["b/sigs", "a/sigs"] {
            let upstreams = Upstreams::new(vec![at("a", Some(there)), at("b", None)], network()).unwrap();
            let seen = |registry: &str| {
                let upstream = upstreams.get(&registry.parse().unwrap()).unwrap();
                upstream.signatures_in().map(ToString::to_string)
            };
            assert_eq!((seen("a"), seen("b")), (Some(there.to_owned()), None));
        }
    }

    #[test]
    fn what_did_not_change_stays_the_same_upstream() {
        let named =
            |name: &str| UpstreamOptions::new(name.parse().unwrap(), format!("https://{name}").parse().unwrap());
        let signed_in = |options: UpstreamOptions, place: &str| {
            let repository = crate::oci::Repository::new(place.parse().unwrap(), "signatures").unwrap();
            UpstreamOptions { signatures_in: Some(repository), ..options }
        };
        let network = || NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
        let before = Upstreams::new(vec![named("a"), signed_in(named("b"), "c"), named("c")], network()).unwrap();
        let instance =
            |upstreams: &Upstreams, name: &str| upstreams.get(&name.parse().unwrap()).map(|one| one.instance());
        let same = |after: &Upstreams| -> String {
            let kept = |name: &&str| instance(&before, name).is_some_and(|one| instance(after, name) == Some(one));
            ["a", "b", "c", "d"].into_iter().filter(kept).collect()
        };
        let after = |upstreams| before.renewed(upstreams, network()).unwrap();
        assert_eq!(same(&after(vec![named("a"), signed_in(named("b"), "c"), named("c")])), "abc");
        assert_eq!(same(&after(vec![named("a"), named("d")])), "a");
        let moved = UpstreamOptions { url: "https://elsewhere".parse().unwrap(), ..named("c") };
        let after_move = after(vec![named("a"), signed_in(named("b"), "c"), moved]);
        assert_eq!(same(&after_move), "a", "b's signatures lie in c");
        let password = Credentials::Basic { username: "me".to_owned(), password: Secret::new("new") };
        assert_eq!(same(&after(vec![UpstreamOptions { credentials: password, ..named("a") }])), "");
        let patient = NetworkOptions { retries: 9, ..network() };
        assert_eq!(same(&before.renewed(vec![named("a")], patient).unwrap()), "");
    }

    #[test]
    fn a_bad_certificate_or_host_is_named() {
        let base = UpstreamOptions::new("a".parse().unwrap(), "https://a".parse().unwrap());
        for ca in ["", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let options = UpstreamOptions { ca: vec![ca.as_bytes().to_vec()], ..base.clone() };
            assert!(Upstreams::new(vec![options], NetworkOptions::default()).is_err(), "{ca}");
        }
        let options = UpstreamOptions { redirect_hosts: vec!["https://b".to_owned()], ..base };
        let error = Upstreams::new(vec![options], NetworkOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), "upstream a: redirect_hosts: `https://b` is not a host or host:port");
    }
}
