//! `[server]` and `[admin]`.

use std::net::SocketAddr;
use std::time::Duration;

use toml::Spanned;

use crate::oci::Registry;

use super::super::file::{self, Text};
use super::super::report::Report;
use super::super::settings::{Server, Tls, Upstream};
use super::{file as files, value};

const LISTEN: &str = "127.0.0.1:5050";
/// In the place of an address: the sockets that the service manager passes.
const INHERITED: &str = "systemd";
/// Kubernetes and `docker stop` are not patient for longer than this by default.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
/// Each costs a file descriptor and some memory; the usual limit is 1024 to 65536 descriptors.
const MAX_CONNECTIONS: u32 = 4096;

pub(super) fn server(written: file::Server, upstreams: &[Spanned<Upstream>], report: &mut Report<'_>) -> Server {
    let (listen, inherited) = listen(written.listen.as_ref(), report);
    let tls = written.tls.and_then(|table| tls(&table, report));
    let connections = value::within(written.max_connections.as_ref(), MAX_CONNECTIONS, 1..=1_000_000, report);
    Server {
        listen,
        inherited,
        default_upstream: default_upstream(written.default_upstream.as_ref(), upstreams, report),
        shutdown_grace: value::duration(written.shutdown_grace.as_ref(), SHUTDOWN_GRACE, report),
        max_connections: connections as usize,
        deny_reason: written.deny_reason.unwrap_or(true),
        tls,
    }
}

/// The addresses, and whether sockets are taken over. With nothing usable written, the default stands in.
fn listen(written: Option<&file::List>, report: &mut Report<'_>) -> (Vec<SocketAddr>, bool) {
    let (mut found, mut inherited) = (Vec::<SocketAddr>::new(), false);
    for text in written.iter().flat_map(|list| list.get_ref()) {
        if text.get_ref() == INHERITED {
            inherited = true;
            continue;
        }
        let Some(address) = value::address(text, report) else { continue };
        // Port 0 is another port each time.
        if address.port() != 0 && found.contains(&address) {
            report.error(text.span(), "listed twice").help("take one of them out");
        }
        found.push(address);
    }
    if let Some(list) = written
        && list.get_ref().is_empty()
    {
        report.error(list.span(), "empty: nobody could connect").help(format!("the default is [\"{LISTEN}\"]"));
    }
    if found.is_empty() && !inherited {
        found.push(LISTEN.parse().expect("the default is an address"));
    }
    (found, inherited)
}

fn tls(table: &Spanned<file::Table<file::Tls>>, report: &mut Report<'_>) -> Option<Tls> {
    let file::Tls { cert, key } = &table.get_ref().0;
    for (name, path) in [("cert", cert), ("key", key)] {
        if path.is_none() {
            report
                .missing("server.tls", name, table.span())
                .help("a certificate and its key belong together; leave the table out for plain HTTP");
        }
    }
    let chain = cert.as_ref().and_then(|path| files::certificates(path, report));
    let key = key.as_ref().and_then(|path| files::private_key(path, report));
    Some(Tls { chain: chain?, key: key? })
}

fn default_upstream(
    written: Option<&Text>,
    upstreams: &[Spanned<Upstream>],
    report: &mut Report<'_>,
) -> Option<Registry> {
    let is_there = |registry: &Registry| upstreams.iter().any(|upstream| upstream.get_ref().registry == *registry);
    let Some(text) = written else {
        return Some(Registry::docker_hub()).filter(is_there);
    };
    let registry = match text.get_ref().parse::<Registry>() {
        Ok(registry) => registry,
        Err(error) => {
            report.error(text.span(), error.to_string());
            return None;
        }
    };
    if !is_there(&registry) && !report.has_unread("upstream") {
        let help = match upstreams {
            [] => format!("add [upstream.\"{registry}\"]"),
            _ => format!("add [upstream.\"{registry}\"], or name one of: {}", names(upstreams)),
        };
        report.error(text.span(), "no such upstream").help(help);
    }
    Some(registry)
}

fn names(upstreams: &[Spanned<Upstream>]) -> String {
    upstreams.iter().map(|upstream| upstream.get_ref().registry.as_str()).collect::<Vec<_>>().join(", ")
}

/// The admin listener shows what is inside; it has no login in this version.
pub(super) fn admin(written: Option<&Text>, default: &str, server: &Server, report: &mut Report<'_>) -> SocketAddr {
    let fallback = default.parse().expect("the default is an address");
    let Some(text) = written else { return fallback };
    let Some(address) = value::address(text, report) else { return fallback };
    if address.port() != 0 && server.listen.contains(&address) {
        report.error(text.span(), "server.listen has the same address").help("give the admin listener another port");
    }
    if !address.ip().is_loopback() {
        report
            .warn(text.span(), "reachable from other machines")
            .label("not a loopback address")
            .help("it shows what was pulled and has no login; let only your monitoring reach it");
    }
    address
}
