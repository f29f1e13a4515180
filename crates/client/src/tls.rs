//! TLS to a load balancer in front of the nodes. Owns which root certificates are trusted, and what a refused certificate
//! means for people; opens no connection. Called by everything that connects to a node.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_native_certs::CertificateResult;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// This machine has no root certificates.
    #[error(
        "TLS needs root certificates, and there are none{0}: install ca-certificates, or set SSL_CERT_FILE to a file with some"
    )]
    NoRoots(String),
    /// The file contains no root certificates.
    #[error("there are no root certificates in {0}{1}")]
    NoRootsIn(PathBuf, String),
    /// The TLS library refuses its own defaults.
    #[error("can't set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Trusts the root certificates of this machine, or those in `SSL_CERT_FILE` and `SSL_CERT_DIR`. Reads files: call it once.
///
/// # Errors
/// There are no root certificates.
pub fn native_config() -> Result<Arc<ClientConfig>, TrustError> {
    config(native_roots()?)
}

/// The root certificates of this machine, as in [`native_config`]. Reads files.
///
/// # Errors
/// There are no root certificates.
pub fn native_roots() -> Result<RootCertStore, TrustError> {
    roots(rustls_native_certs::load_native_certs(), TrustError::NoRoots)
}

/// Trusts the root certificates in this file (PEM), and no others.
///
/// # Errors
/// The file can't be read, or it contains no root certificates.
pub fn config_from_file(file: &Path) -> Result<Arc<ClientConfig>, TrustError> {
    config(roots_from_file(file)?)
}

/// The root certificates in this file (PEM).
///
/// # Errors
/// The file can't be read, or it contains no root certificates.
pub fn roots_from_file(file: &Path) -> Result<RootCertStore, TrustError> {
    let found = rustls_native_certs::load_certs_from_paths(Some(file), None);
    roots(found, |why| TrustError::NoRootsIn(file.to_owned(), why))
}

fn roots(
    found: CertificateResult,
    none: impl FnOnce(String) -> TrustError,
) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    // Some old authorities have certificates that can't be read any more; the others serve.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(none(found.errors.first().map_or_else(String::new, |error| format!(" ({error})"))));
    }
    Ok(roots)
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, TrustError> {
    // Named, since the library panics where it has a choice.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// What went wrong and what to do, if TLS is the reason of this error.
pub fn explain(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => {
                "the certificate is not signed by an authority that this machine trusts; set SSL_CERT_FILE to a file with other root certificates".into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("the certificate is for another host: {certificate}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                format!("the certificate has expired: {certificate}")
            }
            // Only the debug form of the library has the text.
            CertificateError::Other(why) => format!("the certificate is not accepted: {}", why.0),
            other => format!("the certificate is not accepted: {other}"),
        },
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS".into(),
        other => format!("TLS failed: {other}"),
    })
}
