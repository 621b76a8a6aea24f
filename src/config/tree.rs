//! Finding things in a parsed TOML document by their place, and taking them out.

use std::ops::Range;

use toml::de::{DeArray, DeTable, DeValue};

/// The full path of what stands at `span`, key or value: `policy[0].signer[1].key`.
pub(super) fn path_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let name = segment(key.get_ref());
        let deeper = match value.get_ref() {
            DeValue::Table(inner) => path_at(inner, span).map(|path| format!("{name}.{path}")),
            DeValue::Array(items) => path_in(items, span).map(|path| format!("{name}{path}")),
            _ => None,
        };
        deeper.or_else(|| (holds(&key.span(), span) || holds(&value.span(), span)).then_some(name))
    })
}

fn path_in(items: &DeArray<'_>, span: &Range<usize>) -> Option<String> {
    items.iter().enumerate().find_map(|(i, item)| {
        let deeper = match item.get_ref() {
            DeValue::Table(inner) => path_at(inner, span).map(|path| format!("[{i}].{path}")),
            DeValue::Array(inner) => path_in(inner, span).map(|path| format!("[{i}]{path}")),
            _ => None,
        };
        deeper.or_else(|| holds(&item.span(), span).then(|| format!("[{i}]")))
    })
}

/// Takes out the entry whose key or value stands at exactly `span`, the deepest where there are two.
pub(super) fn remove_at(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let deeper = table.iter_mut().any(|(_, value)| remove_below(value.get_mut(), span));
    if deeper {
        return true;
    }
    let here = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
    let Some(name) = here.map(|(key, _)| key.clone()) else { return false };
    table.remove(&name).is_some()
}

fn remove_below(value: &mut DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(inner) => remove_at(inner, span),
        DeValue::Array(items) => {
            if items.iter_mut().any(|item| remove_below(item.get_mut(), span)) {
                return true;
            }
            let before = items.len();
            *items = std::mem::replace(items, DeArray::new()).into_iter().filter(|item| item.span() != *span).collect();
            items.len() < before
        }
        _ => false,
    }
}

/// A key as one would write it in TOML.
pub(super) fn segment(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { format!("\"{}\"", key.escape_debug()) }
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
