//! `[[policy]]` as it is written, with everything below it.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::trust::{About, Require, Rollback, Tlog};

use super::{List, Table, Text};

/// `[[policy]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Policy {
    pub(in crate::config) name: Option<Text>,
    pub(in crate::config) images: Option<List>,
    pub(in crate::config) mode: Option<Spanned<Mode>>,
    pub(in crate::config) require: Option<Require>,
    pub(in crate::config) tlog: Option<Spanned<Tlog>>,
    pub(in crate::config) trust_root: Option<Spanned<Names>>,
    pub(in crate::config) docker_reference: Option<Spanned<DockerReference>>,
    pub(in crate::config) accept_formats: Option<Spanned<Vec<Format>>>,
    pub(in crate::config) annotations: Option<Spanned<BTreeMap<Text, Text>>>,
    pub(in crate::config) max_signature_age: Option<Text>,
    pub(in crate::config) rollback: Option<Spanned<Rollback>>,
    pub(in crate::config) find_parent: Option<Spanned<FindParent>>,
    pub(in crate::config) deny: Table<Deny>,
    pub(in crate::config) signer: Vec<Spanned<Table<Signer>>>,
    pub(in crate::config) attestation: Vec<Spanned<Table<Attestation>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Mode {
    Enforce,
    Audit,
    Off,
}

/// A layout of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Format {
    Bundle,
    Classic,
}

/// One name, or a list of them.
#[derive(Debug)]
pub(in crate::config) enum Names {
    One(String),
    Several(Vec<Text>),
}

/// `"ignore"`, `"repository"`, or a table.
#[derive(Debug)]
pub(in crate::config) enum DockerReference {
    Ignore,
    Repository,
    Table(Reference),
}

/// `{ exact }` or `{ ours, signed }`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Reference {
    pub(in crate::config) exact: Option<Text>,
    pub(in crate::config) ours: Option<Text>,
    pub(in crate::config) signed: Option<Text>,
}

/// `true`, `false`, or bounds.
#[derive(Debug)]
pub(in crate::config) enum FindParent {
    Off,
    On(ParentSearch),
}

/// `{ tags, timeout }`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct ParentSearch {
    pub(in crate::config) tags: Option<Spanned<u32>>,
    pub(in crate::config) timeout: Option<Text>,
}

/// `[policy.deny]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Deny {
    pub(in crate::config) digests: Vec<Text>,
    pub(in crate::config) identities: Vec<Text>,
    pub(in crate::config) identity_regexps: Vec<Text>,
}

/// `[[policy.signer]]` and `[[policy.attestation.signer]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Signer {
    pub(in crate::config) name: Option<Text>,
    pub(in crate::config) key: Option<Text>,
    pub(in crate::config) not_before: Option<Spanned<Moment>>,
    pub(in crate::config) not_after: Option<Spanned<Moment>>,
    pub(in crate::config) issuer: Option<Text>,
    pub(in crate::config) issuer_regexp: Option<Text>,
    pub(in crate::config) identity: Option<Text>,
    pub(in crate::config) identity_regexp: Option<Text>,
    pub(in crate::config) claims: BTreeMap<Text, Text>,
    pub(in crate::config) claims_regexp: BTreeMap<Text, Text>,
}

/// `[[policy.attestation]]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Attestation {
    #[serde(rename = "type")]
    pub(in crate::config) predicate_type: Option<Text>,
    pub(in crate::config) about: Option<About>,
    pub(in crate::config) require: Option<Require>,
    pub(in crate::config) builder_id: Option<Text>,
    pub(in crate::config) builder_id_regexp: Option<Text>,
    pub(in crate::config) source_repository: Option<Text>,
    pub(in crate::config) source_repository_regexp: Option<Text>,
    #[serde(rename = "where")]
    pub(in crate::config) conditions: BTreeMap<Text, Text>,
    pub(in crate::config) signer: Vec<Spanned<Table<Signer>>>,
}

/// A date or a time, written as TOML's own or as a text.
#[derive(Debug)]
pub(in crate::config) struct Moment(pub(in crate::config) String);
