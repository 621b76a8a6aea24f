//! The log of certificates: its promise to list one is a signed certificate timestamp (RFC 6962).

use jiff::Timestamp;

use super::key::{Key, KeyKind};
use super::sha256;

/// A certificate transparency log.
pub struct CtLog {
    key: Key,
}

impl CtLog {
    pub fn new() -> Self {
        Self { key: Key::new(KeyKind::P256) }
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// RFC 6962 section 3.2: the SHA-256 of the log's public key.
    pub fn id(&self) -> [u8; 32] {
        sha256(&self.key.public_der())
    }

    /// One signed certificate timestamp. `tbs` is what the authority signs (`TBSCertificate`), without timestamps
    /// in it; `issuer` is the authority's public key in DER.
    pub fn timestamp(&self, tbs: &[u8], issuer: &[u8], at: Timestamp) -> Vec<u8> {
        let millis = u64::try_from(at.as_millisecond()).unwrap().to_be_bytes();
        let length = u32::try_from(tbs.len()).unwrap().to_be_bytes();
        let signed = [
            V1_CERTIFICATE_TIMESTAMP.as_slice(),
            &millis,
            &PRECERTIFICATE,
            &sha256(issuer),
            &length[1..],
            tbs,
            &NO_EXTENSIONS,
        ];
        let signature = vector(&self.key.sign(&signed.concat()));
        [V1.as_slice(), &self.id(), &millis, &NO_EXTENSIONS, &ECDSA_SHA256, &signature].concat()
    }
}

/// Timestamps as the certificate's extension holds them.
pub fn timestamp_list(timestamps: &[Vec<u8>]) -> Vec<u8> {
    let list: Vec<u8> = timestamps.iter().flat_map(|timestamp| vector(timestamp)).collect();
    yasna::construct_der(|writer| writer.write_bytes(&vector(&list)))
}

/// RFC 6962 section 3.2 and RFC 5246 section 7.4.1.4.1, in the order in which they are used above.
const V1_CERTIFICATE_TIMESTAMP: [u8; 2] = [0, 0];
const PRECERTIFICATE: [u8; 2] = [0, 1];
const NO_EXTENSIONS: [u8; 2] = [0, 0];
const V1: [u8; 1] = [0];
const ECDSA_SHA256: [u8; 2] = [4, 3];

/// Bytes behind their length, as TLS writes them (`opaque<0..2^16-1>`).
fn vector(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}
