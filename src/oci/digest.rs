//! Content digests: parse, compute, print.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// A sha256 content digest (OCI image spec, descriptor.md#digests).
///
/// Always 32 bytes, so it is `Copy`, prints as it parses, and is safe as a file name and as a key.
/// Other algorithms, upper case and other lengths do not parse.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of exactly these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 64 lower-case hex characters, without the algorithm.
    pub fn hex(&self) -> String {
        hex_text(self.0, |hex| hex.to_owned())
    }

    /// Parses the 64 lower-case hex characters that [`Digest::hex`] prints.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(DigestError::Hex(shortened(text)));
        }
        let mut raw = [0; 32];
        hex::decode_to_slice(text, &mut raw).map_err(|_| DigestError::Hex(shortened(text)))?;
        Ok(Self(raw))
    }
}

/// Hashes and counts bytes as they pass by.
#[derive(Clone, Default)]
pub struct Hasher {
    state: Sha256,
    seen: u64,
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.seen += bytes.len() as u64;
    }

    /// How many bytes were taken so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        Digest(self.state.finalize().into())
    }
}

/// Why a text is not a digest we handle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:` in front.
    #[error("digest `{0}` has no algorithm prefix")]
    NoAlgorithm(String),
    /// An algorithm other than sha256.
    #[error("digest algorithm `{0}` is not supported (only sha256 is)")]
    Algorithm(String),
    /// Not 64 lower-case hex characters.
    #[error("digest `{0}` is not 64 lower-case hex characters")]
    Hex(String),
}

/// Untrusted text, cut so that an error message stays a message.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let Some((algorithm, hex_part)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm(shortened(text)));
        };
        if algorithm != "sha256" {
            return Err(DigestError::Algorithm(shortened(algorithm)));
        }
        Self::from_hex(hex_part)
    }
}

/// Several are written for each request, so without memory of its own.
fn hex_text<T>(bytes: [u8; 32], with: impl FnOnce(&str) -> T) -> T {
    let mut text = [0; 64];
    hex::encode_to_slice(bytes, &mut text).expect("two digits for each byte");
    with(std::str::from_utf8(&text).expect("hex digits are ASCII"))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        hex_text(self.0, |hex| f.write_str(hex))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_algorithms_and_spellings_do_not_parse() {
        let good = format!("sha256:{}", "ab".repeat(32));
        assert!(good.parse::<Digest>().is_ok());
        for bad in [
            good.to_uppercase(),
            good.replace("sha256", "sha512"),
            good.replace("sha256", "SHA256"),
            good.replace("ab", "AB"),
            good[..good.len() - 1].to_owned(),
            format!("{good}0"),
            "sha256:../../etc/passwd".to_owned(),
            format!("sha256+b64:{}", "ab".repeat(32)),
            "ab".repeat(32),
            String::new(),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parses_what_it_prints(raw in any::<[u8; 32]>()) {
            let digest = Digest(raw);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }

        #[test]
        fn never_panics(text in ".*") {
            let _ = text.parse::<Digest>();
        }

        #[test]
        fn accepts_only_its_own_spelling(text in "sha256:[0-9a-fA-F]{60,68}") {
            if let Ok(digest) = text.parse::<Digest>() {
                prop_assert_eq!(digest.to_string(), text);
            }
        }

        #[test]
        fn the_hasher_agrees_with_the_digest_of_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0usize..2000) {
            let cut = cut.min(bytes.len());
            let mut hasher = Hasher::default();
            hasher.update(&bytes[..cut]);
            hasher.update(&bytes[cut..]);
            prop_assert_eq!(hasher.seen(), bytes.len() as u64);
            prop_assert_eq!(hasher.finish(), Digest::of(&bytes));
        }
    }
}
