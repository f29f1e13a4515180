//! The providers that settings come in by: a file, `.env`, the environment, the command line. Owns reading each into keys
//! and values, with the name under which the user wrote them; does not decide which wins. Called by `config::load`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use super::args::Flags;
use super::problem::Problem;
use super::schema::{SETTINGS, Setting, Shape, is_secret, nearest};

/// What is said of a value with a line break in it. No setting has one, and what follows it may be the line of a secret,
/// caught between two stray quotes: so the value is not repeated.
const NOT_ONE_LINE: &str = "must be one line: is a quote missing?";

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "CHAT_";

/// The file that is read where the command is started.
pub(super) const DOT_ENV: &str = ".env";

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Provider {
    /// The file of `--config`.
    File(PathBuf),
    /// `.env` in the working directory.
    DotEnv,
    /// The process environment.
    Environment,
    /// A flag.
    CommandLine,
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::DotEnv => write!(f, "in {DOT_ENV}"),
            Self::Environment => f.write_str("in the environment"),
            Self::CommandLine => f.write_str("on the command line"),
        }
    }
}

impl Provider {
    /// A key, as one writes it at this provider.
    fn spell(&self, key: &str) -> String {
        match self {
            Self::File(_) => key.into(),
            _ => format!("{PREFIX}{}", key.to_uppercase().replace('.', "__")),
        }
    }

    fn unknown(&self, written: &str, key: &str) -> Problem {
        let hint = match nearest(key) {
            Some(known) => format!("; did you mean {}?", self.spell(known)),
            None => "; `chatnode config print` lists all".into(),
        };
        Problem::new(format!("{written} {self}"), format!("unknown{hint}"))
    }
}

/// One setting that came in.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    /// Its dotted key, known to exist.
    pub(super) key: String,
    /// The name that the user wrote, and where.
    pub(super) origin: String,
    /// The value.
    pub(super) value: Value,
}

/// What came in by one provider, and what was turned away.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Settings with a value of the right shape.
    pub(super) given: Vec<Assignment>,
    /// What the user has to mend.
    pub(super) problems: Vec<Problem>,
}

impl Parsed {
    fn take(
        &mut self,
        provider: &Provider,
        written: &str,
        key: &str,
        read: impl FnOnce(Setting) -> Result<Value, String>,
    ) {
        let Some(known) = SETTINGS.get(key) else {
            self.problems.push(provider.unknown(written, key));
            return;
        };
        let origin = format!("{written} {provider}");
        match read(*known) {
            Ok(value) => self.given.push(Assignment { key: key.into(), origin, value }),
            Err(what) => self.problems.push(Problem::new(origin, what)),
        }
    }
}

/// The settings of a TOML file; the path is for what the user is told.
pub(super) fn file(path: &Path, text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    // The parser's own error quotes the line, which may hold a secret: only its place and message are kept.
    match toml::from_str::<toml::Table>(text) {
        Ok(table) => walk(&Provider::File(path.into()), "", table, &mut parsed),
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            parsed.problems.push(Problem::new(
                format!("{} line {line}", path.display()),
                format!("not TOML: {}", error.message()),
            ));
        }
    }
    parsed
}

fn walk(provider: &Provider, path: &str, table: toml::Table, parsed: &mut Parsed) {
    for (name, value) in table {
        let key = if path.is_empty() { name } else { format!("{path}.{name}") };
        let section = format!("{key}.");
        let is_section = SETTINGS.keys().any(|known| known.starts_with(&section));
        match value {
            toml::Value::Table(inner) if is_section || !(inner.is_empty() || SETTINGS.contains_key(&key)) => {
                walk(provider, &key, inner, parsed);
            }
            _ if is_section => {
                let what = format!("is a section: write its settings below [{key}]");
                parsed.problems.push(Problem::new(format!("{key} {provider}"), what));
            }
            value => {
                parsed.take(provider, &key, &key, |known| from_toml(known.shape, value, is_secret(&key)))
            }
        }
    }
}

/// Strict about types: a file says what it means. (The conversions of the `config` crate would make `true` the port 1.)
fn from_toml(shape: Shape, value: toml::Value, secret: bool) -> Result<Value, String> {
    let wanted = match shape {
        Shape::Text => "a text in quotes",
        Shape::Number => "a whole number",
        Shape::Switch => "true or false",
        Shape::List => "a list of texts",
    };
    let found = if secret || value.is_array() || value.is_table() {
        value.type_str().into()
    } else {
        value.to_string()
    };
    let refuse = || format!("must be {wanted}, not {found}");
    let breaks = |value: &toml::Value| value.as_str().is_some_and(|text| text.contains(['\n', '\r']));
    if breaks(&value) || value.as_array().is_some_and(|items| items.iter().any(breaks)) {
        return Err(NOT_ONE_LINE.into());
    }
    match (shape, value) {
        (Shape::Text, toml::Value::String(text)) => Ok(Value::new(None, ValueKind::String(text))),
        (Shape::Number, toml::Value::Integer(number)) => Ok(Value::new(None, ValueKind::I64(number))),
        (Shape::Switch, toml::Value::Boolean(switch)) => Ok(Value::new(None, ValueKind::Boolean(switch))),
        (Shape::List, toml::Value::Array(items)) => {
            let texts: Option<Vec<Value>> = items
                .into_iter()
                .map(|item| Some(Value::new(None, ValueKind::String(item.as_str()?.into()))))
                .collect();
            texts.map(|texts| Value::new(None, ValueKind::Array(texts))).ok_or_else(refuse)
        }
        _ => Err(refuse()),
    }
}

/// The settings among environment variables.
pub(super) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Parsed {
    let mut parsed = Parsed::default();
    take_variables(&Provider::Environment, variables, &mut parsed);
    parsed
}

pub(super) fn take_variables(
    provider: &Provider,
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
            parsed.problems.push(Problem::new(format!("{name} {provider}"), "is not UTF-8"));
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
        parsed.take(provider, &name, &key, |known| from_text(known, &value, is_secret(&key)));
    }
    if !links.is_empty() {
        links.sort();
        parsed.problems.push(Problem::new(
            format!("{} {provider}", links.join(", ")),
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
        parsed.take(&Provider::CommandLine, flag, key, |known| from_text(known, value, is_secret(key)));
    }
    parsed
}

/// Reads a text by the shape that the setting has. Empty means unset, or the empty list, where the setting allows it:
/// that is what a deployment's `${VARIABLE:-}` turns into.
fn from_text(known: Setting, text: &str, secret: bool) -> Result<Value, String> {
    // A file that a value is mounted from ends in a line break; one before the value begins another line.
    let is_one_line = !text.trim_end().contains(['\n', '\r']);
    let text = text.trim();
    if text.is_empty() && known.shape != Shape::List {
        let nil = Value::new(None, ValueKind::Nil);
        return if known.optional { Ok(nil) } else { Err("must not be empty".into()) };
    }
    if !is_one_line {
        return Err(NOT_ONE_LINE.into());
    }
    let shown = if secret { "what it is" } else { text };
    let kind = match known.shape {
        Shape::Text => ValueKind::String(text.into()),
        Shape::Number => match text.parse() {
            Ok(number) => ValueKind::I64(number),
            Err(_) => return Err(format!("must be a whole number, not {shown}")),
        },
        Shape::Switch => match text.to_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => ValueKind::Boolean(true),
            "false" | "no" | "off" | "0" => ValueKind::Boolean(false),
            _ => return Err(format!("must be true or false, not {shown}")),
        },
        Shape::List => ValueKind::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::new(None, ValueKind::String(item.into())))
                .collect(),
        ),
    };
    Ok(Value::new(None, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_service_links_are_told_from_settings() {
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
