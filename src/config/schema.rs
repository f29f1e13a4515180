//! The schema of the settings: the name of each, the shape of its value, and whether it is optional or secret. Owns
//! this table, which a test compares with the settings themselves, so that none can be missing. Used by the readers of
//! all sources and by `config print`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Config;
use super::shape::Shape::{self, Duration, Networks, Number, Switch, Text, Texts, Word};

/// What is known of one setting without its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its dotted key.
    pub(super) key: &'static str,
    /// The shape of its value.
    pub(super) shape: Shape,
    /// Whether it can be unset.
    pub(super) is_optional: bool,
    /// Whether its value may appear neither in output nor in an error.
    pub(super) is_secret: bool,
}

impl Setting {
    const fn new(key: &'static str, shape: Shape) -> Self {
        Self { key, shape, is_optional: false, is_secret: false }
    }

    const fn optional(key: &'static str, shape: Shape) -> Self {
        Self { is_optional: true, ..Self::new(key, shape) }
    }

    const fn secret(key: &'static str) -> Self {
        Self { is_secret: true, ..Self::optional(key, Text) }
    }

    const fn secrets(key: &'static str) -> Self {
        Self { is_secret: true, ..Self::new(key, Texts) }
    }

    /// The setting with this key.
    pub(super) fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

/// Every setting. Bounds that depend on another setting are in `validate`.
pub(super) static SETTINGS: [Setting; 95] = [
    Setting::new("host", Text),
    Setting::new("port", Number(0, 65_535)),
    Setting::new("max_connections", Number(1, 10_000_000)),
    Setting::new("auth.enabled", Switch),
    Setting::secret("auth.admin_key"),
    Setting::secrets("auth.api_keys"),
    Setting::new("auth.token_ttl", Duration("1s", "366days")),
    Setting::new("auth.deadline", Duration("10ms", "10m")),
    Setting::new("auth.recheck_interval", Duration("10ms", "1h")),
    Setting::new("auth.jwt.algorithms", Texts),
    Setting::secret("auth.jwt.hmac_secret"),
    Setting::optional("auth.jwt.hmac_secret_file", Text),
    Setting::secret("auth.jwt.hmac_previous_secret"),
    Setting::optional("auth.jwt.hmac_previous_secret_file", Text),
    Setting::new("auth.jwt.public_keys", Texts),
    Setting::optional("auth.jwt.jwks_url", Text),
    Setting::optional("auth.jwt.issuer", Text),
    Setting::new("auth.jwt.audience", Texts),
    Setting::new("auth.jwt.user_claim", Text),
    Setting::new("auth.jwt.rooms_claim", Text),
    Setting::new("auth.jwt.leeway", Duration("0s", "10m")),
    Setting::optional("auth.jwt.max_ttl", Duration("1s", "3650days")),
    // A URL may contain a password.
    Setting::secret("redis.url"),
    Setting::optional("redis.username", Text),
    Setting::secret("redis.password"),
    Setting::optional("redis.password_file", Text),
    Setting::optional("redis.sentinel_master", Text),
    Setting::optional("redis.sentinel_username", Text),
    Setting::secret("redis.sentinel_password"),
    Setting::optional("redis.sentinel_password_file", Text),
    Setting::new("redis.address_map", Texts),
    Setting::optional("redis.tls.ca_file", Text),
    Setting::optional("redis.tls.cert_file", Text),
    Setting::optional("redis.tls.key_file", Text),
    Setting::optional("redis.tls.server_name", Text),
    Setting::new("redis.prefix", Text),
    Setting::new("redis.command_connections", Number(1, 64)),
    Setting::new("redis.subscriber_connections", Number(1, 64)),
    Setting::new("redis.pool_size", Number(1, 1_024)),
    Setting::new("redis.cluster_pubsub", Word(&["auto", "sharded", "broadcast"])),
    Setting::new("redis.timeout", Duration("10ms", "1m")),
    Setting::new("redis.min_replicas_acked", Number(0, 16)),
    Setting::new("redis.max_reconnect_delay", Duration("10ms", "1m")),
    Setting::optional("node.name", Text),
    Setting::new("node.lease", Duration("100ms", "10m")),
    Setting::new("node.heartbeat", Duration("10ms", "10m")),
    Setting::new("node.idle_check", Duration("10ms", "1h")),
    Setting::new("node.linger", Duration("0s", "1h")),
    Setting::new("node.ring_bytes", Number(64 << 10, 64 << 30)),
    Setting::new("node.threads", Number(0, 1_024)),
    Setting::new("internal.host", Text),
    Setting::optional("internal.port", Number(0, 65_535)),
    Setting::optional("tls.cert_file", Text),
    Setting::optional("tls.key_file", Text),
    Setting::new("history.max_messages", Number(1, 10_000_000)),
    Setting::new("history.max_age", Duration("1s", "3650days")),
    Setting::new("history.max_bytes", Number(1, 1 << 40)),
    Setting::new("history.embedded_bytes", Number(0, i64::MAX)),
    Setting::new("history.dedupe_window", Duration("1s", "24h")),
    Setting::new("messages.edit_window", Duration("0s", "3650days")),
    Setting::new("messages.attachment_hosts", Texts),
    Setting::new("limits.messages_per_second", Number(0, 1_000_000)),
    Setting::new("limits.burst", Number(0, u32::MAX as i64)),
    Setting::optional("limits.user_messages_per_second", Number(0, 1_000_000)),
    Setting::optional("limits.user_burst", Number(1, u32::MAX as i64)),
    Setting::optional("limits.stored_bytes_per_second", Number(0, u32::MAX as i64)),
    Setting::new("limits.stored_bytes_burst", Number(1, u32::MAX as i64)),
    Setting::new("limits.max_content_bytes", Number(1, 16 << 20)),
    Setting::new("limits.max_frame_bytes", Number(1, 256 << 20)),
    Setting::optional("limits.max_delivery_bytes", Number(4_097, 256 << 20)),
    Setting::new("limits.max_rooms_per_connection", Number(1, 100_000)),
    Setting::new("limits.max_connections_per_address", Number(0, 10_000_000)),
    Setting::new("limits.handshakes_per_minute", Number(0, 10_000_000)),
    Setting::new("limits.max_unfinished_bytes", Number(1_024, 64 << 30)),
    Setting::new("limits.max_queue_bytes", Number(1_024, 1 << 30)),
    Setting::new("limits.write_timeout", Duration("10ms", "10m")),
    Setting::new("limits.request_timeout", Duration("10ms", "10m")),
    Setting::new("server.handshake_timeout", Duration("10ms", "10m")),
    Setting::new("server.ping_interval", Duration("10ms", "1h")),
    Setting::new("server.pong_timeout", Duration("10ms", "1h")),
    Setting::new("server.away_after", Duration("10ms", "24h")),
    Setting::new("server.allowed_origins", Texts),
    Setting::new("server.allowed_hosts", Texts),
    Setting::new("server.trusted_proxies", Networks),
    Setting::new("rooms.default", Text),
    Setting::new("rooms.read_only", Texts),
    Setting::new("rooms.listed", Texts),
    Setting::new("rooms.quiet_above", Number(0, i64::MAX)),
    Setting::new("rooms.create", Word(&["anyone", "token", "api"])),
    Setting::new("rooms.max_made", Number(1, 1_000_000)),
    Setting::new("drain.delay", Duration("0s", "1h")),
    Setting::new("drain.spread", Duration("0s", "1h")),
    Setting::new("drain.timeout", Duration("10ms", "3h")),
    Setting::new("log.filter", Text),
    Setting::new("log.format", Word(&["text", "json"])),
];

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

/// The known key that the user probably meant: the same letters with other separators, else with few letters changed,
/// else the only key with that last part.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let plain = |key: &str| key.to_lowercase().replace(['.', '-'], "_").replace("__", "_");
    let wanted = plain(key);
    let keys = || SETTINGS.iter().map(|setting| setting.key);
    let near = keys()
        .map(|known| (strsim::damerau_levenshtein(&plain(known), &wanted), known))
        .min()
        .filter(|(distance, _)| *distance <= 1 + wanted.len() / 5);
    if let Some((_, known)) = near {
        return Some(known);
    }
    let mut same_end = keys().filter(|known| plain(known.rsplit('.').next().unwrap_or(known)) == wanted);
    match (same_end.next(), same_end.next()) {
        (Some(known), None) => Some(known),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_lists_every_setting_once() {
        let mut listed: Vec<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
        listed.sort_unstable();
        assert_eq!(listed, flat(&Config::default()).keys().collect::<Vec<_>>());
    }

    #[test]
    fn defaults_fit_the_schema() {
        for (key, value) in flat(&Config::default()) {
            let setting = Setting::find(&key).unwrap();
            assert_eq!(value.is_null(), setting.is_optional, "{key}");
            if !value.is_null() {
                let value = toml::Value::try_from(value).unwrap();
                setting.shape.read_toml(&value, false).unwrap_or_else(|error| panic!("{key} {error}"));
            }
        }
    }

    #[test]
    fn schema_and_serialisation_hide_the_same_secrets() {
        let mut config = Config::default();
        config.auth.admin_key = Some(String::new().into());
        config.auth.api_keys = vec![String::new().into()];
        config.auth.jwt.hmac_secret = Some(String::new().into());
        config.auth.jwt.hmac_previous_secret = Some(String::new().into());
        config.redis.url = Some(String::new().into());
        config.redis.password = Some(String::new().into());
        config.redis.sentinel_password = Some(String::new().into());
        let shown = flat(&config);
        let is_hidden = |value: &Value| *value == "***" || value[0] == "***";
        let hidden: Vec<_> =
            shown.iter().filter(|(_, value)| is_hidden(value)).map(|(key, _)| key.as_str()).collect();
        let secrets: Vec<_> = SETTINGS.iter().filter(|setting| setting.is_secret).map(|s| s.key).collect();
        let secret =
            ["auth.admin_key", "auth.api_keys", "auth.jwt.hmac_previous_secret", "auth.jwt.hmac_secret"]
                .into_iter();
        assert_eq!(
            hidden,
            secret.chain(["redis.password", "redis.sentinel_password", "redis.url"]).collect::<Vec<_>>()
        );
        let mut secrets = secrets;
        secrets.sort_unstable();
        assert_eq!(secrets, hidden);
    }

    #[test]
    fn nearest_finds_the_key_behind_a_typo() {
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
