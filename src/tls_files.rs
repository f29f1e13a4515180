//! Certificates and keys in PEM files. Owns reading them, the errors that name the setting and the file, and the files that changed
//! since: a renewed certificate needs no restart. What TLS is used for is the matter of those who read the files: the listener for
//! clients and the connections to the store.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};

/// The cryptography of every connection. Named everywhere, since the library panics where it has a choice.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A certificate with its chain, and its private key.
pub(crate) struct Identity {
    /// The certificate first.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both files, and checks that they belong together. `section` is that of the settings, such as `tls`.
    ///
    /// # Errors
    /// The text names the setting and the file.
    pub(crate) fn read(section: &str, cert: &Path, key: &Path) -> Result<Self, String> {
        let unusable = |setting: &str, path: &Path, why: &dyn std::fmt::Display| {
            format!("{section}.{setting}: can't use {}: {why}", path.display())
        };
        let chain = read_chain(cert).map_err(|why| unusable("cert_file", cert, &why))?;
        let key_file = key;
        let key = read_key(key_file).map_err(|why| unusable("key_file", key_file, &why))?;
        match CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider()) {
            Ok(_) => Ok(Self { chain, key }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                let why = format!("it is not the key of the certificate in {}", cert.display());
                Err(unusable("key_file", key_file, &why))
            }
            Err(rustls::Error::InvalidCertificate(why)) => Err(unusable("cert_file", cert, &why)),
            Err(error) => Err(unusable("key_file", key_file, &error)),
        }
    }
}

/// The certificates in a file, the server's own first.
pub(crate) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match chain {
        Ok(chain) if chain.is_empty() => Err("it contains no certificate (PEM)".into()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(explain(error)),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let is_encrypted = std::fs::read_to_string(path).is_ok_and(|text| text.contains("ENCRYPTED"));
            if is_encrypted {
                "the key is encrypted, and nobody can enter its passphrase: store it without one".into()
            } else {
                "it contains no private key (PEM)".into()
            }
        }
        error => explain(error),
    })
}

fn explain(error: pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        error => format!("it is not valid PEM: {error}"),
    }
}

/// A file as it was: time of its last change, size and number. `None` if it could not be looked at.
type State = Option<(SystemTime, u64, u64)>;

/// What was made of some files, and is made again when they have changed.
pub(crate) struct Renewed<T> {
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    loaded: Mutex<Loaded<T>>,
}

struct Loaded<T> {
    value: Arc<T>,
    /// The files before they were read.
    states: Vec<State>,
    broken: Option<Broken>,
}

/// Files that can't be used.
struct Broken {
    states: Vec<State>,
    was_reported: bool,
}

/// What has become of the files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing, or nothing new.
    None,
    /// They were read.
    Renewed,
    /// They can't be used, and those before stay. Reported once for each change.
    Broken(String),
}

impl<T> Renewed<T> {
    /// Loads it for the first time.
    ///
    /// # Errors
    /// The text of `load`.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let states = states(&files);
        let value = Arc::new(load()?);
        Ok(Self { files, load: Box::new(load), loaded: Mutex::new(Loaded { value, states, broken: None }) })
    }

    fn lock(&self) -> MutexGuard<'_, Loaded<T>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was loaded last.
    pub(crate) fn current(&self) -> Arc<T> {
        self.lock().value.clone()
    }

    /// Loads it again if the files have changed. Reads files, so it must not run on a thread of the runtime. A certificate may be
    /// renewed in several steps: files that can't be used are reported when they are found a second time.
    pub(crate) fn refresh(&self) -> Change {
        let states = states(&self.files);
        {
            let mut loaded = self.lock();
            if loaded.states == states {
                loaded.broken = None;
                return Change::None;
            }
            let known = loaded.broken.as_ref().filter(|broken| broken.states == states);
            if known.is_some_and(|broken| broken.was_reported) {
                return Change::None;
            }
        }
        let value = (self.load)();
        let mut loaded = self.lock();
        match value {
            Ok(value) => {
                *loaded = Loaded { value: Arc::new(value), states, broken: None };
                Change::Renewed
            }
            Err(error) => {
                let was_reported = loaded.broken.as_ref().is_some_and(|broken| broken.states == states);
                loaded.broken = Some(Broken { states, was_reported });
                if was_reported { Change::Broken(error) } else { Change::None }
            }
        }
    }
}

fn states(files: &[PathBuf]) -> Vec<State> {
    let state = |data: std::fs::Metadata| Ok::<_, io::Error>((data.modified()?, data.len(), data.ino()));
    files.iter().map(|file| std::fs::metadata(file).and_then(state).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "1").unwrap();
        (folder, file)
    }

    /// As a tool that renews certificates does: the new file takes the place of the old one.
    fn replace(file: &Path, text: &str) {
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    #[test]
    fn broken_file_keeps_the_old_value_and_is_reported_once() {
        let (_folder, file) = files();
        let path = file.clone();
        let load = move || {
            let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
            text.parse::<u32>().map_err(|error| error.to_string())
        };
        let renewed = Renewed::new(vec![file.clone()], load).unwrap();
        assert_eq!((*renewed.current(), renewed.refresh()), (1, Change::None));
        replace(&file, "2");
        assert_eq!((renewed.refresh(), *renewed.current()), (Change::Renewed, 2));
        replace(&file, "x");
        assert_eq!(renewed.refresh(), Change::None, "the second step of a renewal may follow");
        assert!(matches!(renewed.refresh(), Change::Broken(_)));
        assert_eq!((renewed.refresh(), *renewed.current()), (Change::None, 2));
        replace(&file, "3");
        assert_eq!((renewed.refresh(), *renewed.current()), (Change::Renewed, 3));
    }

    #[test]
    fn each_unusable_file_is_named_with_the_reason() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let (one, two) = (rcgen::generate_simple_self_signed, rcgen::KeyPair::generate().unwrap());
        let one = one(["localhost".to_owned()]).unwrap();
        std::fs::write(path("cert"), one.cert.pem()).unwrap();
        std::fs::write(path("key"), one.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("other"), two.serialize_pem()).unwrap();
        std::fs::write(path("empty"), "").unwrap();
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        std::fs::write(path("encrypted"), encrypted).unwrap();
        std::fs::write(path("cut"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
        let read = |cert: &str, key: &str| Identity::read("tls", &path(cert), &path(key)).map(|_| ());
        assert_eq!(read("cert", "key"), Ok(()));
        for (cert, key, setting, why) in [
            ("cert", "other", "tls.key_file: can't use", "it is not the key of the certificate in"),
            ("cert", "none", "tls.key_file: can't use", "No such file"),
            ("cert", "empty", "tls.key_file: can't use", "it contains no private key"),
            ("cert", "cert", "tls.key_file: can't use", "it contains no private key"),
            ("cert", "encrypted", "tls.key_file: can't use", "the key is encrypted"),
            ("none", "key", "tls.cert_file: can't use", "No such file"),
            ("key", "key", "tls.cert_file: can't use", "it contains no certificate"),
            ("cut", "key", "tls.cert_file: can't use", "it is not valid PEM"),
        ] {
            let said = read(cert, key).unwrap_err();
            assert!(said.starts_with(setting) && said.contains(why), "{cert} {key}: {said}");
        }
    }
}
