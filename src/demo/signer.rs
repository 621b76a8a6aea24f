//! Keys that sign, for demonstrations and tests.
//!
//! Made when needed and never written down: whoever verifies is given the public half.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use sigstore_crypto::KeyPair;

use crate::oci::Digest;

use super::artefact::Artefact;
use super::bundle::{BundleSignature, Statement};
use super::classic::{ClassicSignature, classic_artefact};
use super::document::Document;

type SignBytes = dyn Fn(&[u8]) -> Vec<u8> + Send + Sync;

/// A private key that signs as cosign does.
pub struct Signer {
    public_key: Vec<u8>,
    sign: Box<SignBytes>,
}

impl Signer {
    /// A new ECDSA P-256 key, cosign's default. Signatures are over SHA-256, in DER.
    pub fn generate() -> Result<Self, sigstore_crypto::Error> {
        Self::from_key_pair(KeyPair::generate_ecdsa_p256()?)
    }

    /// Signs with a given key.
    pub fn from_key_pair(pair: KeyPair) -> Result<Self, sigstore_crypto::Error> {
        let public_key = pair.public_key_der()?.into_bytes();
        let sign =
            move |message: &[u8]| pair.sign(message).expect("a key that was made in memory can sign").into_bytes();
        Ok(Self { public_key, sign: Box::new(sign) })
    }

    /// Signs with anything: other algorithms, hardware, or a function that lies. `public_key` is the
    /// DER of a `SubjectPublicKeyInfo`.
    pub fn custom(public_key: Vec<u8>, sign: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { public_key, sign: Box::new(sign) }
    }

    /// The signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        (self.sign)(message)
    }

    /// The public key in DER (`SubjectPublicKeyInfo`).
    pub fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    /// The public key as `cosign.pub` has it.
    pub fn public_key_pem(&self) -> String {
        let encoded = STANDARD.encode(&self.public_key);
        let lines: Vec<_> = encoded
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64 is plain ASCII"))
            .collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    /// How cosign's bundles point at a key: base64 of the sha256 of its DER.
    pub fn hint(&self) -> String {
        STANDARD.encode(Sha256::digest(&self.public_key))
    }

    /// A classic signature (`.sig` tag) of the manifest `subject`, as `cosign sign` 1 and 2 make it.
    pub fn classic(&self, docker_reference: &str, subject: Digest) -> Artefact {
        classic_artefact(subject, &[ClassicSignature::of(self, docker_reference, subject)])
    }

    /// A signature in a Sigstore bundle that refers to `subject`, as `cosign sign` 3 makes it.
    pub fn bundle(&self, subject: &Document) -> Artefact {
        BundleSignature::of(self, &Statement::signature(subject.digest)).referrer(subject).artefact()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("hint", &self.hint()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sigstore_crypto::{SigningScheme, VerificationKey};
    use sigstore_types::{DerPublicKey, SignatureBytes};

    #[test]
    fn what_it_signs_verifies_with_the_key_it_shows() {
        let signer = Signer::generate().unwrap();
        let key = DerPublicKey::from_pem(&signer.public_key_pem()).unwrap();
        assert_eq!(key.as_bytes(), signer.public_key_der());
        let key = VerificationKey::from_spki_with_scheme(&key, SigningScheme::EcdsaP256Sha256).unwrap();
        let signature = SignatureBytes::new(signer.sign(b"message"));
        assert!(key.verify(b"message", &signature).is_ok());
        assert!(key.verify(b"massage", &signature).is_err());
    }
}
