//! What a policy says besides its signers: formats, times, annotations, denials, parents.

use std::time::Duration;

use insta::assert_snapshot;

use super::Lab;
use super::policies::{UPSTREAMS, problems};
use crate::trust::{DockerReference, Formats, ParentSearch, Rollback, Rule};

const IDENTITY: &str = r#"[[policy.signer]]
issuer = "https://accounts.google.com"
identity = "ada@acme.example"
"#;
const KEY: &str = "[[policy.signer]]\nkey = \"acme.pub\"\n";

fn policy(keys: &str) -> String {
    format!("[[policy]]\nname = \"a\"\nimages = [\"ghcr.io/**\", \"docker.io/**\"]\n{keys}")
}

fn rule(keys: &str) -> (Rule, String) {
    let (lab, text) = (Lab::new(), format!("{UPSTREAMS}{}", policy(keys)));
    let (settings, _) = lab.load(&text);
    (Rule::clone(&settings.policy.rules()[0]), lab.warnings(&text))
}

#[test]
fn every_key_means_what_it_says() {
    let digest = format!("sha256:{}", "1".repeat(64));
    let keys = format!(
        r#"tlog = "required"
docker_reference = {{ exact = "index.docker.io/acme/app" }}
accept_formats = ["classic"]
annotations = {{ build = "42", "dev.acme/empty" = "" }}
max_signature_age = "365d"
rollback = "refuse"
find_parent = {{ tags = 7, timeout = "3s" }}
[policy.deny]
digests = ["{digest}"]
identities = ["bob@acme.example"]
identity_regexps = ['[^@]+@evil\.example']
{IDENTITY}{KEY}"#
    );
    let (rule, warnings) = rule(&keys);
    assert_eq!(warnings, "");
    let (demand, terms) = (rule.demand().unwrap(), rule.terms());
    assert_eq!(demand.docker_reference, DockerReference::Exact("docker.io/acme/app".parse().unwrap()));
    assert_eq!(demand.formats, Formats { classic: true, bundle: false });
    let annotations: Vec<_> = demand.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(annotations, [("build", "42"), ("dev.acme/empty", "")]);
    assert_eq!(demand.max_signature_age.unwrap().as_hours(), 365 * 24);
    let denied: Vec<_> = demand.denied_identities.iter().map(|m| (m.as_str(), m.is_expression())).collect();
    assert_eq!(denied, [("bob@acme.example", false), (r"[^@]+@evil\.example", true)]);
    assert_eq!(terms.rollback, Rollback::Refuse);
    assert_eq!(terms.parent_search, Some(ParentSearch { tags: 7, deadline: Duration::from_secs(3) }));
    assert_eq!(terms.denied_digests.iter().map(ToString::to_string).collect::<Vec<_>>(), [digest]);
}

#[test]
fn what_is_not_written_has_a_default() {
    let (rule, _) = rule(IDENTITY);
    let (demand, terms) = (rule.demand().unwrap(), rule.terms());
    assert_eq!(demand.formats, Formats { classic: true, bundle: true });
    assert_eq!(demand.docker_reference, DockerReference::Ignore);
    assert!(demand.annotations.is_empty() && demand.max_signature_age.is_none() && demand.attestations.is_empty());
    assert!(terms.parent_search.is_none() && terms.denied_digests.is_empty());
    assert_eq!(terms.rollback, Rollback::Allow);
    let search = |keys: &str| self::rule(&format!("{keys}\n{IDENTITY}")).0.terms().parent_search;
    assert_eq!(search("find_parent = false"), None);
    assert_eq!(search("find_parent = true"), Some(ParentSearch { tags: 50, deadline: Duration::from_secs(10) }));
}

#[test]
fn a_denied_digest_counts_in_every_mode() {
    let deny = format!("[policy.deny]\ndigests = [\"sha256:{}\"]\n", "1".repeat(64));
    for keys in [format!("{deny}{IDENTITY}"), format!("mode = \"audit\"\n{deny}"), format!("mode = \"off\"\n{deny}")] {
        assert_eq!(rule(&keys).0.terms().denied_digests.len(), 1, "{keys}");
    }
}

#[test]
fn values_that_make_no_sense() {
    let keys = format!(
        r#"accept_formats = []
docker_reference = {{ exact = "app", ours = "ghcr.io" }}
annotations = {{ "" = "x" }}
max_signature_age = "0d"
find_parent = {{ tags = 0, timeout = "5m" }}
[policy.deny]
digests = ["sha256:12", "latest"]
identities = ["ada@acme.example", ""]
identity_regexps = ["(", '[^@]+@acme\.example']
{IDENTITY}"#
    );
    assert_snapshot!(problems(&policy(&keys)), @r#"
    error: policy[0].accept_formats: empty: no signature would ever count
     --> proxy.toml:9:18
      |
    9 | accept_formats = []
      |                  ^^
      |
      = help: the default is ["bundle", "classic"]

    error: policy[0].docker_reference.exact: not a repository
      --> proxy.toml:10:30
       |
    10 | docker_reference = { exact = "app", ours = "ghcr.io" }
       |                              ^^^^^
       |
       = help: write the registry and the path, without a tag: "ghcr.io/acme/app"

    error: policy[0].docker_reference.ours: `exact` is there too
      --> proxy.toml:10:44
       |
    10 | docker_reference = { exact = "app", ours = "ghcr.io" }
       |                                            ^^^^^^^^^
       |
       = help: write { exact = "HOST/PATH" } or { ours = "HOST/PATH", signed = "HOST/PATH" }

    error: policy[0].annotations."": empty
      --> proxy.toml:11:17
       |
    11 | annotations = { "" = "x" }
       |                 ^^
       |
       = help: write the KEY of `cosign sign -a KEY=VALUE`

    error: policy[0].max_signature_age: must be longer than 0
      --> proxy.toml:12:21
       |
    12 | max_signature_age = "0d"
       |                     ^^^^
       |
       = help: with 0 nothing would ever succeed

    error: policy[0].find_parent.tags: must be from 1 to 1000
      --> proxy.toml:13:24
       |
    13 | find_parent = { tags = 0, timeout = "5m" }
       |                        ^
       |
       = help: the default is 50

    error: policy[0].find_parent.timeout: longer than 60 s
      --> proxy.toml:13:37
       |
    13 | find_parent = { tags = 0, timeout = "5m" }
       |                                     ^^^^
       |
       = help: clients wait about 30 s for a manifest

    error: policy[0].deny.digests[0]: digest `12` is not 64 lower-case hex characters
      --> proxy.toml:15:12
       |
    15 | digests = ["sha256:12", "latest"]
       |            ^^^^^^^^^^^
       |
       = help: write the digest of a manifest or index as registries show it: "sha256:…"

    error: policy[0].deny.digests[1]: digest `latest` has no algorithm prefix
      --> proxy.toml:15:25
       |
    15 | digests = ["sha256:12", "latest"]
       |                         ^^^^^^^^
       |
       = help: write the digest of a manifest or index as registries show it: "sha256:…"

    error: policy[0].deny.identities[0]: denies `ada@acme.example`, whom this policy names as a signer
      --> proxy.toml:16:15
       |
    16 | identities = ["ada@acme.example", ""]
       |               ^^^^^^^^^^^^^^^^^^
       |
       = help: take one of them out: denied signatures never count

    error: policy[0].deny.identities[1]: no certificate has such a value
      --> proxy.toml:16:35
       |
    16 | identities = ["ada@acme.example", ""]
       |                                   ^^
       |
       = help: write the text as `cosign verify` or `assay explain` shows it

    error: policy[0].deny.identity_regexps[0]: not a regular expression: unclosed group
      --> proxy.toml:17:21
       |
    17 | identity_regexps = ["(", '[^@]+@acme\.example']
       |                     ^^^
       |
       = help: the syntax is RE2's, as cosign's; in TOML write expressions in single quotes: '…'

    error: policy[0].deny.identity_regexps[1]: denies `ada@acme.example`, whom this policy names as a signer
      --> proxy.toml:17:26
       |
    17 | identity_regexps = ["(", '[^@]+@acme\.example']
       |                          ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: take one of them out: denied signatures never count
    "#);
}

#[test]
fn words_that_are_none() {
    let keys = format!(
        r#"tlog = "on"
accept_formats = ["bundle", "legacy"]
rollback = true
find_parent = "yes"
annotations = ["a=b"]
{IDENTITY}"#
    );
    assert_snapshot!(problems(&policy(&keys)), @r#"
    error: policy[0].tlog: unknown value `on`
     --> proxy.toml:9:8
      |
    9 | tlog = "on"
      |        ^^^^
      |
      = help: expected one of "required", "optional", "off"

    error: policy[0].accept_formats[1]: unknown value `legacy`
      --> proxy.toml:10:29
       |
    10 | accept_formats = ["bundle", "legacy"]
       |                             ^^^^^^^^
       |
       = help: expected "bundle" or "classic"

    error: policy[0].rollback: not a text
      --> proxy.toml:11:12
       |
    11 | rollback = true
       |            ^^^^
       |
       = help: put the value in quotes

    error: policy[0].find_parent: invalid type: string "yes", expected true, false or { tags = 50, timeout = "10s" }
      --> proxy.toml:12:15
       |
    12 | find_parent = "yes"
       |               ^^^^^

    error: policy[0].annotations: invalid type: list, expected a table
      --> proxy.toml:13:15
       |
    13 | annotations = ["a=b"]
       |               ^^^^^^^
    "#);
}

#[test]
fn bundles_name_no_repository() {
    let of = |formats: &str| policy(&format!("docker_reference = \"repository\"\n{formats}\n{IDENTITY}"));
    assert_snapshot!(problems(&of("accept_formats = [\"bundle\"]")), @r#"
    error: policy[0].docker_reference: a bundle names no repository, and accept_formats takes only bundles: nothing could pass
     --> proxy.toml:9:20
      |
    9 | docker_reference = "repository"
      |                    ^^^^^^^^^^^^
      |
      = help: bind the repository by the policy's `images` and the signer's identity, and take this out
    "#);
    assert_snapshot!(Lab::new().warnings(&format!("{UPSTREAMS}{}", of(""))), @r#"
    warning: policy[0].docker_reference: a bundle names no repository, so bundles never pass here
     --> proxy.toml:9:20
      |
    9 | docker_reference = "repository"
      |                    ^^^^^^^^^^^^
      |
      = help: accept_formats = ["classic"] says the same in plain words
    "#);
    assert_eq!(Lab::new().warnings(&format!("{UPSTREAMS}{}", of("accept_formats = [\"classic\"]"))), "");
}

#[test]
fn without_the_log_nothing_has_a_time() {
    let times = "max_signature_age = \"30d\"\nrollback = \"warn\"\n";
    assert_snapshot!(problems(&policy(&format!("tlog = \"off\"\n{times}{KEY}"))), @r#"
    error: policy[0].max_signature_age: only keys sign here, with tlog = "off": nothing proves when they did
      --> proxy.toml:10:21
       |
    10 | max_signature_age = "30d"
       |                     ^^^^^
       |
       = help: write tlog = "required" and sign with the transparency log, or take this out

    error: policy[0].rollback: only keys sign here, with tlog = "off": nothing proves when they did
      --> proxy.toml:11:12
       |
    11 | rollback = "warn"
       |            ^^^^^^
       |
       = help: write tlog = "required" and sign with the transparency log, or take this out
    "#);
    let (_, warnings) = rule(&format!("tlog = \"optional\"\n{times}{KEY}"));
    assert_snapshot!(warnings, @r#"
    warning: policy[0].max_signature_age: signatures by keys that are in no log have no proven time, so they never count
      --> proxy.toml:10:21
       |
    10 | max_signature_age = "30d"
       |                     ^^^^^
       |
       = help: write tlog = "required", so that this is said where it is decided
    "#);
    assert_eq!(rule(&format!("{times}{KEY}")).1, "");
    assert_eq!(rule(&format!("tlog = \"optional\"\nrollback = \"allow\"\n{KEY}")).1, "");
}

#[test]
fn a_policy_that_is_off_asks_nothing() {
    let keys = format!(
        r#"mode = "off"
max_signature_age = "30d"
rollback = "refuse"
annotations = {{ a = "b" }}
[policy.deny]
identities = ["bob@acme.example"]
[[policy.attestation]]
type = "spdx"
{IDENTITY}"#
    );
    assert_snapshot!(problems(&policy(&keys)), @r#"
    error: policy[0].max_signature_age: a policy with mode = "off" looks for no signatures, so this does nothing
      --> proxy.toml:10:21
       |
    10 | max_signature_age = "30d"
       |                     ^^^^^
       |
       = help: take it out, or use mode = "audit": it looks, and serves all the same

    error: policy[0].rollback: a policy with mode = "off" looks for no signatures, so this does nothing
      --> proxy.toml:11:12
       |
    11 | rollback = "refuse"
       |            ^^^^^^^^
       |
       = help: take it out, or use mode = "audit": it looks, and serves all the same

    error: policy[0].annotations: a policy with mode = "off" looks for no signatures, so this does nothing
      --> proxy.toml:12:15
       |
    12 | annotations = { a = "b" }
       |               ^^^^^^^^^^^
       |
       = help: take it out, or use mode = "audit": it looks, and serves all the same

    error: policy[0].deny.identities[0]: a policy with mode = "off" looks for no signatures, so this does nothing
      --> proxy.toml:14:15
       |
    14 | identities = ["bob@acme.example"]
       |               ^^^^^^^^^^^^^^^^^^
       |
       = help: take it out, or use mode = "audit": it looks, and serves all the same

    error: policy[0].attestation[0]: a policy with mode = "off" looks for no signatures, so this does nothing
      --> proxy.toml:15:1
       |
    15 | [[policy.attestation]]
       | ^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: take it out, or use mode = "audit": it looks, and serves all the same

    error: policy[0].signer[0]: a policy with mode = "off" looks for no signatures, so it has no signers
      --> proxy.toml:17:1
       |
    17 | [[policy.signer]]
       | ^^^^^^^^^^^^^^^^^
       |
       = help: take the signers out, or use mode = "audit": it looks, and serves all the same
    "#);
}

#[test]
fn denying_people_where_only_keys_count() {
    let (_, warnings) = rule(&format!("[policy.deny]\nidentities = [\"bob@acme.example\"]\n{KEY}"));
    assert_snapshot!(warnings, @r#"
    warning: policy[0].deny.identities[0]: nobody signs with an identity here, so none is ever denied
      --> proxy.toml:10:15
       |
    10 | identities = ["bob@acme.example"]
       |               ^^^^^^^^^^^^^^^^^^
       |
       = help: only keys count here; to deny a key, take its signer out
    "#);
}
