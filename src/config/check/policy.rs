//! `[[policy]]`: rules, each alone and beside the others.

use std::ops::Range;

use toml::Spanned;

use crate::oci::{Registry, Repository};
use crate::trust::{Demand, DockerReference, Enforcement, Pattern, Require, Rule, Signer, Tlog, danger};

use super::super::file::{self, Mode, Text};
use super::super::report::Report;
use super::super::settings::Upstream;
use super::{pattern, signer};

/// A rule's name goes into headers, logs and records.
const NAME_MAX: usize = 64;

/// A pattern of a rule that was already read.
struct Earlier {
    rule: String,
    pattern: Pattern,
}

pub(super) fn rules(
    written: Vec<Spanned<file::Table<file::Policy>>>,
    upstreams: &[Spanned<Upstream>],
    report: &mut Report<'_>,
) -> Vec<Rule> {
    let mut found: Vec<Rule> = Vec::new();
    let mut earlier: Vec<Earlier> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (i, table) in written.into_iter().enumerate() {
        let path = format!("policy[{i}]");
        let head = table.span();
        let rule = table.into_inner().0;
        let name = name(rule.name.as_ref(), &path, head.clone(), &names, report);
        let patterns = patterns(rule.images.as_ref(), &path, head.clone(), report);
        for (text, pattern) in &patterns {
            shadowed(text, pattern, &earlier, report);
            unreachable(text, pattern, upstreams, report);
        }
        let patterns: Vec<Pattern> = patterns.into_iter().map(|(_, pattern)| pattern).collect();
        earlier.extend(patterns.iter().map(|pattern| Earlier { rule: name.clone(), pattern: pattern.clone() }));
        let enforcement = enforcement(rule, &path, head, report);
        names.push(name.clone());
        found.push(Rule::new(name, patterns, enforcement));
    }
    uncovered(&earlier, upstreams, report);
    found
}

fn name(written: Option<&Text>, path: &str, head: Range<usize>, taken: &[String], report: &mut Report<'_>) -> String {
    let Some(text) = written else {
        report.missing(path, "name", head).help("refusals, logs and records call the rule by it");
        return path.to_owned();
    };
    let name = text.get_ref();
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(|b| b.is_ascii_graphic()) {
        let message = format!("must be 1 to {NAME_MAX} printable ASCII characters without spaces");
        report.error(text.span(), message).help("the name goes into HTTP headers and logs");
    } else if taken.contains(name) {
        report.error(text.span(), "another policy has this name").help("a refusal must name one rule");
    }
    name.clone()
}

fn patterns<'t>(
    written: Option<&'t file::List>,
    path: &str,
    head: Range<usize>,
    report: &mut Report<'_>,
) -> Vec<(&'t Text, Pattern)> {
    let Some(list) = written else {
        report.missing(path, "images", head).help("name repositories: images = [\"ghcr.io/acme/**\"]");
        return Vec::new();
    };
    if list.get_ref().is_empty() {
        report.error(list.span(), "empty: the policy is for nothing").help("name repositories, or take the policy out");
    }
    list.get_ref().iter().filter_map(|text| Some((text, pattern::parse(text, report)?))).collect()
}

fn enforcement(rule: file::Policy, path: &str, head: Range<usize>, report: &mut Report<'_>) -> Enforcement {
    let mode_at = rule.mode.as_ref().map_or(head.clone(), Spanned::span);
    let mode = rule.mode.map_or(Mode::Enforce, Spanned::into_inner);
    tlog(rule.tlog.as_ref(), path, mode, rule.signer.first(), report);
    if mode == Mode::Off {
        if let Some(first) = rule.signer.first() {
            report
                .error(first.span(), "a policy with mode = \"off\" looks for no signatures, so it has no signers")
                .help("take the signers out, or use mode = \"audit\": it looks, and serves all the same");
        }
        report
            .warn(mode_at, "everything this policy matches is served without any look at signatures")
            .help("mode = \"audit\" serves the same and records what would be refused");
        return Enforcement::Off(danger::Unsigned::as_written_by_the_operator());
    }
    let nobody = rule.signer.is_empty() && !report.has_unread(&format!("{path}.signer"));
    let signers = signer::all(rule.signer, path, report);
    let docker_reference = rule.docker_reference.map_or(DockerReference::Ignore, |written| {
        let span = written.span();
        docker_reference(written.into_inner(), path, span, report)
    });
    let demand = Demand {
        require: rule.require.unwrap_or(Require::Any),
        signers: signers.into_iter().map(Signer::Key).collect(),
        docker_reference,
        tlog: Tlog::Off,
        ..Demand::default()
    };
    if mode == Mode::Audit {
        report
            .warn(mode_at, "nothing this policy matches is ever refused")
            .help("use mode = \"enforce\" once the log shows that all images you need are signed");
        return Enforcement::Audit(demand);
    }
    if nobody {
        report
            .error(head, "nobody may sign: every image would be refused")
            .help("add [[policy.signer]] with key = \"FILE\", or write mode = \"audit\"");
    }
    Enforcement::Enforce(demand)
}

fn tlog(
    written: Option<&Text>,
    path: &str,
    mode: Mode,
    signer: Option<&Spanned<file::Table<file::Signer>>>,
    report: &mut Report<'_>,
) {
    const HELP: &str =
        "this version checks keys without the transparency log, and a policy must say that it knows: tlog = \"off\"";
    match (written, signer) {
        (Some(text), _) if text.get_ref() != "off" => {
            report.error(text.span(), "can only be \"off\" in this version").help(HELP);
        }
        (None, Some(first)) if mode != Mode::Off => {
            report.missing(path, "tlog", first.span()).help(HELP);
        }
        _ => {}
    }
}

fn docker_reference(
    written: file::DockerReference,
    path: &str,
    span: Range<usize>,
    report: &mut Report<'_>,
) -> DockerReference {
    let remap = match written {
        file::DockerReference::Ignore => return DockerReference::Ignore,
        file::DockerReference::Repository => return DockerReference::Repository,
        file::DockerReference::Remap(remap) => remap,
    };
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
    DockerReference::Remap { ours: prefix(remap.ours, "ours"), signed: prefix(remap.signed, "signed") }
}

/// Two components behind it keep Docker Hub's `library/` out of the comparison.
fn is_prefix(text: &str) -> bool {
    let longer = format!("{text}/x/x");
    longer.parse::<Repository>().is_ok_and(|repository| repository.to_string() == longer)
}

fn shadowed(text: &Text, pattern: &Pattern, earlier: &[Earlier], report: &mut Report<'_>) {
    if let Some(cover) = earlier.iter().find(|earlier| pattern::covers(&earlier.pattern, pattern)) {
        report
            .warn(text.span(), format!("never decides: policy `{}` above matches all of it", cover.rule))
            .label(format!("covered by `{}`", cover.pattern.as_str()))
            .help("policies are tried from top to bottom, and the first that matches decides; move the narrow one up");
    }
}

fn unreachable(text: &Text, pattern: &Pattern, upstreams: &[Spanned<Upstream>], report: &mut Report<'_>) {
    let reached = upstreams.iter().any(|upstream| pattern::may_match_in(pattern, &upstream.get_ref().registry));
    if !reached && !upstreams.is_empty() && !report.has_unread("upstream") {
        let host = text.get_ref().split('/').next().unwrap_or_default();
        let help = match host.parse::<Registry>() {
            Ok(registry) => format!("add [upstream.\"{registry}\"], or take the pattern out"),
            Err(_) => "add an upstream, or take the pattern out".to_owned(),
        };
        report.warn(text.span(), "no upstream has such images, so nobody can pull them here").help(help);
    }
}

fn uncovered(patterns: &[Earlier], upstreams: &[Spanned<Upstream>], report: &mut Report<'_>) {
    if report.has_unread("policy") {
        return;
    }
    for upstream in upstreams {
        let registry = &upstream.get_ref().registry;
        if !patterns.iter().any(|earlier| pattern::may_match_in(&earlier.pattern, registry)) {
            report
                .warn(upstream.span(), "no policy covers any image of this upstream, so all are refused")
                .help(format!("add a [[policy]] with images = [\"{registry}/**\"]"));
        }
    }
}
