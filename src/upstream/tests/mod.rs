//! What a stranger sees: whole calls against a registry on loopback that can lie, stall and stop.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests play the other side, too")]

mod content;
mod failing;
mod fake;
mod finding;
mod floods;
mod login;
mod places;
mod redirects;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Credentials, NetworkOptions, Proxy, Upstream, UpstreamOptions, Upstreams};
use crate::oci::{Claim, Digest, Registry, Repository};
use crate::secret::Secret;
use fake::Fake;

/// How we ask in tests: no proxy from the environment, short waits, no second try unless wanted.
fn network() -> NetworkOptions {
    NetworkOptions {
        proxy: Proxy::None,
        connect_timeout: Duration::from_secs(2),
        read_timeout: Duration::from_secs(2),
        retries: 0,
        ..NetworkOptions::default()
    }
}

fn registry() -> Registry {
    "reg.example".parse().unwrap()
}

fn repository() -> Repository {
    Repository::new(registry(), "acme/app").unwrap()
}

fn options(fake: &Fake) -> UpstreamOptions {
    UpstreamOptions::new(registry(), fake.url().parse().unwrap())
}

fn with_login(fake: &Fake) -> UpstreamOptions {
    let credentials = Credentials::Basic { username: "me".to_owned(), password: Secret::new("secret") };
    UpstreamOptions { credentials, ..options(fake) }
}

fn build(options: UpstreamOptions, network: NetworkOptions) -> Arc<Upstream> {
    let registry = options.registry.clone();
    Upstreams::new(vec![options], network).unwrap().get(&registry).unwrap()
}

fn upstream(fake: &Fake) -> Arc<Upstream> {
    build(options(fake), network())
}

fn claim(bytes: &[u8]) -> Claim {
    Claim { digest: Digest::of(bytes), size: bytes.len() as u64 }
}

/// A descriptor in JSON.
pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> String {
    format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::of(bytes), bytes.len())
}

/// An image manifest with these layers and, as a referrer, this subject; `{}` is its config.
pub(super) fn image(layers: &[String], subject: Option<&[u8]>) -> Bytes {
    let subject = subject.map_or_else(String::new, |s| format!(r#","subject":{}"#, descriptor(MANIFEST, s)));
    let config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{}]{subject}}}"#,
        layers.join(",")
    )
    .into()
}

/// An index of these descriptors.
pub(super) fn index(entries: &[String]) -> Bytes {
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#, entries.join(",")).into()
}

pub(super) const MANIFEST: &str = crate::oci::media_type::OCI_MANIFEST;
const INDEX: &str = crate::oci::media_type::OCI_INDEX;
