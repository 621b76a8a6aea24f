//! What refers to a digest: the referrers API, page by page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::client::Client;
use super::error::UpstreamError;
use super::link;
use super::listing::{Page, read_page};
use super::transport::Answer;
use crate::oci::{Descriptor, Digest, MANIFEST_MAX, Repository, media_type};

/// Most pages of one list of referrers.
const PAGES_MAX: usize = 4;
/// Most annotations that are kept of one entry: a page must not grow to many times its size in memory.
/// Real ones have up to five.
const ANNOTATIONS_MAX: usize = 64;
/// Most bytes of a list whose annotations are kept, as written. Clients read no index that is larger than a manifest.
const KEPT_MAX: usize = MANIFEST_MAX;
/// Longest media type, artefact type or [`Annotations::Only`] that is kept, in bytes as written. Media types have
/// at most 255 (RFC 6838), and a thousand entries wait in memory until their search ends.
const TEXT_MAX: usize = 512;
/// How long an upstream is remembered as one without the referrers API. Long enough to spare a busy cache
/// the round trip, short enough that an upgraded registry is soon asked as it should be.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// What refers to a digest, as upstream says.
#[derive(Clone, Debug, Default)]
pub struct Referrers {
    /// In upstream's order.
    pub descriptors: Vec<Descriptor>,
    /// There are more than we took.
    pub truncated: bool,
    /// How many entries name their content by a digest that we do not know, and are left out.
    pub unreadable: usize,
    /// How many bytes of entries were kept with their annotations, as written.
    pub(super) kept: usize,
    /// How many entries are no descriptors, and are left out: what they should have named, nobody knows.
    pub malformed: usize,
}

/// Which annotations of an entry are kept. Registries pass on what anybody wrote who may push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Annotations {
    /// Up to 64 of them.
    All,
    /// This one.
    Only(&'static str),
}

/// Whether something happened within the last [`REMEMBERED`].
#[derive(Default)]
pub(super) struct Lately(Mutex<Option<Instant>>);

impl Lately {
    fn note(&self, happened: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = happened.then(Instant::now);
    }

    pub(super) fn happened(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < REMEMBERED)
    }
}

impl Client {
    /// Asks for everything that refers to `subject` (distribution spec, "Listing Referrers"), without a
    /// filter: registries report types differently. Follows up to 4 pages and takes up to `max` entries.
    /// `None` means that the registry has no such list, not that the list is empty.
    ///
    /// # Errors
    /// See [`UpstreamError`]; a page may take 30 s. Cancel safe.
    pub(super) async fn referrers(
        &self,
        repository: &Repository,
        subject: Digest,
        max: usize,
        keep: Annotations,
    ) -> Result<Option<Referrers>, UpstreamError> {
        let mut ask = self.ask(
            repository,
            format_args!("referrers/{subject}"),
            media_type::OCI_INDEX,
            format_args!("referrers of {repository}@{subject}"),
        );
        let mut found = Referrers::default();
        for number in 0..PAGES_MAX {
            let page = match self.call(&ask, read_index_page).await {
                Err(error) if number == 0 && means_no_such_list(&error) => None,
                Ok(None) if number > 0 => {
                    let lie = "a later page is no list of referrers".to_owned();
                    return Err(UpstreamError::Lied { asked: ask.asked, lie });
                }
                page => page?,
            };
            if number == 0 {
                self.without_referrers.note(page.is_none());
            }
            let Some(page) = page else { return Ok(None) };
            found.add(&page.body, max, keep).map_err(|why| UpstreamError::Lied {
                asked: ask.asked.clone(),
                lie: format!("answers with no list of referrers: {why}"),
            })?;
            let next = page.link.map(|header| link::next_page(&ask.url, &header)).transpose();
            let next = next.map_err(|why| UpstreamError::Blocked { asked: ask.asked.clone(), why })?.flatten();
            let Some(next) = next else { return Ok(Some(found)) };
            if found.truncated {
                return Ok(Some(found));
            }
            ask.url = next;
        }
        found.truncated = true;
        Ok(Some(found))
    }
}

/// How registries without the referrers API answer.
fn means_no_such_list(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::NotFound { .. } | UpstreamError::Unavailable { status: 400 | 405 | 406, .. })
}

/// A page, unless what came calls itself something else than an index.
async fn read_index_page(answer: Answer) -> Result<Option<Page>, UpstreamError> {
    let sent_as = answer.header(&CONTENT_TYPE).unwrap_or_default();
    if !sent_as.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type::OCI_INDEX) {
        return Ok(None);
    }
    read_page(answer).await.map(Some)
}

impl Referrers {
    /// Adds a page's entries, up to `max` altogether. A list is no manifest: it has no digest, nobody
    /// signs it, and each thing that it names is looked at for itself. So it may be longer than an index,
    /// and one entry that we cannot read does not hide the others.
    pub(super) fn add(&mut self, page: &[u8], max: usize, keep: Annotations) -> Result<(), String> {
        let mut parser = serde_json::Deserializer::from_slice(page);
        List { into: self, max, keep }.deserialize(&mut parser).map_err(|error| error.to_string())?;
        parser.end().map_err(|error| error.to_string())
    }
}

/// Reads `{"manifests": […]}` into referrers.
struct List<'a> {
    into: &'a mut Referrers,
    max: usize,
    keep: Annotations,
}

/// Reads the entries; `null` is none, as some registries write an empty list.
struct Entries<'a>(List<'a>);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut has_entries = false;
        while let Some(key) = map.next_key::<String>()? {
            if key != "manifests" {
                map.next_value::<IgnoredAny>()?;
            } else if has_entries {
                return Err(A::Error::custom("`manifests` stands twice"));
            } else {
                has_entries = true;
                map.next_value_seed(Entries(List { into: &mut *self.into, ..self }))?;
            }
        }
        if has_entries { Ok(()) } else { Err(A::Error::custom("`manifests` is missing")) }
    }
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self(List { into, max, keep }) = self;
        while into.descriptors.len() + into.unreadable + into.malformed < max {
            let Some(entry) = list.next_element::<&RawValue>()? else { return Ok(()) };
            if keep == Annotations::All {
                into.kept += entry.get().len();
                if into.kept > KEPT_MAX {
                    into.truncated = true;
                    break;
                }
            }
            match serde_json::from_str::<Entry<'_>>(entry.get()) {
                Err(_) => into.malformed += 1,
                Ok(entry) => match entry.descriptor(keep) {
                    Some(descriptor) => into.descriptors.push(descriptor),
                    None => into.unreadable += 1,
                },
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            into.truncated = true;
        }
        Ok(())
    }
}

/// A descriptor, of which only digest and size must be what they should: the rest is the words of whoever pushed
/// the manifest, and some registries pass it on as it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    digest: String,
    size: u64,
    #[serde(borrow)]
    media_type: Option<&'a RawValue>,
    artifact_type: Option<&'a RawValue>,
    annotations: Option<&'a RawValue>,
}

impl Entry<'_> {
    /// `None` when the digest is of a kind that we do not know.
    fn descriptor(&self, keep: Annotations) -> Option<Descriptor> {
        let short = |raw: &&RawValue| raw.get().len() <= TEXT_MAX;
        Some(Descriptor {
            media_type: self.media_type.filter(short).and_then(text).unwrap_or_default(),
            digest: self.digest.parse().ok()?,
            size: self.size,
            artifact_type: self.artifact_type.filter(short).and_then(text),
            platform: None,
            annotations: self.annotations.and_then(|raw| annotations(raw, keep)),
        })
    }
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// Those annotations that are texts.
fn annotations(raw: &RawValue, keep: Annotations) -> Option<BTreeMap<String, String>> {
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).ok()?;
    let wanted = all.into_iter().filter(|(name, value)| match keep {
        Annotations::All => true,
        Annotations::Only(only) => name == only && value.get().len() <= TEXT_MAX,
    });
    Some(wanted.filter_map(|(name, value)| Some((name, text(value)?))).take(ANNOTATIONS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(page: &str, max: usize) -> Result<Referrers, String> {
        let mut found = Referrers::default();
        found.add(page.as_bytes(), max, Annotations::All).map(|()| found)
    }

    fn entry(content: &[u8]) -> String {
        format!(r#"{{"mediaType":"m","digest":"{}","size":1,"annotations":{{"a":"b"}}}}"#, Digest::of(content))
    }

    #[test]
    fn entries_are_read_up_to_the_limit() {
        let page = format!(r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#, entry(b"1"), entry(b"2"), entry(b"3"));
        for (max, kept, truncated) in [(0, 0, true), (2, 2, true), (3, 3, false), (9, 3, false)] {
            let found = read(&page, max).unwrap();
            assert_eq!((found.descriptors.len(), found.truncated, found.unreadable), (kept, truncated, 0), "{max}");
        }
        let found = read(&page, 9).unwrap();
        assert_eq!(found.descriptors[1].digest, Digest::of(b"2"));
        assert_eq!(found.descriptors[1].annotation("a"), Some("b"));
    }

    #[test]
    fn a_list_may_be_longer_than_an_index() {
        let many = vec![entry(b"x"); 10_000].join(",");
        let found = read(&format!(r#"{{"manifests":[{many}]}}"#), 1000).unwrap();
        assert_eq!((found.descriptors.len(), found.truncated), (1000, true));
    }

    #[test]
    fn an_unknown_digest_hides_no_other_entry() {
        let sha512 = format!(r#"{{"mediaType":"m","digest":"sha512:{}","size":1}}"#, "0".repeat(128));
        let found = read(&format!(r#"{{"manifests":[{sha512},{}]}}"#, entry(b"x")), 9).unwrap();
        assert_eq!((found.descriptors.len(), found.unreadable), (1, 1));
        // Each takes a place, or an endless row of them would be read.
        let found = read(&format!(r#"{{"manifests":[{sha512},{}]}}"#, entry(b"x")), 1).unwrap();
        assert_eq!((found.descriptors.len(), found.unreadable, found.truncated), (0, 1, true));
    }

    /// Anybody who may push says what stands there, and not every registry looks at it.
    #[test]
    fn an_entry_that_is_no_descriptor_hides_no_other_entry() {
        let good = entry(b"x");
        for bad in ["1", "null", "\"x\"", "[]", "{}", &good.replace("\"size\":1", "\"size\":-1")] {
            let found = read(&format!(r#"{{"manifests":[{bad},{good}]}}"#), 9).unwrap();
            assert_eq!((found.descriptors.len(), found.malformed), (1, 1), "{bad}");
            let found = read(&format!(r#"{{"manifests":[{bad},{good}]}}"#), 1).unwrap();
            assert_eq!((found.descriptors.len(), found.malformed, found.truncated), (0, 1, true), "{bad}");
        }
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        for odd in ["1", "null", "{}", "[]", deep.as_str()] {
            for (member, other) in [("\"b\"", odd), ("\"m\"", odd), ("{\"a\":\"b\"}", odd)] {
                let found = read(&format!(r#"{{"manifests":[{}]}}"#, good.replace(member, other)), 9).unwrap();
                assert_eq!(found.descriptors[0].digest, Digest::of(b"x"), "{member} is {other}");
            }
        }
        let long = good.replace("\"m\"", &format!("\"{}\"", "m".repeat(TEXT_MAX)));
        assert_eq!(read(&format!(r#"{{"manifests":[{long}]}}"#), 9).unwrap().descriptors[0].media_type, "");
    }

    #[test]
    fn with_all_annotations_a_list_is_no_larger_than_a_manifest() {
        let mut found = Referrers::default();
        let large = entry(b"x").replace("\"b\"", &format!("\"{}\"", "b".repeat(KEPT_MAX / 4)));
        for (kept, truncated) in [(2, false), (3, true), (3, true)] {
            let page = format!(r#"{{"manifests":[{large},{large}]}}"#);
            found.add(page.as_bytes(), 99, Annotations::All).unwrap();
            assert_eq!((found.descriptors.len(), found.truncated), (kept, truncated));
        }
    }

    /// What a search does not need must not wait in memory for its end.
    #[test]
    fn only_one_annotation_is_kept_where_only_one_is_wanted() {
        let entry = entry(b"x").replace(r#""a":"b""#, r#""a":"b","c":"d""#);
        let read = |entry: &str| {
            let mut found = Referrers::default();
            let page = format!(r#"{{"manifests":[{entry}]}}"#);
            found.add(page.as_bytes(), 9, Annotations::Only("a")).unwrap();
            found.descriptors.remove(0).annotations.unwrap()
        };
        assert_eq!(read(&entry), BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert!(read(&entry.replace("\"b\"", &format!("\"{}\"", "b".repeat(TEXT_MAX)))).is_empty());
    }

    #[test]
    fn what_is_no_list_is_refused_and_an_empty_one_is_not() {
        for empty in [r#"{"manifests":[]}"#, r#"{"manifests":null}"#] {
            assert!(read(empty, 9).unwrap().descriptors.is_empty(), "{empty}");
        }
        let twice = r#"{"manifests":[],"manifests":[]}"#.to_owned();
        for bad in
            ["", "[]", "{}", "null", "{\"manifests\":{}}", "{\"manifests\":[1}", "<html>", "{\"manifests\":[]} x"]
                .map(str::to_owned)
                .into_iter()
                .chain([twice])
        {
            assert!(read(&bad, 9).is_err(), "{bad}");
        }
    }

    #[test]
    fn annotations_are_bounded() {
        let many: Vec<_> = (0..1000).map(|n| format!(r#""{n}":"""#)).collect();
        let entry = entry(b"x").replace(r#""a":"b""#, &many.join(","));
        let found = read(&format!(r#"{{"manifests":[{entry}]}}"#), 9).unwrap();
        assert_eq!(found.descriptors[0].annotations.as_ref().unwrap().len(), ANNOTATIONS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_happened_is_forgotten() {
        let lately = Lately::default();
        assert!(!lately.happened());
        lately.note(true);
        assert!(lately.happened());
        tokio::time::advance(REMEMBERED - Duration::from_millis(1)).await;
        assert!(lately.happened());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!lately.happened());
        lately.note(true);
        lately.note(false);
        assert!(!lately.happened());
    }

    proptest! {
        #[test]
        fn no_page_panics_or_exceeds_the_limit(
            page in "\\PC{0,120}",
            near in r#"(\{|\}|\[|\]|,|:|"manifests"|"digest"|"size"|"annotations"|"sha256:ab"|1|null){0,40}"#,
            max in 0..4_usize,
        ) {
            for text in [page, near.clone(), format!(r#"{{"manifests":[{near}]}}"#)] {
                if let Ok(found) = read(&text, max) {
                    prop_assert!(found.descriptors.len() + found.unreadable + found.malformed <= max);
                }
            }
        }
    }
}
