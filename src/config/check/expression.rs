//! Texts that a field must be, exactly or as an expression, and what is probably wrong with them.

use std::collections::BTreeMap;

use crate::trust::{EXPRESSION_MAX, ExpressionError, Matcher};

use super::super::file::Text;
use super::super::report::Report;

/// The one of two keys that is written: `KEY` or `KEY_regexp`. Both are an error; so is none, where it is needed.
pub(super) fn either(
    exact: Option<&Text>,
    expression: Option<&Text>,
    key: &str,
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
        (None, Some(text)) => self::expression(text, report),
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

/// An expression that a whole value must fit.
pub(super) fn expression(text: &Text, report: &mut Report<'_>) -> Option<Matcher> {
    let found = expression_that_parses(text, report)?;
    careless(text, report);
    Some(found)
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

fn careless(text: &Text, report: &mut Report<'_>) {
    let inner = text.get_ref().trim_start_matches('^').trim_end_matches('$');
    if [".*", ".+"].iter().any(|any| inner.starts_with(any) || inner.ends_with(any)) {
        report
            .warn(text.span(), "anything may stand at the end or the beginning")
            .help("write out what must stand there; `[^/]+` stays within one part of a path");
    }
}

/// Exact texts and expressions under names.
pub(super) fn by_name(
    exact: &BTreeMap<Text, Text>,
    expressions: &BTreeMap<Text, Text>,
    is_known: impl Fn(&Text, &mut Report<'_>) -> bool,
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
        if let Some(matcher) = expression(text, report) {
            found.insert(name.get_ref().clone(), matcher);
        }
    }
    found
}
