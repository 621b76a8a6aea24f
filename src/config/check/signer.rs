//! `[[policy.signer]]`: keys with the time they are trusted in, and identities.

use toml::Spanned;

use crate::trust::{CLAIMS, IdentitySigner, KeyError, KeySigner, Matcher, PublicKey, Require, Signer};

use super::super::file::{self, Text};
use super::super::read::nearest;
use super::super::report::Report;
use super::expression::{self, Says};
use super::file as files;
use super::value::{self, Bound};

const GITHUB_ACTIONS: &str = "https://token.actions.githubusercontent.com";

/// Issuers as they stand in certificates of the public instance.
const ISSUERS: [&str; 5] = [
    GITHUB_ACTIONS,
    "https://gitlab.com",
    "https://accounts.google.com",
    "https://github.com/login/oauth",
    "https://login.microsoftonline.com",
];

/// Claims that say who or whose, by URL.
const WHO: [&str; 5] = ["build_signer_uri", "source_repository", "source_owner", "workflow", "run"];

/// Claims that say whose repository it was, so that the identity need not: as with reusable workflows.
const BINDING: [&str; 5] =
    ["source_repository", "source_owner", "source_repository_id", "source_owner_id", "github_workflow_repository"];

/// All signers of the list at `path`.
pub(super) fn all(
    written: Vec<Spanned<file::Table<file::Signer>>>,
    path: &str,
    require: Require,
    report: &mut Report<'_>,
) -> Vec<Signer> {
    let mut found: Vec<Signer> = Vec::new();
    for (i, table) in written.into_iter().enumerate() {
        let Some(signer) = one(&table, &format!("{path}[{i}]"), report) else { continue };
        if let Some(other) = found.iter().find(|other| other.id() == signer.id()) {
            twice(&table, &signer, other, require, report);
        }
        found.push(signer);
    }
    found
}

fn twice(
    table: &Spanned<file::Table<file::Signer>>,
    signer: &Signer,
    other: &Signer,
    require: Require,
    report: &mut Report<'_>,
) {
    let written = &table.get_ref().0;
    let at = [&written.key, &written.identity, &written.identity_regexp].into_iter().flatten().next();
    let span = at.map_or(table.span(), Spanned::span);
    let what = if signer.key().is_some() { "key" } else { "identity" };
    let message = format!("the same {what} as `{}`", other.name());
    match require {
        Require::All => report
            .error(span, message)
            .help("one signature satisfies both, and require = \"all\" asks for different people; take one out"),
        Require::Any => report.warn(span, message).help("take one of them out"),
    };
}

fn one(table: &Spanned<file::Table<file::Signer>>, path: &str, report: &mut Report<'_>) -> Option<Signer> {
    let written = &table.get_ref().0;
    match (&written.key, first_of_identity(written)) {
        (Some(file), None) => key(written, file, report).map(Signer::Key),
        (None, Some(_)) => identity(written, path, table, report).map(Signer::Identity),
        (Some(_), Some(other)) => {
            report
                .error(other, "a signer is a key or an identity, and this one has both")
                .help("write a [[policy.signer]] for each");
            None
        }
        (None, None) if report.has_unread(path) => None,
        (None, None) => {
            report.missing(path, "key", table.span()).help(
                "name a PEM public key: key = \"FILE\"; or an identity: issuer = \"https://…\" and identity = \"…\"",
            );
            None
        }
    }
}

/// Where the first thing stands that only identities have.
fn first_of_identity(written: &file::Signer) -> Option<std::ops::Range<usize>> {
    let texts = [&written.issuer, &written.issuer_regexp, &written.identity, &written.identity_regexp];
    let claims = written.claims.keys().chain(written.claims_regexp.keys());
    texts.into_iter().flatten().map(Spanned::span).chain(claims.map(Spanned::span)).next()
}

fn key(written: &file::Signer, file: &Text, report: &mut Report<'_>) -> Option<KeySigner> {
    let not_before = value::moment(written.not_before.as_ref(), Bound::From, report);
    let not_after = value::moment(written.not_after.as_ref(), Bound::Until, report);
    if let (Some(from), Some(until), Some(at)) = (not_before, not_after, &written.not_after)
        && until <= from
    {
        report.error(at.span(), "not later than not_before").help("the key would never be trusted");
    }
    let pem = files::text(file, report)?;
    let key = match PublicKey::from_pem(&pem) {
        Ok(key) => key,
        Err(error) => {
            let help = match error {
                KeyError::Private => "`cosign public-key --key FILE` prints the public half",
                KeyError::Pem(_) => "`cosign public-key` and `openssl pkey -pubout` print keys in this form",
                KeyError::Unsupported(_) => "make a key with `cosign generate-key-pair`",
            };
            report.error(file.span(), error.to_string()).help(help);
            return None;
        }
    };
    Some(KeySigner { name: name(written, file.get_ref(), report), key, not_before, not_after })
}

fn identity(
    written: &file::Signer,
    path: &str,
    table: &Spanned<file::Table<file::Signer>>,
    report: &mut Report<'_>,
) -> Option<IdentitySigner> {
    for moment in [&written.not_before, &written.not_after].into_iter().flatten() {
        report
            .error(moment.span(), "only keys have a time: a certificate brings its own")
            .help("take it out; max_signature_age in the policy bounds how old signatures may be");
    }
    for (key, there, why) in [
        (
            "issuer",
            written.issuer.is_some() || written.issuer_regexp.is_some(),
            "anybody can run an issuer that vouches for any name",
        ),
        (
            "identity",
            written.identity.is_some() || written.identity_regexp.is_some(),
            "an issuer vouches for everybody who has an account there",
        ),
    ] {
        if !there {
            report.missing(path, key, table.span()).help(format!("{why}: write `{key}` or `{key}_regexp`"));
        }
    }
    let claims = expression::by_name(&written.claims, &written.claims_regexp, is_claim, says, report);
    let bound = claims.keys().any(|claim| BINDING.contains(&claim.as_str()));
    let who = if bound { Says::WhoeverIsBound } else { Says::Who };
    let (exact, fitting) = (written.issuer.as_ref(), written.issuer_regexp.as_ref());
    let issuer = expression::either(exact, fitting, "issuer", Says::Who, report);
    let (exact, fitting) = (written.identity.as_ref(), written.identity_regexp.as_ref());
    let identity = expression::either(exact, fitting, "identity", who, report);
    let name = name(written, identity.as_ref().map_or("", Matcher::as_str), report);
    let (issuer, identity) = (issuer?, identity?);
    doubtful_issuer(written.issuer.as_ref(), report);
    doubtful_identity(&issuer, written.identity.as_ref(), report);
    only_the_beginning(&issuer, written.identity_regexp.as_ref(), report);
    for (claim, text) in written.claims.iter().filter(|(claim, _)| WHO.contains(&claim.get_ref().as_str())) {
        doubtful_claim(claim, text, report);
    }
    Some(IdentitySigner { name, issuer, identity, claims })
}

/// Issuers are compared letter by letter, and a slash more fits nothing.
fn doubtful_issuer(written: Option<&Text>, report: &mut Report<'_>) {
    let Some(text) = written else { return };
    let bare = |url: &str| url.trim_end_matches('/').rsplit("://").next().unwrap_or_default().to_ascii_lowercase();
    let known = ISSUERS.into_iter().find(|known| bare(known) == bare(text.get_ref()));
    if let Some(known) = known.filter(|known| known != text.get_ref()) {
        report.warn(text.span(), "that is not quite how the issuer calls itself").help(format!("write \"{known}\""));
    } else if !text.get_ref().contains("://") {
        report
            .warn(text.span(), "not a URL, and issuers are URLs")
            .help("write it as `assay explain` shows it for a signed image, such as \"https://accounts.google.com\"");
    }
}

/// On GitHub it is a workflow that signs, not a repository.
fn doubtful_identity(issuer: &Matcher, written: Option<&Text>, report: &mut Report<'_>) {
    let Some(text) = written else { return };
    let is_workflow = text.get_ref().starts_with("https://") && text.get_ref().contains("@refs/");
    if issuer.matches(GITHUB_ACTIONS) && !is_workflow {
        report
            .warn(text.span(), "GitHub calls nobody so: there, a workflow at a branch or tag signs")
            .help("write \"https://github.com/OWNER/REPOSITORY/.github/workflows/FILE@refs/heads/BRANCH\"");
    }
}

/// Whoever comes from cosign expects an expression to be searched for. No branch or tag ends in a slash.
fn only_the_beginning(issuer: &Matcher, written: Option<&Text>, report: &mut Report<'_>) {
    let Some(text) = written else { return };
    if issuer.matches(GITHUB_ACTIONS) && text.get_ref().trim_end_matches('$').ends_with('/') {
        report
            .warn(text.span(), "fits only the beginning of what GitHub calls a workflow, and it must fit all of it")
            .help(r"write the rest too, such as 'https://github\.com/acme/[^/]+/\.github/workflows/[^@]+@refs/heads/main'");
    }
}

/// These claims are URLs in certificates; cosign's own flags take `acme/app`.
fn doubtful_claim(claim: &Text, text: &Text, report: &mut Report<'_>) {
    if text.get_ref().contains("://") {
        return;
    }
    let warning = report.warn(text.span(), format!("not a URL, and certificates have one as `{}`", claim.get_ref()));
    match claim.get_ref().as_str() {
        "source_repository" => warning
            .help(format!("write \"https://github.com/{0}\", or github_workflow_repository = \"{0}\"", text.get_ref())),
        _ => warning.help("write it as `assay verify --json` shows it for a signed image"),
    };
}

fn is_claim(name: &Text, report: &mut Report<'_>) -> bool {
    let known = CLAIMS.map(|(_, claim)| claim);
    let text = name.get_ref();
    if known.contains(&text.as_str()) {
        return true;
    }
    let help = match nearest(text, &known) {
        Some(claim) => format!("did you mean `{claim}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    report.error(name.span(), "no claim of a certificate is called so").help(help);
    false
}

/// What the expression for a claim is about.
fn says(claim: &str) -> Says {
    match WHO.contains(&claim) {
        true => Says::Who,
        false => Says::SomethingElse,
    }
}

/// What people call the signer, in logs and headers too.
fn name(written: &file::Signer, otherwise: &str, report: &mut Report<'_>) -> String {
    let Some(text) = &written.name else { return otherwise.to_owned() };
    let name = text.get_ref();
    if name.trim().is_empty() || name.chars().any(char::is_control) || name.chars().count() > 100 {
        report
            .error(text.span(), "must be one line of 1 to 100 characters")
            .help("logs and refusals call the signer by it");
    }
    name.clone()
}
