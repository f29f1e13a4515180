//! TLS to Redis. Owns the certificates that a node trusts and shows, and says what a refused certificate means for people; when their
//! files have changed, `tls_files` knows. Called by the dialer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use chatnode_client::tls::{native_roots, roots_from_file};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig};

use crate::config::RedisTls;
use crate::tls_files::{Change, Identity, Renewed, provider};

/// What is wrong with a server that does not answer as one with TLS.
const NO_TLS: &str = "the server does not speak TLS there: use its TLS port, or redis:// without TLS";

/// TLS for all connections of a node to its store.
pub(super) struct Tls {
    settings: RedisTls,
    /// How long a handshake may take.
    timeout: Duration,
    config: Renewed<ClientConfig>,
}

impl Tls {
    /// Reads the files. A handshake may take as long as `timeout`.
    ///
    /// # Errors
    /// A file can't be used. The text names the setting and the file.
    pub(super) fn new(settings: &RedisTls, timeout: Duration) -> Result<Self, String> {
        let files = [&settings.ca_file, &settings.cert_file, &settings.key_file];
        let files = files.into_iter().flatten().cloned().collect();
        let read = settings.clone();
        let config = Renewed::new(files, move || load(&read))?;
        Ok(Self { settings: settings.clone(), timeout, config })
    }

    /// Starts TLS on a stream to this host.
    ///
    /// # Errors
    /// The text says what to do.
    pub(super) async fn start(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let handshake = TlsConnector::from(self.config.current()).connect(name, stream);
        match tokio::time::timeout(self.timeout, handshake).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(match self.explain(&error) {
                Some(text) => io::Error::new(error.kind(), text),
                None => error,
            }),
            // A Redis without TLS waits for the end of a line.
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, NO_TLS)),
        }
    }

    /// Reads the files again if they have changed. If they can't be used, those before stay: a certificate may be renewed in
    /// several steps.
    pub(super) async fn refresh(self: &Arc<Self>) {
        let tls = self.clone();
        let refresh = tokio::task::spawn_blocking(move || match tls.config.refresh() {
            Change::None => {}
            Change::Renewed => tracing::info!("read the changed TLS files for Redis"),
            Change::Broken(error) => tracing::warn!(error, "can't use the changed TLS files for Redis"),
        });
        // An error means that the task has panicked or the node ends: the files before stay.
        let _ = refresh.await;
    }

    /// What went wrong and what to do, if TLS is the reason of this error.
    pub(super) fn explain(&self, error: &(dyn std::error::Error + 'static)) -> Option<String> {
        let authority = match &self.settings.ca_file {
            Some(file) => format!("an authority in {} (redis.tls.ca_file)", file.display()),
            None => "an authority that this machine trusts: set redis.tls.ca_file".into(),
        };
        Some(match find(error)? {
            rustls::Error::InvalidCertificate(certificate) => match certificate {
                CertificateError::UnknownIssuer => {
                    format!("the certificate of Redis is not signed by {authority}")
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!(
                        "the certificate of Redis is for another name: {certificate}; set redis.tls.server_name"
                    )
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    format!("the certificate of Redis has expired, renew it: {certificate}")
                }
                // As OpenSSL makes it by default.
                other if other.to_string().contains("CaUsedAsEndEntity") => {
                    "Redis shows the certificate of an authority (CA:TRUE): sign a certificate for Redis with it".into()
                }
                other => format!("the certificate of Redis is not accepted: {other}"),
            },
            rustls::Error::InvalidMessage(_) => NO_TLS.into(),
            rustls::Error::AlertReceived(alert) => match (alert, &self.settings.cert_file) {
                (AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure, None) => {
                    "Redis asks for a client certificate: set redis.tls.cert_file and redis.tls.key_file"
                        .into()
                }
                (alert, Some(file)) => {
                    format!("Redis refuses the client certificate {}: {alert:?}", file.display())
                }
                (alert, None) => format!("Redis ended TLS: {alert:?}"),
            },
            other => format!("TLS to Redis failed: {other}"),
        })
    }
}

/// The error of TLS among the causes of an error.
fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // redis-rs shares an error.
    if let Some(shared) = error.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        return find(shared.as_ref());
    }
    // The source of an `io::Error` is the source of what it contains.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match inner {
        Some(inner) => find(inner),
        None => find(error.source()?),
    }
}

fn load(settings: &RedisTls) -> Result<ClientConfig, String> {
    let roots = match &settings.ca_file {
        Some(file) => roots_from_file(file).map_err(|error| format!("redis.tls.ca_file: {error}"))?,
        None => native_roots().map_err(|error| format!("{error}, or set redis.tls.ca_file"))?,
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => {
            let Identity { chain, key } = Identity::read("redis.tls", cert, key)?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("redis.tls.cert_file: {error}"))?
        }
        _ => config.with_no_client_auth(),
    };
    Ok(config)
}
