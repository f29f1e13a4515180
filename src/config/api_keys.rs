//! The keys of the server API beside `auth.admin_key`: the entries of `auth.api_keys`. Owns their form, and the rules for a key; reads
//! no file and compares no keys. Used by the validation, and by the transport, which checks the key of each call.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::findings::Findings;

/// The least length of a key: nobody can guess 16 random characters over a network.
pub(super) const MIN_KEY_CHARACTERS: usize = 16;

/// The most characters of a key, which is sent in the head of a request.
const MAX_KEY_CHARACTERS: usize = 512;

/// The most keys: each call is compared with all of them, and each has series of metrics.
const MAX_KEYS: usize = 64;

/// The most characters of a name.
const MAX_NAME_CHARACTERS: usize = 32;

/// The name of `auth.admin_key` in log lines and metrics.
pub const ADMIN_KEY_NAME: &str = "admin_key";

/// The most calls per second that an entry can allow.
const MAX_PER_SECOND: u32 = 100_000;

/// What an entry must be. An entry may hold a key anywhere, if its parts are in the wrong order: so no error shows a part of it.
const FORM: &str = "must be NAME:SCOPES:KEY, such as shop:tokens+publish:KEY, or NAME:SCOPES:RATE/s:KEY with a limit such as \
                    20/s; in place of KEY, file=PATH names the file that contains it";

/// What a key of the server API may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiScope {
    /// To send and edit messages and to react, in the name of any user.
    Publish,
    /// To read rooms, their members and their messages.
    Read,
    /// To make and change rooms, to act on their users, to take messages back, and to disconnect and ban users.
    Moderate,
    /// To issue and revoke tokens.
    Tokens,
    /// Everything that `auth.admin_key` may be used for.
    Admin,
}

impl ApiScope {
    /// All scopes.
    pub const ALL: [Self; 5] = [Self::Publish, Self::Read, Self::Moderate, Self::Tokens, Self::Admin];

    /// Its name in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Moderate => "moderate",
            Self::Tokens => "tokens",
            Self::Admin => "admin",
        }
    }

    /// Whether a key with these scopes may be used for this.
    pub fn is_among(self, scopes: &[Self]) -> bool {
        scopes.contains(&self) || scopes.contains(&Self::Admin)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// Where a key is.
#[derive(Debug, Clone)]
pub enum ApiKeySource {
    /// In the settings.
    Text(SecretString),
    /// In this file.
    File(PathBuf),
}

/// An entry of `auth.api_keys`.
#[derive(Debug, Clone)]
pub struct ApiKeyEntry {
    /// The name of the key in log lines and metrics: 1 to 32 ASCII letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What the key may be used for, at least one scope.
    pub scopes: Vec<ApiScope>,
    /// How many calls per second it may make at one node; none without a limit.
    pub per_second: Option<u32>,
    /// The key.
    pub source: ApiKeySource,
}

impl ApiKeyEntry {
    /// Reads an entry.
    ///
    /// # Errors
    /// The text says what the entry must be, as in "entry 1 must …", and shows no part of it.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let mut parts = entry.splitn(3, ':').map(str::trim);
        let (Some(name), Some(scopes), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(FORM.into());
        };
        check_name(name)?;
        let scopes: Option<Vec<ApiScope>> =
            scopes.split('+').map(|scope| ApiScope::parse(scope.trim())).collect();
        let scopes = scopes.ok_or_else(|| {
            let known = ApiScope::ALL.map(ApiScope::as_str).join(", ");
            format!("has an unknown scope in its second part, where + separates the scopes: they are {known}")
        })?;
        let (rate, key) = match rest.split_once(':') {
            Some((rate, key)) if rate.trim_end().ends_with("/s") && !rate.starts_with("file=") => {
                (Some(rate.trim_end()), key.trim())
            }
            _ => (None, rest),
        };
        let per_second = rate.map(per_second).transpose()?;
        let source = match key.strip_prefix("file=") {
            Some("") => return Err("must name a file after file=".into()),
            Some(path) => ApiKeySource::File(path.into()),
            None => {
                check_key(key)?;
                ApiKeySource::Text(key.into())
            }
        };
        Ok(Self { name: name.into(), scopes, per_second, source })
    }
}

/// Checks a key itself.
///
/// # Errors
/// The text says what the key must be, and does not show it.
pub fn check_key(key: &str) -> Result<(), String> {
    // What RFC 6750 allows after `Bearer`. It has no comma and no colon, which separate entries and their parts.
    let letters = key.trim_end_matches('=');
    let is_plain = letters.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(c));
    let is_long = (MIN_KEY_CHARACTERS..=MAX_KEY_CHARACTERS).contains(&key.len());
    if is_plain && is_long {
        return Ok(());
    }
    Err(format!(
        "must have a key of {MIN_KEY_CHARACTERS} to {MAX_KEY_CHARACTERS} characters, which are letters, digits and -._~+/ with = at \
         the end only: create it with `openssl rand -hex 32`"
    ))
}

fn check_name(name: &str) -> Result<(), String> {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !is_plain || !(1..=MAX_NAME_CHARACTERS).contains(&name.len()) {
        return Err(format!(
            "must begin with a name of 1 to {MAX_NAME_CHARACTERS} letters, digits, -, _ and ., and a colon"
        ));
    }
    if name == ADMIN_KEY_NAME {
        return Err(format!(
            "must have another name: {ADMIN_KEY_NAME} is auth.admin_key in log lines and metrics"
        ));
    }
    Ok(())
}

fn per_second(rate: &str) -> Result<u32, String> {
    let number = rate.trim_end_matches("/s").parse().ok();
    number.filter(|number| (1..=MAX_PER_SECOND).contains(number)).ok_or_else(|| {
        format!("must have a limit from 1/s to {MAX_PER_SECOND}/s, or none, between its scopes and its key")
    })
}

/// Checks the form of all entries. Files, and whether two keys are the same, are checked when the keys are read.
pub(super) fn check(entries: &[SecretString], found: &mut Findings) {
    const KEY: &str = "auth.api_keys";
    if entries.len() > MAX_KEYS {
        let what = format!("must have at most {MAX_KEYS} entries, not {}", entries.len());
        return found.require(KEY, false, what);
    }
    let mut names: Vec<(usize, String)> = Vec::new();
    for (number, entry) in (1..).zip(entries) {
        match ApiKeyEntry::parse(entry.expose_secret()) {
            Ok(entry) => {
                let same =
                    names.iter().find(|(_, name)| *name == entry.name).map_or(0, |(number, _)| *number);
                let what = format!("entries {same} and {number} have the same name: give each key its own");
                found.require(KEY, same == 0, what);
                names.push((number, entry.name));
            }
            Err(what) => found.require(KEY, false, format!("entry {number} {what}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "Xw7c-2mKq9-Rz4x-Lp8v";

    #[test]
    fn entry_has_a_name_scopes_a_limit_and_a_key() {
        let entry = ApiKeyEntry::parse(&format!("shop:tokens+publish:20/s:{KEY}")).unwrap();
        assert_eq!((entry.name.as_str(), entry.per_second), ("shop", Some(20)));
        assert_eq!(entry.scopes, [ApiScope::Tokens, ApiScope::Publish]);
        assert!(matches!(&entry.source, ApiKeySource::Text(key) if key.expose_secret() == KEY));
        assert!(ApiScope::Tokens.is_among(&entry.scopes) && !ApiScope::Read.is_among(&entry.scopes));
        let entry = ApiKeyEntry::parse(&format!(" a.b_c-1 : read + moderate : {KEY}== ")).unwrap();
        assert_eq!((entry.name.as_str(), entry.per_second), ("a.b_c-1", None));
        let entry = ApiKeyEntry::parse("ops:admin:1/s:file=/run/a:b/key").unwrap();
        assert!(matches!(&entry.source, ApiKeySource::File(path) if path == &PathBuf::from("/run/a:b/key")));
        assert!(ApiScope::ALL.into_iter().all(|scope| scope.is_among(&entry.scopes)));
        assert!(ApiKeyEntry::parse("ops:read:file=/mnt/s:1/key").unwrap().per_second.is_none());
    }

    #[test]
    fn error_says_what_to_do_and_shows_no_part() {
        for (entry, said) in [
            (KEY.to_owned(), "must be NAME:SCOPES:KEY"),
            (format!("shop:{KEY}"), "must be NAME:SCOPES:KEY"),
            (format!(":read:{KEY}"), "must begin with a name"),
            (format!("{}:read:{KEY}", "x".repeat(33)), "must begin with a name"),
            (format!("a b:read:{KEY}"), "must begin with a name"),
            (format!("admin_key:read:{KEY}"), "must have another name"),
            (format!("shop::{KEY}"), "publish, read, moderate, tokens, admin"),
            (format!("shop:write:{KEY}"), "publish, read, moderate, tokens, admin"),
            (format!("shop:read+:{KEY}"), "publish, read, moderate, tokens, admin"),
            (format!("shop:{KEY}:read"), "has an unknown scope"),
            (format!("shop:read:0/s:{KEY}"), "from 1/s to 100000/s"),
            (format!("shop:read:100001/s:{KEY}"), "from 1/s to 100000/s"),
            (format!("shop:read:many/s:{KEY}"), "from 1/s to 100000/s"),
            (format!("shop:read:20:{KEY}"), "must have a key of 16 to 512"),
            (format!("shop:read:{}", &KEY[..15]), "must have a key of 16 to 512"),
            (format!("shop:read:{}", KEY.repeat(26)), "must have a key of 16 to 512"),
            (format!("shop:read:{KEY} {KEY}"), "must have a key of 16 to 512"),
            (format!("shop:read:={KEY}"), "must have a key of 16 to 512"),
            ("shop:read:file=".into(), "must name a file"),
        ] {
            let error = ApiKeyEntry::parse(&entry).unwrap_err();
            assert!(error.contains(said), "{entry}: {error}");
            assert!(!error.contains(&KEY[..15]), "{error}");
        }
    }

    fn problems(entries: impl IntoIterator<Item = String>) -> Vec<String> {
        let entries: Vec<_> = entries.into_iter().map(SecretString::from).collect();
        let mut found = Findings::default();
        check(&entries, &mut found);
        found.0.into_iter().map(|(key, what)| format!("{key} {what}")).collect()
    }

    #[test]
    fn every_entry_is_checked_and_named_by_its_place() {
        let good = |number: usize| format!("key-{number}:read:{KEY}{number}");
        assert_eq!(problems((0..64).map(good)), Vec::<String>::new());
        assert_eq!(problems((0..65).map(good)), ["auth.api_keys must have at most 64 entries, not 65"]);
        let found = problems(["x".into(), good(1), good(2), good(1)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("auth.api_keys entry 1 must be NAME:SCOPES:KEY"), "{found:?}");
        assert!(found[1].starts_with("auth.api_keys entries 2 and 4 have the same name"), "{found:?}");
    }
}
