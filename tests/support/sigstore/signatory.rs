//! Who signs: a key, and the certificate for it if it has one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::key::{Key, KeyKind, pem};
use super::sha256;

/// A key with a certificate (keyless), or a key that people know (managed).
#[derive(Clone, Debug)]
pub struct Signatory {
    pub key: Key,
    /// In DER.
    pub certificate: Option<Vec<u8>>,
    /// The authorities above, in DER, the root last.
    pub chain: Vec<Vec<u8>>,
}

impl Signatory {
    /// A new key without a certificate.
    pub fn with_key(kind: KeyKind) -> Self {
        Self::of(&Key::new(kind))
    }

    /// This key without a certificate.
    pub fn of(key: &Key) -> Self {
        Self { key: key.clone(), certificate: None, chain: vec![] }
    }

    /// The certificate as the classic layout has it.
    pub fn certificate_pem(&self) -> Option<String> {
        self.certificate.as_ref().map(|der| pem("CERTIFICATE", der))
    }

    /// The authorities above, one behind the other.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| pem("CERTIFICATE", der)).collect()
    }

    /// How cosign's bundles point at a key: base64 of the SHA-256 of its DER.
    pub fn hint(&self) -> String {
        STANDARD.encode(sha256(&self.key.public_der()))
    }

    /// The certificate, else the public key, as Rekor v1 writes it: base64 of PEM.
    pub(super) fn verifier_v1(&self) -> String {
        STANDARD.encode(self.certificate_pem().unwrap_or_else(|| self.key.public_pem()))
    }

    /// The same, as Rekor v2 writes it.
    pub(super) fn verifier_v2(&self) -> Value {
        let (kind, der) = match &self.certificate {
            Some(der) => ("x509Certificate", der.clone()),
            None => ("publicKey", self.key.public_der()),
        };
        json!({ "keyDetails": self.key.details(), kind: { "rawBytes": STANDARD.encode(der) } })
    }
}
