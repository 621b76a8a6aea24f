//! From text to [`File`]: TOML, then variables, then the shape.
//!
//! serde stops at its first complaint. Whatever it complains about is noted, taken out, and the rest
//! is read again, so that a person sees all mistakes at once.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::env::{self, Override};
use super::file::File;
use super::finding::{Finding, Problems};
use super::report::Report;
use super::source::Sources;
use super::tree::remove_at;

/// More complaints than this are not read by anybody, and each costs another pass.
const COMPLAINTS_MAX: usize = 50;

/// After one mistake in the syntax, most of what follows is an echo of it.
const SYNTAX_MAX: usize = 3;

/// Largest file we read. The longest honest one has a few hundred rules.
pub(super) const FILE_MAX: usize = 4 * 1024 * 1024;

/// Keys of the format that this version does not know yet.
const LATER: [(&str, &str); 4] = [
    ("pin", "pins are not supported in this version; name the digest where the image is pulled"),
    ("clients", "this version does not tell clients apart"),
    ("notify", "notifications are not supported in this version; alert on the metrics"),
    ("telemetry", "traces are not supported in this version; metrics are on the admin listener"),
];

/// What was read: the file's shape (without what could not be read) and what was found so far.
pub(super) struct Read<'a> {
    pub(super) file: File,
    pub(super) report: Report<'a>,
    pub(super) overrides: Vec<Override>,
}

/// Reads a text. `sources` takes up the variables.
///
/// # Errors
/// When nothing can be said beyond the first problems: bad syntax, or another version of the format.
pub(super) fn read<'a>(
    text: &'a str,
    base: &Path,
    variables: &'a [(String, String)],
    sources: &'a mut Sources,
) -> Result<Read<'a>, Problems> {
    let mut tree = parse(text, sources)?;
    let (overrides, unusable) = env::apply(&mut tree, sources, variables);
    let mut report = Report::new(sources, tree.clone(), base);
    for variable in unusable {
        report.error(variable.span, variable.message).help(variable.help);
    }
    let Some(file) = shape(tree, &mut report) else { return Err(report.into_problems()) };
    if let Some(version) = &file.version
        && *version.get_ref() != 1
    {
        let place = report.place(&version.span());
        let mut finding = Finding::new(Some("version"), "not a version of the format that is known here", place);
        finding.label("only 1 is").help("this file was written for a newer release; install that one");
        return Err(Problems::one(finding));
    }
    Ok(Read { file, report, overrides })
}

fn parse<'i>(text: &'i str, sources: &Sources) -> Result<DeTable<'i>, Problems> {
    if text.len() > FILE_MAX {
        let message = format!("larger than {FILE_MAX} bytes");
        return Err(Problems::one(Finding::new(None, &message, sources.place(&(0..0)))));
    }
    let (tree, mut errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(tree.into_inner());
    }
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let finding = |error: &toml::de::Error| {
        let place = sources.place(&error.span().unwrap_or(0..0));
        let mut finding = Finding::new(None, &format!("not TOML: {}", error.message()), place);
        if error.message().contains("string values must be quoted") {
            finding.help("put text in quotes: key = \"text\"");
        }
        if error.message().contains("missing escaped value") {
            finding
                .help("between double quotes a backslash starts an escape; expressions go in single quotes: '…\\.…'");
        }
        finding
    };
    Err(Problems(errors.iter().take(SYNTAX_MAX).map(finding).collect()))
}

/// `None` when there is no end of complaints.
fn shape(mut tree: DeTable<'_>, report: &mut Report<'_>) -> Option<File> {
    let mut last = None;
    for _ in 0..COMPLAINTS_MAX {
        let error = match File::deserialize(Deserializer::from(Spanned::new(0..0, tree.clone()))) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let span = error.span().unwrap_or(0..0);
        // A list of tables stands where its first table does: taken out one by one, told once.
        if last.as_ref() != Some(&(span.clone(), error.message().to_owned())) {
            complain(report, span.clone(), error.message());
        }
        last = Some((span.clone(), error.message().to_owned()));
        if !remove_at(&mut tree, &span) {
            break;
        }
    }
    None
}

/// serde's words, in ours.
fn complain(report: &mut Report<'_>, span: std::ops::Range<usize>, message: &str) {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let (key, expected) = rest.split_once('`').unwrap_or((rest, ""));
        let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
        if let Some((_, why)) = LATER.iter().find(|(later, _)| *later == key) {
            report.unreadable(span, "not in this version").help(why);
            return;
        }
        match nearest(key, &known) {
            Some(known) => {
                report.unreadable(span.clone(), "unknown key").help(format!("did you mean `{known}`?"));
                report.meant(&span, known);
            }
            None => {
                report.unreadable(span, "unknown key").help(format!("known here: {}", known.join(", ")));
            }
        };
    } else if let Some(rest) = message.strip_prefix("unknown variant ") {
        let (value, expected) = rest.split_once(", expected ").unwrap_or((rest, ""));
        let finding = report.unreadable(span, format!("unknown value {value}"));
        finding.help(format!("expected {}", expected.replace('`', "\"")));
    } else {
        let message = plain(message);
        let quote = message.contains("invalid type") && message.ends_with("expected a text") || message == "not a text";
        let finding = report.unreadable(span, message);
        if quote {
            finding.help("put the value in quotes");
        }
    }
}

/// serde's "expected …" without Rust's names for types.
fn plain(message: &str) -> String {
    if message == "wanted string or table" {
        return "not a text".to_owned();
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let found = found.replace("type: sequence", "type: list").replace("type: map", "type: table");
    let expected = match expected {
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "a table",
        "a boolean" => "true or false",
        "i64" | "u32" => "a number from 0 to 4294967295",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// The known key that this one was probably meant to be.
pub(super) fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let close = known.iter().map(|candidate| (distance(key, candidate), *candidate)).min()?;
    (close.0 <= key.chars().count().max(3) / 3).then_some(close.1)
}

/// Levenshtein's: how many characters must change.
fn distance(a: &str, b: &str) -> usize {
    // Nobody mistypes a key this long, and the cost grows with both lengths.
    if a.len() > 40 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[b.len()]
}
