//! The names of all settings and the shape of each. Owns no list: it reads them off the settings themselves, so that
//! none can be forgotten. Called by the providers that settings come in by, and by what prints them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::Config;

/// The shape of one setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A text, a duration, one word of several.
    Text,
    /// A whole number, not negative.
    Number,
    /// Yes or no.
    Switch,
    /// Several texts.
    List,
}

/// What is known of one setting without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// The shape of its value.
    pub(super) shape: Shape,
    /// Whether it may be left unset.
    pub(super) optional: bool,
}

/// Every setting by its dotted key.
pub(super) static SETTINGS: LazyLock<BTreeMap<String, Setting>> = LazyLock::new(|| {
    let defaults = flat(&Config::default());
    let describe = |(key, value): (String, Value)| {
        let shape = match value {
            Value::Number(_) => Shape::Number,
            Value::Bool(_) => Shape::Switch,
            Value::Array(_) => Shape::List,
            _ => Shape::Text,
        };
        let known = Setting { shape, optional: defaults[&key].is_null() };
        (key, known)
    };
    flat(&filled()).into_iter().map(describe).collect()
});

/// Whether a key holds a secret, so that not even a bad value may be repeated in an error.
pub(super) fn is_secret(key: &str) -> bool {
    matches!(key, "auth.admin_key" | "redis.url")
}

/// The settings as dotted keys with JSON values; null is unset, secrets are hidden.
pub(super) fn flat(config: &Config) -> BTreeMap<String, Value> {
    fn walk(path: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                    walk(&path, value, into);
                }
            }
            value => {
                into.insert(path.to_owned(), value);
            }
        }
    }
    let json =
        serde_json::to_value(config).expect("settings serialise to memory: string keys, no fallible type");
    let mut into = BTreeMap::new();
    walk("", json, &mut into);
    into
}

/// The defaults with every optional setting set, which shows its shape.
fn filled() -> Config {
    let mut config = Config::default();
    config.auth.admin_key = Some(String::new().into());
    config.redis.url = Some(String::new().into());
    config.node.name = Some(String::new());
    config.internal.port = Some(0);
    config
}

/// The key that was probably meant: the same letters with other separators, else few letters changed, else the only
/// key with that last part.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let plain = |key: &str| key.to_lowercase().replace(['.', '-'], "_").replace("__", "_");
    let wanted = plain(key);
    let near = SETTINGS
        .keys()
        .map(|known| (strsim::damerau_levenshtein(&plain(known), &wanted), known))
        .min()
        .filter(|(distance, _)| *distance <= 1 + wanted.len() / 5);
    if let Some((_, known)) = near {
        return Some(known);
    }
    let mut same_end =
        SETTINGS.keys().filter(|known| plain(known.rsplit('.').next().unwrap_or(known)) == wanted);
    match (same_end.next(), same_end.next()) {
        (Some(known), None) => Some(known),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_optional_setting_has_a_shape() {
        for (key, value) in flat(&filled()) {
            assert!(!value.is_null(), "{key} is optional: set it in filled()");
        }
    }

    #[test]
    fn every_hidden_setting_counts_as_secret() {
        let shown = flat(&filled());
        let hidden: Vec<_> = shown.iter().filter(|(_, value)| *value == "***").map(|(key, _)| key).collect();
        assert_eq!(hidden, ["auth.admin_key", "redis.url"]);
        assert!(hidden.iter().all(|key| is_secret(key)));
    }

    #[test]
    fn a_slip_finds_the_key_that_was_meant() {
        for (slip, meant) in [
            ("limits.burts", Some("limits.burst")),
            ("limits_burst", Some("limits.burst")),
            ("redis_url", Some("redis.url")),
            ("burst", Some("limits.burst")),
            ("maxconnections", Some("max_connections")),
            ("Host", Some("host")),
            ("timeout", None),
            ("something.else.wholly", None),
        ] {
            assert_eq!(nearest(slip), meant, "{slip}");
        }
    }
}
