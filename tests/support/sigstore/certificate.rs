//! Signers' certificates, as Fulcio writes them (its `docs/certificate-specification.md`).

use rcgen::{
    Certificate, CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, KeyUsagePurpose,
};
use x509_cert::der::{Decode as _, Encode as _};
use yasna::models::ObjectIdentifier;
use yasna::{DERWriter, Tag, construct_der};

use super::authority::CertificateAuthority;
use super::ct_log::{CtLog, timestamp_list};
use super::moment::{END, whole_seconds};
use super::request::{CertificateRequest, Flaw, IssuerForm, San};
use super::signatory::Signatory;

const SUBJECT_ALT_NAME: [u64; 4] = [2, 5, 29, 17];
const SCT_LIST: [u64; 10] = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
const PRINCIPAL_NAME: [u64; 10] = [1, 3, 6, 1, 4, 1, 311, 20, 2, 3];
/// Fulcio's extensions lie below.
const FULCIO: [u64; 8] = [1, 3, 6, 1, 4, 1, 57264, 1];
/// Up to here their values are bare text, later ones are DER.
const LAST_BARE: u64 = 6;
const OLD_ISSUER: u64 = 1;
const USERNAME: u64 = 7;
const NEW_ISSUER: u64 = 8;

/// The key with a certificate for it.
pub(super) fn issue(authority: &CertificateAuthority, ct_log: &CtLog, request: &CertificateRequest) -> Signatory {
    let other_authority;
    let authority = if request.flaw == Some(Flaw::OtherAuthority) {
        other_authority = CertificateAuthority::new(END);
        &other_authority
    } else {
        authority
    };
    let key = request.key.clone();
    let issuer = if request.flaw == Some(Flaw::SelfSigned) { key.public_der() } else { authority.public_der() };
    let sign = |params: &CertificateParams| match request.flaw {
        Some(Flaw::SelfSigned) => params.self_signed(key.pair()).unwrap(),
        _ => params.signed_by(key.pair(), &authority.issuer()).unwrap(),
    };

    let mut params = params(request);
    let timestamps = timestamps(ct_log, request, &to_be_signed(&sign(&params)), &issuer);
    if !timestamps.is_empty() {
        params.custom_extensions.push(extension(&SCT_LIST, timestamp_list(&timestamps)));
    }
    let certificate = sign(&params).der().to_vec();
    Signatory { key, certificate: Some(certificate), chain: authority.chain() }
}

/// Everything but the certificate timestamps.
fn params(request: &CertificateRequest) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = whole_seconds(request.not_before);
    params.not_after = whole_seconds(request.not_before + request.life);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match request.flaw {
        Some(Flaw::WrongUsage) => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Some(Flaw::NoUsage) => vec![],
        _ => vec![ExtendedKeyUsagePurpose::CodeSigning],
    };
    // Critical, since the subject is empty (RFC 5280 section 4.2.1.6).
    let mut names = extension(&SUBJECT_ALT_NAME, alternative_names(&request.names));
    names.set_criticality(true);
    params.custom_extensions.push(names);
    params.custom_extensions.extend(fulcio_extensions(request));
    params
}

fn fulcio_extensions(request: &CertificateRequest) -> Vec<CustomExtension> {
    let mut values = request.claims.clone();
    if matches!(request.issuer_form, IssuerForm::Both | IssuerForm::Old) {
        values.insert(OLD_ISSUER, request.issuer.clone());
    }
    if matches!(request.issuer_form, IssuerForm::Both | IssuerForm::New) {
        values.insert(NEW_ISSUER, request.issuer.clone());
    }
    let content = |number: u64, text: &str| match number {
        ..=LAST_BARE => text.as_bytes().to_vec(),
        _ => construct_der(|writer| writer.write_utf8_string(text)),
    };
    values.iter().map(|(number, text)| extension(&below_fulcio(*number), content(*number, text))).collect()
}

fn alternative_names(names: &[San]) -> Vec<u8> {
    construct_der(|writer| {
        writer.write_sequence(|writer| names.iter().for_each(|name| write_name(writer.next(), name)));
    })
}

/// RFC 5280 section 4.2.1.6, `GeneralName`.
fn write_name(writer: DERWriter<'_>, name: &San) {
    match name {
        San::Email(address) => {
            writer.write_tagged_implicit(Tag::context(1), |writer| writer.write_ia5_string(address));
        }
        San::Uri(uri) => writer.write_tagged_implicit(Tag::context(6), |writer| writer.write_ia5_string(uri)),
        San::Username(name) => write_other_name(writer, &below_fulcio(USERNAME), name),
        San::OtherUsername(name) => write_other_name(writer, &PRINCIPAL_NAME, name),
    }
}

fn write_other_name(writer: DERWriter<'_>, oid: &[u64], name: &str) {
    writer.write_tagged_implicit(Tag::context(0), |writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&ObjectIdentifier::from_slice(oid));
            writer.next().write_tagged(Tag::context(0), |writer| writer.write_utf8_string(name));
        });
    });
}

fn timestamps(ct_log: &CtLog, request: &CertificateRequest, tbs: &[u8], issuer: &[u8]) -> Vec<Vec<u8>> {
    let by = |log: &CtLog| log.timestamp(tbs, issuer, request.logged_at);
    match request.flaw {
        Some(Flaw::NoSct) => vec![],
        Some(Flaw::TwoScts) => vec![by(ct_log), by(ct_log)],
        Some(Flaw::SctByAnotherLog) => vec![by(&CtLog::new())],
        Some(Flaw::SctOverAnother) => vec![ct_log.timestamp(b"another certificate", issuer, request.logged_at)],
        _ => vec![by(ct_log)],
    }
}

fn to_be_signed(certificate: &Certificate) -> Vec<u8> {
    x509_cert::Certificate::from_der(certificate.der()).unwrap().tbs_certificate.to_der().unwrap()
}

fn extension(oid: &[u64], content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(oid, content)
}

fn below_fulcio(number: u64) -> Vec<u64> {
    [FULCIO.as_slice(), &[number]].concat()
}
