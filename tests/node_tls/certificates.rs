//! The certificates of the tests and their folder. Owns the authority; every certificate is for `localhost`.

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::support::authority::Authority;
use crate::support::cluster::{Cluster, Kind};
use chatnode::config::Config;

/// A folder with `authority.pem`, and with `node.pem`, which holds a certificate and its key.
pub struct Certificates {
    pub folder: TempDir,
    authority: Authority,
}

impl Certificates {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let authority = Authority::create(folder.path(), "authority");
        authority.sign(folder.path(), "node", "localhost", 2099);
        Self { folder, authority }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.pem"))
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Makes a certificate of the authority with another key.
    pub fn sign(&self, name: &str) {
        self.authority.sign(self.folder.path(), name, "localhost", 2099);
    }

    /// The new file takes the place of `node.pem`, as tools that renew certificates do it.
    pub fn replace_node(&self, name: &str) {
        std::fs::rename(self.path(name), self.path("node")).unwrap();
    }

    /// The first certificate in a file.
    pub fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }

    /// The settings of a node that shows `node.pem`, with plain HTTP for operators.
    pub fn settings(&self, config: &mut Config) {
        config.tls.cert_file = Some(self.path("node"));
        config.tls.key_file = Some(self.path("node"));
        config.internal.port = Some(0);
    }

    /// Nodes with these settings.
    pub async fn cluster(&self, nodes: usize, tune: impl FnOnce(&mut Config)) -> Cluster {
        Cluster::start_with(Kind::Embedded, nodes, |config| {
            self.settings(config);
            tune(config);
        })
        .await
    }

    /// A client that trusts the authority.
    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate("authority")).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }

    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.client())
    }
}

/// The name in the certificates.
pub fn localhost() -> ServerName<'static> {
    ServerName::try_from("localhost").unwrap()
}
