//! Texts that a field must be, exactly or as an expression, and what is probably wrong with them.

use std::collections::BTreeMap;

use regex_syntax::hir::Hir;

use crate::trust::{EXPRESSION_MAX, ExpressionError, Matcher};

use super::super::file::Text;
use super::super::report::Report;
use super::lookalike::{self, Part};
use super::sample;

/// What an expression is about, so that it is known what would be careless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Who somebody is or whose something is: by URL or e-mail address.
    Who,
    /// The same, and something besides it says whose repository it must be.
    WhoeverIsBound,
    /// A branch, a trigger, a number.
    SomethingElse,
}

/// The one of two keys that is written: `KEY` or `KEY_regexp`. Both are an error; so is none, where it is needed.
pub(super) fn either(
    exact: Option<&Text>,
    expression: Option<&Text>,
    key: &str,
    says: Says,
    report: &mut Report<'_>,
) -> Option<Matcher> {
    match (exact, expression) {
        (Some(_), Some(second)) => {
            report
                .error(second.span(), format!("`{key}` is there too"))
                .help(format!("keep one of `{key}` (this very text) and `{key}_regexp` (whatever fits it)"));
            None
        }
        (Some(text), None) => self::exact(text, report),
        (None, Some(text)) => self::expression(text, says, report),
        (None, None) => None,
    }
}

/// A text that a whole value must be equal to.
pub(super) fn exact(text: &Text, report: &mut Report<'_>) -> Option<Matcher> {
    let value = text.get_ref();
    if value.is_empty() || value.trim() != value || value.chars().any(char::is_control) {
        report
            .error(text.span(), "no certificate has such a value")
            .help("write the text as `cosign verify` or `assay explain` shows it");
        return None;
    }
    let signs = ["\\.", ".*", ".+", "[^", ")?"];
    if signs.iter().any(|sign| value.contains(sign)) || value.starts_with('^') || value.ends_with(['$', '*']) {
        report
            .warn(text.span(), "looks like an expression, and is compared as it stands")
            .help("expressions are written under the same key with `_regexp` behind it");
    }
    Some(Matcher::exact(value.as_str()))
}

/// An expression that a whole value must fit, with a word about what else fits.
pub(super) fn expression(text: &Text, says: Says, report: &mut Report<'_>) -> Option<Matcher> {
    let matcher = expression_that_parses(text, report)?;
    if says != Says::SomethingElse
        && let Ok(parsed) = regex_syntax::parse(text.get_ref())
    {
        careless(text, &parsed, &matcher, says, report);
    }
    Some(matcher)
}

/// The same, where fitting more than was meant does no harm: in what is denied.
pub(super) fn expression_that_parses(text: &Text, report: &mut Report<'_>) -> Option<Matcher> {
    match Matcher::expression(text.get_ref()) {
        Ok(_) if text.get_ref().is_empty() => {
            report.error(text.span(), "empty: only an empty value would fit").help("write the expression");
            None
        }
        Ok(matcher) => Some(matcher),
        Err(error) => {
            let help = match &error {
                ExpressionError::TooLong => {
                    format!("write several signers instead; the limit is {EXPRESSION_MAX} bytes")
                }
                ExpressionError::Syntax(_) => {
                    "the syntax is RE2's, as cosign's; in TOML write expressions in single quotes: '…'".to_owned()
                }
            };
            report.error(text.span(), error.to_string()).help(help);
            None
        }
    }
}

/// One warning at most: the most telling.
fn careless(text: &Text, parsed: &Hir, matcher: &Matcher, says: Says, report: &mut Report<'_>) {
    if let Some(found) = lookalike::find(parsed, matcher, says == Says::WhoeverIsBound) {
        let help = match (found.by_dot, found.another) {
            (true, _) => "`.` stands for any character; write `\\.` for a dot",
            (false, Part::Branch) => "a branch may have such a name; write `[^@]+` instead of `.*` before the `@`",
            (false, _) => {
                "write out whose it is, up to the `/` behind it; `[^/]+` stays within one part, `.*` does not"
            }
        };
        report.warn(text.span(), format!("another {} fits too: {}", found.another.as_str(), found.value)).help(help);
    } else if lookalike::has_dot_in_host(parsed) {
        report.warn(text.span(), "`.` in a host stands for any character").help("write `\\.` for a dot");
    } else if sample::open_ended(parsed) {
        report
            .warn(text.span(), "anything may stand at its beginning or end")
            .help("write out what must stand there; `[^/]+` stays within one part of a path, `v[0-9.]+` is a version");
    }
}

/// Exact texts and expressions under names.
pub(super) fn by_name(
    exact: &BTreeMap<Text, Text>,
    expressions: &BTreeMap<Text, Text>,
    is_known: impl Fn(&Text, &mut Report<'_>) -> bool,
    says: impl Fn(&str) -> Says,
    report: &mut Report<'_>,
) -> BTreeMap<String, Matcher> {
    let mut found = BTreeMap::new();
    for (name, text) in exact {
        if is_known(name, report)
            && let Some(matcher) = self::exact(text, report)
        {
            found.insert(name.get_ref().clone(), matcher);
        }
    }
    for (name, text) in expressions {
        if !is_known(name, report) {
            continue;
        }
        if exact.contains_key(name) {
            report
                .error(name.span(), format!("`{}` is demanded twice", name.get_ref()))
                .help("keep either the exact text or the expression");
        }
        if let Some(matcher) = expression(text, says(name.get_ref()), report) {
            found.insert(name.get_ref().clone(), matcher);
        }
    }
    found
}
