//! The document that says whom verifiers trust (`trusted_root.json`), in parts that a test can take away.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::authority::{CertificateAuthority, ORGANISATION};
use super::ct_log::CtLog;
use super::key::Key;
use super::log::TransparencyLog;
use super::moment::Window;
use super::timestamp::TimestampAuthority;

/// Whom to trust, and when. Made from a [`Sigstore`](super::Sigstore), which it does not change.
#[derive(Clone, Debug, Default)]
pub struct TrustedRoot {
    pub certificate_authorities: Vec<Authority>,
    pub timestamp_authorities: Vec<Authority>,
    pub transparency_logs: Vec<Log>,
    pub certificate_logs: Vec<Log>,
}

/// An authority's certificates, in DER, the root last.
#[derive(Clone, Debug)]
pub struct Authority {
    pub uri: String,
    pub chain: Vec<Vec<u8>>,
    pub valid_for: Window,
}

/// A log's public key.
#[derive(Clone, Debug)]
pub struct Log {
    pub url: String,
    pub key: Vec<u8>,
    pub details: &'static str,
    pub id: Vec<u8>,
    pub valid_for: Window,
}

impl TrustedRoot {
    /// Trusts both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.certificate_authorities.extend(other.certificate_authorities);
        self.timestamp_authorities.extend(other.timestamp_authorities);
        self.transparency_logs.extend(other.transparency_logs);
        self.certificate_logs.extend(other.certificate_logs);
        self
    }

    #[must_use]
    pub fn without_certificate_authorities(mut self) -> Self {
        self.certificate_authorities.clear();
        self
    }

    #[must_use]
    pub fn without_timestamp_authorities(mut self) -> Self {
        self.timestamp_authorities.clear();
        self
    }

    #[must_use]
    pub fn without_transparency_logs(mut self) -> Self {
        self.transparency_logs.clear();
        self
    }

    /// As for a private authority that logs no certificates.
    #[must_use]
    pub fn without_certificate_logs(mut self) -> Self {
        self.certificate_logs.clear();
        self
    }

    /// As GitHub's own: no logs at all, timestamps instead.
    #[must_use]
    pub fn timestamps_only(self) -> Self {
        self.without_transparency_logs().without_certificate_logs()
    }

    #[must_use]
    pub fn certificate_authority_valid(mut self, window: Window) -> Self {
        self.certificate_authorities.iter_mut().for_each(|authority| authority.valid_for = window);
        self
    }

    #[must_use]
    pub fn timestamp_authority_valid(mut self, window: Window) -> Self {
        self.timestamp_authorities.iter_mut().for_each(|authority| authority.valid_for = window);
        self
    }

    #[must_use]
    pub fn transparency_logs_valid(mut self, window: Window) -> Self {
        self.transparency_logs.iter_mut().for_each(|log| log.valid_for = window);
        self
    }

    #[must_use]
    pub fn certificate_log_valid(mut self, window: Window) -> Self {
        self.certificate_logs.iter_mut().for_each(|log| log.valid_for = window);
        self
    }

    /// The document.
    pub fn json(&self) -> String {
        let all = |authorities: &[Authority]| authorities.iter().map(Authority::json).collect::<Vec<_>>();
        let logs = |logs: &[Log]| logs.iter().map(Log::json).collect::<Vec<_>>();
        let root = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": logs(&self.transparency_logs),
            "certificateAuthorities": all(&self.certificate_authorities),
            "ctlogs": logs(&self.certificate_logs),
            "timestampAuthorities": all(&self.timestamp_authorities),
        });
        root.to_string()
    }
}

impl Authority {
    pub fn certificates(authority: &CertificateAuthority) -> Self {
        let uri = "https://fulcio.sigstore.test".to_owned();
        Self { uri, chain: authority.chain(), valid_for: Window::ALWAYS }
    }

    pub fn timestamps(authority: &TimestampAuthority) -> Self {
        let uri = "https://tsa.sigstore.test".to_owned();
        Self { uri, chain: authority.chain(), valid_for: Window::ALWAYS }
    }

    fn json(&self) -> Value {
        let certificates: Vec<_> = self.chain.iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) })).collect();
        json!({
            "subject": { "organization": ORGANISATION, "commonName": "root" },
            "uri": self.uri,
            "certChain": { "certificates": certificates },
            "validFor": self.valid_for.json(),
        })
    }
}

impl Log {
    pub fn transparency(log: &TransparencyLog) -> Self {
        Self::of(log.url(), log.key(), &log.id())
    }

    pub fn certificates(log: &CtLog) -> Self {
        Self::of("https://ct.sigstore.test".to_owned(), log.key(), &log.id())
    }

    fn of(url: String, key: &Key, id: &[u8]) -> Self {
        Self { url, key: key.public_der(), details: key.details(), id: id.to_vec(), valid_for: Window::ALWAYS }
    }

    fn json(&self) -> Value {
        json!({
            "baseUrl": self.url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": STANDARD.encode(&self.key),
                "keyDetails": self.details,
                "validFor": self.valid_for.json(),
            },
            "logId": { "keyId": STANDARD.encode(&self.id) },
        })
    }
}
