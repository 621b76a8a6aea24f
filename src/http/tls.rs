//! The listener's certificate and key: checked before anybody connects, exchanged while they are in use.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode as _;

/// Why a certificate and key cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No `BEGIN CERTIFICATE`.
    #[error("the certificate file holds no PEM certificate")]
    NoCertificate,
    /// Not PEM.
    #[error("the certificate file cannot be read as PEM: {0}")]
    Certificate(String),
    /// No unencrypted `BEGIN PRIVATE KEY` or kin.
    #[error("the key file holds no unencrypted PEM private key")]
    NoKey,
    /// A kind of key that we cannot use.
    #[error("the private key cannot be used: {0}")]
    Key(String),
    /// Of two different pairs.
    #[error("the private key does not belong to the certificate (the first one in the file must be the server's)")]
    Mismatch,
    /// The first certificate cannot be parsed.
    #[error("the certificate cannot be used: {0}")]
    Unusable(String),
}

/// A certificate with its key, which belong together. Handshakes take the one that is there at that moment.
#[derive(Debug)]
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// From PEM: the chain with the server's certificate first, and its key.
    ///
    /// # Errors
    /// Whatever would make handshakes fail, as far as it can be seen here.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key).map_err(|error| TlsError::Key(error.to_string()))?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Ok(()) => Ok(Self(ArcSwap::from_pointee(pair))),
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch),
            Err(error) => Err(TlsError::Unusable(error.to_string())),
        }
    }

    /// Handshakes from now on take the other. Connections that are open keep theirs.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// When clients stop to take it, as far as that can be read.
    pub fn expires(&self) -> Option<Timestamp> {
        let pair = self.0.load();
        let leaf = x509_cert::Certificate::from_der(pair.end_entity_cert().ok()?).ok()?;
        let until = leaf.tbs_certificate.validity.not_after.to_unix_duration();
        Timestamp::from_second(i64::try_from(until.as_secs()).ok()?).ok()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1.
pub fn server_config(certificate: Arc<Certificate>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_matching_pair_is_taken() {
        let pair = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (one, other) = (pair(), pair());
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let error = |chain: &str, key: &str| Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        let good = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        // What rcgen writes where nothing else is asked for.
        assert_eq!(good.expires().unwrap().to_string(), "4096-01-01T00:00:00Z");
        assert!(matches!(error(&chain, &other.signing_key.serialize_pem()), TlsError::Mismatch));
        assert!(matches!(error("", &key), TlsError::NoCertificate));
        assert!(matches!(error(&key, &key), TlsError::NoCertificate));
        assert!(matches!(error(&chain.replace("MII", "***"), &key), TlsError::Certificate(_)));
        assert!(matches!(error(&chain, ""), TlsError::NoKey));
        assert!(matches!(error(&chain, &chain), TlsError::NoKey));
        let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert!(matches!(error(&chain, nonsense), TlsError::Key(_)));
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(error(nonsense, &key), TlsError::Unusable(_)));
    }
}
