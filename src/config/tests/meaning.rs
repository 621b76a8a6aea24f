//! Mistakes in the meaning: server, network, limits.

use insta::assert_snapshot;

use super::{GOOD, Lab};

#[test]
fn server_and_admin() {
    let text = format!(
        r#"{GOOD}
[server]
listen = ["localhost:5050", ":5050", "127.0.0.1", "127.0.0.1:5051", "127.0.0.1:5051"]
# a line
default_upstream = "docker.io"
shutdown_grace = "30 s"
max_connections = 0
[server.tls]
cert = "tls.key"
key = "tls.crt"
[admin]
listen = "127.0.0.1:5051"
[cache]
dir = ""
"#
    );
    assert_snapshot!(Lab::new().problems(&text), @r#"
    error: server.listen[0]: not an address with a port
      --> proxy.toml:12:11
       |
    12 | listen = ["localhost:5050", ":5050", "127.0.0.1", "127.0.0.1:5051", "127.0.0.1:5051"]
       |           ^^^^^^^^^^^^^^^^
       |
       = help: names may mean several addresses; write "127.0.0.1:5050"

    error: server.listen[1]: not an address with a port
      --> proxy.toml:12:29
       |
    12 | listen = ["localhost:5050", ":5050", "127.0.0.1", "127.0.0.1:5051", "127.0.0.1:5051"]
       |                             ^^^^^^^
       |
       = help: to listen on all addresses, write "0.0.0.0:5050"

    error: server.listen[2]: not an address with a port
      --> proxy.toml:12:38
       |
    12 | listen = ["localhost:5050", ":5050", "127.0.0.1", "127.0.0.1:5051", "127.0.0.1:5051"]
       |                                      ^^^^^^^^^^^
       |
       = help: write an address and a port, such as "127.0.0.1:5050" or "[::1]:5050"

    error: server.listen[4]: listed twice
      --> proxy.toml:12:69
       |
    12 | listen = ["localhost:5050", ":5050", "127.0.0.1", "127.0.0.1:5051", "127.0.0.1:5051"]
       |                                                                     ^^^^^^^^^^^^^^^^
       |
       = help: take one of them out

    error: server.default_upstream: no such upstream
      --> proxy.toml:14:20
       |
    14 | default_upstream = "docker.io"
       |                    ^^^^^^^^^^^
       |
       = help: add [upstream."docker.io"], or name one of: ghcr.io

    error: server.shutdown_grace: not a duration
      --> proxy.toml:15:18
       |
    15 | shutdown_grace = "30 s"
       |                  ^^^^^^
       |
       = help: write a whole number and a unit, such as "30s": ms, s, m, h or d

    error: server.max_connections: must be from 1 to 1000000
      --> proxy.toml:16:19
       |
    16 | max_connections = 0
       |                   ^
       |
       = help: the default is 4096

    error: server.tls.cert: the file holds a private key
      --> proxy.toml:18:8
       |
    18 | cert = "tls.key"
       |        ^^^^^^^^^
       |
       = help: name the file with the certificate here, and keep the key in a file of its own

    error: server.tls.key: the file holds no PEM private key
      --> proxy.toml:19:7
       |
    19 | key = "tls.crt"
       |       ^^^^^^^^^
       |
       = help: it must hold `-----BEGIN PRIVATE KEY-----`

    error: admin.listen: server.listen has the same address
      --> proxy.toml:21:10
       |
    21 | listen = "127.0.0.1:5051"
       |          ^^^^^^^^^^^^^^^^
       |
       = help: give the admin listener another port

    error: cache.dir: empty
      --> proxy.toml:23:7
       |
    23 | dir = ""
       |       ^^
       |
       = help: name a folder that only assay writes to
    "#);
}

#[test]
fn half_a_tls_table_and_nothing_to_listen_on() {
    let text = format!("{GOOD}[server]\nlisten = []\n[server.tls]\ncert = \"tls.crt\"\n");
    assert_snapshot!(Lab::new().problems(&text), @r#"
    error: server.listen: empty: nobody could connect
      --> proxy.toml:11:10
       |
    11 | listen = []
       |          ^^
       |
       = help: the default is ["127.0.0.1:5050"]

    error: server.tls.key: missing
      --> proxy.toml:12:1
       |
    12 | [server.tls]
       | ^^^^^^^^^^^^
       |
       = help: a certificate and its key belong together; leave the table out for plain HTTP
    "#);
    let text = format!("{GOOD}[server.tls]\ncert = \"absent.crt\"\nkey = \"rubbish\"\n");
    assert_snapshot!(Lab::new().problems(&text), @r#"
    error: server.tls.cert: cannot read the file: No such file or directory (os error 2)
      --> proxy.toml:11:8
       |
    11 | cert = "absent.crt"
       |        ^^^^^^^^^^^^ looked for absent.crt
       |
       = help: relative paths start at the folder of the configuration file

    error: server.tls.key: the file holds no PEM private key
      --> proxy.toml:12:7
       |
    12 | key = "rubbish"
       |       ^^^^^^^^^
       |
       = help: it must hold `-----BEGIN PRIVATE KEY-----`
    "#);
}

#[test]
fn network_and_limits() {
    let text = format!(
        r#"{GOOD}
[network]
proxy = "http://me:hunter2@proxy:3128"
connect_timeout = "0s"
read_timeout = "5 minutes"
retries = 99
[limits]
signature_deadline = "99999999999999d"
concurrent_fetches = 0
[policy_default]
mode = "audit"
deny = "two\nlines"
"#
    );
    assert_snapshot!(Lab::new().problems(&text), @r#"
    error: network.proxy: a URL here has no user and no password
    --> proxy.toml:12:9
     = help: this file holds no passwords; upstreams take `credentials`, a proxy with a login goes into HTTPS_PROXY

    error: network.connect_timeout: must be longer than 0
      --> proxy.toml:13:19
       |
    13 | connect_timeout = "0s"
       |                   ^^^^
       |
       = help: with 0 nothing would ever succeed

    error: network.read_timeout: not a duration
      --> proxy.toml:14:16
       |
    14 | read_timeout = "5 minutes"
       |                ^^^^^^^^^^^
       |
       = help: write a whole number and a unit, such as "30s": ms, s, m, h or d

    error: network.retries: must be from 0 to 10
      --> proxy.toml:15:11
       |
    15 | retries = 99
       |           ^^
       |
       = help: the default is 3

    error: limits.signature_deadline: not a duration
      --> proxy.toml:17:22
       |
    17 | signature_deadline = "99999999999999d"
       |                      ^^^^^^^^^^^^^^^^^
       |
       = help: write a whole number and a unit, such as "30s": ms, s, m, h or d

    error: limits.concurrent_fetches: must be from 1 to 10000
      --> proxy.toml:18:22
       |
    18 | concurrent_fetches = 0
       |                      ^
       |
       = help: the default is 64

    error: policy_default.mode: can only be "enforce": an image that no policy covers is always refused
      --> proxy.toml:20:8
       |
    20 | mode = "audit"
       |        ^^^^^^^
       |
       = help: to let more through, add a [[policy]] with mode = "audit" that names it

    error: policy_default.deny: must be one line of at most 300 characters
      --> proxy.toml:21:8
       |
    21 | deny = "two\nlines"
       |        ^^^^^^^^^^^^
    "#);
}

#[test]
fn durations_and_urls_that_are_good() {
    let lab = Lab::new();
    for (text, seconds) in [("30s", 30), ("10m", 600), ("24h", 86_400), ("365d", 31_536_000), ("2000ms", 2), ("0s", 0)]
    {
        let (settings, _) = lab.load(&format!("{GOOD}[server]\nshutdown_grace = \"{text}\"\n"));
        assert_eq!(settings.server.shutdown_grace.as_secs(), seconds, "{text}");
    }
    let (settings, _) = lab.load(&format!("{GOOD}[server.tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n"));
    assert!(settings.server.tls.unwrap().chain.contains("BEGIN CERTIFICATE"));
    assert_eq!(settings.files[..2], ["tls.crt", "tls.key"].map(|name| lab.path().join(name)));
}

#[test]
fn what_is_kept_is_checked_again_as_often_as_is_written() {
    use crate::config::VerifyReads;
    let often = |text: &str| {
        let (settings, _) = Lab::new().load(&format!("{GOOD}\n[cache]\n{text}"));
        let it = settings.cache.integrity;
        (it.verify_reads, it.scrub.map(|every| every.as_secs()), it.reverify.map(|every| every.as_secs()))
    };
    assert_eq!(often(""), (VerifyReads::OnChange, Some(7 * 86_400), Some(86_400)));
    assert_eq!(
        often("verify_reads = \"always\"\nscrub = \"off\"\nreverify = \"5m\""),
        (VerifyReads::Always, None, Some(300))
    );
    let problems = Lab::new().problems(&format!("{GOOD}\n[cache]\nscrub = \"1m\"\nreverify = \"never\""));
    assert!(problems.contains("cache.scrub: must be at least 3600 s, or \"off\""), "{problems}");
    assert!(problems.contains("cache.reverify: not a duration"), "{problems}");
}
