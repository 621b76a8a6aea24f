//! What is legal, and probably not meant.

use insta::assert_snapshot;

use super::{GOOD, Lab};

#[test]
fn rules_that_never_decide_or_never_refuse() {
    let text = r#"
version = 1
[upstream."ghcr.io"]
url = "https://ghcr.io"
[upstream."quay.io"]
url = "https://quay.io"
[[policy]]
name = "open"
images = ["ghcr.io/open/**"]
mode = "off"
[[policy]]
name = "watched"
images = ["ghcr.io/watched/*"]
mode = "audit"
[[policy]]
name = "late"
images = ["ghcr.io/open/**", "ghcr.io/open/app", "ghcr.io/watched/app", "ghcr.io/watched/a/b", "gcr.io/**"]
tlog = "off"
[[policy.signer]]
key = "acme.pub"
[[policy.signer]]
key = "acme-again.pub"
"#;
    assert_snapshot!(Lab::new().warnings(text), @r#"
    warning: upstream."quay.io": no policy covers any image of this upstream, so all are refused
     --> proxy.toml:5:11
      |
    5 | [upstream."quay.io"]
      |           ^^^^^^^^^
      |
      = help: add a [[policy]] with images = ["quay.io/**"]

    warning: policy[0].mode: everything this policy matches is served without any look at signatures
      --> proxy.toml:10:8
       |
    10 | mode = "off"
       |        ^^^^^
       |
       = help: mode = "audit" serves the same and records what would be refused

    warning: policy[1].mode: nothing this policy matches is ever refused
      --> proxy.toml:14:8
       |
    14 | mode = "audit"
       |        ^^^^^^^
       |
       = help: use mode = "enforce" once the log shows that all images you need are signed

    warning: policy[2].images[0]: never decides: policy `open` above matches all of it
      --> proxy.toml:17:11
       |
    17 | images = ["ghcr.io/open/**", "ghcr.io/open/app", "ghcr.io/watched/app", "ghcr.io/watched/a/b", "gcr.io/**"]
       |           ^^^^^^^^^^^^^^^^^ covered by `ghcr.io/open/**`
       |
       = help: policies are tried from top to bottom, and the first that matches decides; move the narrow one up

    warning: policy[2].images[1]: never decides: policy `open` above matches all of it
      --> proxy.toml:17:30
       |
    17 | images = ["ghcr.io/open/**", "ghcr.io/open/app", "ghcr.io/watched/app", "ghcr.io/watched/a/b", "gcr.io/**"]
       |                              ^^^^^^^^^^^^^^^^^^ covered by `ghcr.io/open/**`
       |
       = help: policies are tried from top to bottom, and the first that matches decides; move the narrow one up

    warning: policy[2].images[2]: never decides: policy `watched` above matches all of it
      --> proxy.toml:17:50
       |
    17 | images = ["ghcr.io/open/**", "ghcr.io/open/app", "ghcr.io/watched/app", "ghcr.io/watched/a/b", "gcr.io/**"]
       |                                                  ^^^^^^^^^^^^^^^^^^^^^ covered by `ghcr.io/watched/*`
       |
       = help: policies are tried from top to bottom, and the first that matches decides; move the narrow one up

    warning: policy[2].images[4]: no upstream has such images, so nobody can pull them here
      --> proxy.toml:17:96
       |
    17 | images = ["ghcr.io/open/**", "ghcr.io/open/app", "ghcr.io/watched/app", "ghcr.io/watched/a/b", "gcr.io/**"]
       |                                                                                                ^^^^^^^^^^^
       |
       = help: add [upstream."gcr.io"], or take the pattern out

    warning: policy[2].tlog: nothing proves when a key signed, nor that the signature was published
      --> proxy.toml:18:8
       |
    18 | tlog = "off"
       |        ^^^^^
       |
       = help: sign with the transparency log, and take the line out

    warning: policy[2].signer[1].key: the same key as `acme.pub`
      --> proxy.toml:22:7
       |
    22 | key = "acme-again.pub"
       |       ^^^^^^^^^^^^^^^^
       |
       = help: take one of them out
    "#);
}

#[test]
fn open_doors() {
    let text = GOOD.replace("https://ghcr.io", "http://ghcr.internal:5000").replace(
        "[[policy]]",
        "credentials = { username = \"me\", password_file = \"password\" }\n[upstream.\"docker.io\"]\nurl = \"https://docker.io\"\n[[policy]]",
    ) + "[admin]\nlisten = \"0.0.0.0:5051\"\n";
    assert_snapshot!(Lab::new().warnings(&text), @r#"
    warning: upstream."ghcr.io".url: plain HTTP to another machine
     --> proxy.toml:4:7
      |
    4 | url = "http://ghcr.internal:5000"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: signatures still protect images, but anybody on the way can read, delay and hide them; use https

    warning: upstream."ghcr.io".credentials: the password goes over plain HTTP to another machine
     --> proxy.toml:5:15
      |
    5 | credentials = { username = "me", password_file = "password" }
      |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: anybody on the way can read it; use https

    warning: upstream."docker.io": no policy covers any image of this upstream, so all are refused
     --> proxy.toml:6:11
      |
    6 | [upstream."docker.io"]
      |           ^^^^^^^^^^^
      |
      = help: add a [[policy]] with images = ["docker.io/**"]

    warning: upstream."docker.io".url: answers with a web page, not with a registry
     --> proxy.toml:7:7
      |
    7 | url = "https://docker.io"
      |       ^^^^^^^^^^^^^^^^^^^
      |
      = help: write "https://registry-1.docker.io"

    warning: admin.listen: reachable from other machines
      --> proxy.toml:14:10
       |
    14 | listen = "0.0.0.0:5051"
       |          ^^^^^^^^^^^^^^ not a loopback address
       |
       = help: it shows what was pulled and has no login; let only your monitoring reach it
    "#);
}

#[test]
fn loopback_may_speak_plain_http() {
    for url in ["http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000"] {
        assert_eq!(Lab::new().warnings(&GOOD.replace("https://ghcr.io", url)), "", "{url}");
    }
}
