//! Who signed: identities, issuers and claims that are nearly those of the rule.

use std::collections::BTreeMap;

use assay::trust::Reason::{Denied, WrongIdentity};
use assay::trust::{IdentitySigner, Matcher, Signer};

use super::case::{Case, RELEASE, WORKFLOW, identity};
use super::row::{KEYLESS, ONE_EACH, Row, row, run};
use crate::support::sigstore::{ACCOUNTS, CertificateRequest, GITHUB, GITLAB, IssuerForm, San};

const RELEASES: &str = r"https://github\.com/acme/[^/]+/\.github/workflows/release\.yml@refs/tags/v[0-9.]+";
const EVIL: &str = "https://evil.test/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0";

fn expression(text: &str) -> Matcher {
    Matcher::expression(text).unwrap()
}

/// The rule names whoever fits.
fn fits(case: &mut Case, text: &str) {
    case.trust([identity(Matcher::exact(GITHUB), expression(text))]);
}

/// The certificate's first name, whatever it is.
fn named(case: &mut Case, name: San) {
    case.request.names = vec![name];
}

fn uri(text: &str) -> San {
    San::Uri(text.to_owned())
}

fn email(text: &str) -> San {
    San::Email(text.to_owned())
}

fn claims(case: &mut Case, name: &str, wanted: Matcher) {
    let claims = BTreeMap::from([(name.to_owned(), wanted)]);
    let signer = IdentitySigner::new(Matcher::exact(GITHUB), Matcher::exact(WORKFLOW));
    case.trust([Signer::Identity(IdentitySigner { claims, ..signer })]);
}

/// Whoever is vouched for by GitHub, from this repository.
fn from_repository(case: &mut Case) {
    let claims = BTreeMap::from([("source_repository".to_owned(), Matcher::exact("https://github.com/acme/app"))]);
    let signer = IdentitySigner::new(Matcher::exact(GITHUB), expression(".*"));
    case.trust([Signer::Identity(IdentitySigner { claims, ..signer })]);
}

/// A name, where the rule names the release workflow exactly.
const EXACT: &[Row] = &[
    row(
        20,
        "somebody else",
        KEYLESS,
        |c| c.request = CertificateRequest::email("eve@evil.test").issuer(GITHUB).key(&RELEASE),
        WrongIdentity,
        "identity: found `eve@evil.test`, expected `https://github.com/acme/app/",
    ),
    row(
        20,
        "another repository",
        KEYLESS,
        |c| c.request = CertificateRequest::github("acme-evil/app", "release.yml", "refs/tags/v1.0.0"),
        WrongIdentity,
        "(differs from `-evil/app/.github/workflows/release.yml@refs/tags/v1.0.0` on)",
    ),
    row(
        20,
        "a fork",
        KEYLESS,
        |c| c.request = CertificateRequest::github("evil/app", "release.yml", "refs/tags/v1.0.0"),
        WrongIdentity,
        "(differs from `evil/app/",
    ),
    row(
        20,
        "another workflow",
        KEYLESS,
        |c| c.request = CertificateRequest::github("acme/app", "test.yml", "refs/tags/v1.0.0"),
        WrongIdentity,
        "(differs from `test.yml@refs/tags/v1.0.0` on)",
    ),
    row(
        20,
        "a branch",
        KEYLESS,
        |c| c.request = CertificateRequest::github("acme/app", "release.yml", "refs/heads/main"),
        WrongIdentity,
        "(differs from `heads/main` on)",
    ),
    row(
        20,
        "it in front of a name",
        ONE_EACH,
        |c| named(c, uri(&format!("{WORKFLOW}-evil"))),
        WrongIdentity,
        "(differs from `-evil` on)",
    ),
    row(
        20,
        "it behind a name",
        ONE_EACH,
        |c| named(c, uri(&format!("https://evil.test/{WORKFLOW}"))),
        WrongIdentity,
        "(differs from `evil.test/",
    ),
    row(20, "a beginning of it", ONE_EACH, |c| named(c, uri(&WORKFLOW[..40])), WrongIdentity, "(it ends too early)"),
    row(
        20,
        "in other case",
        ONE_EACH,
        |c| named(c, uri(&WORKFLOW.replace("acme", "Acme"))),
        WrongIdentity,
        "(differs from `Acme",
    ),
    row(
        20,
        "with a line behind it",
        ONE_EACH,
        |c| named(c, uri(&format!("{WORKFLOW}\n"))),
        WrongIdentity,
        "identity: ",
    ),
    row(
        20,
        "with a zero behind it",
        ONE_EACH,
        |c| named(c, uri(&format!("{WORKFLOW}\0"))),
        WrongIdentity,
        "identity: ",
    ),
    row(20, "no name at all", ONE_EACH, |c| c.request.names.clear(), WrongIdentity, "identity: found nothing"),
    row(
        20,
        "two names, neither of the rule",
        KEYLESS,
        |c| {
            named(c, email("eve@evil.test"));
            c.request.names.push(uri(EVIL));
        },
        WrongIdentity,
        "identity: found `https://evil.test",
    )
    .beside(|c| {
        named(c, email("eve@evil.test"));
        c.request.names.push(uri(WORKFLOW));
    }),
    row(
        20,
        "another user name",
        KEYLESS,
        |c| named(c, San::Username("eve!acme.test".to_owned())),
        WrongIdentity,
        "identity: found `eve!acme.test`",
    )
    .given(|c| c.trust([identity(Matcher::exact(GITHUB), Matcher::exact("alice!acme.test"))]))
    .beside(|c| named(c, San::Username("alice!acme.test".to_owned()))),
    row(
        20,
        "the user name in another directory",
        KEYLESS,
        |c| named(c, San::OtherUsername("alice!acme.test".to_owned())),
        WrongIdentity,
        "identity: found nothing",
    )
    .given(|c| c.trust([identity(Matcher::exact(GITHUB), Matcher::exact("alice!acme.test"))]))
    .beside(|c| named(c, San::Username("alice!acme.test".to_owned()))),
    row(
        20,
        "another e-mail address",
        KEYLESS,
        |c| named(c, email("release@acme.test.evil.test")),
        WrongIdentity,
        "(differs from `.evil.test` on)",
    )
    .given(|c| c.trust([identity(Matcher::exact(GITHUB), Matcher::exact("release@acme.test"))]))
    .beside(|c| named(c, email("release@acme.test"))),
];

/// Expressions fit whole values (CVE-2025-29778 and what cosign keeps on purpose).
const EXPRESSIONS: &[Row] = &[
    row(
        20,
        "an expression that is written without anchors, in the middle",
        KEYLESS,
        |c| named(c, uri(&format!("https://evil.test/{WORKFLOW}"))),
        WrongIdentity,
        "(differs from `evil.test/",
    )
    .given(|c| fits(c, RELEASES)),
    row(
        20,
        "an expression, and more behind it",
        KEYLESS,
        |c| named(c, uri(&format!("{WORKFLOW}-evil"))),
        WrongIdentity,
        "(differs from `-evil` on)",
    )
    .given(|c| fits(c, RELEASES)),
    row(
        20,
        "an expression, and a line behind it",
        ONE_EACH,
        |c| named(c, uri(&format!("{WORKFLOW}\nevil"))),
        WrongIdentity,
        "identity: ",
    )
    .given(|c| fits(c, RELEASES)),
    row(
        20,
        "an expression over lines, and a line before it",
        ONE_EACH,
        |c| named(c, uri(&format!("https://evil.test\n{WORKFLOW}"))),
        WrongIdentity,
        "identity: ",
    )
    .given(|c| fits(c, &format!("(?m)^{RELEASES}$"))),
    row(
        20,
        "a beginning of an expression",
        KEYLESS,
        |c| c.request = CertificateRequest::github("acme-evil/app", "release.yml", "refs/tags/v1.0.0"),
        WrongIdentity,
        "(differs from `-evil/app/",
    )
    .given(|c| fits(c, "https://github.com/acme/.*")),
    row(
        20,
        "an alternative that fits a part",
        KEYLESS,
        |c| named(c, uri(&format!("{WORKFLOW}-evil"))),
        WrongIdentity,
        "identity: ",
    )
    .given(|c| fits(c, &format!("x|{RELEASES}|y"))),
    row(
        20,
        "an escaped dot",
        KEYLESS,
        |c| named(c, uri(&WORKFLOW.replace("github.com", "githubxcom"))),
        WrongIdentity,
        "(differs from `xcom/acme",
    )
    .given(|c| fits(c, RELEASES)),
    row(
        19,
        "only an identity expression is set, and it restricts",
        KEYLESS,
        |c| c.request = CertificateRequest::github("evil/app", "release.yml", "refs/tags/v1.0.0"),
        WrongIdentity,
        "identity: found `https://github.com/evil/app",
    )
    .given(|c| c.trust([identity(expression(".*"), expression(RELEASES))])),
    row(
        19,
        "only an issuer expression is set, and it restricts",
        KEYLESS,
        |c| c.request.issuer = "https://token.actions.githubusercontent.com.evil.test".to_owned(),
        WrongIdentity,
        "issuer: found `https://token.actions.githubusercontent.com.evil.test`",
    )
    .given(|c| {
        c.trust([identity(expression(r"https://token\.actions\.githubusercontent\.com(/acme)?"), expression(".*"))])
    }),
    row(
        19,
        "an issuer expression fits the whole issuer",
        KEYLESS,
        |c| c.request.issuer = format!("https://evil.test/{GITHUB}"),
        WrongIdentity,
        "issuer: found `https://evil.test/",
    )
    .given(|c| {
        c.trust([identity(expression(r"https://token\.actions\.githubusercontent\.com"), Matcher::exact(WORKFLOW))])
    }),
    row(
        19,
        "an empty expression fits nobody",
        KEYLESS,
        |c| fits(c, ""),
        WrongIdentity,
        "identity: found `https://github.com/acme",
    ),
];

/// The same name means another person elsewhere.
const ISSUERS: &[Row] = &[
    row(
        20,
        "vouched for by another issuer",
        KEYLESS,
        |c| c.request.issuer = GITLAB.to_owned(),
        WrongIdentity,
        "issuer: found `https://gitlab.com`, expected `https://token.actions.githubusercontent.com`",
    ),
    row(
        20,
        "vouched for by nobody",
        KEYLESS,
        |c| c.request.issuer_form = IssuerForm::Missing,
        WrongIdentity,
        "issuer: found nothing",
    ),
    row(
        20,
        "an issuer with a slash",
        ONE_EACH,
        |c| c.request.issuer.push('/'),
        WrongIdentity,
        "issuer: found `https://token.actions.githubusercontent.com/`",
    ),
    row(
        20,
        "the old form names another issuer than the new one",
        KEYLESS,
        |c| {
            c.request = c.request.clone().issuer_form(IssuerForm::New).issuer("https://evil.test").claim(1, GITHUB);
        },
        WrongIdentity,
        "issuer: found `https://evil.test`",
    )
    .beside(|c| c.request = c.request.clone().issuer_form(IssuerForm::Old)),
    row(
        20,
        "the old form alone, of another issuer",
        KEYLESS,
        |c| c.request = c.request.clone().issuer_form(IssuerForm::Old).issuer("https://evil.test"),
        WrongIdentity,
        "issuer: found `https://evil.test`",
    )
    .beside(|c| c.request = c.request.clone().issuer_form(IssuerForm::New)),
    row(
        20,
        "one signer's name and another's issuer",
        KEYLESS,
        |c| c.request.issuer = ACCOUNTS.to_owned(),
        WrongIdentity,
        "(and 1 more signers do not fit)",
    )
    .given(|c| {
        c.trust([
            identity(Matcher::exact(GITHUB), Matcher::exact(WORKFLOW)),
            identity(Matcher::exact(ACCOUNTS), Matcher::exact("release@acme.test")),
        ]);
    }),
];

/// What the certificate says about the build.
const CLAIMS: &[Row] = &[
    row(
        20,
        "another source repository",
        KEYLESS,
        |c| c.request = c.request.clone().claim(12, "https://github.com/evil/app"),
        WrongIdentity,
        "source_repository: found `https://github.com/evil/app`, expected `https://github.com/acme/app`",
    )
    .given(|c| claims(c, "source_repository", Matcher::exact("https://github.com/acme/app"))),
    row(
        20,
        "no source repository",
        KEYLESS,
        |c| c.request = c.request.clone().without_claim(12),
        WrongIdentity,
        "source_repository: found nothing, expected `https://github.com/acme/app`",
    )
    .given(|c| claims(c, "source_repository", Matcher::exact("https://github.com/acme/app"))),
    row(
        20,
        "a source repository in another field",
        KEYLESS,
        |c| c.request = c.request.clone().without_claim(12).claim(16, "https://github.com/acme/app"),
        WrongIdentity,
        "source_repository: found nothing",
    )
    .given(|c| claims(c, "source_repository", Matcher::exact("https://github.com/acme/app"))),
    row(
        20,
        "another ref",
        KEYLESS,
        |c| c.request = c.request.clone().claim(14, "refs/heads/evil"),
        WrongIdentity,
        "source_ref: found `refs/heads/evil`",
    )
    .given(|c| claims(c, "source_ref", expression("refs/tags/v[0-9.]+"))),
    row(
        20,
        "a ref that begins as it should",
        KEYLESS,
        |c| c.request = c.request.clone().claim(14, "refs/tags/v1.0.0-evil"),
        WrongIdentity,
        "(differs from `-evil` on)",
    )
    .given(|c| claims(c, "source_ref", expression("refs/tags/v[0-9.]+"))),
    row(
        20,
        "no ref",
        KEYLESS,
        |c| c.request = c.request.clone().without_claim(14),
        WrongIdentity,
        "source_ref: found nothing",
    )
    .given(|c| claims(c, "source_ref", expression("refs/tags/.*"))),
    row(
        20,
        "a pull request",
        KEYLESS,
        |c| c.request = c.request.clone().claim(20, "pull_request"),
        WrongIdentity,
        "trigger: found `pull_request`, expected `push`",
    )
    .given(|c| claims(c, "trigger", Matcher::exact("push"))),
    row(
        20,
        "a pull request, by the old field",
        KEYLESS,
        |c| c.request = c.request.clone().claim(2, "pull_request"),
        WrongIdentity,
        "github_workflow_trigger: found `pull_request`",
    )
    .given(|c| claims(c, "github_workflow_trigger", Matcher::exact("push"))),
    row(
        20,
        "another builder's machine",
        KEYLESS,
        |c| c.request = c.request.clone().claim(11, "self-hosted"),
        WrongIdentity,
        "runner_environment: found `self-hosted`",
    )
    .given(|c| claims(c, "runner_environment", Matcher::exact("github-hosted"))),
    row(
        20,
        "the source repository restricts where the identity does not",
        KEYLESS,
        |c| c.request = CertificateRequest::github("evil/app", "release.yml", "refs/tags/v1.0.0"),
        WrongIdentity,
        "source_repository: found `https://github.com/evil/app`",
    )
    .given(from_repository),
];

/// Whoever else the rule names.
const DENIALS: &[Row] = &[
    row(
        20,
        "a denied identity",
        KEYLESS,
        |c| c.demand.denied_identities = vec![Matcher::exact(WORKFLOW)],
        Denied,
        "identity: https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0 is denied by the rule",
    )
    .beside(|c| c.demand.denied_identities = vec![Matcher::exact(EVIL)]),
    row(
        20,
        "an identity that a denied expression fits",
        KEYLESS,
        |c| c.demand.denied_identities = vec![expression("https://github.com/acme/app/.*")],
        Denied,
        "is denied by the rule (`https://github.com/acme/app/.*`)",
    )
    .beside(|c| c.demand.denied_identities = vec![expression("https://github.com/acme/ap")]),
    row(
        20,
        "a second name that is denied",
        KEYLESS,
        |c| c.demand.denied_identities = vec![Matcher::exact("eve@evil.test")],
        Denied,
        "eve@evil.test is denied",
    )
    .given(|c| c.request.names.push(email("eve@evil.test")))
    .beside(|c| c.demand.denied_identities = vec![Matcher::exact("mallory@evil.test")]),
];

pub fn rows() -> Vec<Row> {
    [EXACT, EXPRESSIONS, ISSUERS, CLAIMS, DENIALS].concat()
}

#[test]
fn a_name_is_the_whole_name() {
    run(EXACT);
}

#[test]
fn an_expression_fits_the_whole_name() {
    run(EXPRESSIONS);
}

#[test]
fn a_name_counts_by_its_issuer() {
    run(ISSUERS);
}

#[test]
fn claims_must_be_there_and_fit() {
    run(CLAIMS);
}

#[test]
fn the_denied_are_refused_whoever_else_is_named() {
    run(DENIALS);
}
