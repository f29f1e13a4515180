//! The settings as TOML, for `chatnode config print`. Owns the format only; the settings hide their secrets themselves
//! when they are serialised. Called by the command.

use std::fmt;

use super::load::Loaded;
use super::schema::flat;
use super::{Config, secret};

impl Config {
    /// The store that the node uses, without credentials: for people.
    pub fn store(&self) -> String {
        use secrecy::ExposeSecret;
        match &self.redis.url {
            Some(url) => secret::redacted(url.expose_secret()),
            None => "embedded".into(),
        }
    }
}

impl Loaded {
    /// The settings that some source sets, with that source, on one line: for the log.
    pub fn changed(&self) -> String {
        let all = flat(&self.config);
        let set = all.iter().filter_map(|(key, value)| Some((key, value, self.origins.of(key)?)));
        set.map(|(key, value, origin)| format!("{key} = {value} ({origin})")).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Loaded {
    /// TOML that `--config` accepts again (except for the secrets), with the source of each value.
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
            // A JSON text, number, boolean or list of texts is valid TOML, except for one character that only TOML
            // requires to be escaped.
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
