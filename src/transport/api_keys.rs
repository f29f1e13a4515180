//! The keys of the server API while the node runs: which key a call has, what it may do, and how often. Owns the hashes of the keys
//! and their rates; the settings own the form of the entries. Asked by the API before anything of a call is read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use metrics::counter;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio::time::Instant;

use crate::chat::TokenBucket;
use crate::config::{ADMIN_KEY_NAME, ApiKeyEntry, ApiKeySource, ApiScope, Auth, check_key};
use crate::metrics as names;

/// A file of a key has one line. More than this is another file, and is not read on.
const MAX_FILE_BYTES: u64 = 4 << 10;

/// The keys of the settings, replaced as a whole.
pub struct ApiKeys(RwLock<Arc<[Arc<ApiKey>]>>);

/// One key.
pub(super) struct ApiKey {
    pub(super) name: String,
    scopes: Vec<ApiScope>,
    /// With hashes, a comparison takes the same time for keys of any length.
    hash: [u8; 32],
    rate: Option<Mutex<TokenBucket>>,
}

/// Why a call goes no further.
pub(super) enum NoCall {
    /// There are no keys.
    Off,
    /// No key is the one that was given.
    UnknownKey,
    /// The key is over its rate for this time.
    TooMany(Arc<ApiKey>, Duration),
}

impl ApiKey {
    fn new(name: &str, scopes: Vec<ApiScope>, key: &SecretString, per_second: Option<u32>) -> Self {
        names::register_api_key(name);
        // Two seconds at once: the bucket may be overdrawn by one call.
        let bucket = |rate: u32| Mutex::new(TokenBucket::new(rate, 2 * rate - 1, Instant::now()));
        Self {
            name: name.into(),
            scopes,
            hash: hash(key.expose_secret().as_bytes()),
            rate: per_second.map(bucket),
        }
    }

    /// Counts a call with one of [`names::API_RESULTS`].
    pub(super) fn count(&self, result: &'static str) {
        counter!(names::API_CALLS, "key" => self.name.clone(), "result" => result).increment(1);
    }

    /// Whether the key may be used for this.
    pub(super) fn allows(&self, scope: ApiScope) -> bool {
        scope.is_among(&self.scopes)
    }

    fn take(&self) -> Result<(), Duration> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.lock().unwrap_or_else(PoisonError::into_inner).try_take(1, Instant::now())
    }
}

impl ApiKeys {
    /// Reads the keys in the settings and in the files that these name.
    ///
    /// # Errors
    /// A file can't be used, or two keys are the same. The text names the setting and the file, and shows no key.
    pub fn new(settings: &Auth) -> Result<Self, String> {
        // Also without this key: a node exports each metric from its start.
        names::register_api_key(ADMIN_KEY_NAME);
        Ok(Self(RwLock::new(read(settings)?.into())))
    }

    /// Takes over other settings, and reads the files again. Every rate begins anew. Waits for the disk.
    ///
    /// # Errors
    /// As [`ApiKeys::new`]: then every key stays.
    pub(super) fn reload(&self, settings: &Auth) -> Result<(), String> {
        let keys = read(settings)?.into();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Finds the key that was given, and counts a call of it. The time depends on the number of the keys only, not on the keys.
    pub(super) fn admit(&self, given: &str) -> Result<Arc<ApiKey>, NoCall> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if keys.is_empty() {
            return Err(NoCall::Off);
        }
        let given = hash(given.as_bytes());
        let mut found = u32::MAX;
        for (index, key) in (0..).zip(keys.iter()) {
            found.conditional_assign(&index, key.hash.ct_eq(&given));
        }
        let key = keys.get(found as usize).cloned().ok_or(NoCall::UnknownKey)?;
        match key.take() {
            Ok(()) => Ok(key),
            Err(wait) => Err(NoCall::TooMany(key, wait)),
        }
    }
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

fn read(settings: &Auth) -> Result<Vec<Arc<ApiKey>>, String> {
    let mut keys: Vec<Arc<ApiKey>> = Vec::new();
    if let Some(key) = &settings.admin_key {
        keys.push(Arc::new(ApiKey::new(ADMIN_KEY_NAME, vec![ApiScope::Admin], key, None)));
    }
    for (number, entry) in (1..).zip(&settings.api_keys) {
        let entry = ApiKeyEntry::parse(entry.expose_secret())
            .map_err(|error| format!("auth.api_keys: entry {number} {error}"))?;
        let key = match entry.source {
            ApiKeySource::Text(key) => key,
            ApiKeySource::File(path) => {
                key_in(&path).map_err(|why| format!("auth.api_keys: can't use {}: {why}", path.display()))?
            }
        };
        let key = ApiKey::new(&entry.name, entry.scopes, &key, entry.per_second);
        if let Some(same) = keys.iter().find(|other| other.hash == key.hash) {
            return Err(format!(
                "auth.api_keys: {} and {} have the same key: give each its own, created with `openssl rand -hex 32`",
                same.name, key.name
            ));
        }
        keys.push(Arc::new(key));
    }
    Ok(keys)
}

/// The key in a file, without the end of its line.
fn key_in(path: &Path) -> Result<SecretString, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let text = SecretString::from(text);
    let key = text.expose_secret();
    let key = key.strip_suffix('\n').unwrap_or(key);
    let key = key.strip_suffix('\r').unwrap_or(key);
    check_key(key).map_err(|what| format!("it {what}"))?;
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "Xw7c-2mKq9-Rz4x-Lp8v";
    const OTHER: &str = "Qe3n-8tVb1-Hj6y-Wd5s";

    fn settings(entries: &[String]) -> Auth {
        Auth { api_keys: entries.iter().map(|entry| entry.clone().into()).collect(), ..Auth::default() }
    }

    fn name(keys: &ApiKeys, given: &str) -> Option<String> {
        keys.admit(given).ok().map(|key| key.name.clone())
    }

    #[test]
    fn key_is_found_among_all() {
        let mut auth = settings(&[format!("one:read:{ONE}"), format!("other:tokens:{OTHER}")]);
        auth.admin_key = Some("8Jq2-mVd7-Rz4x-Kp9w".into());
        let keys = ApiKeys::new(&auth).unwrap();
        for (given, wanted) in [
            (ONE, Some("one")),
            (OTHER, Some("other")),
            ("8Jq2-mVd7-Rz4x-Kp9w", Some("admin_key")),
            ("", None),
            (&ONE[..ONE.len() - 1], None),
            (&format!("{ONE}x"), None),
        ] {
            assert_eq!(name(&keys, given).as_deref(), wanted, "{given}");
        }
        assert!(matches!(ApiKeys::new(&Auth::default()).unwrap().admit(""), Err(NoCall::Off)));
    }

    #[tokio::test(start_paused = true)]
    async fn key_has_its_rate_and_begins_anew_after_a_reload() {
        let auth = settings(&[format!("one:read:3/s:{ONE}"), format!("other:read:{OTHER}")]);
        let keys = ApiKeys::new(&auth).unwrap();
        assert!((0..6).all(|_| keys.admit(ONE).is_ok()));
        let Err(NoCall::TooMany(key, wait)) = keys.admit(ONE) else { panic!("a seventh call at once") };
        assert_eq!((key.name.as_str(), wait.as_millis()), ("one", 333));
        assert!((0..1_000).all(|_| keys.admit(OTHER).is_ok()));
        tokio::time::advance(Duration::from_millis(334)).await;
        assert!(keys.admit(ONE).is_ok() && keys.admit(ONE).is_err());
        keys.reload(&auth).unwrap();
        assert!(keys.admit(ONE).is_ok());
    }

    #[test]
    fn key_in_a_file_is_its_line() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("key");
        let auth = settings(&[format!("one:read:file={}", path.display())]);
        let said = ApiKeys::new(&auth).err().unwrap();
        assert!(said.starts_with("auth.api_keys: can't use ") && said.contains("No such file"), "{said}");
        for end in ["", "\n", "\r\n"] {
            std::fs::write(&path, format!("{ONE}{end}")).unwrap();
            assert_eq!(name(&ApiKeys::new(&auth).unwrap(), ONE).as_deref(), Some("one"), "{end:?}");
        }
        for bad in [format!("{ONE}\n\n"), format!("{ONE}\n{OTHER}\n"), String::new(), ONE.repeat(30)] {
            std::fs::write(&path, &bad).unwrap();
            let said = ApiKeys::new(&auth).err().unwrap();
            assert!(said.contains("it must have a key of 16 to 512") && !said.contains(ONE), "{said}");
        }
    }

    #[test]
    fn same_key_twice_is_refused_and_not_shown() {
        let mut auth = settings(&[format!("one:read:{ONE}"), format!("other:tokens:{ONE}")]);
        let said = ApiKeys::new(&auth).err().unwrap();
        assert!(said.contains("one and other have the same key") && !said.contains(ONE), "{said}");
        auth.api_keys.truncate(1);
        auth.admin_key = Some(ONE.into());
        let said = ApiKeys::new(&auth).err().unwrap();
        assert!(said.contains("admin_key and one have the same key"), "{said}");
    }
}
