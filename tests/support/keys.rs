//! Signers of the kinds that `Signer::generate` does not make.

use std::sync::Arc;

use assay::demo::Signer;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};

pub fn ed25519() -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public_key = pair.public_key().as_der().unwrap().as_ref().to_vec();
    Signer::custom(public_key, move |message| pair.sign(message).as_ref().to_vec())
}

/// P-384 over SHA-384, the key's own hash.
pub fn p384() -> Signer {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let public_key = pair.public_key().as_der().unwrap().as_ref().to_vec();
    Signer::custom(public_key, move |message| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec())
}

/// RSA-2048, PKCS #1 over SHA-256.
pub fn rsa() -> Signer {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public_key = pair.public_key().as_der().unwrap().as_ref().to_vec();
    Signer::custom(public_key, move |message| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    })
}

/// Shows the key of `signer`, but signs with another.
pub fn impostor_of(signer: &Signer) -> Signer {
    let other = Arc::new(Signer::generate().unwrap());
    Signer::custom(signer.public_key_der().to_vec(), move |message| other.sign(message))
}
