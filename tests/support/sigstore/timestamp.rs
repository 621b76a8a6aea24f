//! Timestamp authorities: they sign that bytes existed at a moment (RFC 3161, RFC 5652).

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rcgen::{CertificateParams, CustomExtension, Issuer, KeyUsagePurpose, SerialNumber};
use x509_cert::der::{Decode as _, Encode as _};
use yasna::models::{GeneralizedTime, ObjectIdentifier};
use yasna::{DERWriter, DERWriterSet, Tag, construct_der};

use super::authority::{authority, named};
use super::key::{Key, KeyKind};
use super::moment::{BEGINNING, END, whole_seconds};
use super::sha256;

const SHA_256: [u64; 9] = [2, 16, 840, 1, 101, 3, 4, 2, 1];
const ECDSA_WITH_SHA_256: [u64; 7] = [1, 2, 840, 10045, 4, 3, 2];
const SIGNED_DATA: [u64; 7] = [1, 2, 840, 113_549, 1, 7, 2];
const CONTENT_TYPE: [u64; 7] = [1, 2, 840, 113_549, 1, 9, 3];
const MESSAGE_DIGEST: [u64; 7] = [1, 2, 840, 113_549, 1, 9, 4];
const TIMESTAMP_INFO: [u64; 9] = [1, 2, 840, 113_549, 1, 9, 16, 1, 4];
const SIGNING_CERTIFICATE_V2: [u64; 9] = [1, 2, 840, 113_549, 1, 9, 16, 2, 47];
/// Sigstore's own timestamping policy.
const POLICY: [u64; 8] = [1, 3, 6, 1, 4, 1, 57264, 2];
const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];
const TIME_STAMPING: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 3, 8];
const SIGNER_SERIAL: u64 = 77;

/// A timestamp authority with a root of its own.
pub struct TimestampAuthority {
    root: Vec<u8>,
    certificate: Vec<u8>,
    key: Key,
    serial: AtomicU64,
}

impl TimestampAuthority {
    /// Every one has the same names and other keys.
    pub fn new() -> Self {
        let root_key = Key::new(KeyKind::P256);
        let root_params = authority("tsa-root", END);
        let root = root_params.self_signed(root_key.pair()).unwrap();
        let key = Key::new(KeyKind::P256);
        let above = Issuer::from_params(&root_params, root_key.pair());
        let certificate = signer().signed_by(key.pair(), &above).unwrap();
        Self { root: root.der().to_vec(), certificate: certificate.der().to_vec(), key, serial: AtomicU64::new(1) }
    }

    /// The certificates in DER. The one that signs is first: verifiers expect it there.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        vec![self.certificate.clone(), self.root.clone()]
    }

    /// A response with a token that says that `over` existed at `at` (RFC 3161 section 2.4.2).
    pub fn timestamp(&self, over: &[u8], at: Timestamp) -> Vec<u8> {
        let info = self.info(over, at);
        construct_der(|writer| {
            writer.write_sequence(|writer| {
                // Granted.
                writer.next().write_sequence(|writer| writer.next().write_u8(0));
                writer.next().write_sequence(|writer| {
                    writer.next().write_oid(&oid(&SIGNED_DATA));
                    writer.next().write_tagged(Tag::context(0), |writer| self.write_signed_data(writer, &info));
                });
            });
        })
    }

    /// What is signed, indirectly.
    fn info(&self, over: &[u8], at: Timestamp) -> Vec<u8> {
        construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_u8(1);
                writer.next().write_oid(&oid(&POLICY));
                writer.next().write_sequence(|writer| {
                    write_algorithm(writer.next(), &SHA_256);
                    writer.next().write_bytes(&sha256(over));
                });
                writer.next().write_u64(self.serial.fetch_add(1, Ordering::Relaxed));
                writer.next().write_generalized_time(&GeneralizedTime::from_datetime(whole_seconds(at)));
            });
        })
    }

    /// RFC 5652 section 5.1.
    fn write_signed_data(&self, writer: DERWriter<'_>, info: &[u8]) {
        writer.write_sequence(|writer| {
            writer.next().write_u8(3);
            writer.next().write_set_of(|writer| write_algorithm(writer.next(), &SHA_256));
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&oid(&TIMESTAMP_INFO));
                writer.next().write_tagged(Tag::context(0), |writer| writer.write_bytes(info));
            });
            writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                writer.write_set_of(|writer| writer.next().write_der(&self.certificate));
            });
            writer.next().write_set_of(|writer| self.write_signer(writer.next(), info));
        });
    }

    /// RFC 5652 section 5.3.
    fn write_signer(&self, writer: DERWriter<'_>, info: &[u8]) {
        let certificate = x509_cert::Certificate::from_der(&self.certificate).unwrap().tbs_certificate;
        let attributes = |writer: &mut DERWriterSet<'_>| self.write_attributes(writer, info);
        let signature = self.key.sign(&construct_der(|writer| writer.write_set_of(attributes)));
        writer.write_sequence(|writer| {
            writer.next().write_u8(1);
            writer.next().write_sequence(|writer| {
                writer.next().write_der(&certificate.issuer.to_der().unwrap());
                writer.next().write_der(&certificate.serial_number.to_der().unwrap());
            });
            write_algorithm(writer.next(), &SHA_256);
            writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_set_of(attributes));
            write_algorithm(writer.next(), &ECDSA_WITH_SHA_256);
            writer.next().write_bytes(&signature);
        });
    }

    fn write_attributes(&self, writer: &mut DERWriterSet<'_>, info: &[u8]) {
        write_attribute(writer.next(), &CONTENT_TYPE, |writer| writer.write_oid(&oid(&TIMESTAMP_INFO)));
        write_attribute(writer.next(), &MESSAGE_DIGEST, |writer| writer.write_bytes(&sha256(info)));
        // RFC 5816: three nested lists around one hash.
        let hash = |writer: DERWriter<'_>| writer.write_bytes(&sha256(&self.certificate));
        write_attribute(writer.next(), &SIGNING_CERTIFICATE_V2, |writer| {
            writer.write_sequence(|writer| {
                writer.next().write_sequence(|writer| writer.next().write_sequence(|writer| hash(writer.next())));
            });
        });
    }
}

/// The certificate of what signs: for timestamps only, which must be critical (RFC 3161 section 2.3).
fn signer() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("tsa");
    // Tokens name their signer by this; another authority of the same names has it, too.
    params.serial_number = Some(SerialNumber::from(SIGNER_SERIAL));
    params.not_before = whole_seconds(BEGINNING);
    params.not_after = whole_seconds(END);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let usages = construct_der(|writer| writer.write_sequence(|writer| writer.next().write_oid(&oid(&TIME_STAMPING))));
    let mut usage = CustomExtension::from_oid_content(&EXTENDED_KEY_USAGE, usages);
    usage.set_criticality(true);
    params.custom_extensions.push(usage);
    params
}

fn write_attribute(writer: DERWriter<'_>, name: &[u64], value: impl FnOnce(DERWriter<'_>)) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&oid(name));
        writer.next().write_set_of(|writer| value(writer.next()));
    });
}

fn write_algorithm(writer: DERWriter<'_>, algorithm: &[u64]) {
    writer.write_sequence(|writer| writer.next().write_oid(&oid(algorithm)));
}

fn oid(components: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(components)
}
