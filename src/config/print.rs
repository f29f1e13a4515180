//! The settings as TOML, for `chatnode config print`. Owns how they look; secrets come hidden from their own
//! serialisation. Called by the command.

use std::fmt;

use super::load::Loaded;
use super::schema::flat;
use super::{Config, secret};

impl Config {
    /// Which store the node uses, without credentials: for people.
    pub fn store(&self) -> String {
        use secrecy::ExposeSecret;
        match &self.redis.url {
            Some(url) => secret::redacted(url.expose_secret()),
            None => "embedded".into(),
        }
    }
}

impl fmt::Display for Loaded {
    /// TOML that `--config` takes again (but for what is secret), with where each value came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = flat(&self.config);
        let (sections, plain): (Vec<_>, Vec<_>) = all.iter().partition(|(key, _)| key.contains('.'));
        let mut section = "";
        for (key, value) in plain.into_iter().chain(sections) {
            let (of, name) = key.split_once('.').unwrap_or(("", key));
            if of != section {
                section = of;
                writeln!(f, "\n[{section}]")?;
            }
            // A JSON text, number, boolean or list of texts is the same in TOML, but for the one character that TOML wants
            // escaped and JSON does not.
            let value_text = value.to_string().replace('\u{7f}', "\\u007F");
            let origin = self.origins.of(key).map_or_else(String::new, |origin| format!(" # {origin}"));
            if value.is_null() {
                writeln!(f, "# {name} is not set{origin}")?;
            } else {
                writeln!(f, "{name} = {value_text}{origin}")?;
            }
        }
        Ok(())
    }
}
