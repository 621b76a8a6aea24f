//! Public keys that may sign, and the plain check of one signature with one of them.
//!
//! The only file of `trust` that knows the cryptography crate's types.

use std::fmt;

use jiff::Timestamp;
use sigstore_crypto::{KeyAlgorithm, SigningScheme, VerificationKey, validate_raw_public_key, verify_signature};
use sigstore_types::{DerPublicKey, SignatureBytes};

use crate::oci::Digest;

/// A public key: ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits.
#[derive(Clone)]
pub struct PublicKey {
    der: DerPublicKey,
    algorithm: KeyAlgorithm,
    fingerprint: Digest,
}

/// A public key as a rule names it: with the name people know it by and the time it is trusted in.
#[derive(Clone, Debug)]
pub struct KeySigner {
    /// What logs and refusals call it: usually the file it was read from.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Not trusted before this moment.
    pub not_before: Option<Timestamp>,
    /// Not trusted after this moment.
    pub not_after: Option<Timestamp>,
}

/// Why a file holds no key that we can check signatures with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No `-----BEGIN PUBLIC KEY-----`, or not base64 inside.
    #[error("not a PEM public key (expected `-----BEGIN PUBLIC KEY-----`): {0}")]
    Pem(String),
    /// A private key was given.
    #[error("this is a private key: name the public key file, and keep this one away from the proxy")]
    Private,
    /// A kind of key that we do not check.
    #[error("unsupported key: {0} (ECDSA P-256 or P-384, Ed25519 and RSA from 2048 bits are supported)")]
    Unsupported(String),
}

impl PublicKey {
    /// Reads a PEM `PUBLIC KEY` (SubjectPublicKeyInfo), as `cosign generate-key-pair` writes it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        if text.matches("-----BEGIN").count() > 1 {
            return Err(KeyError::Pem("several PEM blocks in one file; give each key a signer of its own".to_owned()));
        }
        let der = DerPublicKey::from_pem(text).map_err(|e| KeyError::Pem(e.to_string()))?;
        let algorithm = KeyAlgorithm::from_spki(&der).map_err(|e| KeyError::Unsupported(e.to_string()))?;
        let known = [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa];
        if !known.contains(&algorithm) {
            return Err(KeyError::Unsupported(format!("{algorithm:?}")));
        }
        // What would fail at every signature, a short RSA modulus among it, fails now and once.
        VerificationKey::from_spki(&der)
            .and_then(|key| validate_raw_public_key(key.scheme(), key.as_bytes()))
            .map_err(|e| KeyError::Unsupported(e.to_string()))?;
        let fingerprint = Digest::of(der.as_bytes());
        Ok(Self { der, algorithm, fingerprint })
    }

    /// The sha256 of the key's DER form; what two people compare.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The key in DER (SubjectPublicKeyInfo).
    pub(super) fn der(&self) -> &DerPublicKey {
        &self.der
    }

    /// Whether `signature` over exactly `message` was made with this key.
    ///
    /// cosign signs with SHA-256 whatever the key, newer versions with the key's own hash; both are
    /// the same statement by the same key, so both are tried.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = SignatureBytes::from_bytes(signature);
        self.schemes().iter().any(|scheme| verify_signature(&self.der, message, &signature, *scheme).is_ok())
    }

    fn schemes(&self) -> &'static [SigningScheme] {
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => &[SigningScheme::EcdsaP256Sha256],
            KeyAlgorithm::EcdsaP384 => &[SigningScheme::EcdsaP384Sha256, SigningScheme::EcdsaP384Sha384],
            KeyAlgorithm::Ed25519 => &[SigningScheme::Ed25519],
            KeyAlgorithm::Rsa => &[SigningScheme::RsaPkcs1Sha256, SigningScheme::RsaPssSha256],
            _ => &[],
        }
    }
}

impl KeySigner {
    /// Whether the key was to be relied on when it signed: at every time that is proven for the signature.
    ///
    /// Without a transparency log or a timestamp nothing proves when a signature was made, so the
    /// moment that counts is the one of the check.
    pub fn is_valid_at_all(&self, times: &[Timestamp], now: Timestamp) -> bool {
        match times {
            [] => self.is_valid_at(now),
            times => times.iter().all(|time| self.is_valid_at(*time)),
        }
    }

    /// Whether the key may be relied on at this moment.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|from| now >= from) && self.not_after.is_none_or(|until| now <= until)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.algorithm, self.fingerprint)
    }
}
