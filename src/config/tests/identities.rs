//! Signers that are identities: what they become, and mistakes in them.

use insta::assert_snapshot;

use super::Lab;
use super::policies::{UPSTREAMS, problems};
use crate::trust::{PUBLIC_GOOD, Tlog};

#[test]
fn an_identity_means_what_it_says() {
    let text = r#"
[[policy]]
name = "acme"
images = ["ghcr.io/acme/**", "docker.io/**"]
[[policy.signer]]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
name = "release workflow"
claims = { source_repository = "https://github.com/acme/app", trigger = "push" }
claims_regexp = { source_ref = 'refs/tags/v[0-9.]+' }
[[policy.signer]]
issuer_regexp = 'https://gitlab\.(com|acme\.internal)'
identity_regexp = 'https://gitlab\.com/acme/[^/]+//\.gitlab-ci\.yml@refs/heads/main'
[[policy.signer]]
key = "acme.pub"
name = "the key"
"#;
    let lab = Lab::new();
    assert_eq!(lab.warnings(&format!("{UPSTREAMS}{text}")), "");
    let (settings, _) = lab.load(&format!("{UPSTREAMS}{text}"));
    let demand = settings.policy.rules()[0].demand().unwrap();
    assert_eq!(demand.tlog, Tlog::Required);
    assert_eq!(demand.roots.iter().map(|root| root.name()).collect::<Vec<_>>(), [PUBLIC_GOOD]);
    let names: Vec<_> = demand.signers.iter().map(|signer| signer.name()).collect();
    assert_eq!(
        names,
        ["release workflow", r"https://gitlab\.com/acme/[^/]+//\.gitlab-ci\.yml@refs/heads/main", "the key"]
    );
    let release = demand.signers[0].identity().unwrap();
    assert_eq!(release.issuer.as_str(), "https://token.actions.githubusercontent.com");
    assert!(!release.identity.is_expression() && !release.issuer.is_expression());
    let claims: Vec<_> = release.claims.iter().map(|(name, wanted)| (name.as_str(), wanted.is_expression())).collect();
    assert_eq!(claims, [("source_ref", true), ("source_repository", false), ("trigger", false)]);
    let gitlab = demand.signers[1].identity().unwrap();
    assert!(
        gitlab.issuer.matches("https://gitlab.acme.internal") && !gitlab.issuer.matches("https://gitlab.com.evil.io")
    );
    assert_eq!(settings.files, [lab.path().join("acme.pub")]);
}

#[test]
fn half_identities_and_two_of_everything() {
    let text = r#"
[[policy]]
name = "a"
images = ["ghcr.io/a/**"]
[[policy.signer]]
name = "nobody"
[[policy.signer]]
identity = "ada@acme.example"
[[policy.signer]]
issuer = "https://accounts.google.com"
[[policy.signer]]
key = "acme.pub"
issuer = "https://accounts.google.com"
[[policy.signer]]
key = "acme.pub"
claims = { trigger = "push" }
[[policy.signer]]
issuer = "https://accounts.google.com"
issuer_regexp = 'https://accounts\.google\.com'
identity = "ada@acme.example"
identity_regexp = '[^@]+@acme\.example'
[[policy.signer]]
issuer = "https://accounts.google.com"
identity = "ada@acme.example"
not_after = 2027-01-01
[[policy.signer]]
isuer = "https://accounts.google.com"
identity = "ada@acme.example"
[[policy.signer]]
issuer = ""
identity = "ada@acme.example "
name = ""
"#;
    assert_snapshot!(problems(text), @r#"
    error: policy[0].signer[0].key: missing
      --> proxy.toml:10:1
       |
    10 | [[policy.signer]]
       | ^^^^^^^^^^^^^^^^^
       |
       = help: name a PEM public key: key = "FILE"; or an identity: issuer = "https://…" and identity = "…"

    error: policy[0].signer[1].issuer: missing
      --> proxy.toml:12:1
       |
    12 | [[policy.signer]]
       | ^^^^^^^^^^^^^^^^^
       |
       = help: anybody can run an issuer that vouches for any name: write `issuer` or `issuer_regexp`

    error: policy[0].signer[2].identity: missing
      --> proxy.toml:14:1
       |
    14 | [[policy.signer]]
       | ^^^^^^^^^^^^^^^^^
       |
       = help: an issuer vouches for everybody who has an account there: write `identity` or `identity_regexp`

    error: policy[0].signer[3].issuer: a signer is a key or an identity, and this one has both
      --> proxy.toml:18:10
       |
    18 | issuer = "https://accounts.google.com"
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write a [[policy.signer]] for each

    error: policy[0].signer[4].claims.trigger: a signer is a key or an identity, and this one has both
      --> proxy.toml:21:12
       |
    21 | claims = { trigger = "push" }
       |            ^^^^^^^
       |
       = help: write a [[policy.signer]] for each

    error: policy[0].signer[5].issuer_regexp: `issuer` is there too
      --> proxy.toml:24:17
       |
    24 | issuer_regexp = 'https://accounts\.google\.com'
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: keep one of `issuer` (this very text) and `issuer_regexp` (whatever fits it)

    error: policy[0].signer[5].identity_regexp: `identity` is there too
      --> proxy.toml:26:19
       |
    26 | identity_regexp = '[^@]+@acme\.example'
       |                   ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: keep one of `identity` (this very text) and `identity_regexp` (whatever fits it)

    error: policy[0].signer[6].not_after: only keys have a time: a certificate brings its own
      --> proxy.toml:30:13
       |
    30 | not_after = 2027-01-01
       |             ^^^^^^^^^^
       |
       = help: take it out; max_signature_age in the policy bounds how old signatures may be

    error: policy[0].signer[7].isuer: unknown key
      --> proxy.toml:32:1
       |
    32 | isuer = "https://accounts.google.com"
       | ^^^^^
       |
       = help: did you mean `issuer`?

    error: policy[0].signer[8].issuer: no certificate has such a value
      --> proxy.toml:35:10
       |
    35 | issuer = ""
       |          ^^
       |
       = help: write the text as `cosign verify` or `assay explain` shows it

    error: policy[0].signer[8].identity: no certificate has such a value
      --> proxy.toml:36:12
       |
    36 | identity = "ada@acme.example "
       |            ^^^^^^^^^^^^^^^^^^^
       |
       = help: write the text as `cosign verify` or `assay explain` shows it

    error: policy[0].signer[8].name: must be one line of 1 to 100 characters
      --> proxy.toml:37:8
       |
    37 | name = ""
       |        ^^
       |
       = help: logs and refusals call the signer by it
    "#);
}

#[test]
fn expressions_and_claims_that_are_none() {
    let text = r#"
[[policy]]
name = "a"
images = ["ghcr.io/a/**"]
[[policy.signer]]
issuer_regexp = 'https://('
identity_regexp = "a)|(?:b"
claims = { source_repo = "https://github.com/acme/app", colour = "red", trigger = "push" }
claims_regexp = { trigger = "push|tag", source_ref = "[" }
[[policy.signer]]
issuer = "https://accounts.google.com"
identity_regexp = ""
[[policy.signer]]
issuer = "https://accounts.google.com"
identity_regexp = "a{1000}{1000}{1000}"
"#;
    assert_snapshot!(problems(text), @r#"
    error: policy[0].signer[0].issuer_regexp: not a regular expression: unclosed group
      --> proxy.toml:11:17
       |
    11 | issuer_regexp = 'https://('
       |                 ^^^^^^^^^^^
       |
       = help: the syntax is RE2's, as cosign's; in TOML write expressions in single quotes: '…'

    error: policy[0].signer[0].identity_regexp: not a regular expression: unopened group
      --> proxy.toml:12:19
       |
    12 | identity_regexp = "a)|(?:b"
       |                   ^^^^^^^^^
       |
       = help: the syntax is RE2's, as cosign's; in TOML write expressions in single quotes: '…'

    error: policy[0].signer[0].claims.source_repo: no claim of a certificate is called so
      --> proxy.toml:13:12
       |
    13 | claims = { source_repo = "https://github.com/acme/app", colour = "red", trigger = "push" }
       |            ^^^^^^^^^^^
       |
       = help: did you mean `source_ref`?

    error: policy[0].signer[0].claims.colour: no claim of a certificate is called so
      --> proxy.toml:13:57
       |
    13 | claims = { source_repo = "https://github.com/acme/app", colour = "red", trigger = "push" }
       |                                                         ^^^^^^
       |
       = help: known are github_workflow_trigger, github_workflow_sha, github_workflow_name, github_workflow_repository, github_workflow_ref, build_signer_uri, build_signer_digest, runner_environment, source_repository, source_digest, source_ref, source_repository_id, source_owner, source_owner_id, workflow, workflow_digest, trigger, run, source_visibility, environment, token_subject

    error: policy[0].signer[0].claims_regexp.trigger: `trigger` is demanded twice
      --> proxy.toml:14:19
       |
    14 | claims_regexp = { trigger = "push|tag", source_ref = "[" }
       |                   ^^^^^^^
       |
       = help: keep either the exact text or the expression

    error: policy[0].signer[0].claims_regexp.source_ref: not a regular expression: unclosed character class
      --> proxy.toml:14:54
       |
    14 | claims_regexp = { trigger = "push|tag", source_ref = "[" }
       |                                                      ^^^
       |
       = help: the syntax is RE2's, as cosign's; in TOML write expressions in single quotes: '…'

    error: policy[0].signer[1].identity_regexp: empty: only an empty value would fit
      --> proxy.toml:17:19
       |
    17 | identity_regexp = ""
       |                   ^^
       |
       = help: write the expression

    error: policy[0].signer[2].identity_regexp: not a regular expression: Compiled regex exceeds size limit of 1048576 bytes.
      --> proxy.toml:20:19
       |
    20 | identity_regexp = "a{1000}{1000}{1000}"
       |                   ^^^^^^^^^^^^^^^^^^^^^
       |
       = help: the syntax is RE2's, as cosign's; in TOML write expressions in single quotes: '…'
    "#);
}

#[test]
fn the_same_signer_twice() {
    let twice = r#"
[[policy]]
name = "a"
images = ["ghcr.io/**", "docker.io/**"]
require = "all"
[[policy.signer]]
issuer = "https://accounts.google.com"
identity = "ada@acme.example"
[[policy.signer]]
name = "another name changes nothing"
issuer = "https://accounts.google.com"
identity = "ada@acme.example"
[[policy.signer]]
issuer = "https://accounts.google.com"
identity = "grace@acme.example"
[[policy.signer]]
key = "acme.pub"
[[policy.signer]]
key = "acme-again.pub"
"#;
    assert_snapshot!(problems(twice), @r#"
    error: policy[0].signer[1].identity: the same identity as `ada@acme.example`
      --> proxy.toml:17:12
       |
    17 | identity = "ada@acme.example"
       |            ^^^^^^^^^^^^^^^^^^
       |
       = help: one signature satisfies both, and require = "all" asks for different people; take one out

    error: policy[0].signer[4].key: the same key as `acme.pub`
      --> proxy.toml:24:7
       |
    24 | key = "acme-again.pub"
       |       ^^^^^^^^^^^^^^^^
       |
       = help: one signature satisfies both, and require = "all" asks for different people; take one out
    "#);
    let any = twice.replace("require = \"all\"", "require = \"any\"");
    assert_snapshot!(Lab::new().warnings(&format!("{UPSTREAMS}{any}")), @r#"
    warning: policy[0].signer[1].identity: the same identity as `ada@acme.example`
      --> proxy.toml:17:12
       |
    17 | identity = "ada@acme.example"
       |            ^^^^^^^^^^^^^^^^^^
       |
       = help: take one of them out

    warning: policy[0].signer[4].key: the same key as `acme.pub`
      --> proxy.toml:24:7
       |
    24 | key = "acme-again.pub"
       |       ^^^^^^^^^^^^^^^^
       |
       = help: take one of them out
    "#);
}
