//! What `check` says about expressions that fit more than was meant.

use insta::assert_snapshot;

use super::Lab;
use super::policies::UPSTREAMS;

fn warnings(signer: &str) -> String {
    let policy = "[[policy]]\nname = \"a\"\nimages = [\"ghcr.io/**\", \"docker.io/**\"]\n[[policy.signer]]\n";
    Lab::new().warnings(&format!("{UPSTREAMS}{policy}{signer}\n"))
}

#[test]
fn a_lookalike_is_shown() {
    let signer = r"issuer_regexp = 'https://token.actions.githubusercontent\.com'
identity_regexp = 'https://github\.com/acme.*'
claims_regexp = { workflow = 'https://github\.com/acme/.*@refs/heads/main', source_ref = '.*' }";
    assert_snapshot!(warnings(signer), @r#"
    warning: policy[0].signer[0].issuer_regexp: another host fits too: https://token.actionsxgithubusercontent.com
      --> proxy.toml:10:17
       |
    10 | issuer_regexp = 'https://token.actions.githubusercontent\.com'
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: `.` stands for any character; write `\.` for a dot

    warning: policy[0].signer[0].identity_regexp: another owner fits too: https://github.com/acme-evil
      --> proxy.toml:11:19
       |
    11 | identity_regexp = 'https://github\.com/acme.*'
       |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write out whose it is, up to the `/` behind it; `[^/]+` stays within one part, `.*` does not

    warning: policy[0].signer[0].claims_regexp.workflow: another branch fits too: https://github.com/acme/app/.github/workflows/evil.yml@refs/heads/x@refs/heads/main
      --> proxy.toml:12:30
       |
    12 | claims_regexp = { workflow = 'https://github\.com/acme/.*@refs/heads/main', source_ref = '.*' }
       |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: a branch may have such a name; write `[^@]+` instead of `.*` before the `@`
    "#);
}

#[test]
fn less_is_said_where_nothing_can_be_shown() {
    let signer = r"issuer_regexp = 'https://a.bc\.acme\.com/login'
identity_regexp = 'https://github\.com/acme/app/\.github/workflows/release\.yml@refs/tags/.*'";
    assert_snapshot!(warnings(signer), @r#"
    warning: policy[0].signer[0].issuer_regexp: `.` in a host stands for any character
      --> proxy.toml:10:17
       |
    10 | issuer_regexp = 'https://a.bc\.acme\.com/login'
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write `\.` for a dot

    warning: policy[0].signer[0].identity_regexp: anything may stand at its beginning or end
      --> proxy.toml:11:19
       |
    11 | identity_regexp = 'https://github\.com/acme/app/\.github/workflows/release\.yml@refs/tags/.*'
       |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write out what must stand there; `[^/]+` stays within one part of a path, `v[0-9.]+` is a version
    "#);
}

#[test]
fn an_exact_text_that_looks_like_an_expression() {
    let signer = r"issuer = 'https://token\.actions\.githubusercontent\.com'
identity = 'https://github.com/acme/*'";
    assert_snapshot!(warnings(signer), @r#"
    warning: policy[0].signer[0].issuer: looks like an expression, and is compared as it stands
      --> proxy.toml:10:10
       |
    10 | issuer = 'https://token\.actions\.githubusercontent\.com'
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: expressions are written under the same key with `_regexp` behind it

    warning: policy[0].signer[0].identity: looks like an expression, and is compared as it stands
      --> proxy.toml:11:12
       |
    11 | identity = 'https://github.com/acme/*'
       |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: expressions are written under the same key with `_regexp` behind it
    "#);
}

#[test]
fn an_issuer_that_nobody_is_and_an_identity_that_nobody_has() {
    let signer = "issuer = 'https://accounts.google.com/'\nidentity = 'ada@acme.example'";
    assert_snapshot!(warnings(signer), @r#"
    warning: policy[0].signer[0].issuer: that is not quite how the issuer calls itself
      --> proxy.toml:10:10
       |
    10 | issuer = 'https://accounts.google.com/'
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write "https://accounts.google.com"
    "#);
    assert_snapshot!(warnings("issuer = 'login.acme.example'\nidentity = 'ada@acme.example'"), @r#"
    warning: policy[0].signer[0].issuer: not a URL, and issuers are URLs
      --> proxy.toml:10:10
       |
    10 | issuer = 'login.acme.example'
       |          ^^^^^^^^^^^^^^^^^^^^
       |
       = help: write it as `assay explain` shows it for a signed image, such as "https://accounts.google.com"
    "#);
    let signer = "issuer = 'https://token.actions.githubusercontent.com'\nidentity = 'https://github.com/acme/app'";
    assert_snapshot!(warnings(signer), @r#"
    warning: policy[0].signer[0].identity: GitHub calls nobody so: there, a workflow at a branch or tag signs
      --> proxy.toml:11:12
       |
    11 | identity = 'https://github.com/acme/app'
       |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write "https://github.com/OWNER/REPOSITORY/.github/workflows/FILE@refs/heads/BRANCH"
    "#);
}

#[test]
fn what_cosign_would_take_and_no_certificate_has() {
    let github = "issuer = 'https://token.actions.githubusercontent.com'\n";
    let open = |end: &str| warnings(&format!(r"{github}identity_regexp = 'https://github\.com/acme/{end}'"));
    assert_snapshot!(open(""), @r#"
    warning: policy[0].signer[0].identity_regexp: fits only the beginning of what GitHub calls a workflow, and it must fit all of it
      --> proxy.toml:11:19
       |
    11 | identity_regexp = 'https://github\.com/acme/'
       |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: write the rest too, such as 'https://github\.com/acme/[^/]+/\.github/workflows/[^@]+@refs/heads/main'
    "#);
    assert_eq!(open("[^/]+/\\.github/workflows/ci\\.yml@refs/heads/main"), "");

    let identity = "identity = 'https://github.com/acme/ci/.github/workflows/ci.yml@refs/heads/main'\n";
    let claim = |value: &str| warnings(&format!("{github}{identity}claims = {{ source_repository = '{value}' }}"));
    assert_snapshot!(claim("acme/app"), @r#"
    warning: policy[0].signer[0].claims.source_repository: not a URL, and certificates have one as `source_repository`
      --> proxy.toml:12:32
       |
    12 | claims = { source_repository = 'acme/app' }
       |                                ^^^^^^^^^^
       |
       = help: write "https://github.com/acme/app", or github_workflow_repository = "acme/app"
    "#);
    assert_eq!(claim("https://github.com/acme/app"), "");
}

#[test]
fn claims_may_say_whose_repository_it_is() {
    let open = r"issuer = 'https://token.actions.githubusercontent.com'
identity_regexp = 'https://github\.com/[^/]+/[^/]+/\.github/workflows/ci\.yml@refs/heads/main'";
    assert!(warnings(open).contains("another owner fits too"));
    assert_eq!(warnings(&format!("{open}\nclaims = {{ source_owner = \"https://github.com/acme\" }}")), "");
    assert!(warnings(&format!("{open}\nclaims = {{ trigger = \"push\" }}")).contains("another owner fits too"));
}

#[test]
fn what_is_denied_may_be_wide() {
    let signer = "issuer = 'https://accounts.google.com'\nidentity = 'ada@acme.example'\n";
    let deny = "[policy.deny]\nidentity_regexps = ['https://github.com/acme.*', '.*@evil.*']";
    assert_eq!(warnings(&format!("{signer}{deny}")), "");
}
