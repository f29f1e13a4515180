//! The keys in settings: secrets and public keys, as texts and in files. Owns reading them, with errors that name the setting and
//! the file. Called by the verifier at the start, and when the settings are read again.

use std::path::Path;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};

use super::key::Key;
use crate::config::Jwt;

/// What to do about a file without a public key.
const NO_KEY: &str = "it contains no public key (PEM, `BEGIN PUBLIC KEY`): `openssl pkey -in KEY -pubout` makes one of a private \
                      key, `openssl x509 -in CERTIFICATE -noout -pubkey` of a certificate";

/// Reads all keys: the secrets first, the present one before the one before it.
///
/// # Errors
/// The text names the setting and the file.
pub(super) fn read(settings: &Jwt) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    let least = settings.min_secret_bytes();
    for (setting, text, file) in [
        ("auth.jwt.hmac_secret", &settings.hmac_secret, &settings.hmac_secret_file),
        (
            "auth.jwt.hmac_previous_secret",
            &settings.hmac_previous_secret,
            &settings.hmac_previous_secret_file,
        ),
    ] {
        if let Some(secret) = secret(text.as_ref(), file.as_deref(), least)
            .map_err(|(path, why)| format!("{setting}_file: can't use {}: {why}", path.display()))?
        {
            keys.push(Key::secret(secret.expose_secret()).map_err(|why| format!("{setting}: {why}"))?);
        }
    }
    for path in &settings.public_keys {
        let key = public_key(path);
        keys.push(key.map_err(|why| format!("auth.jwt.public_keys: can't use {}: {why}", path.display()))?);
    }
    Ok(keys)
}

/// The bytes of a secret: those of a text, or those in a file without the end of its line.
fn secret<'a>(
    text: Option<&SecretString>,
    file: Option<&'a Path>,
    least: usize,
) -> Result<Option<SecretSlice<u8>>, (&'a Path, String)> {
    let Some(path) = file else {
        return Ok(text.map(|text| text.expose_secret().as_bytes().to_vec().into()));
    };
    let bytes = std::fs::read(path).map_err(|error| (path, error.to_string()))?;
    let bytes = SecretSlice::from(bytes);
    let mut secret = bytes.expose_secret();
    secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < least {
        return Err((path, format!("the secret must have at least {least} bytes")));
    }
    Ok(Some(secret.to_vec().into()))
}

fn public_key(path: &Path) -> Result<Key, String> {
    let der = SubjectPublicKeyInfoDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => NO_KEY.to_owned(),
        pem::Error::Io(error) => error.to_string(),
        error => format!("it is not valid PEM: {error}"),
    })?;
    Key::from_spki(&der).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::Algorithm;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn read_file(text: impl AsRef<[u8]>) -> Result<Vec<Key>, String> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, text).unwrap();
        read(&Jwt { public_keys: vec![path], ..Jwt::default() })
    }

    #[test]
    fn public_key_serves_only_its_own_type() {
        for (algorithm, serves) in [
            (&PKCS_ECDSA_P256_SHA256, Algorithm::ES256),
            (&PKCS_ECDSA_P384_SHA384, Algorithm::ES384),
            (&PKCS_ED25519, Algorithm::EdDSA),
        ] {
            let pair = KeyPair::generate_for(algorithm).unwrap();
            let keys = read_file(pair.public_key_pem()).unwrap();
            assert_eq!(keys[0].algorithms, [serves]);
        }
    }

    #[test]
    fn file_without_a_usable_public_key_is_named_with_the_reason() {
        let pair = KeyPair::generate().unwrap();
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let not_a_key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        // X25519, from RFC 8410.
        let other_curve = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VuAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                           -----END PUBLIC KEY-----\n";
        for (text, why) in [
            (pair.serialize_pem(), "openssl pkey"),
            (certificate.cert.pem(), "openssl x509"),
            (String::new(), "it contains no public key"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n".into(), "it is not valid PEM"),
            (not_a_key.into(), "it is no valid public key"),
            (other_curve.into(), "its type is none of"),
        ] {
            let said = read_file(&text).err().unwrap();
            assert!(said.starts_with("auth.jwt.public_keys: can't use ") && said.contains(why), "{said}");
        }
        let said = read(&Jwt { public_keys: vec!["/none".into()], ..Jwt::default() }).err().unwrap();
        assert!(said.contains("/none: No such file"), "{said}");
    }

    #[test]
    fn secret_in_a_file_is_its_line() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("secret");
        let settings = Jwt { hmac_secret_file: Some(path.clone()), ..Jwt::default() };
        let text = "a-secret-of-thirty-two-bytes-000";
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&path, format!("{text}{end}")).unwrap();
            let keys = read(&settings).unwrap();
            assert_eq!(keys[0].decoding.try_get_as_bytes().unwrap(), text.as_bytes());
        }
        std::fs::write(&path, "short\n").unwrap();
        let said = read(&settings).err().unwrap();
        assert!(
            said.starts_with("auth.jwt.hmac_secret_file: can't use ") && said.contains("32 bytes"),
            "{said}"
        );
    }
}
