//! Keys of every kind that people sign with, and those of the servers.

use std::fmt;
use std::sync::Arc;

use assay::demo::Signer;
use aws_lc_rs::digest::{Digest, SHA384};
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, PublicKeyData as _,
    RsaKeySize, SigningKey as _,
};
use x509_cert::der::pem::{LineEnding, encode_string};

use super::sha256;

/// A key's algorithm, and the hash it signs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA P-256 over SHA-256, which Sigstore uses unless told otherwise.
    P256,
    /// ECDSA P-384 over SHA-384, the key's own hash.
    P384,
    /// ECDSA P-384 over SHA-256, as cosign signs payloads in the classic layout.
    P384Sha256,
    /// RSA-2048, PKCS #1 over SHA-256.
    Rsa2048,
    /// RSA-4096, PKCS #1 over SHA-256.
    Rsa4096,
    /// Ed25519 over the message itself.
    Ed25519,
}

/// A private key. Clones are the same key.
#[derive(Clone)]
pub struct Key {
    kind: KeyKind,
    pair: Arc<KeyPair>,
}

impl Key {
    pub fn new(kind: KeyKind) -> Self {
        let pair = match kind {
            KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyKind::P384 | KeyKind::P384Sha256 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            KeyKind::Rsa4096 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
            KeyKind::Ed25519 => KeyPair::generate_for(&PKCS_ED25519),
        };
        Self { kind, pair: Arc::new(pair.unwrap()) }
    }

    /// The signature over `message`: DER for ECDSA, else raw.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self.kind {
            KeyKind::P384Sha256 => self.sign_p384_sha256(message),
            _ => self.pair.sign(message).unwrap(),
        }
    }

    /// ECDSA reads a hash as a number, so SHA-256 behind zeros, as long as SHA-384, signs the same. The library
    /// offers no other way to sign SHA-256 with P-384.
    fn sign_p384_sha256(&self, message: &[u8]) -> Vec<u8> {
        let widened = [[0; 16].as_slice(), &sha256(message)].concat();
        let digest = Digest::import_less_safe(&widened, &SHA384).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, self.pair.serialized_der()).unwrap();
        pair.sign_digest(&digest).unwrap().as_ref().to_vec()
    }

    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key, as DER of a `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// The public key as `cosign.pub` has it.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der())
    }

    /// The bits of the public key alone, without its algorithm.
    pub fn public_raw(&self) -> &[u8] {
        self.pair.public_key_raw()
    }

    /// How Sigstore's documents name the kind of key (`PublicKeyDetails`).
    pub fn details(&self) -> &'static str {
        match self.kind {
            KeyKind::P256 => "PKIX_ECDSA_P256_SHA_256",
            KeyKind::P384 => "PKIX_ECDSA_P384_SHA_384",
            KeyKind::P384Sha256 => "PKIX_ECDSA_P384_SHA_256",
            KeyKind::Rsa2048 => "PKIX_RSA_PKCS1V15_2048_SHA256",
            KeyKind::Rsa4096 => "PKIX_RSA_PKCS1V15_4096_SHA256",
            KeyKind::Ed25519 => "PKIX_ED25519",
        }
    }

    /// The same key, for `assay::demo`.
    pub fn signer(&self) -> Signer {
        let key = self.clone();
        Signer::custom(self.public_der(), move |message| key.sign(message))
    }

    /// The same key, for certificates.
    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// DER in the armour that cosign and Rekor use: lines of 64, each ending in LF.
pub fn pem(label: &str, der: &[u8]) -> String {
    encode_string(label, LineEnding::LF, der).unwrap()
}
