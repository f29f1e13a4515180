//! From the providers to the settings. Owns which provider wins and the errors of all of them, told at once; the providers read,
//! and `config::validate` judges the whole. Called once by the command, before anything is opened.

use std::collections::BTreeMap;

use config::{ConfigError, Value};

use super::Config;
use super::args::Flags;
use super::dot_env;
use super::problem::{Problem, Refused};
use super::providers::{self, Assignment};
use super::schema::is_secret;
use super::sources::Sources;
use super::validate;

/// Where each setting that is not a default came from, by its dotted key.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<String, String>);

impl Origins {
    /// The name that the user wrote, and where; none for a default.
    pub fn of(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// The settings, and where they came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// Where each came from.
    pub origins: Origins,
}

/// Reads the settings: defaults, then the file of `--config`, `.env` in the working directory, the environment, the
/// flags; later wins.
pub fn load(flags: &Flags) -> Result<Loaded, Refused> {
    resolve(Sources::read(flags))
}

/// The settings that these sources come to. Neither reads nor changes anything else, but for the process's variables that
/// `.env` may name with `$`.
pub fn resolve(sources: Sources) -> Result<Loaded, Refused> {
    let Sources { file, dot_env, environment, flags, unreadable } = sources;
    let all_parsed = [
        file.map(|(path, text)| providers::file(&path, &text)).unwrap_or_default(),
        dot_env::read(&dot_env),
        providers::environment(environment),
        providers::command_line(&flags),
    ];
    let mut problems = unreadable;
    let mut all: Vec<Assignment> = Vec::new();
    for parsed in all_parsed {
        problems.extend(parsed.problems);
        // Each value is tried by itself, so that one bad value does not hide the next.
        for given in parsed.given {
            match deserialise([(given.key.as_str(), given.value.clone())]) {
                Ok(_) => all.push(given),
                Err(_) if is_secret(&given.key) => {
                    problems.push(Problem::new(given.origin, "is not a value for it"));
                }
                Err(what) => problems.push(Problem::new(given.origin, what)),
            }
        }
    }
    let mut origins = Origins::default();
    for given in &all {
        origins.0.insert(given.key.clone(), given.origin.clone());
    }
    let merged = deserialise(all.iter().map(|given| (given.key.as_str(), given.value.clone())));
    let config = match merged {
        Ok(config) => config,
        Err(what) => {
            problems.push(Problem::new("settings", what));
            return Err(Refused(problems));
        }
    };
    problems.extend(validate::problems(&config).into_iter().map(|(key, what)| {
        let subject = origins.of(key).map_or_else(|| format!("{key} (the default)"), str::to_owned);
        Problem::new(subject, what)
    }));
    if problems.is_empty() { Ok(Loaded { config, origins }) } else { Err(Refused(problems)) }
}

/// The defaults with these values in their place, the later over the earlier.
fn deserialise<'a>(values: impl IntoIterator<Item = (&'a str, Value)>) -> Result<Config, String> {
    let mut builder = config::Config::builder();
    for (key, value) in values {
        builder = builder.set_override(key, value).map_err(|error| error.to_string())?;
    }
    let tree = builder.build().map_err(|error| error.to_string())?;
    serde_path_to_error::deserialize(tree).map_err(|error| {
        let path = error.path().to_string();
        match error.into_inner() {
            // The key is told by the caller, as the user wrote it.
            ConfigError::At { error, .. } => reworded(*error),
            ConfigError::NotFound(_) | ConfigError::Frozen => format!("{path} is missing"),
            error => reworded(error),
        }
    })
}

/// An error of the `config` crate in the words of who set the value, who knows nothing of bits.
fn reworded(error: ConfigError) -> String {
    match error {
        ConfigError::Type { unexpected, expected, .. } => {
            let found = unexpected.to_string();
            let number = found.split('`').nth(1).filter(|_| found.contains("integer")).unwrap_or(&found);
            match expected {
                _ if expected.contains("16 bit") => format!("must be 0 to {}, not {number}", u16::MAX),
                _ if expected.contains("32 bit") => format!("must be 0 to {}, not {number}", u32::MAX),
                _ if expected.contains("unsigned") => format!("must be 0 or more, not {number}"),
                _ => format!("must be {expected}, not {found}"),
            }
        }
        error => {
            let text = error.to_string();
            match text.strip_suffix(", expected a duration") {
                Some(found) => format!("must be a duration such as 250ms, 10s or 24h ({found})"),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sources: Sources) -> String {
        resolve(sources).unwrap_err().to_string()
    }

    #[test]
    fn a_secret_that_a_stray_quote_put_into_another_value_is_not_repeated() {
        for text in [
            "port = \"\"\"8080\nauth.admin_key = 0123456789abcdef\"\"\"",
            "server.allowed_origins = [\'\'\'https://x\nauth.admin_key = 0123456789abcdef\'\'\']",
        ] {
            let said = refused(Sources { file: Some(("f".into(), text.into())), ..Sources::default() });
            assert!(said.ends_with(" in f: must be one line: is a quote missing?"), "{said}");
        }
    }

    #[test]
    fn what_is_printed_is_toml_whatever_the_texts_hold() {
        let filter = "a\u{7f}\"\\\u{85}#=off";
        let environment = vec![("CHAT_LOG__FILTER".into(), filter.into())];
        let printed = resolve(Sources { environment, ..Sources::default() }).unwrap().to_string();
        let again = resolve(Sources { file: Some(("f".into(), printed)), ..Sources::default() }).unwrap();
        assert_eq!(again.config.log.filter, filter);
    }
}
