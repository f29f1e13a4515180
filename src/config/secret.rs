//! Secrets in output. Owns the form of a key, of an entry with a key and of a URL with the secret part hidden; keeps no secret itself.
//! Called where settings are serialised or printed.

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use super::api_keys::{ApiKeyEntry, ApiKeySource, ApiScope};

/// Printed in place of a secret.
const HIDDEN: &str = "***";

/// Serialises whether there is a secret, not the secret.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(super) fn hidden<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| HIDDEN).serialize(to)
}

/// Serialises keys of the server API without the keys themselves.
pub(super) fn hidden_keys<S: Serializer>(entries: &[SecretString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(entries.iter().map(|entry| without_key(entry.expose_secret())))
}

/// An entry of `auth.api_keys` without its key. What is no such entry is hidden completely: the key may be anywhere in it.
fn without_key(entry: &str) -> String {
    let Ok(ApiKeyEntry { name, scopes, per_second, source }) = ApiKeyEntry::parse(entry) else {
        return HIDDEN.into();
    };
    let scopes: Vec<&str> = scopes.into_iter().map(ApiScope::as_str).collect();
    let rate = per_second.map_or_else(String::new, |rate| format!("{rate}/s:"));
    let key = match source {
        ApiKeySource::Text(_) => HIDDEN.into(),
        ApiKeySource::File(path) => format!("file={}", path.display()),
    };
    format!("{name}:{}:{rate}{key}", scopes.join("+"))
}

/// Serialises a URL with [`redacted`] credentials.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(super) fn hidden_url<S: Serializer>(url: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(|url| redacted(url.expose_secret())).serialize(to)
}

/// A URL without the parts that may be secret: everything between the scheme and the last `@` (a password may contain a
/// stray `@`, and one text may contain several URLs), and the query (where Unix sockets have their password). A text
/// without a scheme is hidden completely.
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return HIDDEN.into();
    };
    let rest = match rest.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => rest.into(),
    };
    match rest.split_once('?') {
        Some((address, _)) => format!("{scheme}://{address}?{HIDDEN}"),
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_shown_without_its_key() {
        const KEY: &str = "Xw7c-2mKq9-Rz4x-Lp8v";
        for (entry, shown) in [
            (format!("shop : tokens + read : 20/s : {KEY}"), "shop:tokens+read:20/s:***"),
            (format!("shop:tokens:{KEY}"), "shop:tokens:***"),
            ("shop:tokens:file=/run/secrets/shop".into(), "shop:tokens:file=/run/secrets/shop"),
            (format!("shop:{KEY}:tokens"), "***"),
            (KEY.into(), "***"),
        ] {
            assert_eq!(without_key(&entry), shown);
        }
    }

    #[test]
    fn url_is_shown_without_its_credentials() {
        for (url, shown) in [
            ("redis://10.0.0.7:6379/1", "redis://10.0.0.7:6379/1"),
            ("redis://user:pw@host", "redis://***@host"),
            ("rediss://:p@ss@word@host:6380", "rediss://***@host:6380"),
            ("redis://u:pw@a:1,b:2/0", "redis://***@a:1,b:2/0"),
            ("redis://:a@one,redis://:b@two", "redis://***@two"),
            ("redis+unix:///run/r.sock?db=1&pass=pw", "redis+unix:///run/r.sock?***"),
            ("redis://:p?w@host", "redis://***@host"),
            ("just-a-password", "***"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
