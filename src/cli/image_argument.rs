//! An image on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::oci::{Digest, DigestError, ImageName, Reference, ReferenceError, Tag};

/// An image as it is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageArgument {
    /// In a registry.
    Registry {
        /// The image.
        name: ImageName,
        /// Whether `http://` stood in front: its registry is asked without TLS. There is no other way to say that.
        plain_http: bool,
    },
    /// In an OCI image layout folder: `oci:DIR`, `oci:DIR:tag` or `oci:DIR@sha256:…`.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Which image; absent where the only one is meant.
        reference: Option<Reference>,
    },
}

/// Why a text names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageArgumentError {
    /// No name of an image in a registry.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// What follows `@` is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// `oci:` and nothing behind it.
    #[error("`oci:` needs a folder: oci:DIR, oci:DIR:TAG or oci:DIR@sha256:…")]
    NoFolder,
}

impl FromStr for ImageArgument {
    type Err = ImageArgumentError;

    fn from_str(text: &str) -> Result<Self, ImageArgumentError> {
        if let Some(layout) = text.strip_prefix("oci:") {
            return folder(layout);
        }
        let (plain_http, name) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(name), _) => (true, name),
            (None, Some(name)) => (false, name),
            (None, None) => (false, text),
        };
        Ok(Self::Registry { name: name.parse()?, plain_http })
    }
}

fn folder(text: &str) -> Result<ImageArgument, ImageArgumentError> {
    let (folder, reference) = if let Some((folder, hex)) = text.rsplit_once("@sha256:") {
        (folder, Some(Reference::Digest(format!("sha256:{hex}").parse::<Digest>()?)))
    } else {
        // A colon within the path is a colon of the path.
        match text.rsplit_once(':').map(|(folder, tag)| (folder, tag.parse::<Tag>())) {
            Some((folder, Ok(tag))) => (folder, Some(Reference::Tag(tag))),
            _ => (text, None),
        }
    };
    if folder.is_empty() {
        return Err(ImageArgumentError::NoFolder);
    }
    Ok(ImageArgument::Folder { folder: folder.into(), reference })
}

impl std::fmt::Display for ImageArgument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry { name, .. } => name.fmt(f),
            Self::Folder { folder, reference } => {
                write!(f, "oci:{}", folder.display())?;
                match reference {
                    None => Ok(()),
                    Some(Reference::Tag(tag)) => write!(f, ":{tag}"),
                    Some(Reference::Digest(digest)) => write!(f, "@{digest}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(bool, String), ImageArgumentError> {
        let image = text.parse::<ImageArgument>()?;
        Ok((matches!(image, ImageArgument::Registry { plain_http: true, .. }), image.to_string()))
    }

    #[test]
    fn plain_http_must_be_written_out() {
        assert_eq!(read("localhost:5000/app:1"), Ok((false, "localhost:5000/app:1".to_owned())));
        assert_eq!(read("http://localhost:5000/app:1"), Ok((true, "localhost:5000/app:1".to_owned())));
        assert!(read("ftp://localhost/app").is_err());
    }

    #[test]
    fn a_layout_is_a_folder_with_a_tag_a_digest_or_neither() {
        let digest = Digest::of(b"");
        let read = |text: &str| match text.parse().unwrap() {
            ImageArgument::Folder { folder, reference } => {
                (folder.to_str().unwrap().to_owned(), reference.map(|reference| reference.to_string()))
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(read("oci:some/dir"), ("some/dir".to_owned(), None));
        assert_eq!(read("oci:some/dir:v1"), ("some/dir".to_owned(), Some("v1".to_owned())));
        assert_eq!(read(&format!("oci:dir@{digest}")), ("dir".to_owned(), Some(digest.to_string())));
        assert_eq!(read("oci:a:b/dir"), ("a:b/dir".to_owned(), None), "a colon within the path");
        assert_eq!(read("oci:a@b"), ("a@b".to_owned(), None));
        for bad in ["oci:", "oci::v1", "oci:dir@sha256:12"] {
            assert!(bad.parse::<ImageArgument>().is_err(), "{bad}");
        }
    }
}
