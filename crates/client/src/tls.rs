//! TLS to a balancer in front of the nodes. Owns whom to trust (the authorities of this machine, or those of `SSL_CERT_FILE`
//! and `SSL_CERT_DIR`) and how a refusal is put to a person; opens no connection. Called by what speaks to a node.

use std::io;
use std::sync::Arc;

use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

/// Why there is nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// No authority was found.
    #[error(
        "TLS needs certificates of authorities, and none were found{0}: install ca-certificates, or name a file in SSL_CERT_FILE"
    )]
    Nobody(String),
    /// The library refuses its own defaults.
    #[error("can't set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Trusts the authorities that this machine trusts. Reads files: ask once.
pub fn native_config() -> Result<Arc<ClientConfig>, TrustError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some authorities of old have certificates that can't be read any more; the others serve.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        return Err(TrustError::Nobody(why));
    }
    // Named, since the library panics where it has a choice.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// What a person can do about an error of a connection, where TLS is the reason.
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => {
                "nobody that this machine trusts has signed the certificate; SSL_CERT_FILE names a file with other authorities"
                    .into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate is another host's: {certificate}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate has expired: {certificate}")
            }
            other => format!("the certificate is not accepted: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "it speaks no TLS".into(),
        other => format!("TLS failed: {other}"),
    })
}
