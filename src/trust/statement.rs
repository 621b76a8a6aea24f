//! in-toto statements in DSSE envelopes: what is said about which digest.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sigstore_types::DsseEnvelope;

use crate::oci::Digest;
use crate::oci::strict_json::{self, Object};

use super::bundle::said;
use super::verdict::Reason;
use super::verifier::Failure;

/// Most subjects of a statement that we look at.
pub const SUBJECTS_MAX: usize = 64;

/// Most digests of one subject: one for each algorithm that there is.
pub const DIGESTS_MAX: usize = 32;

/// The predicate type of cosign's image signatures.
pub const COSIGN_SIGN_V1: &str = "https://sigstore.dev/cosign/sign/v1";

const DSSE_IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// What `cosign attest` still writes.
const STATEMENT_V01: &str = "https://in-toto.io/Statement/v0.1";

/// A statement, read so that no other reader can read it differently.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    subject: Vec<Object<Subject>>,
    #[serde(default)]
    pub predicate: Value,
}

/// A resource descriptor of in-toto, with all fields that it may have.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is named so that nothing else is there")]
struct Subject {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    uri: Option<String>,
    digest: BTreeMap<String, String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    download_location: Option<String>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    annotations: Option<Value>,
}

impl Statement {
    /// Reads the payload of an envelope.
    pub(super) fn read(envelope: &DsseEnvelope) -> Result<Self, Failure> {
        if envelope.payload_type != DSSE_IN_TOTO {
            let detail = format!("found `{}`, expected `{DSSE_IN_TOTO}`", envelope.payload_type);
            return Err(Failure::new("payload type", Reason::NotASignature, detail));
        }
        let payload = envelope.payload.as_bytes();
        let malformed = |why: String| Failure::new("statement", Reason::MalformedSignature, why);
        strict_json::check(payload).map_err(malformed)?;
        let Object(statement): Object<Self> = serde_json::from_slice(payload).map_err(|why| malformed(said(why)))?;
        let objects =
            statement.subject.iter().filter_map(|subject| subject.annotations.as_ref()).chain([&statement.predicate]);
        if !objects.into_iter().all(|value| value.is_object() || value.is_null()) {
            return Err(malformed("the predicate or a subject's annotations are no object".to_owned()));
        }
        if ![STATEMENT_V1, STATEMENT_V01].contains(&statement.kind.as_str()) {
            let detail = format!("found `{}`, expected `{STATEMENT_V1}`", statement.kind);
            return Err(Failure::new("statement", Reason::NotASignature, detail));
        }
        if statement.is_signature() && statement.kind != STATEMENT_V1 {
            let detail = format!("found `{}`, expected `{STATEMENT_V1}`", statement.kind);
            return Err(Failure::new("statement", Reason::NotASignature, detail));
        }
        Ok(statement)
    }

    /// Whether it says nothing but "I signed this".
    pub(super) fn is_signature(&self) -> bool {
        self.predicate_type == COSIGN_SIGN_V1
    }

    /// The annotations of the subject with this digest.
    ///
    /// # Errors
    /// When no subject has it, or there are too many.
    pub(super) fn about(&self, digest: Digest) -> Result<Option<&Value>, Failure> {
        let count = self.subject.len();
        if count > SUBJECTS_MAX {
            let detail = format!("{count} subjects, more than {SUBJECTS_MAX}");
            return Err(Failure::new("subject", Reason::OverLimit, detail));
        }
        let crowded = self.subject.iter().map(|subject| subject.digest.len()).find(|count| *count > DIGESTS_MAX);
        if let Some(count) = crowded {
            let detail = format!("{count} digests of one subject, more than {DIGESTS_MAX}");
            return Err(Failure::new("subject", Reason::OverLimit, detail));
        }
        let wanted = digest.hex();
        let sha256 = |subject: &Object<Subject>| subject.digest.get("sha256").cloned();
        match self.subject.iter().find(|subject| subject.digest.get("sha256") == Some(&wanted)) {
            // cosign decodes every digest, whichever it is about.
            Some(_) if !self.subject.iter().flat_map(|subject| subject.digest.values()).all(is_hex) => {
                Err(Failure::new("subject", Reason::MalformedSignature, "a digest of a subject is not hexadecimal"))
            }
            Some(subject) => Ok(subject.annotations.as_ref()),
            None => {
                let named =
                    self.subject.iter().find_map(sha256).map_or("nothing".to_owned(), |hex| format!("sha256:{hex}"));
                Err(Failure::new("subject", Reason::WrongSubject, format!("signed is {named}, asked is {digest}")))
            }
        }
    }
}

fn is_hex(digest: &String) -> bool {
    hex::decode(digest).is_ok()
}
