//! Environment variables over the file.

use std::path::Path;

use insta::assert_snapshot;

use super::{GOOD, Lab};
use crate::config::{LogFormat, Proxy, Settings};

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn they_win_over_the_file_and_are_listed() {
    let variables = owned(&[
        ("ASSAY_SERVER__LISTEN", "0.0.0.0:80, [::]:80"),
        ("ASSAY_SERVER__MAX_CONNECTIONS", "7"),
        ("ASSAY_SERVER__DENY_REASON", "false"),
        ("ASSAY_ADMIN__LISTEN", "127.0.0.1:9"),
        ("ASSAY_LOG__FORMAT", "json"),
        ("ASSAY_NETWORK__PROXY", "http://proxy:3128"),
        ("ASSAY_UPSTREAM__GHCR_IO__URL", "https://mirror.acme.io"),
        ("ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__USERNAME", "123"),
        ("ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__PASSWORD_FILE", "password"),
        ("ASSAY_LOG", "debug"),
        ("ASSAY_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/root"),
    ]);
    let text = format!("{GOOD}[log]\nformat = \"text\"\n");
    let lab = Lab::new();
    let (settings, _) = Settings::from_sources("proxy.toml", &text, lab.path(), &variables)
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(settings.server.listen, ["0.0.0.0:80".parse().unwrap(), "[::]:80".parse().unwrap()]);
    assert_eq!((settings.server.max_connections, settings.server.deny_reason), (7, false));
    assert_eq!(settings.log.format, LogFormat::Json);
    assert_eq!(settings.network.proxy, Proxy::Url("http://proxy:3128".parse().unwrap()));
    assert_eq!(settings.upstreams[0].url.as_str(), "https://mirror.acme.io/");
    let listed: Vec<_> = settings.overrides.iter().map(|o| format!("{} {}", o.variable, o.key)).collect();
    assert_snapshot!(listed.join("\n"), @r#"
    ASSAY_ADMIN__LISTEN admin.listen
    ASSAY_LOG__FORMAT log.format
    ASSAY_NETWORK__PROXY network.proxy
    ASSAY_SERVER__DENY_REASON server.deny_reason
    ASSAY_SERVER__LISTEN server.listen
    ASSAY_SERVER__MAX_CONNECTIONS server.max_connections
    ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__PASSWORD_FILE upstream."ghcr.io".credentials.password_file
    ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__USERNAME upstream."ghcr.io".credentials.username
    ASSAY_UPSTREAM__GHCR_IO__URL upstream."ghcr.io".url
    "#);
}

#[test]
fn mistakes_name_the_variable() {
    let variables = [
        ("ASSAY_SERVER__LISTN", "127.0.0.1:80"),
        ("ASSAY_SERVER__LISTEN", "127.0.0.1:80,localhost:81"),
        ("ASSAY_SERVER__DENY_REASON", "maybe"),
        ("ASSAY_NETWORK__READ_TIMEOUT", "soon"),
        ("ASSAY_UPSTREAM__QUAY_IO__URL", "https://quay.io"),
        ("ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__PASSWORD", "hunter2"),
        ("ASSAY_POLICY__0__MODE", "off"),
        ("ASSAY_TRUST__ROOT", "root.json"),
        ("ASSAY_VERSION__X", "1"),
    ];
    let shown = Lab::new().problems_with(GOOD, &variables);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_snapshot!(shown, @r#"
    error: network.read_timeout: not a duration
     --> environment variable ASSAY_NETWORK__READ_TIMEOUT:1:29
      |
    1 | ASSAY_NETWORK__READ_TIMEOUT=soon
      |                             ^^^^
      |
      = help: write a whole number and a unit, such as "30s": ms, s, m, h or d

    error: policies cannot be set by environment variables
     --> environment variable ASSAY_POLICY__0__MODE:1:23
      |
    1 | ASSAY_POLICY__0__MODE=off
      |                       ^^^
      |
      = help: write it into the file, so that what is enforced can be read in one place

    error: server.deny_reason: invalid type: string "maybe", expected true or false
     --> environment variable ASSAY_SERVER__DENY_REASON:1:27
      |
    1 | ASSAY_SERVER__DENY_REASON=maybe
      |                           ^^^^^

    error: server.listen[1]: not an address with a port
     --> environment variable ASSAY_SERVER__LISTEN:1:35
      |
    1 | ASSAY_SERVER__LISTEN=127.0.0.1:80,localhost:81
      |                                   ^^^^^^^^^^^^
      |
      = help: names may mean several addresses; write "127.0.0.1:81"

    error: server.listn: unknown key
     --> environment variable ASSAY_SERVER__LISTN:1:21
      |
    1 | ASSAY_SERVER__LISTN=127.0.0.1:80
      |                     ^^^^^^^^^^^^
      |
      = help: did you mean `listen`?

    error: trusted roots cannot be set by environment variables
     --> environment variable ASSAY_TRUST__ROOT:1:19
      |
    1 | ASSAY_TRUST__ROOT=root.json
      |                   ^^^^^^^^^
      |
      = help: write it into the file, so that what is enforced can be read in one place

    error: upstream."ghcr.io".credentials.password: unknown key
    --> environment variable ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__PASSWORD:1:48
     = help: known here: username, password_file

    error: upstream."ghcr.io".credentials.username: missing
    --> environment variable ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__PASSWORD:1:48
     = help: write { username = "…", password_file = "…" }

    error: upstream."ghcr.io".credentials.password_file: missing
    --> environment variable ASSAY_UPSTREAM__GHCR_IO__CREDENTIALS__PASSWORD:1:48
     = help: write { username = "…", password_file = "…" }

    error: the file has no upstream `quay_io`
     --> environment variable ASSAY_UPSTREAM__QUAY_IO__URL:1:30
      |
    1 | ASSAY_UPSTREAM__QUAY_IO__URL=https://quay.io
      |                              ^^^^^^^^^^^^^^^
      |
      = help: variables change upstreams of the file; they cannot add any

    error: version is not a table
     --> environment variable ASSAY_VERSION__X:1:18
      |
    1 | ASSAY_VERSION__X=1
      |                  ^
      |
      = help: set the key itself
    "#);
}

#[test]
fn the_builtin_configuration_takes_them_too() {
    let text = include_str!("../builtin.toml");
    let variables =
        owned(&[("ASSAY_SERVER__LISTEN", "0.0.0.0:5050"), ("ASSAY_UPSTREAM__DOCKER_IO__URL", "http://127.0.0.1:1")]);
    let (settings, _) = Settings::from_sources("builtin.toml", text, Path::new(""), &variables).unwrap();
    assert_eq!(settings.upstreams[0].url.as_str(), "http://127.0.0.1:1/");
}

#[test]
fn the_builtin_configuration_only_watches() {
    let (settings, warnings) =
        Settings::from_text("builtin.toml", include_str!("../builtin.toml"), Path::new("")).unwrap();
    assert!(settings.server.listen.iter().all(|address| address.ip().is_loopback()));
    assert!(settings.policy.rules().iter().all(|rule| rule.enforcement().mode() == "audit"));
    assert_eq!(settings.upstreams.len(), 5);
    assert_eq!(settings.server.default_upstream.unwrap().as_str(), "docker.io");
    assert_eq!(warnings.len(), 1, "only that nothing is refused: {warnings:?}");
    for image in ["docker.io/library/alpine", "ghcr.io/a/b", "quay.io/a/b/c", "gcr.io/a", "registry.k8s.io/pause"] {
        assert!(settings.policy.rule_for(&image.parse().unwrap()).is_some(), "{image}");
    }
}
