//! What the conditions in a request's headers ask for (RFC 9110, sections 13 and 14).
//!
//! Reads headers only. Whether a condition may be answered at all is decided before, by the gate.

use http::HeaderMap;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};

use crate::oci::{Digest, RangeAsk};

/// The entity tag of content: its digest.
pub(super) fn entity_tag(digest: Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether the client says that it holds this content already.
pub(super) fn is_held(headers: &HeaderMap, digest: Digest) -> bool {
    if !headers.contains_key(IF_NONE_MATCH) {
        return false;
    }
    let tag = entity_tag(digest);
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.trim() == "*" || EntityTags(list).any(|held| held == tag))
}

/// The range that is asked for, if it is to be honoured. With `If-Range`, only while the content is
/// still the same.
pub(super) fn range(headers: &HeaderMap, digest: Digest) -> Option<RangeAsk> {
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
    let still = headers.get_all(IF_RANGE).iter().all(|tag| tag.as_bytes() == entity_tag(digest).as_bytes());
    still.then(|| RangeAsk::parse(range.to_str().ok()?)).flatten()
}

/// The tags of a list, with their quotes and without `W/`: `If-None-Match` compares weakly. Ends at
/// the first syntax error.
struct EntityTags<'a>(&'a str);

impl<'a> Iterator for EntityTags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches([' ', '\t', ',']);
        let rest = rest.strip_prefix("W/").unwrap_or(rest);
        let length = 2 + rest.strip_prefix('"')?.find('"')?;
        let (tag, rest) = rest.split_at(length);
        self.0 = rest;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn with(name: http::header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn held_content_is_recognised_in_every_spelling() {
        let digest = Digest::of(b"x");
        let (tag, other) = (entity_tag(digest), entity_tag(Digest::of(b"y")));
        for (values, held) in [
            (vec![tag.clone()], true),
            (vec![format!("W/{tag}")], true),
            (vec!["*".to_owned()], true),
            (vec![format!("{other}, {tag}")], true),
            (vec![format!("{other},W/{tag} ")], true),
            (vec![other.clone(), tag.clone()], true),
            (vec![format!("\"a,b\", {tag}")], true),
            (vec![other], false),
            (vec![tag.trim_matches('"').to_owned()], false),
            (vec![format!("\"x{tag}")], false),
            (vec![format!("w/{tag}")], false),
            (vec![String::new()], false),
            (vec![], false),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            assert_eq!(is_held(&with(IF_NONE_MATCH, &values), digest), held, "{values:?}");
        }
    }

    #[test]
    fn a_range_holds_only_for_the_same_content() {
        let digest = Digest::of(b"x");
        let asked = |if_range: Option<&str>| {
            let mut headers = with(RANGE, &["bytes=5-"]);
            if let Some(tag) = if_range {
                headers.insert(IF_RANGE, HeaderValue::from_str(tag).unwrap());
            }
            range(&headers, digest)
        };
        let tag = entity_tag(digest);
        assert_eq!(asked(None), Some(RangeAsk::From { first: 5, last: None }));
        assert_eq!(asked(Some(&tag)), asked(None));
        assert_eq!(asked(Some(&format!("W/{tag}"))), None, "If-Range compares strongly");
        assert_eq!(asked(Some("\"other\"")), None);
        assert_eq!(asked(Some("Sat, 29 Oct 1994 19:43:31 GMT")), None, "content has no date");
        assert_eq!(range(&with(RANGE, &["bytes=0-1", "bytes=2-3"]), digest), None);
        assert_eq!(range(&HeaderMap::new(), digest), None);
    }

    proptest! {
        #[test]
        fn no_list_makes_it_panic(list in "[W/\"*, a-zé]{0,30}") {
            prop_assert!(EntityTags(&list).all(|tag| tag.len() >= 2));
        }
    }
}
