//! Environment variables over the file: `ASSAY_SERVER__LISTEN` stands for `server.listen`.
//!
//! Policies and trusted roots cannot be set this way: what is enforced must be readable in one reviewed place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::source::Sources;
use super::tree::segment;

/// Variables that start with this and hold [`SEPARATOR`] are ours. Kubernetes sets others for a
/// service called `assay` (`ASSAY_PORT`, `ASSAY_SERVICE_HOST`); those have no double underscore.
const PREFIX: &str = "ASSAY_";
const SEPARATOR: &str = "__";

/// Keys whose value is a list: written with commas. Their tables are told apart by the last name.
const LISTS: [&str; 4] = ["listen", "token_realms", "redirect_hosts", "keep"];
/// Keys whose value is a number or a switch. Everything else is text.
pub(super) const BARE: [&str; 7] = [
    "max_connections",
    "deny_reason",
    "retries",
    "access",
    "concurrent_fetches",
    "fetches_per_upstream",
    "requests_per_upstream",
];

/// A variable that changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Its name.
    pub variable: String,
    /// The full path of the key it sets.
    pub key: String,
}

/// A variable that cannot be used, and where it stands.
pub(super) struct Unusable {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: &'static str,
}

/// Puts the variables into the tree, in alphabetical order.
pub(super) fn apply<'i>(
    tree: &mut DeTable<'i>,
    sources: &mut Sources,
    variables: &'i [(String, String)],
) -> (Vec<Override>, Vec<Unusable>) {
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)))
        .filter(|(_, key, _)| key.contains(SEPARATOR))
        .collect();
    ours.sort();
    let (mut overrides, mut unusable) = (Vec::new(), Vec::new());
    for (name, key, value) in ours {
        let whole = sources.add(format!("environment variable {name}"), format!("{name}={value}"));
        let span = whole.start + name.len() + 1..whole.end;
        match set(tree, &key.to_ascii_lowercase().split(SEPARATOR).collect::<Vec<_>>(), value, &span) {
            Ok(key) => overrides.push(Override { variable: name.clone(), key }),
            Err((message, help)) => unusable.push(Unusable { span, message, help }),
        }
    }
    (overrides, unusable)
}

type Refusal = (String, &'static str);

/// Walks down to the key, making tables as needed, and returns its full path.
fn set<'i>(root: &mut DeTable<'i>, path: &[&str], value: &'i str, span: &Range<usize>) -> Result<String, Refusal> {
    let help = "write it into the file, so that what is enforced can be read in one place";
    match path[0] {
        "policy" => return Err(("policies cannot be set by environment variables".to_owned(), help)),
        "trust" => return Err(("trusted roots cannot be set by environment variables".to_owned(), help)),
        _ => {}
    }
    let (last, tables) = path.split_last().expect("split always yields one");
    let (mut table, mut full) = (root, Vec::new());
    for (depth, name) in tables.iter().enumerate() {
        let name = if depth == 1 && path[0] == "upstream" { upstream(table, name)? } else { (*name).to_owned() };
        full.push(segment(&name));
        let new = || Spanned::new(span.clone(), DeValue::Table(DeTable::new()));
        table = match table.entry(Spanned::new(span.clone(), DeString::Owned(name))).or_insert_with(new).get_mut() {
            DeValue::Table(inner) => inner,
            _ => return Err((format!("{} is not a table", full.join(".")), "set the key itself")),
        };
    }
    let value = match *last {
        // Two keys are called `listen`; the admin listener is one address.
        key if LISTS.contains(&key) && path[0] != "admin" => list(value, span),
        key if BARE.contains(&key) => bare(value),
        _ => DeValue::String(DeString::Borrowed(value)),
    };
    let key = Spanned::new(span.clone(), DeString::Owned((*last).to_owned()));
    // A key in place keeps its own span when overwritten, so it is taken out first.
    table.remove(&key);
    table.insert(key, Spanned::new(span.clone(), value));
    full.push(segment(last));
    Ok(full.join("."))
}

/// The upstream of the file that `docker_io` means.
fn upstream(table: &DeTable<'_>, wanted: &str) -> Result<String, Refusal> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let found: Vec<_> = table.keys().filter(|key| plain(key.get_ref()) == wanted).collect();
    match found.as_slice() {
        [one] => Ok(one.get_ref().clone().into_owned()),
        [] => Err((
            format!("the file has no upstream `{}`", wanted.escape_debug()),
            "variables change upstreams of the file; they cannot add any",
        )),
        _ => Err((format!("the file has several upstreams `{}`", wanted.escape_debug()), "change the file instead")),
    }
}

/// Each item's place is its own piece of the variable.
fn list<'i>(text: &'i str, span: &Range<usize>) -> DeValue<'i> {
    let mut at = span.start;
    let mut items = DeArray::new();
    for piece in text.split(',').filter(|_| !text.trim().is_empty()) {
        let start = at + (piece.len() - piece.trim_start().len());
        let item = DeValue::String(DeString::Borrowed(piece.trim()));
        items.push(Spanned::new(start..start + piece.trim().len(), item));
        at += piece.len() + 1;
    }
    DeValue::Array(items)
}

/// What is neither a number nor a switch stays text, and is refused where the key's type is known.
fn bare(text: &str) -> DeValue<'_> {
    match DeValue::parse(text.trim()).map(Spanned::into_inner) {
        Ok(value @ (DeValue::Integer(_) | DeValue::Boolean(_))) => value,
        _ => DeValue::String(DeString::Borrowed(text)),
    }
}
