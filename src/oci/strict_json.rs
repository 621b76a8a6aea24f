//! One strict pass over untrusted JSON before anything is read from it.
//!
//! Go, which nearly every client is written in, folds the case of keys and takes the last of two
//! equal ones; serde does neither. A document that two parsers read differently could be verified
//! as one thing and used as another, so such documents are refused (CVE-2021-41190 and its class).

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Deepest nesting we read. Manifests need 5; Go's and serde's own limits are far higher.
pub const DEPTH_MAX: usize = 32;

/// Most values in one document, where the end of a list counts as one. Parsed, the smallest take some thirty times their bytes; the largest
/// index that we read has half as many.
pub const VALUES_MAX: usize = 65_536;

/// Keys with a meaning in manifests and signature payloads; any other spelling of them is refused.
const KNOWN_KEYS: [&str; 26] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "data",
    "platform",
    "architecture",
    "os",
    "variant",
    "critical",
    "identity",
    "docker-reference",
    "image",
    "docker-manifest-digest",
    "type",
    "optional",
    "_type",
    "predicateType",
    "predicate",
];

/// Below these keys all other keys are the user's own words.
const FREE_FORM: [&str; 3] = ["annotations", "optional", "predicate"];

/// Checks that `bytes` is one UTF-8 JSON document that every parser reads alike: no byte-order mark,
/// nothing behind it, no key twice, no known key in another spelling, at most [`DEPTH_MAX`] deep, and
/// of at most [`VALUES_MAX`] values.
///
/// # Errors
/// A sentence that says what is wrong and where.
pub fn check(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to()))?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let left = Cell::new(VALUES_MAX);
    Strict { depth: 0, free_keys: false, left: &left }.deserialize(&mut parser).map_err(|e| e.to_string())?;
    parser.end().map_err(|e| e.to_string())
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    /// Below one of [`FREE_FORM`].
    free_keys: bool,
    /// How many more values there may be.
    left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(self, free_keys: bool) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX}")));
        }
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| E::custom(format_args!("more than {VALUES_MAX} values")))?);
        Ok(Self { depth: self.depth + 1, free_keys, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !self.free_keys
                && let Some(known) = other_spelling(&key)
            {
                return Err(A::Error::custom(format_args!(
                    "key `{}` is another spelling of `{known}`",
                    key.escape_debug()
                )));
            }
            map.next_value_seed(self.inner(self.free_keys || FREE_FORM.contains(&key.as_str()))?)?;
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("key `{}` stands twice", key.escape_debug())));
            }
            seen.insert(key);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self.inner(self.free_keys)?)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The known key of which this is another spelling. Folded once each: a document has thousands of keys.
fn other_spelling(key: &str) -> Option<&'static str> {
    static FOLDED: LazyLock<[String; KNOWN_KEYS.len()]> = LazyLock::new(|| KNOWN_KEYS.map(folded));
    let spelled = folded(key);
    let same = KNOWN_KEYS.iter().zip(FOLDED.iter()).find(|(known, folded)| **known != key && **folded == spelled);
    same.map(|(known, _)| *known)
}

/// Unicode simple folding, near enough: it joins at least what Go's decoder joins (`ſ` and `s`,
/// the Kelvin sign and `k`).
pub(crate) fn folded(key: &str) -> String {
    key.to_uppercase().to_lowercase()
}

/// Something that is written as an object. Derived structs would also take a list of their members, in order.
#[derive(Clone, Debug, Default)]
pub struct Object<T>(pub T);

impl<T> std::ops::Deref for Object<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyMap<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_any(OnlyMap(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_parsers_read_differently_is_refused() {
        for (bad, why) in [
            (r#"{"layers":[],"layers":[]}"#, "stands twice"),
            (r#"{"layers":[],"l\u0061yers":[]}"#, "stands twice"),
            (r#"{"Layers":[]}"#, "another spelling"),
            (r#"{"layerſ":[]}"#, "another spelling"),
            (r#"{"x":{"SIZE":1}}"#, "another spelling"),
            ("\u{feff}{}", "expected value"),
            ("{} {}", "trailing"),
            ("{}x", "trailing"),
            ("{", "EOF"),
            ("", "EOF"),
            (r#"{"annotations":{"a":"1","a":"2"}}"#, "stands twice"),
        ] {
            let error = check(bad.as_bytes()).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(check(b"{\"a\":\"\xff\"}").unwrap_err().contains("UTF-8"));
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        assert_eq!(check(list(VALUES_MAX - 1).as_bytes()), Ok(()));
        assert!(check(list(VALUES_MAX).as_bytes()).unwrap_err().contains("more than 65536 values"));
        assert!(check(("[".repeat(40) + &"]".repeat(40)).as_bytes()).unwrap_err().contains("nested deeper"));
    }

    #[test]
    fn honest_documents_pass() {
        for good in [
            r#"{"schemaVersion":2,"layers":[{"digest":"x","size":3}],"annotations":{"Size":"1","size":"2"}}"#,
            "[1,2.5,null,true,\"x\"]",
            "{}",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        assert_eq!(check(("[".repeat(30) + &"]".repeat(30)).as_bytes()), Ok(()));
    }

    proptest! {
        #[test]
        fn it_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes);
        }
    }

    #[test]
    fn an_object_is_no_list_of_its_members() {
        #[derive(Deserialize)]
        struct Pair {
            a: u8,
            b: u8,
        }
        let pair: Object<Pair> = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!((pair.a, pair.b), (1, 2));
        assert!(serde_json::from_str::<Pair>("[1,2]").is_ok(), "that is why");
        assert!(serde_json::from_str::<Object<Pair>>("[1,2]").is_err());
    }
}
