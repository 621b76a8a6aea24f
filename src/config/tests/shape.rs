//! Mistakes in the shape: syntax, unknown keys at each level, wrong types.

use insta::assert_snapshot;

use super::Lab;

#[test]
fn an_expression_in_double_quotes() {
    let text = |quote| format!("version = 1\n[policy_default]\ndeny = {quote}github\\.com{quote}\n");
    assert_snapshot!(Lab::new().problems(&text('"')), @r#"
    error: not TOML: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\`, `"`, `x`, `u`, `U`
     --> proxy.toml:3:16
      |
    3 | deny = "github\.com"
      |                ^
      |
      = help: between double quotes a backslash starts an escape; expressions go in single quotes: '…\.…'
    "#);
    assert!(!Lab::new().problems(&text('\'')).contains("not TOML"));
}

#[test]
fn bad_syntax() {
    assert_snapshot!(Lab::new().problems("version = 1\n[server\nlisten = [\"a\"\n[log]\nlevel = info\nlevel = \"x\"\n"), @r#"
    error: not TOML: unclosed table, expected `]`
     --> proxy.toml:2:8
      |
    2 | [server
      |        ^

    error: not TOML: missing comma between array elements, expected `,`
     --> proxy.toml:4:1
      |
    4 | [log]
      | ^

    error: not TOML: missing comma between array elements, expected `,`
     --> proxy.toml:5:1
      |
    5 | level = info
      | ^
    "#);
}

#[test]
fn unknown_keys_at_each_level() {
    let text = r#"
version = 1
listen = ["127.0.0.1:5050"]
[server]
listn = ["127.0.0.1:5050"]
[server.tls]
certificate = "tls.crt"
[upstream."ghcr.io"]
urls = "https://ghcr.io"
credentials = { username = "me", passwordfile = "password" }
[network]
retry = 3
[[policy]]
name = "acme"
image = ["ghcr.io/acme/**"]
docker_reference = { our = "a", signed = "b" }
[[policy.signer]]
keys = "acme.pub"
[policy_default]
mod = "enforce"
[cache]
directory = "/tmp"
[admin]
auth = "none"
[log]
levels = "info"
[limits]
manifest_size = "4MiB"
"#;
    assert_snapshot!(Lab::new().problems(text), @r#"
    error: listen: unknown key
     --> proxy.toml:3:1
      |
    3 | listen = ["127.0.0.1:5050"]
      | ^^^^^^
      |
      = help: known here: version, server, upstream, network, trust, policy, policy_default, cache, admin, log, limits

    error: server.listn: unknown key
     --> proxy.toml:5:1
      |
    5 | listn = ["127.0.0.1:5050"]
      | ^^^^^
      |
      = help: did you mean `listen`?

    error: server.tls.cert: missing
     --> proxy.toml:6:1
      |
    6 | [server.tls]
      | ^^^^^^^^^^^^
      |
      = help: a certificate and its key belong together; leave the table out for plain HTTP

    error: server.tls.key: missing
     --> proxy.toml:6:1
      |
    6 | [server.tls]
      | ^^^^^^^^^^^^
      |
      = help: a certificate and its key belong together; leave the table out for plain HTTP

    error: server.tls.certificate: unknown key
     --> proxy.toml:7:1
      |
    7 | certificate = "tls.crt"
      | ^^^^^^^^^^^
      |
      = help: known here: cert, key

    error: upstream."ghcr.io".urls: unknown key
     --> proxy.toml:9:1
      |
    9 | urls = "https://ghcr.io"
      | ^^^^
      |
      = help: did you mean `url`?

    error: upstream."ghcr.io".credentials.passwordfile: unknown key
    --> proxy.toml:10:34
     = help: did you mean `password_file`?

    error: network.retry: unknown key
      --> proxy.toml:12:1
       |
    12 | retry = 3
       | ^^^^^
       |
       = help: known here: proxy, connect_timeout, read_timeout, retries

    error: policy[0].image: unknown key
      --> proxy.toml:15:1
       |
    15 | image = ["ghcr.io/acme/**"]
       | ^^^^^
       |
       = help: did you mean `images`?

    error: policy[0].docker_reference.our: unknown key
      --> proxy.toml:16:22
       |
    16 | docker_reference = { our = "a", signed = "b" }
       |                      ^^^
       |
       = help: did you mean `ours`?

    error: policy[0].signer[0].keys: unknown key
      --> proxy.toml:18:1
       |
    18 | keys = "acme.pub"
       | ^^^^
       |
       = help: did you mean `key`?

    error: policy_default.mod: unknown key
      --> proxy.toml:20:1
       |
    20 | mod = "enforce"
       | ^^^
       |
       = help: did you mean `mode`?

    error: cache.directory: unknown key
      --> proxy.toml:22:1
       |
    22 | directory = "/tmp"
       | ^^^^^^^^^
       |
       = help: known here: dir, max_size, min_free, keep, verify_reads, scrub, reverify

    error: admin.auth: unknown key
      --> proxy.toml:24:1
       |
    24 | auth = "none"
       | ^^^^
       |
       = help: known here: listen

    error: log.levels: unknown key
      --> proxy.toml:26:1
       |
    26 | levels = "info"
       | ^^^^^^
       |
       = help: did you mean `level`?

    error: limits.manifest_size: unknown key
      --> proxy.toml:28:1
       |
    28 | manifest_size = "4MiB"
       | ^^^^^^^^^^^^^
       |
       = help: known here: signature_deadline, concurrent_fetches, fetches_per_upstream, requests_per_upstream
    "#);
}

#[test]
fn wrong_types_and_unknown_words() {
    let text = r#"
version = "1"
server = 5
[upstream]
"ghcr.io" = "https://ghcr.io"
"quay.io" = { url = "https://quay.io", credentials = "docker", token_realms = "auth.quay.io" }
[network]
read_timeout = 30
retries = -1
[[policy]]
name = "acme"
images = "ghcr.io/**"
mode = "warn"
require = "one"
docker_reference = "yes"
[[policy.signer]]
key = "acme.pub"
not_after = 2026
[log]
level = "loud"
access = "yes"
"#;
    assert_snapshot!(Lab::new().problems(text), @r#"
    error: version: invalid type: string "1", expected a number from 0 to 4294967295
     --> proxy.toml:2:11
      |
    2 | version = "1"
      |           ^^^

    error: server: invalid type: integer `5`, expected a table
     --> proxy.toml:3:10
      |
    3 | server = 5
      |          ^

    error: upstream."ghcr.io": invalid type: string "https://ghcr.io", expected a table
     --> proxy.toml:5:13
      |
    5 | "ghcr.io" = "https://ghcr.io"
      |             ^^^^^^^^^^^^^^^^^

    error: upstream."quay.io".credentials: unknown word, expected "none", "docker-config" or { username = "…", password_file = "…" }
     --> proxy.toml:6:54
      |
    6 | "quay.io" = { url = "https://quay.io", credentials = "docker", token_realms = "auth.quay.io" }
      |                                                      ^^^^^^^^

    error: upstream."quay.io".token_realms: invalid type: string "auth.quay.io", expected a list
     --> proxy.toml:6:79
      |
    6 | "quay.io" = { url = "https://quay.io", credentials = "docker", token_realms = "auth.quay.io" }
      |                                                                               ^^^^^^^^^^^^^^

    error: network.read_timeout: invalid type: integer `30`, expected a text
     --> proxy.toml:8:16
      |
    8 | read_timeout = 30
      |                ^^
      |
      = help: put the value in quotes

    error: network.retries: invalid value: integer `-1`, expected a number from 0 to 4294967295
     --> proxy.toml:9:11
      |
    9 | retries = -1
      |           ^^

    error: policy[0].images: invalid type: string "ghcr.io/**", expected a list
      --> proxy.toml:12:10
       |
    12 | images = "ghcr.io/**"
       |          ^^^^^^^^^^^^

    error: policy[0].mode: unknown value `warn`
      --> proxy.toml:13:8
       |
    13 | mode = "warn"
       |        ^^^^^^
       |
       = help: expected one of "enforce", "audit", "off"

    error: policy[0].require: unknown value `one`
      --> proxy.toml:14:11
       |
    14 | require = "one"
       |           ^^^^^
       |
       = help: expected "any" or "all"

    error: policy[0].docker_reference: invalid value: string "yes", expected "ignore", "repository", { exact = "…" } or { ours = "…", signed = "…" }
      --> proxy.toml:15:20
       |
    15 | docker_reference = "yes"
       |                    ^^^^^

    error: policy[0].signer[0].not_after: invalid type: integer `2026`, expected a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z
      --> proxy.toml:18:13
       |
    18 | not_after = 2026
       |             ^^^^

    error: log.level: unknown value `loud`
      --> proxy.toml:20:9
       |
    20 | level = "loud"
       |         ^^^^^^
       |
       = help: expected one of "error", "warn", "info", "debug", "trace"

    error: log.access: invalid type: string "yes", expected true or false
      --> proxy.toml:21:10
       |
    21 | access = "yes"
       |          ^^^^^
    "#);
}

#[test]
fn a_table_where_a_list_of_tables_belongs_is_told_once() {
    assert_snapshot!(Lab::new().problems("version = 1\n[upstream.\"ghcr.io\"]\nurl = \"https://ghcr.io\"\n[policy]\nname = \"a\"\n"), @r#"
    error: policy: invalid type: table, expected a list
     --> proxy.toml:4:1
      |
    4 | [policy]
      | ^^^^^^^^
    "#);
    assert_snapshot!(Lab::new().problems("version = 1\n[[log]]\nlevel = \"info\"\n[[log]]\nlevel = \"info\"\n[upstream.\"ghcr.io\"]\nurl = \"https://ghcr.io\"\n"), @r#"
    error: log[0]: invalid type: list, expected a table
     --> proxy.toml:2:1
      |
    2 | [[log]]
      | ^^^^^^^
    "#);
}
