//! Mistakes in upstreams, and what good ones become.

use insta::assert_snapshot;

use super::{GOOD, Lab};

#[test]
fn upstreams() {
    let text = r#"
version = 1
[server]
default_upstream = "gcr.io"
[upstream."https://a.io"]
url = "https://a.io"
[upstream."b.io"]
[upstream."c.io"]
url = "https://c.io/v2/"
ca = "rubbish"
token_realms = ["https://auth.c.io", "auth.c.io:0", "*.c.io"]
redirect_hosts = ["cdn.c.io/path"]
[upstream."d.io"]
url = "https://me:hunter2@d.io"
credentials = { username = "me" }
[upstream."e.io"]
url = "https://e.io?x=1"
credentials = { username = "a:b", password_file = "two-lines" }
[upstream."f.io"]
url = "f.io"
[upstream."docker.io"]
url = "https://registry-1.docker.io"
[upstream."index.docker.io"]
url = "https://registry-1.docker.io"
ca = "acme.key"
credentials = { username = "me", password_file = "absent" }
"#;
    assert_snapshot!(Lab::new().problems(text), @r#"
    error: server.default_upstream: no such upstream
     --> proxy.toml:4:20
      |
    4 | default_upstream = "gcr.io"
      |                    ^^^^^^^^
      |
      = help: add [upstream."gcr.io"], or name one of: docker.io, docker.io

    error: upstream."https://a.io": `https://a.io` has no valid port
     --> proxy.toml:5:11
      |
    5 | [upstream."https://a.io"]
      |           ^^^^^^^^^^^^^^
      |
      = help: the name is what clients write: a host, perhaps with a port; where it is goes into `url`

    error: upstream."b.io".url: missing
     --> proxy.toml:7:1
      |
    7 | [upstream."b.io"]
      | ^^^^^^^^^^^^^^^^^
      |
      = help: add url = "https://b.io"

    error: upstream."c.io".url: a URL here has no path
     --> proxy.toml:9:7
      |
    9 | url = "https://c.io/v2/"
      |       ^^^^^^^^^^^^^^^^^^
      |
      = help: write "https://c.io"

    error: upstream."c.io".ca: the file holds no PEM certificate
      --> proxy.toml:10:6
       |
    10 | ca = "rubbish"
       |      ^^^^^^^^^
       |
       = help: it must hold `-----BEGIN CERTIFICATE-----`; convert DER with `openssl x509 -inform der`

    error: upstream."c.io".token_realms[0]: not a host or host:port
      --> proxy.toml:11:17
       |
    11 | token_realms = ["https://auth.c.io", "auth.c.io:0", "*.c.io"]
       |                 ^^^^^^^^^^^^^^^^^^^
       |
       = help: write "auth.example.com" or "auth.example.com:8443", without a scheme, a path or wildcards

    error: upstream."c.io".token_realms[1]: not a host or host:port
      --> proxy.toml:11:38
       |
    11 | token_realms = ["https://auth.c.io", "auth.c.io:0", "*.c.io"]
       |                                      ^^^^^^^^^^^^^
       |
       = help: write "auth.example.com" or "auth.example.com:8443", without a scheme, a path or wildcards

    error: upstream."c.io".token_realms[2]: not a host or host:port
      --> proxy.toml:11:53
       |
    11 | token_realms = ["https://auth.c.io", "auth.c.io:0", "*.c.io"]
       |                                                     ^^^^^^^^
       |
       = help: write "auth.example.com" or "auth.example.com:8443", without a scheme, a path or wildcards

    error: upstream."c.io".redirect_hosts[0]: not a host or host:port
      --> proxy.toml:12:19
       |
    12 | redirect_hosts = ["cdn.c.io/path"]
       |                   ^^^^^^^^^^^^^^^
       |
       = help: write "auth.example.com" or "auth.example.com:8443", without a scheme, a path or wildcards

    error: upstream."d.io".url: a URL here has no user and no password
    --> proxy.toml:14:7
     = help: this file holds no passwords; upstreams take `credentials`, a proxy with a login goes into HTTPS_PROXY

    error: upstream."d.io".credentials.password_file: missing
      --> proxy.toml:15:15
       |
    15 | credentials = { username = "me" }
       |               ^^^^^^^^^^^^^^^^^^^
       |
       = help: write { username = "…", password_file = "…" }

    error: upstream."e.io".url: a URL here has no query and no fragment
      --> proxy.toml:17:7
       |
    17 | url = "https://e.io?x=1"
       |       ^^^^^^^^^^^^^^^^^^
       |
       = help: write it as https://HOST or https://HOST:PORT

    error: upstream."e.io".credentials.username: must be a name without a colon
      --> proxy.toml:18:28
       |
    18 | credentials = { username = "a:b", password_file = "two-lines" }
       |                            ^^^^^

    error: upstream."e.io".credentials.password_file: the file must hold one line: the password
      --> proxy.toml:18:51
       |
    18 | credentials = { username = "a:b", password_file = "two-lines" }
       |                                                   ^^^^^^^^^^^

    error: upstream."f.io".url: not a URL: relative URL without a base
      --> proxy.toml:20:7
       |
    20 | url = "f.io"
       |       ^^^^^^
       |
       = help: write it as https://HOST or https://HOST:PORT

    error: upstream."index.docker.io": another upstream is `docker.io` too
      --> proxy.toml:23:11
       |
    23 | [upstream."index.docker.io"]
       |           ^^^^^^^^^^^^^^^^^
       |
       = help: Docker Hub has several names but is one registry; keep one of the tables

    error: upstream."index.docker.io".ca: the file holds a private key
      --> proxy.toml:25:6
       |
    25 | ca = "acme.key"
       |      ^^^^^^^^^^
       |
       = help: name the file with the certificate here, and keep the key in a file of its own

    error: upstream."index.docker.io".credentials.password_file: cannot read the file: No such file or directory (os error 2)
      --> proxy.toml:26:50
       |
    26 | credentials = { username = "me", password_file = "absent" }
       |                                                  ^^^^^^^^ looked for absent
       |
       = help: relative paths start at the folder of the configuration file
    "#);
}

#[test]
fn a_password_is_read_and_never_printed() {
    let lab = Lab::new();
    let text = GOOD.replace(
        "url = \"https://ghcr.io\"",
        "url = \"https://ghcr.io\"\ncredentials = { username = \"me\", password_file = \"password\" }\ntoken_realms = [\"Auth.ghcr.io:8443\", \"[::1]\"]",
    );
    let (settings, _) = lab.load(&text);
    let crate::config::Credentials::Login { username, password } = &settings.upstreams[0].credentials else { panic!() };
    assert_eq!((username.as_str(), password.expose()), ("me", "hunter2"));
    assert!(!format!("{settings:?} {settings:#?} {password}").contains("hunter2"));
    let realms: Vec<_> = settings.upstreams[0].token_realms.iter().map(ToString::to_string).collect();
    assert_eq!(realms, ["auth.ghcr.io:8443", "[::1]"]);
}

#[test]
fn without_docker_hub_there_is_no_default_upstream() {
    let (settings, _) = Lab::new().load(GOOD);
    assert_eq!(settings.server.default_upstream, None);
}

#[test]
fn signatures_elsewhere() {
    let with = |place: &str| GOOD.replace("[[policy]]", &format!("signatures_in = \"{place}\"\n[[policy]]"));
    let (settings, _) = Lab::new().load(&with("ghcr.io/acme/signatures"));
    assert_eq!(settings.upstreams[0].signatures_in, Some("ghcr.io/acme/signatures".parse().unwrap()));
    let (settings, _) = Lab::new().load(GOOD);
    assert_eq!(settings.upstreams[0].signatures_in, None);
    assert_snapshot!(Lab::new().problems(&with("quay.io/acme/signatures")), @r#"
    error: upstream."ghcr.io".signatures_in: no upstream is called `quay.io`
     --> proxy.toml:5:17
      |
    5 | signatures_in = "quay.io/acme/signatures"
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: add [upstream."quay.io"]: signatures are fetched as images are
    "#);
    assert_snapshot!(Lab::new().problems(&with("signatures")), @r#"
    error: upstream."ghcr.io".signatures_in: not a repository
     --> proxy.toml:5:17
      |
    5 | signatures_in = "signatures"
      |                 ^^^^^^^^^^^^
      |
      = help: write the registry and the path, without a tag: "ghcr.io/acme/signatures"
    "#);
}
