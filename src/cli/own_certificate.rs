//! TLS to the node on this machine. Owns the check that the node shows the certificate of these settings: its name is that of the
//! public address, which nobody uses here, and its authority need not be known. Used by the commands if no URL is given.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};

use crate::config::Config;
use crate::tls_files::{provider, read_chain};

/// Why there is no TLS to the node on this machine.
#[derive(Debug, thiserror::Error)]
#[error("tls.cert_file: can't use {0}: {1}; or name the node with --url")]
pub(super) struct OwnCertificateError(String, String);

/// What the node showed.
#[derive(Debug, thiserror::Error)]
#[error("it is not the one in tls.cert_file of these settings; name the node with --url")]
struct OtherCertificate;

/// Trusts the certificate of these settings and no other. `None` if they have none.
pub(super) fn config(config: &Config) -> Result<Option<Arc<ClientConfig>>, OwnCertificateError> {
    let Some(file) = &config.tls.cert_file else { return Ok(None) };
    let failed = |why: String| OwnCertificateError(file.display().to_string(), why);
    let certificate = read_chain(file).map_err(failed)?.swap_remove(0);
    let provider = provider();
    let verifier = OwnCertificate { certificate, provider: provider.clone() };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Some(Arc::new(config.with_no_client_auth())))
}

#[derive(Debug)]
struct OwnCertificate {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OwnCertificate {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherError(Arc::new(OtherCertificate));
        Err(Error::InvalidCertificate(CertificateError::Other(other)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
