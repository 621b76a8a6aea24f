//! Certificate authorities: a root, and under it the one that signs day by day.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::key::{Key, KeyKind};
use super::moment::{BEGINNING, END, whole_seconds};

/// The organisation in all names.
pub const ORGANISATION: &str = "sigstore.test";

/// Issues signers' certificates, as Fulcio does.
pub struct CertificateAuthority {
    root: Vec<u8>,
    intermediate: Vec<u8>,
    params: CertificateParams,
    key: Key,
}

impl CertificateAuthority {
    /// Every one has the same names and other keys. The intermediate's certificate ends at `until`.
    pub fn new(until: Timestamp) -> Self {
        Self::with_root_until(END, until)
    }

    /// The root's certificate ends at `root`, the intermediate's at `until`.
    pub fn with_root_until(root: Timestamp, until: Timestamp) -> Self {
        let root_key = Key::new(KeyKind::P256);
        let root_params = authority("fulcio-root", root);
        let root = root_params.self_signed(root_key.pair()).unwrap();

        let key = Key::new(KeyKind::P256);
        let mut params = authority("fulcio-intermediate", until);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let above = Issuer::from_params(&root_params, root_key.pair());
        let intermediate = params.signed_by(key.pair(), &above).unwrap();

        Self { root: root.der().to_vec(), intermediate: intermediate.der().to_vec(), params, key }
    }

    /// The certificates in DER, the root last.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        vec![self.intermediate.clone(), self.root.clone()]
    }

    /// The key that signs certificates, as DER of a `SubjectPublicKeyInfo`.
    pub(super) fn public_der(&self) -> Vec<u8> {
        self.key.public_der()
    }

    pub(super) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, self.key.pair())
    }
}

/// What the certificate of an authority says.
pub(super) fn authority(common_name: &str, until: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.not_before = whole_seconds(BEGINNING);
    params.not_after = whole_seconds(until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANISATION);
    name.push(DnType::CommonName, common_name);
    name
}
