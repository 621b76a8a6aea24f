//! The file as it is written: the shape of `proxy.toml`, and nothing about what it means.
//!
//! Unknown keys are refused at every level. What a later check may complain about carries its place
//! in the text. Required keys are `Option` here, so that one missing key hides no other problem;
//! [`super::check`] asks for them.

mod either;
mod policy;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

pub(super) use policy::{
    Attestation, Deny, DockerReference, FindParent, Format, Mode, Moment, Names, ParentSearch, Policy, Reference,
    Signer,
};

/// A text with its place.
pub(super) type Text = Spanned<String>;
/// A list of texts, each with its place, and the list's own.
pub(super) type List = Spanned<Vec<Text>>;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) version: Option<Spanned<i64>>,
    pub(super) server: Table<Server>,
    pub(super) upstream: BTreeMap<Text, Spanned<Table<Upstream>>>,
    pub(super) network: Table<Network>,
    pub(super) trust: Table<Trust>,
    pub(super) policy: Vec<Spanned<Table<Policy>>>,
    pub(super) policy_default: Table<PolicyDefault>,
    pub(super) cache: Table<Cache>,
    pub(super) admin: Table<Admin>,
    pub(super) log: Table<Log>,
    pub(super) limits: Table<Limits>,
}

/// `[server]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    pub(super) listen: Option<List>,
    pub(super) default_upstream: Option<Text>,
    pub(super) shutdown_grace: Option<Text>,
    pub(super) max_connections: Option<Spanned<u32>>,
    pub(super) deny_reason: Option<bool>,
    pub(super) tls: Option<Spanned<Table<Tls>>>,
}

/// `[server.tls]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) cert: Option<Text>,
    pub(super) key: Option<Text>,
}

/// `[upstream."NAME"]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Upstream {
    pub(super) url: Option<Text>,
    pub(super) ca: Option<Text>,
    pub(super) credentials: Option<Spanned<Credentials>>,
    pub(super) token_realms: Vec<Text>,
    pub(super) redirect_hosts: Vec<Text>,
    pub(super) signatures_in: Option<Text>,
    pub(super) tag_ttl: Option<Text>,
    pub(super) stale_if_error: Option<Text>,
}

/// `"none"`, `"docker-config"`, or a user with a file that holds the password.
#[derive(Debug)]
pub(super) enum Credentials {
    None,
    DockerConfig,
    Login(Login),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Login {
    pub(super) username: Option<Text>,
    pub(super) password_file: Option<Text>,
}

/// `[network]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Network {
    pub(super) proxy: Option<Text>,
    pub(super) connect_timeout: Option<Text>,
    pub(super) read_timeout: Option<Text>,
    pub(super) retries: Option<Spanned<u32>>,
}

/// `[trust]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Trust {
    pub(super) root: Option<Text>,
    pub(super) roots: BTreeMap<Text, Text>,
}

/// `[policy_default]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PolicyDefault {
    pub(super) mode: Option<Text>,
    pub(super) deny: Option<Text>,
}

/// `[cache]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cache {
    pub(super) dir: Option<Text>,
    pub(super) max_size: Option<Text>,
    pub(super) min_free: Option<Text>,
    pub(super) keep: Vec<Text>,
    pub(super) verify_reads: Option<super::settings::VerifyReads>,
    pub(super) scrub: Option<Text>,
    pub(super) reverify: Option<Text>,
}

/// `[admin]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Admin {
    pub(super) listen: Option<Text>,
}

/// `[log]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub(super) format: Option<super::settings::LogFormat>,
    pub(super) level: Option<super::settings::LogLevel>,
    pub(super) access: Option<bool>,
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) signature_deadline: Option<Text>,
    pub(super) concurrent_fetches: Option<Spanned<u32>>,
    pub(super) fetches_per_upstream: Option<Spanned<u32>>,
    pub(super) requests_per_upstream: Option<Spanned<u32>>,
}

/// A table that is written as one. Derived structs would also take a list of their values in order.
#[derive(Debug, Default)]
pub(super) struct Table<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Table)
            }
        }
        deserializer.deserialize_any(OnlyMap(std::marker::PhantomData))
    }
}
