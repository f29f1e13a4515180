//! TLS to Redis. Owns the certificates that a node trusts and shows, reads their files again after they have changed, and says
//! what a refused certificate means for people. Called by the dialer.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chatnode_client::tls::{native_roots, roots_from_file};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig};

use crate::config::RedisTls;

/// What is wrong with a server that does not answer as one with TLS.
const NO_TLS: &str = "the server does not speak TLS there: use its TLS port, or redis:// without TLS";

/// TLS for all connections of a node to its store.
pub(super) struct Tls {
    settings: RedisTls,
    /// How long a handshake may take.
    timeout: Duration,
    loaded: Mutex<Loaded>,
}

/// What was read, and the state of the files before that.
struct Loaded {
    config: Arc<ClientConfig>,
    files: FileTimes,
}

/// Time of the last change and size of each file that is set.
type FileTimes = Vec<Option<(SystemTime, u64)>>;

impl Tls {
    /// Reads the files. A handshake may take as long as `timeout`.
    ///
    /// # Errors
    /// A file can't be used. The text names the setting and the file.
    pub(super) fn new(settings: &RedisTls, timeout: Duration) -> Result<Self, String> {
        let files = file_times(settings);
        let loaded = Loaded { config: load(settings)?, files };
        Ok(Self { settings: settings.clone(), timeout, loaded: Mutex::new(loaded) })
    }

    /// Starts TLS on a stream to this host.
    ///
    /// # Errors
    /// The text says what to do.
    pub(super) async fn start(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).config.clone();
        let handshake = TlsConnector::from(config).connect(name, stream);
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
        let refresh = tokio::task::spawn_blocking(move || {
            let files = file_times(&tls.settings);
            if tls.loaded.lock().unwrap_or_else(PoisonError::into_inner).files == files {
                return;
            }
            match load(&tls.settings) {
                Ok(config) => {
                    *tls.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Loaded { config, files };
                    tracing::info!("read the changed TLS files for Redis");
                }
                Err(error) => tracing::warn!(error, "can't use the changed TLS files for Redis"),
            }
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

fn load(settings: &RedisTls) -> Result<Arc<ClientConfig>, String> {
    let roots = match &settings.ca_file {
        Some(file) => roots_from_file(file).map_err(|error| format!("redis.tls.ca_file: {error}"))?,
        None => native_roots().map_err(|error| format!("{error}, or set redis.tls.ca_file"))?,
    };
    // Named, since the library panics where it has a choice.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => {
            let unusable = |setting: &str, path: &Path, why: &dyn std::fmt::Display| {
                format!("{setting}: can't use {}: {why}", path.display())
            };
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
            let chain = chain.map_err(|error| unusable("redis.tls.cert_file", cert, &error))?;
            let private = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| unusable("redis.tls.key_file", key, &error))?;
            let config = config.with_client_auth_cert(chain, private);
            config.map_err(|error| unusable("redis.tls.cert_file", cert, &error))?
        }
        _ => config.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn file_times(settings: &RedisTls) -> FileTimes {
    let files = [&settings.ca_file, &settings.cert_file, &settings.key_file];
    let time = |file: &std::path::PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    files.into_iter().flatten().map(time).collect()
}
