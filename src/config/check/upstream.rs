//! `[upstream."NAME"]`: what we mirror.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;
use url::Url;

use crate::oci::{Registry, Repository};

use super::super::file::{self, Text};
use super::super::report::Report;
use super::super::settings::{Credentials, Upstream};
use super::super::tree::segment;
use super::{file as files, value};

/// One question for the HEAD and the GET of a pull, and for a whole rollout; too short for who pushes a tag and pulls it
/// to notice.
const TAG_TTL: Duration = Duration::from_secs(5);

/// A night and the morning after.
const STALE_IF_ERROR: Duration = Duration::from_secs(24 * 60 * 60);

/// Each with the place of its name.
pub(super) fn all(
    written: BTreeMap<Text, Spanned<file::Table<file::Upstream>>>,
    report: &mut Report<'_>,
) -> Vec<Spanned<Upstream>> {
    let mut found: Vec<Spanned<Upstream>> = Vec::new();
    if written.is_empty() {
        report
            .missing("", "upstream", 0..0)
            .help("name at least one registry: [upstream.\"docker.io\"] with url = \"https://registry-1.docker.io\"");
    }
    let names: Vec<Registry> = written.keys().filter_map(|name| name.get_ref().parse().ok()).collect();
    for (name, table) in written {
        let Some(upstream) = one(&name, table, &names, report) else { continue };
        if found.iter().any(|other| other.get_ref().registry == upstream.registry) {
            report
                .error(name.span(), format!("another upstream is `{}` too", upstream.registry))
                .help("Docker Hub has several names but is one registry; keep one of the tables");
        }
        found.push(Spanned::new(name.span(), upstream));
    }
    found
}

/// The repository in which cosign's `COSIGN_REPOSITORY` put the signatures.
fn signatures_in(text: &Text, names: &[Registry], report: &mut Report<'_>) -> Option<Repository> {
    let Ok(repository) = text.get_ref().parse::<Repository>() else {
        report
            .error(text.span(), "not a repository")
            .help("write the registry and the path, without a tag: \"ghcr.io/acme/signatures\"");
        return None;
    };
    if !names.contains(repository.registry()) {
        let registry = repository.registry();
        report
            .error(text.span(), format!("no upstream is called `{registry}`"))
            .help(format!("add [upstream.\"{registry}\"]: signatures are fetched as images are"));
    }
    Some(repository)
}

fn one(
    name: &Text,
    table: Spanned<file::Table<file::Upstream>>,
    names: &[Registry],
    report: &mut Report<'_>,
) -> Option<Upstream> {
    let head = table.span();
    let written = table.into_inner().0;
    let registry = match name.get_ref().parse::<Registry>() {
        Ok(registry) => Some(registry),
        Err(error) => {
            let help = "the name is what clients write: a host, perhaps with a port; where it is goes into `url`";
            report.error(name.span(), error.to_string()).help(help);
            None
        }
    };
    let path = format!("upstream.{}", segment(name.get_ref()));
    let url = match &written.url {
        Some(text) => url(text, report),
        None => {
            report.missing(&path, "url", head).help(format!("add url = \"https://{}\"", host_of(name.get_ref())));
            None
        }
    };
    let ca = written.ca.as_ref().and_then(|path| files::certificates(path, report)).map(String::into_bytes);
    let credentials = credentials(written.credentials, &path, url.as_ref(), report);
    let token_realms = value::hosts(&written.token_realms, report);
    let redirect_hosts = value::hosts(&written.redirect_hosts, report);
    let signatures_in = written.signatures_in.as_ref().and_then(|text| signatures_in(text, names, report));
    let tag_ttl = value::duration(written.tag_ttl.as_ref(), TAG_TTL, report);
    let stale_if_error = value::duration(written.stale_if_error.as_ref(), STALE_IF_ERROR, report);
    Some(Upstream {
        registry: registry?,
        url: url?,
        ca,
        credentials,
        token_realms,
        redirect_hosts,
        signatures_in,
        tag_ttl,
        stale_if_error,
    })
}

/// Docker Hub's registry does not live where its name says.
fn host_of(name: &str) -> &str {
    if name == "docker.io" { "registry-1.docker.io" } else { name }
}

fn url(text: &Text, report: &mut Report<'_>) -> Option<Url> {
    let url = value::origin(text, &["https", "http"], report)?;
    if url.host_str() == Some("docker.io") {
        report
            .warn(text.span(), "answers with a web page, not with a registry")
            .help("write \"https://registry-1.docker.io\"");
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        report
            .warn(text.span(), "plain HTTP to another machine")
            .help("signatures still protect images, but anybody on the way can read, delay and hide them; use https");
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn credentials(
    written: Option<Spanned<file::Credentials>>,
    path: &str,
    url: Option<&Url>,
    report: &mut Report<'_>,
) -> Credentials {
    let Some(written) = written else { return Credentials::None };
    let span = written.span();
    let login = match written.into_inner() {
        file::Credentials::None => return Credentials::None,
        file::Credentials::DockerConfig => return Credentials::DockerConfig,
        file::Credentials::Login(login) => login,
    };
    if url.is_some_and(|url| url.scheme() == "http" && !is_loopback(url)) {
        report
            .warn(span.clone(), "the password goes over plain HTTP to another machine")
            .help("anybody on the way can read it; use https");
    }
    let path = format!("{path}.credentials");
    for (key, there) in [("username", login.username.is_some()), ("password_file", login.password_file.is_some())] {
        if !there {
            report.missing(&path, key, span.clone()).help("write { username = \"…\", password_file = \"…\" }");
        }
    }
    let username = login.username.map(|text| {
        // HTTP's Basic scheme ends the name at the first colon.
        if text.get_ref().is_empty() || text.get_ref().contains(|c: char| c == ':' || c.is_control()) {
            report.error(text.span(), "must be a name without a colon");
        }
        text.into_inner()
    });
    let password = login.password_file.and_then(|path| files::password(&path, report));
    match (username, password) {
        (Some(username), Some(password)) => Credentials::Login { username, password },
        _ => Credentials::None,
    }
}
