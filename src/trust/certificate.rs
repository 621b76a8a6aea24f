//! What a signing certificate says about its holder.
//!
//! Claims, worth something only after the certificate's chain was verified.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use x509_cert::Certificate as X509;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Most subject alternative names that are looked at; Fulcio writes one.
const SUBJECTS_MAX: usize = 16;

/// Longest value that is kept of an extension, in bytes.
const VALUE_MAX: usize = 4096;

/// Fulcio's arc, under which all its extensions lie.
const FULCIO: &str = "1.3.6.1.4.1.57264.1.";

/// The issuer, as text and in the form that came first.
const ISSUER: (&str, &str) = ("1.3.6.1.4.1.57264.1.8", "1.3.6.1.4.1.57264.1.1");

/// A name that Fulcio gives to people without e-mail address.
const USERNAME: &str = "1.3.6.1.4.1.57264.1.7";

/// Fulcio's claims about a build by the number under its arc, and what we call them. The first six are
/// written as bare text and only for GitHub; the others as DER strings.
/// <https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>
pub const CLAIMS: [(u32, &str); 21] = [
    (2, "github_workflow_trigger"),
    (3, "github_workflow_sha"),
    (4, "github_workflow_name"),
    (5, "github_workflow_repository"),
    (6, "github_workflow_ref"),
    (9, "build_signer_uri"),
    (10, "build_signer_digest"),
    (11, "runner_environment"),
    (12, "source_repository"),
    (13, "source_digest"),
    (14, "source_ref"),
    (15, "source_repository_id"),
    (16, "source_owner"),
    (17, "source_owner_id"),
    (18, "workflow"),
    (19, "workflow_digest"),
    (20, "trigger"),
    (21, "run"),
    (22, "source_visibility"),
    (23, "environment"),
    (24, "token_subject"),
];

/// The last claim that is written as bare text.
const LAST_BARE: u32 = 6;

/// A signing certificate, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Every subject alternative name that can be an identity: e-mail address, URI, user name.
    pub identities: Vec<String>,
    /// Who vouched for the identity: the OIDC issuer.
    pub issuer: Option<String>,
    /// Fulcio's claims by our names for them ([`CLAIMS`]).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
}

impl Certificate {
    /// Decodes a certificate. Nothing about it is verified here.
    ///
    /// # Errors
    /// A sentence that says what cannot be read. An extension that stands twice is an error: two readers
    /// could take different ones.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        let parsed = X509::from_der(der).map_err(|error| error.to_string())?;
        let extensions = parsed.tbs_certificate.extensions.as_deref().unwrap_or_default();
        let mut values = BTreeMap::new();
        for extension in extensions {
            if values.insert(extension.extn_id.to_string(), extension.extn_value.as_bytes()).is_some() {
                return Err(format!("extension {} stands there twice", extension.extn_id));
            }
        }
        let claim = |number: u32| {
            let value = *values.get(&format!("{FULCIO}{number}"))?;
            if number <= LAST_BARE { bare(value) } else { der_text(value) }
        };
        Ok(Self {
            identities: identities(&parsed)?,
            issuer: values.get(ISSUER.0).map_or_else(|| values.get(ISSUER.1).and_then(|v| bare(v)), |v| der_text(v)),
            claims: CLAIMS.iter().filter_map(|(number, name)| Some(((*name).to_owned(), claim(*number)?))).collect(),
        })
    }
}

fn identities(certificate: &X509) -> Result<Vec<String>, String> {
    let found = certificate.tbs_certificate.get::<SubjectAltName>().map_err(|error| error.to_string())?;
    let Some((_, names)) = found else { return Ok(Vec::new()) };
    if names.0.len() > SUBJECTS_MAX {
        return Err(format!("{} subject alternative names, more than {SUBJECTS_MAX}", names.0.len()));
    }
    let text = |name: &GeneralName| match name {
        GeneralName::Rfc822Name(email) => Some(email.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        GeneralName::OtherName(other) if other.type_id.to_string() == USERNAME => {
            other.value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned())
        }
        _ => None,
    };
    Ok(names.0.iter().filter_map(text).collect())
}

fn bare(value: &[u8]) -> Option<String> {
    String::from_utf8(value.to_vec()).ok().filter(|text| text.len() <= VALUE_MAX)
}

fn der_text(value: &[u8]) -> Option<String> {
    Utf8StringRef::from_der(value).ok().map(|text| text.as_str().to_owned()).filter(|text| text.len() <= VALUE_MAX)
}
