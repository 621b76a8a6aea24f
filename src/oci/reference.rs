//! Tags, references, and whole image names as people write them.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, DigestError};
use super::name::{NameError, Registry, Repository};

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (OCI distribution spec, "Pulling manifests").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// What a manifest is asked by: a valid tag or a digest, never a bare string.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that may move.
    Tag(Tag),
    /// The content itself.
    Digest(Digest),
}

/// A whole image name as a person writes it: `nginx`, `ghcr.io/acme/app:1`, `host:5000/app@sha256:…`.
///
/// With `tag@digest` the digest decides, as in every client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    /// Where it lives.
    pub repository: Repository,
    /// Which one; `latest` when nothing was written.
    pub reference: Reference,
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a tag of the specification.
    #[error("`{0}` is not a tag")]
    Tag(String),
    /// What follows `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The host or the path is wrong.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// What stands behind the digest in the tags that cosign and the referrers fallback use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtefactTag {
    /// `sha256-<hex>.sig`: classic signatures.
    Signature,
    /// `sha256-<hex>.att`: classic attestations.
    Attestation,
    /// `sha256-<hex>.sbom`: classic bills of materials.
    Sbom,
    /// `sha256-<hex>`: the referrers of a digest, where the registry has no referrers API.
    Referrers,
}

impl Tag {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag under which artefacts of this kind about `subject` are kept.
    pub fn of_artefact(subject: Digest, kind: ArtefactTag) -> Self {
        Self(format!("sha256-{}{}", subject.hex(), kind.suffix()))
    }

    /// Reads back what [`Tag::of_artefact`] writes.
    pub fn as_artefact(&self) -> Option<(Digest, ArtefactTag)> {
        let rest = self.0.strip_prefix("sha256-")?;
        let (hex, suffix) = rest.split_at_checked(64)?;
        let kind = ArtefactTag::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        Some((Digest::from_hex(hex).ok()?, kind))
    }
}

impl ArtefactTag {
    const ALL: [Self; 4] = [Self::Signature, Self::Attestation, Self::Sbom, Self::Referrers];

    fn suffix(self) -> &'static str {
        match self {
            Self::Signature => ".sig",
            Self::Attestation => ".att",
            Self::Sbom => ".sbom",
            Self::Referrers => "",
        }
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = text.len() <= 128
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ReferenceError::Tag(text.chars().take(140).collect())) }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// A colon makes it a digest: tags have none.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl FromStr for ImageName {
    type Err = ReferenceError;

    /// Docker's rule: the first component is a host if it has a dot or a colon or is `localhost`.
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (host, rest) = match name.split_once('/') {
            Some((first, rest)) if is_host(first) => (first.parse()?, rest),
            _ => (Registry::docker_hub(), name),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse::<Tag>()?)),
            None => (rest, None),
        };
        let reference = match (digest, tag) {
            (Some(digest), _) => Reference::Digest(digest),
            (None, Some(tag)) => Reference::Tag(tag),
            (None, None) => Reference::Tag(Tag("latest".to_owned())),
        };
        Ok(Self { repository: Repository::new(host, path)?, reference })
    }
}

/// Whether the first component of an image name can only be a host.
pub fn is_host(component: &str) -> bool {
    component.contains('.') || component.contains(':') || component == "localhost"
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.reference {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        write!(f, "{}{separator}{}", self.repository, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_as_docker_reads_them() {
        let d = format!("sha256:{}", "0".repeat(64));
        for (text, want) in [
            ("nginx", "docker.io/library/nginx:latest".to_owned()),
            ("acme/app:1", "docker.io/acme/app:1".to_owned()),
            ("ghcr.io/acme/app", "ghcr.io/acme/app:latest".to_owned()),
            ("localhost/app:x", "localhost/app:x".to_owned()),
            ("host:5000/app:1", "host:5000/app:1".to_owned()),
            (&format!("ghcr.io/a/b:1@{d}"), format!("ghcr.io/a/b@{d}")),
        ] {
            assert_eq!(text.parse::<ImageName>().unwrap().to_string(), want);
        }
        for bad in ["", "a:", "a@", "a@sha512:00", ":1", "A", "a:b:c", "ghcr.io/"] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn artefact_tags_read_back() {
        let subject = Digest::of(b"x");
        for kind in ArtefactTag::ALL {
            assert_eq!(Tag::of_artefact(subject, kind).as_artefact(), Some((subject, kind)));
        }
        for other in ["sha256-ab.sig", "latest", "sha256-"] {
            assert_eq!(other.parse::<Tag>().unwrap().as_artefact(), None);
        }
        let odd: Tag = format!("sha256-{}.sigx", subject.hex()).parse().unwrap();
        assert_eq!(odd.as_artefact(), None);
    }

    proptest! {
        #[test]
        fn no_reference_panics(text in "\\PC{0,150}") {
            let _ = text.parse::<Reference>();
            let _ = text.parse::<ImageName>();
        }

        #[test]
        fn what_parses_prints_the_same(text in "[a-zA-Z0-9_.-]{1,130}") {
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.to_string(), text);
            }
        }
    }
}
