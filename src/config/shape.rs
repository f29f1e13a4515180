//! The shape of a setting's value. Owns which values fit, how they are read from TOML and from plain text, and the
//! words of the error for one that does not fit; knows no setting by name. Used by the schema and by the readers of all
//! sources.

use std::fmt;
use std::time::Duration;

use config::{Value, ValueKind};
use humantime::parse_duration;
use ipnet::IpNet;

/// The error for a value that contains a line break. No setting has such a value, and the text after the break may be
/// the line of a secret, caught between two stray quotes: so the error does not repeat the value.
const NOT_ONE_LINE: &str = "must be one line: is a quote missing?";

/// Which values a setting accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number within these bounds; `i64::MAX` means no upper bound.
    Number(i64, i64),
    /// A duration within these bounds, in the form that users write.
    Duration(&'static str, &'static str),
    /// `true` or `false`.
    Switch,
    /// Any number of texts.
    Texts,
    /// Any number of networks in CIDR form.
    Networks,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("a text in quotes"),
            Self::Word(words) => f.write_str(&words.join(" or ")),
            Self::Number(least, i64::MAX) => write!(f, "a whole number, at least {least}"),
            Self::Number(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Duration(least, most) => write!(f, "a duration from {least} to {most}, such as \"10s\""),
            Self::Switch => f.write_str("true or false"),
            Self::Texts => f.write_str("a list of texts"),
            Self::Networks => f.write_str("a list of networks such as \"10.0.0.0/8\""),
        }
    }
}

impl Shape {
    /// Whether a value may hold several items.
    pub(super) fn is_list(self) -> bool {
        matches!(self, Self::Texts | Self::Networks)
    }

    /// Reads a TOML value. Strict about types: a file says what it means. (The conversions of the `config` crate would
    /// make
    /// `true` the port 1.)
    pub(super) fn read_toml(self, value: &toml::Value, is_secret: bool) -> Result<Value, String> {
        let breaks = |value: &toml::Value| value.as_str().is_some_and(|text| text.contains(['\n', '\r']));
        if breaks(value) || value.as_array().is_some_and(|items| items.iter().any(breaks)) {
            return Err(NOT_ONE_LINE.into());
        }
        let refuse = || {
            let found = match value {
                toml::Value::Array(_) => "a list".into(),
                toml::Value::Table(_) => "a section".into(),
                _ if is_secret => "this value".into(),
                value => value.to_string(),
            };
            format!("must be {self}, not {found}")
        };
        let texts = |items: &[toml::Value]| -> Option<Vec<String>> {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let kind = match (self, value) {
            (Self::Text | Self::Word(_) | Self::Duration(..), toml::Value::String(text)) => self.text(text),
            (Self::Number(..), toml::Value::Integer(number)) => self.number(*number),
            (Self::Switch, toml::Value::Boolean(switch)) => Some(ValueKind::Boolean(*switch)),
            (Self::Texts | Self::Networks, toml::Value::Array(items)) => match texts(items) {
                Some(items) => return self.list(items),
                None => return Err(format!("must be {self}; an item of it is not a text")),
            },
            _ => None,
        };
        kind.map(value_of).ok_or_else(refuse)
    }

    /// Reads a text that is not empty: a variable's or a flag's. Commas separate the items of a list.
    pub(super) fn read_text(self, text: &str, is_secret: bool) -> Result<Value, String> {
        // A file that a value is mounted from ends in a line break; one before the value begins another line.
        if text.trim_end().contains(['\n', '\r']) {
            return Err(NOT_ONE_LINE.into());
        }
        let text = text.trim();
        let kind = match self {
            Self::Text | Self::Word(_) | Self::Duration(..) => self.text(text),
            Self::Number(..) => text.parse().ok().and_then(|number| self.number(number)),
            Self::Switch => match text.to_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(ValueKind::Boolean(true)),
                "false" | "no" | "off" | "0" => Some(ValueKind::Boolean(false)),
                _ => None,
            },
            Self::Texts | Self::Networks => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                return self.list(items.map(str::to_owned).collect());
            }
        };
        let shown = if is_secret { "this value" } else { text };
        kind.map(value_of).ok_or_else(|| format!("must be {self}, not {shown}"))
    }

    fn text(self, text: &str) -> Option<ValueKind> {
        let fits = match self {
            Self::Word(words) => words.contains(&text),
            Self::Duration(least, most) => {
                parse_duration(text).is_ok_and(|value| (bound(least)..=bound(most)).contains(&value))
            }
            _ => true,
        };
        fits.then(|| ValueKind::String(text.into()))
    }

    fn number(self, number: i64) -> Option<ValueKind> {
        let fits = matches!(self, Self::Number(least, most) if (least..=most).contains(&number));
        fits.then_some(ValueKind::I64(number))
    }

    fn list(self, items: Vec<String>) -> Result<Value, String> {
        let is_bad = |item: &&String| self == Self::Networks && item.parse::<IpNet>().is_err();
        if let Some(bad) = items.iter().find(is_bad) {
            return Err(format!("must be {self}, not {bad}"));
        }
        let items = items.into_iter().map(|item| value_of(ValueKind::String(item)));
        Ok(value_of(ValueKind::Array(items.collect())))
    }
}

fn value_of(kind: ValueKind) -> Value {
    Value::new(None, kind)
}

fn bound(text: &str) -> Duration {
    parse_duration(text).expect("the bounds in the schema are durations; a test reads each")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_belong_to_their_range() {
        let number = Shape::Number(5, 7);
        for (text, fits) in [("4", false), ("5", true), ("7", true), ("8", false), ("-5", false), ("", false)]
        {
            assert_eq!(number.read_text(text, false).is_ok(), fits, "{text}");
        }
        let duration = Shape::Duration("10ms", "1h");
        for (text, fits) in
            [("9ms", false), ("10ms", true), ("60m", true), ("1h 1ns", false), ("5", false), ("soon", false)]
        {
            assert_eq!(duration.read_text(text, false).is_ok(), fits, "{text}");
        }
    }

    #[test]
    fn errors_hide_secrets() {
        let value = toml::Value::Integer(12_345);
        assert_eq!(
            Shape::Text.read_toml(&value, true).unwrap_err(),
            "must be a text in quotes, not this value"
        );
        assert_eq!(Shape::Text.read_toml(&value, false).unwrap_err(), "must be a text in quotes, not 12345");
    }
}
