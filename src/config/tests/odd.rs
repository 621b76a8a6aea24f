//! Files that are empty, absent, of another version, or hold what they should not.

use insta::assert_snapshot;

use super::{GOOD, Lab};

#[test]
fn keys_of_later_versions() {
    let text = format!("{GOOD}[telemetry]\nendpoint = \"http://127.0.0.1:4317\"\n");
    assert_snapshot!(Lab::new().problems(&text), @r#"
    error: telemetry: not in this version
      --> proxy.toml:10:2
       |
    10 | [telemetry]
       |  ^^^^^^^^^
       |
       = help: traces are not supported in this version; metrics are on the admin listener
    "#);
}

#[test]
fn a_line_that_may_hold_a_secret_is_not_shown() {
    let text = GOOD.replace(
        "url = \"https://ghcr.io\"",
        "url = \"https://me:hunter2@ghcr.io\"\ncredentials = { username = \"me\", password = \"hunter2\" }",
    );
    let shown = Lab::new().problems(&text);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_snapshot!(shown, @r#"
    error: upstream."ghcr.io".url: a URL here has no user and no password
    --> proxy.toml:4:7
     = help: this file holds no passwords; upstreams take `credentials`, a proxy with a login goes into HTTPS_PROXY

    error: upstream."ghcr.io".credentials.password_file: missing
    --> proxy.toml:5:15
     = help: write { username = "…", password_file = "…" }

    error: upstream."ghcr.io".credentials.password: unknown key
    --> proxy.toml:5:34
     = help: known here: username, password_file
    "#);
}

#[test]
fn a_claim_about_a_token_is_no_secret() {
    let text = GOOD
        .replace("key = \"acme.pub\"", "issuer = \"https://accounts.google.com\"\nclaims = { token_subject = \"\" }");
    assert!(Lab::new().problems(&text).contains("| claims = { token_subject"), "the line is shown");
}

#[test]
fn a_file_that_cannot_be_read() {
    let problems = crate::config::Settings::load(&Lab::new().path().join("absent.toml")).unwrap_err();
    assert!(problems.to_string().contains("absent.toml: No such file"), "{problems}");
}

#[test]
fn an_empty_file_and_another_version() {
    assert_snapshot!(Lab::new().problems(""), @r#"
    error: version: missing
     --> proxy.toml:1:1
      |
    1 |
      | ^
      |
      = help: write `version = 1` at the top: the format of this file

    error: upstream: missing
     --> proxy.toml:1:1
      |
    1 |
      | ^
      |
      = help: name at least one registry: [upstream."docker.io"] with url = "https://registry-1.docker.io"
    "#);
    assert_snapshot!(Lab::new().problems("version = 2\nnew_key = 1\n"), @r#"
    error: version: not a version of the format that is known here
     --> proxy.toml:1:11
      |
    1 | version = 2
      |           ^ only 1 is
      |
      = help: this file was written for a newer release; install that one
    "#);
}

#[test]
fn more_mistakes_than_anybody_reads() {
    let many: String = (0..1000).map(|i| format!("key{i} = 1\n")).collect();
    let shown = Lab::new().problems(&many);
    assert_eq!(shown.matches("unknown key").count(), 50);
    assert!(!shown.contains("missing"), "{shown}");
}

#[test]
fn depth_and_size_have_an_end() {
    let lab = Lab::new();
    for deep in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
    ] {
        assert!(!lab.problems(&deep).is_empty());
    }
    assert!(lab.problems(&"#".repeat(5 * 1024 * 1024)).contains("larger than"));
}
