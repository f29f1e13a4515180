//! Secrets in output. Owns the form of a key and of a URL with the secret part hidden; keeps no secret itself. Called
//! where settings are serialised or printed.

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

/// Printed in place of a secret.
const HIDDEN: &str = "***";

/// Serialises whether there is a secret, not the secret.
#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
pub(super) fn hidden<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(|_| HIDDEN).serialize(to)
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
