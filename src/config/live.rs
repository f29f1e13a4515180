//! The settings of a node while it runs. Owns the current ones, which can be replaced, and which settings a running node can take
//! over: the others have had their effect at the start. Read by every layer; the command replaces them.

use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

use super::problem::{Problem, Refused};
use super::schema::flat;
use super::{Config, Jwt, validate};

/// What a running node takes over. Sizes of messages are not among them: clients were told them, and were answered by them.
const TAKEN_OVER: [&str; 29] = [
    "auth.api_keys",
    "auth.jwt.algorithms",
    "auth.jwt.audience",
    "auth.jwt.hmac_previous_secret",
    "auth.jwt.hmac_previous_secret_file",
    "auth.jwt.hmac_secret",
    "auth.jwt.hmac_secret_file",
    "auth.jwt.issuer",
    "auth.jwt.leeway",
    "auth.jwt.max_ttl",
    "auth.jwt.public_keys",
    "auth.jwt.rooms_claim",
    "auth.jwt.user_claim",
    "limits.burst",
    "limits.handshakes_per_minute",
    "limits.max_connections_per_address",
    "limits.max_queue_bytes",
    "limits.max_rooms_per_connection",
    "limits.max_unfinished_bytes",
    "limits.messages_per_second",
    "limits.request_timeout",
    "limits.stored_bytes_burst",
    "limits.stored_bytes_per_second",
    "limits.user_burst",
    "limits.user_messages_per_second",
    "limits.write_timeout",
    "log.filter",
    "server.allowed_hosts",
    "server.allowed_origins",
];

/// The current settings.
#[derive(Debug)]
pub struct Live(RwLock<Arc<Config>>);

impl Live {
    /// The settings of the start.
    pub fn new(config: Config) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    /// The settings now.
    pub fn get(&self) -> Arc<Config> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces them.
    pub fn set(&self, config: Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}

/// What follows from settings that were read again.
#[derive(Debug)]
pub struct Reload {
    /// The settings from now on.
    pub config: Config,
    /// The settings that change.
    pub changed: Vec<&'static str>,
    /// The settings that differ from those of the start, and need a restart.
    pub kept: Vec<&'static str>,
}

impl Reload {
    /// `current` is what the node uses, `started` what was read at its start, and `fresh` what was read now.
    ///
    /// # Errors
    /// Together with the settings that stay, those that would change are invalid.
    pub fn new(current: &Config, started: &Config, fresh: &Config) -> Result<Self, Refused> {
        let config = taken_over(current, fresh);
        let problems = validate::problems(&config);
        if !problems.is_empty() {
            let problem = |(key, what): (&'static str, String)| Problem::new(key, what);
            return Err(Refused(problems.into_iter().map(problem).collect()));
        }
        let changed = differences(current, &config);
        let mut kept = differences(started, fresh);
        kept.retain(|key| !TAKEN_OVER.contains(key));
        Ok(Self { config, changed, kept })
    }
}

/// The current settings with what can be taken over.
fn taken_over(current: &Config, fresh: &Config) -> Config {
    let mut next = current.clone();
    next.server.allowed_hosts.clone_from(&fresh.server.allowed_hosts);
    next.server.allowed_origins.clone_from(&fresh.server.allowed_origins);
    next.log.filter.clone_from(&fresh.log.filter);
    next.auth.api_keys.clone_from(&fresh.auth.api_keys);
    // The task that reads the keys of the start goes on.
    let jwks_url = current.auth.jwt.jwks_url.clone();
    next.auth.jwt = Jwt { jwks_url, ..fresh.auth.jwt.clone() };
    let (old, new) = (&current.limits, &fresh.limits);
    next.limits = new.clone();
    next.limits.max_content_bytes = old.max_content_bytes;
    next.limits.max_frame_bytes = old.max_frame_bytes;
    next.limits.max_delivery_bytes = old.max_delivery_bytes;
    next
}

/// The keys of the settings that differ.
fn differences(one: &Config, other: &Config) -> Vec<&'static str> {
    let (one_flat, other_flat) = (flat(one), flat(other));
    let mut keys: Vec<&'static str> = super::schema::SETTINGS
        .iter()
        .map(|setting| setting.key)
        .filter(|key| one_flat.get(*key) != other_flat.get(*key))
        .collect();
    // There, their values are hidden.
    let text = |secret: &Option<SecretString>| secret.as_ref().map(|text| text.expose_secret().to_owned());
    let texts = |config: &Config| -> Vec<String> {
        config.auth.api_keys.iter().map(|entry| entry.expose_secret().to_owned()).collect()
    };
    for (key, is_other) in [
        ("auth.admin_key", text(&one.auth.admin_key) != text(&other.auth.admin_key)),
        ("auth.api_keys", texts(one) != texts(other)),
        ("auth.jwt.hmac_secret", text(&one.auth.jwt.hmac_secret) != text(&other.auth.jwt.hmac_secret)),
        (
            "auth.jwt.hmac_previous_secret",
            text(&one.auth.jwt.hmac_previous_secret) != text(&other.auth.jwt.hmac_previous_secret),
        ),
        ("redis.url", text(&one.redis.url) != text(&other.redis.url)),
        ("redis.password", text(&one.redis.password) != text(&other.redis.password)),
        (
            "redis.sentinel_password",
            text(&one.redis.sentinel_password) != text(&other.redis.sentinel_password),
        ),
    ] {
        if is_other && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::schema::SETTINGS;
    use super::super::shape::Shape;
    use super::super::{Sources, resolve};
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Config {
        let environment = settings.iter().map(|(key, value)| (OsString::from(key), OsString::from(value)));
        resolve(Sources { environment: environment.collect(), ..Sources::default() }).unwrap().config
    }

    /// Each setting alone: what a running node takes over is what the list says, and every secret is compared.
    #[test]
    fn list_of_settings_is_what_a_running_node_takes_over() {
        let start = Config::default();
        for setting in &SETTINGS {
            let name = format!("CHAT_{}", setting.key.to_uppercase().replace('.', "__"));
            let values: Vec<String> = match setting.shape {
                Shape::Number(least, most) => vec![least.to_string(), most.to_string(), "30000000".into()],
                Shape::Duration(..) => vec!["1700ms".into(), "17s".into(), "1h".into()],
                Shape::Word(words) => words.iter().map(|&word| word.into()).collect(),
                Shape::Networks => vec!["10.0.0.0/8".into()],
                Shape::Texts => {
                    vec!["https://a.example".into(), "a.example".into(), "a:read:0123456789abcdef".into()]
                }
                Shape::Text => vec!["redis://h".into(), "a".into(), "0123456789abcdefgh".into()],
                Shape::Switch => vec!["true".into(), "false".into()],
            };
            // Some values are invalid alone; what is read again is valid.
            let fresh = values.into_iter().filter_map(|value| {
                let environment = vec![(name.clone().into(), value.into())];
                Some(resolve(Sources { environment, ..Sources::default() }).ok()?.config)
            });
            for fresh in fresh {
                let Ok(reload) = Reload::new(&start, &start, &fresh) else { continue };
                let differs = differences(&start, &fresh);
                assert!(differs.iter().all(|key| *key == setting.key), "{} {differs:?}", setting.key);
                let (changed, kept) =
                    if TAKEN_OVER.contains(&setting.key) { (differs, vec![]) } else { (vec![], differs) };
                assert_eq!((reload.changed, reload.kept), (changed, kept), "{}", setting.key);
            }
        }
    }

    #[test]
    fn changed_secret_is_named_and_kept() {
        let start = with(&[("CHAT_AUTH__ADMIN_KEY", "a-long-random-key-1")]);
        let fresh = with(&[("CHAT_AUTH__ADMIN_KEY", "a-long-random-key-2"), ("CHAT_LIMITS__BURST", "7")]);
        let reload = Reload::new(&start, &start, &fresh).unwrap();
        assert_eq!((reload.changed, reload.kept), (vec!["limits.burst"], vec!["auth.admin_key"]));
        assert_eq!(reload.config.limits.burst, 7);
    }

    #[test]
    fn changed_keys_of_the_server_api_are_taken_over() {
        let keys = |key: &str| with(&[("CHAT_AUTH__API_KEYS", key)]);
        let (start, fresh) = (keys("bot:read:a-long-random-key-1"), keys("bot:read:a-long-random-key-2"));
        let reload = Reload::new(&start, &start, &fresh).unwrap();
        assert_eq!((reload.changed, reload.kept), (vec!["auth.api_keys"], vec![]));
        assert_eq!(reload.config.auth.api_keys[0].expose_secret(), fresh.auth.api_keys[0].expose_secret());
    }

    #[test]
    fn secrets_and_rules_of_jwts_are_taken_over() {
        let keys = |secret, previous, url| {
            with(&[
                ("CHAT_AUTH__ENABLED", "true"),
                ("CHAT_AUTH__JWT__ALGORITHMS", "HS256,RS256"),
                ("CHAT_AUTH__JWT__HMAC_SECRET", secret),
                ("CHAT_AUTH__JWT__HMAC_PREVIOUS_SECRET", previous),
                ("CHAT_AUTH__JWT__JWKS_URL", url),
            ])
        };
        let (one, two) = ("a-secret-of-thirty-two-bytes-001", "a-secret-of-thirty-two-bytes-002");
        let (start, fresh) = (keys(one, "", "https://a/"), keys(two, one, "https://b/"));
        let reload = Reload::new(&start, &start, &fresh).unwrap();
        assert_eq!(reload.changed, ["auth.jwt.hmac_previous_secret", "auth.jwt.hmac_secret"]);
        assert_eq!(reload.kept, ["auth.jwt.jwks_url"]);
        assert_eq!(reload.config.auth.jwt.jwks_url.as_deref(), Some("https://a/"));
    }

    /// The redis timeout of the start stays, and no longer fits.
    #[test]
    fn settings_that_do_not_fit_those_that_stay_are_refused() {
        let start = with(&[("CHAT_REDIS__URL", "redis://h"), ("CHAT_REDIS__TIMEOUT", "2s")]);
        let fresh = [
            ("CHAT_REDIS__URL", "redis://h"),
            ("CHAT_REDIS__TIMEOUT", "1s"),
            ("CHAT_LIMITS__REQUEST_TIMEOUT", "1500ms"),
        ];
        let refused = Reload::new(&start, &start, &with(&fresh)).unwrap_err().to_string();
        assert!(refused.contains("must be shorter than limits.request_timeout"), "{refused}");
    }
}
