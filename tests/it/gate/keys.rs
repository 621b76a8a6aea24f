//! Keys: which kinds verify, and which files are refused when they are loaded.

use std::sync::LazyLock;

use assay::demo::{BundleSignature, ClassicSignature, SIGNATURE_ANNOTATION, Signer, Statement, classic_payload};
use assay::trust::{Candidate, KeyError, KeySigner, Material, PublicKey, Reason};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PSS_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::world::{ALLOWED, REPOSITORY, Scene, WORLD, assert_none, candidate, key, parse, refused};
use crate::support::{TestCa, keys};

static SIGNERS: LazyLock<[(&str, Signer); 5]> = LazyLock::new(|| {
    [
        ("P-256", Signer::generate().unwrap()),
        ("P-384 over SHA-384", keys::p384()),
        ("Ed25519", keys::ed25519()),
        ("RSA-2048, PKCS #1", keys::rsa()),
        ("RSA-3072, PSS", rsa_pss()),
    ]
});

fn rsa_pss() -> Signer {
    let pair = RsaKeyPair::generate(KeySize::Rsa3072).unwrap();
    let public_key = pair.public_key().as_der().unwrap().as_ref().to_vec();
    Signer::custom(public_key, move |message| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    })
}

/// Both layouts, signed by `signer`; `spoil` sees the signature bytes.
fn candidates(signer: &Signer, spoil: fn(&mut Vec<u8>)) -> [Candidate; 2] {
    let payload = classic_payload(REPOSITORY, WORLD.subject());
    let mut signature = signer.sign(payload.as_bytes());
    spoil(&mut signature);
    let classic = ClassicSignature::over(signer, payload).signature(&signature);
    let mut bundle = BundleSignature::of(signer, &Statement::signature(WORLD.subject()));
    bundle.signatures.iter_mut().for_each(spoil);
    [
        candidate("tag .sig", Material::Classic { payload: classic.payload, annotations: classic.annotations }),
        candidate("referrers", Material::Bundle(bundle.json().to_string().into())),
    ]
}

fn outcome(signer: &Signer, named: &Signer, spoil: fn(&mut Vec<u8>)) -> [String; 2] {
    candidates(signer, spoil).map(|candidate| {
        let mut scene = Scene::with([candidate]);
        scene.signers = vec![key("release", named)];
        scene.outcome()
    })
}

#[test]
fn every_kind_of_key_verifies_what_it_signed_and_nothing_else() {
    let mut wrong = Vec::new();
    for (kind, signer) in SIGNERS.iter() {
        let mut expect = |what: &str, outcomes: [String; 2], expected: &str| {
            for (layout, outcome) in ["classic", "bundle"].iter().zip(outcomes) {
                if outcome != expected {
                    wrong.push(format!("{kind}, {layout}: {what}: {outcome}, expected {expected}"));
                }
            }
        };
        let untrusted = refused(Reason::UntrustedKey);
        expect("honest", outcome(signer, signer, |_| {}), ALLOWED);
        expect("first bit", outcome(signer, signer, |s| s[0] ^= 0x80), &untrusted);
        expect("last bit", outcome(signer, signer, |s| *s.last_mut().unwrap() ^= 1), &untrusted);
        expect("cut", outcome(signer, signer, |s| s.truncate(s.len() - 1)), &untrusted);
        expect("longer", outcome(signer, signer, |s| s.push(0)), &untrusted);
        expect("empty", outcome(signer, signer, Vec::clear), &untrusted);
        expect("zeros", outcome(signer, signer, |s| s.fill(0)), &untrusted);
        expect("ones", outcome(signer, signer, |s| s.fill(0xff)), &untrusted);
        let impostor = keys::impostor_of(signer);
        expect("impostor", outcome(&impostor, signer, |_| {}), &untrusted);
        for (other, named) in SIGNERS.iter().filter(|(other, _)| other != kind) {
            expect(&format!("rule names {other}"), outcome(signer, named, |_| {}), &untrusted);
        }
    }
    assert_none(&wrong);
}

/// cosign's classic layout uses SHA-256 whatever the key. Made with openssl 3.0, since our own
/// library does not sign like this.
#[test]
fn p384_over_sha256_verifies() {
    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEJ507aRQWvaXPv0+K/1wUOtFvd9P9Vb5/
eDo0X5N9Q9JJMvf+1fKaQOoAyJgtfBhtMWSLtpxGPg8BaJ/zXj8pu+El8CNXnzD0
UEVY+BI9akV9iFLjKI0/pAuTJfz34vkw
-----END PUBLIC KEY-----
";
    const SIGNATURE: &str = "MGYCMQDLxG3fOM5o7jJ1/9lcz9uKvDcul1OSkPOMjveWiXYYldxG/InBl/yE6zD2/PAfq04CMQDT7gpHQe6wNBmnVsF2ekEIgVZj65ANEnMlQScJFtd/FN4MkS0yuNbwHyzdznJznOc=";
    let manifest = parse(&r#"{"schemaVersion":2,"manifests":[]}"#.into());
    for (digest, expected) in
        [(manifest.digest(), ALLOWED.to_owned()), (WORLD.subject(), refused(Reason::UntrustedKey))]
    {
        let annotations = [(SIGNATURE_ANNOTATION.to_owned(), SIGNATURE.to_owned())].into();
        let payload = classic_payload(REPOSITORY, digest).into();
        let mut scene = Scene::with([candidate("tag .sig", Material::Classic { payload, annotations })]);
        let signer = key("release", &WORLD.release);
        scene.signers = vec![KeySigner { key: PublicKey::from_pem(KEY).unwrap(), ..signer }];
        scene.manifest = manifest.clone();
        assert_eq!(scene.outcome(), expected);
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// DER: one element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let head = match length {
        0..0x80 => vec![tag, u8::try_from(length).unwrap()],
        0x80..0x100 => vec![tag, 0x81, u8::try_from(length).unwrap()],
        _ => [&[tag, 0x82][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    [&head[..], content].concat()
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    element(0x30, &[element(0x30, algorithm), element(0x03, &[&[0], key].concat())].concat())
}

/// An RSA public key whose modulus and exponent have so many bytes; the modulus is odd.
fn rsa_spki(modulus: usize, exponent: usize) -> Vec<u8> {
    const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let number = |bytes: usize| element(0x02, &[&[0x00, 0xc1][..], &vec![0xa5; bytes - 1]].concat());
    spki(RSA, &element(0x30, &[number(modulus), number(exponent)].concat()))
}

fn ec_spki(curve: &[u8], point: &[u8]) -> Vec<u8> {
    const EC: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    spki(&[EC, &element(6, curve)].concat(), point)
}

const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 35];
const SECP256K1: &[u8] = &[0x2b, 0x81, 4, 0, 10];

#[test]
fn what_is_no_usable_public_key_is_refused_when_it_is_loaded() {
    let honest = WORLD.release.public_key_pem();
    let honest_der = WORLD.release.public_key_der();
    assert!(PublicKey::from_pem(&honest).is_ok());
    assert!(PublicKey::from_pem(&pem("PUBLIC KEY", &rsa_spki(256, 3))).is_ok(), "RSA-2048 made by hand");
    assert!(PublicKey::from_pem(&format!("Our key:\n{honest}")).is_ok());

    let unpem = |text: String| (text, "pem");
    let unsupported = |der: &[u8]| (pem("PUBLIC KEY", der), "unsupported");
    let private = |label: &str| (pem(label, b"secret"), "private");
    let cases = [
        ("empty", unpem(String::new())),
        ("garbage", unpem("release-key".to_owned())),
        ("no end", unpem(honest.replace("-----END PUBLIC KEY-----", ""))),
        ("no base64 inside", unpem("-----BEGIN PUBLIC KEY-----\n???\n-----END PUBLIC KEY-----\n".to_owned())),
        ("DER without PEM", unpem(STANDARD.encode(honest_der))),
        ("certificate", unpem(TestCa::new().ca_pem())),
        ("PKCS #1", unpem(pem("RSA PUBLIC KEY", honest_der))),
        ("OpenPGP", unpem(pem("PGP PUBLIC KEY BLOCK", honest_der))),
        ("two keys in one file", unpem(format!("{honest}{}", WORLD.second.public_key_pem()))),
        ("private key", private("PRIVATE KEY")),
        ("private EC key", private("EC PRIVATE KEY")),
        ("private RSA key", private("RSA PRIVATE KEY")),
        ("cosign.key", private("ENCRYPTED SIGSTORE PRIVATE KEY")),
        ("cosign.key of older versions", private("ENCRYPTED COSIGN PRIVATE KEY")),
        ("private key behind the public one", (format!("{honest}{}", pem("PRIVATE KEY", b"x")), "private")),
        ("RSA-1024", unsupported(&rsa_spki(128, 3))),
        ("RSA-1024 with a long exponent", unsupported(&rsa_spki(128, 128))),
        ("RSA-2040", unsupported(&rsa_spki(255, 16))),
        ("RSA-16384", unsupported(&rsa_spki(2048, 3))),
        ("P-521", unsupported(&ec_spki(P521, &[&[4][..], &[1; 132]].concat()))),
        ("secp256k1", unsupported(&ec_spki(SECP256K1, &[&[4][..], &[1; 64]].concat()))),
        ("P-256, compressed point", unsupported(&ec_spki(P256, &[&[2][..], &[1; 32]].concat()))),
        ("P-256, no point", unsupported(&ec_spki(P256, &[]))),
        ("X25519", unsupported(&spki(&[6, 3, 0x2b, 0x65, 0x6e], &[1; 32]))),
        ("Ed448", unsupported(&spki(&[6, 3, 0x2b, 0x65, 0x71], &[1; 57]))),
        ("nothing inside", unsupported(&[])),
        ("no DER inside", unsupported(b"hello")),
        ("something behind the key", unsupported(&[honest_der, &[0]].concat())),
        ("cut short", unsupported(&honest_der[..honest_der.len() - 1])),
    ];
    let mut wrong = Vec::new();
    for (name, (text, expected)) in cases {
        let kind = match PublicKey::from_pem(&text) {
            Ok(_) => "loaded",
            Err(KeyError::Pem(_)) => "pem",
            Err(KeyError::Private) => "private",
            Err(KeyError::Unsupported(_)) => "unsupported",
        };
        if kind != expected {
            wrong.push(format!("{name}: {kind}, expected {expected}"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn a_fingerprint_belongs_to_one_key() {
    let read = |signer: &Signer| PublicKey::from_pem(&signer.public_key_pem()).unwrap().fingerprint();
    assert_eq!(read(&WORLD.release), assay::oci::Digest::of(WORLD.release.public_key_der()));
    assert_ne!(read(&WORLD.release), read(&WORLD.second));
    let wrapped = pem("PUBLIC KEY", WORLD.release.public_key_der());
    assert_eq!(PublicKey::from_pem(&wrapped).unwrap().fingerprint(), read(&WORLD.release), "line ends do not count");
}
