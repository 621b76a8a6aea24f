//! What a `[[policy]]` demands: its mode, who must sign, in which form, proven how.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::SignedDuration;
use toml::Spanned;

use crate::oci::Repository;
use crate::trust::{Demand, DockerReference, Enforcement, Formats, Matcher, Rollback, Signer, Tlog, TrustRoot, danger};

use super::super::file::{self, Format, Mode, Names, Text};
use super::super::report::Report;
use super::trust::{self, Needs, Roots};
use super::{attestation, expression, signer, value};

/// What becomes of images of the policy at `path`, whose head stands at `head`.
pub(super) fn enforcement(
    rule: file::Policy,
    path: &str,
    head: Range<usize>,
    roots: &Roots,
    report: &mut Report<'_>,
) -> Enforcement {
    let mode_at = rule.mode.as_ref().map_or(head.clone(), Spanned::span);
    let mode = rule.mode.as_ref().map_or(Mode::Enforce, |mode| *mode.get_ref());
    if mode == Mode::Off {
        asks_nothing(&rule, report);
        report
            .warn(mode_at, "everything this policy matches is served without any look at signatures")
            .help("mode = \"audit\" serves the same and records what would be refused");
        return Enforcement::Off(danger::Unsigned::as_written_by_the_operator());
    }
    let nobody = rule.signer.is_empty() && !report.has_unread(&format!("{path}.signer"));
    let demand = demand(rule, path, &head, roots, report);
    if mode == Mode::Audit {
        report
            .warn(mode_at, "nothing this policy matches is ever refused")
            .help("use mode = \"enforce\" once the log shows that all images you need are signed");
        return Enforcement::Audit(demand);
    }
    if nobody {
        report
            .error(head, "nobody may sign: every image would be refused")
            .help("add [[policy.signer]] with key = \"FILE\" or with issuer and identity, or write mode = \"audit\"");
    }
    Enforcement::Enforce(demand)
}

/// What stands in a policy that looks for nothing would protect nobody.
fn asks_nothing(rule: &file::Policy, report: &mut Report<'_>) {
    if let Some(first) = rule.signer.first() {
        report
            .error(first.span(), "a policy with mode = \"off\" looks for no signatures, so it has no signers")
            .help("take the signers out, or use mode = \"audit\": it looks, and serves all the same");
    }
    let deny = &rule.deny.0;
    let rollback = rule.rollback.as_ref().filter(|rollback| *rollback.get_ref() != Rollback::Allow);
    let others = [
        rule.attestation.first().map(Spanned::span),
        deny.identities.first().or(deny.identity_regexps.first()).map(Spanned::span),
        rollback.map(Spanned::span),
        rule.max_signature_age.as_ref().map(Spanned::span),
        rule.annotations.as_ref().map(Spanned::span),
    ];
    for span in others.into_iter().flatten() {
        report
            .error(span, "a policy with mode = \"off\" looks for no signatures, so this does nothing")
            .help("take it out, or use mode = \"audit\": it looks, and serves all the same");
    }
}

fn demand(rule: file::Policy, path: &str, head: &Range<usize>, roots: &Roots, report: &mut Report<'_>) -> Demand {
    let tlog = rule.tlog.as_ref().map_or(Tlog::Required, |tlog| *tlog.get_ref());
    let tlog_at = rule.tlog.as_ref().map_or(head.clone(), Spanned::span);
    let require = rule.require.unwrap_or_default();
    let signers = signer::all(rule.signer, &format!("{path}.signer"), require, report);
    let attestations = attestation::all(rule.attestation, path, &signers, report);
    let attesters = attestations.iter().flat_map(|attestation| &attestation.signers);
    let all: Vec<&Signer> = signers.iter().chain(attesters).collect();
    let needs = Needs::of(&all, tlog);
    let roots = trusted(roots, rule.trust_root.as_ref(), needs, tlog, [head, &tlog_at], report);
    without_log(&all, tlog, rule.tlog.as_ref(), report);
    without_time(&all, tlog, rule.max_signature_age.as_ref(), rule.rollback.as_ref(), report);
    let formats = formats(rule.accept_formats.as_ref(), report);
    let docker_reference = rule.docker_reference.map_or(DockerReference::Ignore, |written| {
        let span = written.span();
        docker_reference(written.into_inner(), path, span, formats, report)
    });
    let denied_identities = denied(&rule.deny.0, &all, report);
    let annotations = rule.annotations.map(|written| annotations(written.into_inner(), report)).unwrap_or_default();
    let max_signature_age = rule.max_signature_age.as_ref().and_then(|text| {
        let age = value::waiting(Some(text), std::time::Duration::MAX, report);
        SignedDuration::try_from(age).ok()
    });
    Demand {
        require,
        signers,
        tlog,
        roots,
        docker_reference,
        formats,
        annotations,
        max_signature_age,
        denied_identities,
        attestations,
        attestations_only: false,
    }
}

/// The trusted roots that count: none where only bare keys sign.
fn trusted(
    roots: &Roots,
    written: Option<&Spanned<Names>>,
    needs: Needs,
    tlog: Tlog,
    [head, tlog_at]: [&Range<usize>; 2],
    report: &mut Report<'_>,
) -> Vec<TrustRoot> {
    let chosen = roots.chosen(written, report);
    let at = written.map_or(head.clone(), Spanned::span);
    if !needs.any() {
        if written.is_some() {
            report
                .warn(at, "nobody here signs with a certificate or must be in a log, so no trusted root is used")
                .help("take it out");
        }
        return Vec::new();
    }
    let Some(chosen) = chosen else { return Vec::new() };
    trust::suffice(&chosen, needs, tlog, &at, tlog_at, report);
    chosen
}

/// What nobody logs, nobody can date, and nobody sees when a key is abused.
fn without_log(signers: &[&Signer], tlog: Tlog, written: Option<&Spanned<Tlog>>, report: &mut Report<'_>) {
    if let Some(written) = written
        && tlog == Tlog::Off
        && signers.iter().any(|signer| signer.key().is_some())
    {
        report
            .warn(written.span(), "nothing proves when a key signed, nor that the signature was published")
            .help("sign with the transparency log, and take the line out");
    }
}

/// Demands on the signing time where nothing proves one.
fn without_time(
    signers: &[&Signer],
    tlog: Tlog,
    age: Option<&Text>,
    rollback: Option<&Spanned<Rollback>>,
    report: &mut Report<'_>,
) {
    let keys = signers.iter().filter(|signer| signer.key().is_some()).count();
    if keys == 0 || tlog == Tlog::Required {
        return;
    }
    let rollback = rollback.filter(|rollback| *rollback.get_ref() != Rollback::Allow);
    if tlog == Tlog::Off && keys == signers.len() {
        for span in age.map(Spanned::span).into_iter().chain(rollback.map(Spanned::span)) {
            report
                .error(span, "only keys sign here, with tlog = \"off\": nothing proves when they did")
                .help("write tlog = \"required\" and sign with the transparency log, or take this out");
        }
    } else if let Some(age) = age {
        report
            .warn(age.span(), "signatures by keys that are in no log have no proven time, so they never count")
            .help("write tlog = \"required\", so that this is said where it is decided");
    }
}

fn formats(written: Option<&Spanned<Vec<Format>>>, report: &mut Report<'_>) -> Formats {
    let Some(list) = written else { return Formats::default() };
    if list.get_ref().is_empty() {
        report
            .error(list.span(), "empty: no signature would ever count")
            .help("the default is [\"bundle\", \"classic\"]");
        return Formats::default();
    }
    let has = |format| list.get_ref().contains(&format);
    Formats { classic: has(Format::Classic), bundle: has(Format::Bundle) }
}

fn docker_reference(
    written: file::DockerReference,
    path: &str,
    span: Range<usize>,
    formats: Formats,
    report: &mut Report<'_>,
) -> DockerReference {
    let found = match written {
        file::DockerReference::Ignore => return DockerReference::Ignore,
        file::DockerReference::Repository => DockerReference::Repository,
        file::DockerReference::Table(table) => named(table, path, &span, report),
    };
    match formats {
        Formats { classic: false, .. } => report
            .error(span, "a bundle names no repository, and accept_formats takes only bundles: nothing could pass")
            .help("bind the repository by the policy's `images` and the signer's identity, and take this out"),
        Formats { bundle: true, .. } => report
            .warn(span, "a bundle names no repository, so bundles never pass here")
            .help("accept_formats = [\"classic\"] says the same in plain words"),
        Formats { .. } => return found,
    };
    found
}

fn named(table: file::Reference, path: &str, span: &Range<usize>, report: &mut Report<'_>) -> DockerReference {
    if let Some(text) = table.exact {
        if let Some(other) = table.ours.or(table.signed) {
            report
                .error(other.span(), "`exact` is there too")
                .help("write { exact = \"HOST/PATH\" } or { ours = \"HOST/PATH\", signed = \"HOST/PATH\" }");
        }
        let Ok(repository) = text.get_ref().parse::<Repository>() else {
            report
                .error(text.span(), "not a repository")
                .help("write the registry and the path, without a tag: \"ghcr.io/acme/app\"");
            return DockerReference::Repository;
        };
        return DockerReference::Exact(repository);
    }
    let path = format!("{path}.docker_reference");
    let mut prefix = |text: Option<Text>, key| {
        let Some(text) = text else {
            report.missing(&path, key, span.clone()).help("write { ours = \"HOST/PATH\", signed = \"HOST/PATH\" }");
            return String::new();
        };
        if !is_prefix(text.get_ref()) {
            report
                .error(text.span(), "not the start of a repository name")
                .help("write a registry, or a registry and a path, without a slash at the end: \"ghcr.io/acme\"");
        }
        text.into_inner()
    };
    DockerReference::Remap { ours: prefix(table.ours, "ours"), signed: prefix(table.signed, "signed") }
}

/// Two components behind it keep Docker Hub's `library/` out of the comparison.
fn is_prefix(text: &str) -> bool {
    let longer = format!("{text}/x/x");
    longer.parse::<Repository>().is_ok_and(|repository| repository.to_string() == longer)
}

fn denied(written: &file::Deny, signers: &[&Signer], report: &mut Report<'_>) -> Vec<Matcher> {
    let mut found = Vec::new();
    let exact = written.identities.iter().map(|text| (text, false));
    for (text, is_expression) in exact.chain(written.identity_regexps.iter().map(|text| (text, true))) {
        let matcher = match is_expression {
            true => expression::expression_that_parses(text, report),
            false => expression::exact(text, report),
        };
        let Some(matcher) = matcher else { continue };
        let named = signers.iter().filter_map(|signer| signer.identity()).map(|signer| &signer.identity);
        if let Some(signer) = named.filter(|one| !one.is_expression()).find(|one| matcher.matches(one.as_str())) {
            report
                .error(text.span(), format!("denies `{signer}`, whom this policy names as a signer"))
                .help("take one of them out: denied signatures never count");
        }
        found.push(matcher);
    }
    let first = written.identities.first().or(written.identity_regexps.first());
    if let Some(first) = first.filter(|_| !signers.iter().any(|signer| signer.identity().is_some())) {
        report
            .warn(first.span(), "nobody signs with an identity here, so none is ever denied")
            .help("only keys count here; to deny a key, take its signer out");
    }
    found
}

fn annotations(written: BTreeMap<Text, Text>, report: &mut Report<'_>) -> BTreeMap<String, String> {
    for key in written.keys().filter(|key| key.get_ref().is_empty()) {
        report.error(key.span(), "empty").help("write the KEY of `cosign sign -a KEY=VALUE`");
    }
    written.into_iter().map(|(key, text)| (key.into_inner(), text.into_inner())).collect()
}
