//! The registry's error codes and their JSON (OCI distribution spec, "Error Codes").

use serde::Serialize;

/// A code of the specification's table; `TOOMANYREQUESTS` and `UNAVAILABLE` are what registries add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The blob is not known to the registry.
    BlobUnknown,
    /// A digest does not parse, or content does not fit it.
    DigestInvalid,
    /// The manifest cannot be read.
    ManifestInvalid,
    /// No such tag or digest.
    ManifestUnknown,
    /// The repository name does not parse.
    NameInvalid,
    /// No such registry or repository.
    NameUnknown,
    /// A decision: this may not be had.
    Denied,
    /// The method or the path is not offered.
    Unsupported,
    /// Try again later.
    Unavailable,
    /// The range lies outside the content.
    RangeInvalid,
}

/// The error body of the specification with a single error.
pub fn body(code: ErrorCode, message: &str) -> String {
    #[derive(Serialize)]
    struct Body<'a> {
        errors: [Entry<'a>; 1],
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        code: ErrorCode,
        message: &'a str,
    }
    serde_json::to_string(&Body { errors: [Entry { code, message }] }).expect("strings always serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_specifications() {
        assert_eq!(
            body(ErrorCode::ManifestUnknown, "a \"b\""),
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"a \"b\""}]}"#
        );
    }
}
