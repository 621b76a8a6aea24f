//! The listener's certificate and key, checked before anybody connects.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

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

/// TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1, from PEM: the chain with the server's certificate first,
/// and its key.
pub fn server_config(chain: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| TlsError::Key(error.to_string()))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) => {}
        Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsError::Mismatch),
        Err(error) => return Err(TlsError::Unusable(error.to_string())),
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_matching_pair_is_taken() {
        let pair = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (one, other) = (pair(), pair());
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        let error = |chain: &str, key: &str| server_config(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(server_config(chain.as_bytes(), key.as_bytes()).is_ok());
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
