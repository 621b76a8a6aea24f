//! An image on the command line.

use std::str::FromStr;

use crate::oci::{ImageName, ReferenceError};

/// An image name; with `http://` in front, its registry is asked without TLS. There is no other way
/// to say that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageArgument {
    /// The image.
    pub name: ImageName,
    /// Whether `http://` stood in front.
    pub plain_http: bool,
}

impl FromStr for ImageArgument {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (plain_http, name) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(name), _) => (true, name),
            (None, Some(name)) => (false, name),
            (None, None) => (false, text),
        };
        Ok(Self { name: name.parse()?, plain_http })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_must_be_written_out() {
        let read = |text: &str| text.parse::<ImageArgument>().map(|image| (image.plain_http, image.name.to_string()));
        assert_eq!(read("localhost:5000/app:1"), Ok((false, "localhost:5000/app:1".to_owned())));
        assert_eq!(read("http://localhost:5000/app:1"), Ok((true, "localhost:5000/app:1".to_owned())));
        assert!(read("ftp://localhost/app").is_err());
    }
}
