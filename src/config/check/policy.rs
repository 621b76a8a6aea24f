//! `[[policy]]`: rules, each alone and beside the others.

use std::ops::Range;

use toml::Spanned;

use crate::oci::Registry;
use crate::trust::{Pattern, Rule};

use super::super::file::{self, Text};
use super::super::report::Report;
use super::super::settings::Upstream;
use super::trust::Roots;
use super::{demand, pattern, terms};

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
    roots: &Roots,
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
        let terms = terms::terms(&rule, report);
        let enforcement = demand::enforcement(rule, &path, head, roots, report);
        names.push(name.clone());
        found.push(Rule::new(name, patterns, enforcement).with_terms(terms));
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
