//! A certificate authority that no machine trusts. Owns its key; writes certificates as PEM files into a folder. Used in tests of
//! TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// An authority. Its certificate is `<name>.pem`.
pub struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// A certificate of an authority, and its key in the same file, as if it were a server's.
    pub fn create_self_signed(folder: &Path, name: &str) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let both = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        std::fs::write(folder.join(format!("{name}.pem")), both).unwrap();
    }

    pub fn create(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    /// Signs a certificate for a host, valid until the end of a year. Certificate and key are in one file, `<name>.pem`.
    pub fn sign(&self, folder: &Path, name: &str, host: &str, until: i32) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let both = certificate.pem() + &key.serialize_pem();
        std::fs::write(folder.join(format!("{name}.pem")), both).unwrap();
    }
}
