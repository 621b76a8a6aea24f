//! Values that are written in more than one way: one word or a table, one name or a list.
//!
//! Derived `untagged` enums would answer every mistake with "data did not match any variant", so each has a visitor.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::policy::{DockerReference, FindParent, Moment, Names, ParentSearch, Reference};
use super::{Credentials, Login};

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Credentials;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""none", "docker-config" or { username = "…", password_file = "…" }"#)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Credentials, E> {
                match text {
                    "none" => Ok(Credentials::None),
                    "docker-config" => Ok(Credentials::DockerConfig),
                    // The word is not repeated: it may be a password in the wrong place.
                    _ => Err(E::custom(format_args!("unknown word, expected {}", &self as &dyn serde::de::Expected))),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Credentials, A::Error> {
                Login::deserialize(MapAccessDeserializer::new(map)).map(Credentials::Login)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for DockerReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = DockerReference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#""ignore", "repository", { exact = "…" } or { ours = "…", signed = "…" }"#)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<DockerReference, E> {
                match text {
                    "ignore" => Ok(DockerReference::Ignore),
                    "repository" => Ok(DockerReference::Repository),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<DockerReference, A::Error> {
                Reference::deserialize(MapAccessDeserializer::new(map)).map(DockerReference::Table)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                Ok(Moment(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Moment, A::Error> {
                // TOML's own dates come as a map with one private key.
                toml::value::Datetime::deserialize(MapAccessDeserializer::new(map))
                    .map(|datetime| Moment(datetime.to_string()))
                    .map_err(|_| A::Error::invalid_type(serde::de::Unexpected::Map, &self))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Names, E> {
                Ok(Names::One(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Names, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Names::Several)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for FindParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = FindParent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(r#"true, false or { tags = 50, timeout = "10s" }"#)
            }
            fn visit_bool<E: Error>(self, on: bool) -> Result<FindParent, E> {
                Ok(if on { FindParent::On(ParentSearch::default()) } else { FindParent::Off })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FindParent, A::Error> {
                ParentSearch::deserialize(MapAccessDeserializer::new(map)).map(FindParent::On)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
