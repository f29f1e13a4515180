//! One reader for each source of settings: a file, the environment, the command line (`.env` has a file of its own).
//! Owns the way from a source's text to keys and values, each with the name that the user wrote; does not decide which
//! source wins. Called by `config::load`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use super::args::Flags;
use super::problem::Problem;
use super::schema::{SETTINGS, Setting, nearest};

/// The prefix of every variable of chatnode.
pub(super) const PREFIX: &str = "CHAT_";

/// The file that is read from the working directory.
pub(super) const DOT_ENV: &str = ".env";

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The file of `--config`.
    File(PathBuf),
    /// `.env` in the working directory.
    DotEnv,
    /// The process environment.
    Environment,
    /// A flag.
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::DotEnv => write!(f, "in {DOT_ENV}"),
            Self::Environment => f.write_str("in the environment"),
            Self::CommandLine => f.write_str("on the command line"),
        }
    }
}

impl Source {
    /// A key in the spelling of this source.
    fn spell(&self, key: &str) -> String {
        match self {
            Self::File(_) => key.into(),
            _ => format!("{PREFIX}{}", key.to_uppercase().replace('.', "__")),
        }
    }

    fn unknown(&self, written: &str, key: &str) -> Problem {
        let hint = match nearest(key) {
            Some(known) => format!("; did you mean {}?", self.spell(known)),
            None => "; `chatnode config print` lists all settings".into(),
        };
        Problem::new(format!("{written} {self}"), format!("unknown{hint}"))
    }
}

/// A value that a source gives to a setting.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    /// The setting.
    pub(super) setting: &'static Setting,
    /// The name that the user wrote, and where.
    pub(super) origin: String,
    /// The value, which fits the setting's shape.
    pub(super) value: Value,
}

/// What one source contains.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The valid values.
    pub(super) assignments: Vec<Assignment>,
    /// What the user has to correct.
    pub(super) problems: Vec<Problem>,
}

impl Parsed {
    fn add(
        &mut self,
        source: &Source,
        written: &str,
        key: &str,
        read: impl FnOnce(&Setting) -> Result<Value, String>,
    ) {
        let Some(setting) = Setting::find(key) else {
            self.problems.push(source.unknown(written, key));
            return;
        };
        let origin = format!("{written} {source}");
        match read(setting) {
            Ok(value) => self.assignments.push(Assignment { setting, origin, value }),
            Err(what) => self.problems.push(Problem::new(origin, what)),
        }
    }
}

/// The settings of a TOML file; the path is only for error messages.
pub(super) fn file(path: &Path, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    // The parser's full error quotes the line, which may hold a secret: only its place and message are used.
    match toml::from_str::<toml::Table>(text) {
        Ok(table) => walk(&Source::File(path.into()), "", table, &mut parsed),
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            parsed.problems.push(Problem::new(
                format!("{} line {line}", path.display()),
                format!("invalid TOML: {}", error.message()),
            ));
        }
    }
    parsed
}

fn walk(source: &Source, path: &str, table: toml::Table, parsed: &mut Parsed) {
    for (name, value) in table {
        let key = if path.is_empty() { name } else { format!("{path}.{name}") };
        let section = format!("{key}.");
        let is_section = SETTINGS.iter().any(|setting| setting.key.starts_with(&section));
        match value {
            toml::Value::Table(inner)
                if is_section || !(inner.is_empty() || Setting::find(&key).is_some()) =>
            {
                walk(source, &key, inner, parsed);
            }
            _ if is_section => {
                let what = format!("is a section: write its settings below [{key}]");
                parsed.problems.push(Problem::new(format!("{key} {source}"), what));
            }
            value => {
                let read = |setting: &Setting| setting.shape.read_toml(&value, setting.is_secret);
                parsed.add(source, &key, &key, read);
            }
        }
    }
}

/// The settings among environment variables.
pub(super) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Parsed {
    let mut parsed = Parsed::default();
    take_variables(&Source::Environment, variables, &mut parsed);
    parsed
}

pub(super) fn take_variables(
    source: &Source,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    parsed: &mut Parsed,
) {
    let mut links = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let Ok(value) = value.into_string() else {
            parsed.problems.push(Problem::new(format!("{name} {source}"), "is not UTF-8"));
            continue;
        };
        if is_service_link(rest, &value) {
            links.push(name);
            continue;
        }
        // Capitals only, like the rest of the environment; so a key in small letters is unknown, with the right
        // spelling as the hint.
        let key = if rest.chars().any(|c| c.is_ascii_lowercase()) {
            rest.into()
        } else {
            rest.to_lowercase().replace("__", ".")
        };
        parsed.add(source, &name, &key, |setting| from_text(setting, &value));
    }
    if !links.is_empty() {
        links.sort();
        parsed.problems.push(Problem::new(
            format!("{} {source}", links.join(", ")),
            "set by Kubernetes for a Service whose name begins with `chat`, not by you; set `enableServiceLinks: \
             false` in the pod's spec, or rename the Service",
        ));
    }
}

/// Whether a variable (its name without `CHAT_`) is one that Kubernetes injects for a Service.
fn is_service_link(rest: &str, value: &str) -> bool {
    let docker_link = |protocol: &str| rest.contains("PORT_") && rest.contains(&format!("_{protocol}"));
    rest.ends_with("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || (rest.ends_with("PORT") && value.contains("://"))
        || ["TCP", "UDP", "SCTP"].into_iter().any(docker_link)
}

/// The settings among the flags.
pub(super) fn command_line(flags: &Flags) -> Parsed {
    let mut parsed = Parsed::default();
    for (flag, key, value) in flags.given() {
        parsed.add(&Source::CommandLine, flag, key, |setting| from_text(setting, value));
    }
    parsed
}

/// Reads a text. Empty means unset, or the empty list, where the setting allows it: that is what a deployment's
/// `${VARIABLE:-}` expands to.
fn from_text(setting: &Setting, text: &str) -> Result<Value, String> {
    if !text.trim().is_empty() || setting.shape.is_list() {
        setting.shape.read_text(text, setting.is_secret)
    } else if setting.is_optional {
        Ok(Value::new(None, ValueKind::Nil))
    } else {
        Err("must not be empty".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_service_links_differ_from_settings() {
        for (rest, value) in [
            ("PORT", "tcp://10.0.0.1:8080"),
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "8080"),
            ("SERVICE_PORT_HTTP", "8080"),
            ("PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("PORT_8080_TCP_PROTO", "tcp"),
            ("INTERNAL_SERVICE_HOST", "10.0.0.1"),
            ("INTERNAL_PORT_9090_TCP_PORT", "9090"),
            ("INTERNAL_PORT", "tcp://10.0.0.1:9090"),
        ] {
            assert!(is_service_link(rest, value), "{rest}");
        }
        for (rest, value) in [("PORT", "8080"), ("INTERNAL__PORT", "9090"), ("REDIS__URL", "redis://:tcp@h")]
        {
            assert!(!is_service_link(rest, value), "{rest}");
        }
    }
}
