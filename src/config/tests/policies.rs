//! Mistakes in policies and signers.

use insta::assert_snapshot;

use super::Lab;
use crate::trust::{DockerReference, Enforcement, Require};

pub(super) const UPSTREAMS: &str = r#"version = 1
[upstream."docker.io"]
url = "https://registry-1.docker.io"
[upstream."ghcr.io"]
url = "https://ghcr.io"
"#;

pub(super) fn problems(policies: &str) -> String {
    Lab::new().problems(&format!("{UPSTREAMS}{policies}"))
}

#[test]
fn rules_that_make_no_sense() {
    let text = r#"
[[policy]]
[[policy]]
name = "nobody"
images = ["ghcr.io/a/**"]
[[policy]]
name = "nobody"
images = []
mode = "audit"
[[policy]]
name = "two words"
images = ["ghcr.io/b/**"]
mode = "off"
[[policy.signer]]
key = "acme.pub"
"#;
    assert_snapshot!(problems(text), @r#"
    error: policy[0].name: missing
     --> proxy.toml:7:1
      |
    7 | [[policy]]
      | ^^^^^^^^^^
      |
      = help: refusals, logs and records call the rule by it

    error: policy[0].images: missing
     --> proxy.toml:7:1
      |
    7 | [[policy]]
      | ^^^^^^^^^^
      |
      = help: name repositories: images = ["ghcr.io/acme/**"]

    error: policy[0]: nobody may sign: every image would be refused
     --> proxy.toml:7:1
      |
    7 | [[policy]]
      | ^^^^^^^^^^
      |
      = help: add [[policy.signer]] with key = "FILE" or with issuer and identity, or write mode = "audit"

    error: policy[1]: nobody may sign: every image would be refused
     --> proxy.toml:8:1
      |
    8 | [[policy]]
      | ^^^^^^^^^^
      |
      = help: add [[policy.signer]] with key = "FILE" or with issuer and identity, or write mode = "audit"

    error: policy[2].name: another policy has this name
      --> proxy.toml:12:8
       |
    12 | name = "nobody"
       |        ^^^^^^^^
       |
       = help: a refusal must name one rule

    error: policy[2].images: empty: the policy is for nothing
      --> proxy.toml:13:10
       |
    13 | images = []
       |          ^^
       |
       = help: name repositories, or take the policy out

    error: policy[3].name: must be 1 to 64 printable ASCII characters without spaces
      --> proxy.toml:16:8
       |
    16 | name = "two words"
       |        ^^^^^^^^^^^
       |
       = help: the name goes into HTTP headers and logs

    error: policy[3].signer[0]: a policy with mode = "off" looks for no signatures, so it has no signers
      --> proxy.toml:19:1
       |
    19 | [[policy.signer]]
       | ^^^^^^^^^^^^^^^^^
       |
       = help: take the signers out, or use mode = "audit": it looks, and serves all the same
    "#);
}

#[test]
fn patterns_that_match_nothing() {
    let text = r#"
[[policy]]
name = "a"
mode = "audit"
images = [
    "alpine",
    "ghcr.io/acme/app:v*",
    "ghcr.io/[",
    "index.docker.io/**",
    "docker.io/alpine",
    "docker.io/*",
    "GHCR.io/acme/**",
    "ghcr.io/Acme/**",
    "ghcr.io/acme//app",
    "gh cr.io/**",
]
"#;
    assert_snapshot!(problems(text), @r#"
    error: policy[0].images[0]: write the registry too, for example `docker.io/alpine`
      --> proxy.toml:11:5
       |
    11 |     "alpine",
       |     ^^^^^^^^
       |
       = help: a pattern names a registry and a repository

    error: policy[0].images[1]: patterns name repositories, not tags or digests: a blob or a digest belongs to no tag, so a rule per tag could be walked around
      --> proxy.toml:12:5
       |
    12 |     "ghcr.io/acme/app:v*",
       |     ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: leave out what follows the name

    error: policy[0].images[2]: not a pattern: unclosed character class; missing ']'
      --> proxy.toml:13:5
       |
    13 |     "ghcr.io/[",
       |     ^^^^^^^^^^^
       |
       = help: `*` stays within one component, `**` crosses them

    error: policy[0].images[3]: never matches: the registry is called `docker.io` here
      --> proxy.toml:14:5
       |
    14 |     "index.docker.io/**",
       |     ^^^^^^^^^^^^^^^^^^^^
       |
       = help: write `docker.io/**`

    error: policy[0].images[4]: never matches: the repository is `docker.io/library/alpine`
      --> proxy.toml:15:5
       |
    15 |     "docker.io/alpine",
       |     ^^^^^^^^^^^^^^^^^^
       |
       = help: write `docker.io/library/alpine`

    error: policy[0].images[5]: never matches: official images of Docker Hub are in `library/`
      --> proxy.toml:16:5
       |
    16 |     "docker.io/*",
       |     ^^^^^^^^^^^^^
       |
       = help: write `docker.io/library/*`, or `docker.io/**` for all of Docker Hub

    error: policy[0].images[6]: never matches: the registry is called `ghcr.io` here
      --> proxy.toml:17:5
       |
    17 |     "GHCR.io/acme/**",
       |     ^^^^^^^^^^^^^^^^^
       |
       = help: write `ghcr.io/acme/**`

    error: policy[0].images[7]: never matches: repository names are in lower case
      --> proxy.toml:18:5
       |
    18 |     "ghcr.io/Acme/**",
       |     ^^^^^^^^^^^^^^^^^
       |
       = help: write `ghcr.io/acme/**`

    error: policy[0].images[8]: never matches: `acme//app` is not a repository name (lower-case components of letters, digits, `.`, `_` and `-`, separated by `/`)
      --> proxy.toml:19:5
       |
    19 |     "ghcr.io/acme//app",
       |     ^^^^^^^^^^^^^^^^^^^
       |
       = help: compare it with the name that clients pull

    error: policy[0].images[9]: never matches: `gh cr.io` is not a registry host
      --> proxy.toml:20:5
       |
    20 |     "gh cr.io/**",
       |     ^^^^^^^^^^^^^
       |
       = help: start with a registry, such as docker.io
    "#);
}

#[test]
fn a_good_rule_means_what_it_says() {
    let text = r#"
[[policy]]
name = "acme"
images = ["ghcr.io/acme/**", "docker.io/library/*"]
require = "all"
tlog = "off"
docker_reference = { ours = "ghcr.io/acme", signed = "docker.io/acme" }
[[policy.signer]]
key = "acme.pub"
not_before = 2026-01-01
not_after = 2026-12-31
[[policy.signer]]
key = "other.pub"
not_after = "2026-12-31T12:00:00+01:00"
[policy_default]
mode = "enforce"
deny = "ask #platform"
"#;
    let (settings, _) = Lab::new().load(&format!("{UPSTREAMS}{text}"));
    assert_eq!(settings.policy.no_rule_hint(), Some("ask #platform"));
    let rule = settings.policy.rule_for(&"docker.io/library/alpine".parse().unwrap()).unwrap();
    assert_eq!(rule.name(), "acme");
    let Enforcement::Enforce(demand) = rule.enforcement() else { panic!() };
    assert_eq!(demand.require, Require::All);
    let (ours, signed) = ("ghcr.io/acme".to_owned(), "docker.io/acme".to_owned());
    assert_eq!(demand.docker_reference, DockerReference::Remap { ours, signed });
    let window = |i: usize| {
        let signer = demand.signers[i].key().unwrap();
        let text = |t: Option<jiff::Timestamp>| t.map(|t| t.to_string()).unwrap_or_default();
        (signer.name.as_str(), text(signer.not_before), text(signer.not_after))
    };
    assert_eq!(window(0), ("acme.pub", "2026-01-01T00:00:00Z".into(), "2026-12-31T23:59:59.999999999Z".into()));
    assert_eq!(window(1), ("other.pub", String::new(), "2026-12-31T11:00:00Z".into()));
}
