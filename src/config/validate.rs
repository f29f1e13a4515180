//! Validation of the settings as a whole. Owns the rules for texts and the rules between settings, with their reasons
//! (the ranges of single values are in the schema); changes nothing. Called by `config::load` before anything is
//! opened, and by the command for its warnings.

use std::net::IpAddr;

use secrecy::ExposeSecret;
use tracing_subscriber::EnvFilter;

use super::api_keys::MIN_KEY_CHARACTERS;
use super::findings::Findings;
use super::host::{LISTEN_HOST, is_host, is_listen_host, url_host};
use super::{
    ApiKeyEntry, ApiKeySource, Auth, COMMON_CLIENT_BYTES, Config, Drain, History, Limits, Log, Node,
    RoomCreators, Server, api_keys, jwt_rules, redis_rules,
};
use crate::protocol::{RoomName, RoomPattern};

/// The range of [`Limits::burst`] where there is a rate: a request may cost five, so with less no `Enter` would ever
/// pass.
const BURST: std::ops::RangeInclusive<u32> = 5..=10_000_000;

/// The most entries of `rooms.listed`, and the most of them that end with `*`.
const MAX_LISTED: (usize, usize) = (1_000, 16);

/// JSON can escape one byte of content as six (`\u0000`), and the rest of a request also takes space.
const MAX_JSON_GROWTH: usize = 6;
const MAX_ENVELOPE_BYTES: usize = 4096;

/// All problems of the settings: the key, and what is required. Empty if they are valid.
pub(super) fn problems(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Findings::default();
    found.require("host", is_listen_host(&config.host), LISTEN_HOST);
    auth(&config.auth, &mut found);
    api_keys::check(&config.auth.api_keys, &mut found);
    jwt_rules::check(&config.auth, &mut found);
    redis_rules::check(&config.redis, &config.limits, &mut found);
    node(&config.node, &mut found);
    found.require("internal.host", is_listen_host(&config.internal.host), LISTEN_HOST);
    let same_port = config.port != 0 && config.internal.port == Some(config.port);
    found.require(
        "internal.port",
        !same_port,
        "must differ from port; to use one port for both, leave internal.port unset",
    );
    let what = "needs tls.key_file, the private key of this certificate";
    found.require("tls.cert_file", config.tls.cert_file.is_none() || config.tls.key_file.is_some(), what);
    let what = "needs tls.cert_file, the certificate of this key";
    found.require("tls.key_file", config.tls.key_file.is_none() || config.tls.cert_file.is_some(), what);
    history(&config.history, &config.limits, &mut found);
    let holds_a_log =
        config.is_clustered() || config.history.embedded_bytes as u64 >= config.history.max_bytes;
    found.require("history.embedded_bytes", holds_a_log, "must be at least history.max_bytes");
    limits(&config.limits, &mut found);
    server(&config.server, &config.limits, &mut found);
    if let Err(error) = RoomName::parse(&config.rooms.default) {
        found.require("rooms.default", false, error.to_string());
    }
    for host in &config.messages.attachment_hosts {
        let what = format!("{host:?} is no host: leave out the scheme, the port and the path");
        found.require("messages.attachment_hosts", url_host(host).is_some(), what);
    }
    for name in &config.rooms.read_only {
        if let Err(error) = RoomName::parse(name) {
            found.require("rooms.read_only", false, format!("{name:?} {error}"));
        }
    }
    listed(&config.rooms.listed, &mut found);
    let is_by_token = config.rooms.create == RoomCreators::Token;
    let what =
        "is token, but no JWT is accepted, so no user could make a room: set auth.jwt.algorithms, or api";
    found.require("rooms.create", !is_by_token || config.auth.jwt.is_on(), what);
    drain(&config.drain, &mut found);
    log(&config.log, &mut found);
    found.0
}

/// Each entry with `*` is a call to the store for a page of rooms.
fn listed(entries: &[String], found: &mut Findings) {
    const KEY: &str = "rooms.listed";
    for entry in entries {
        if let Err(error) = RoomPattern::parse(entry) {
            found.require(KEY, false, format!("{entry:?} {error}"));
        }
    }
    let is_short = entries.len() <= MAX_LISTED.0;
    found.require(KEY, is_short, format!("must have at most {} entries", MAX_LISTED.0));
    let is_cheap = entries.iter().filter(|entry| entry.ends_with('*')).count() <= MAX_LISTED.1;
    found.require(KEY, is_cheap, format!("must have at most {} entries that end with `*`", MAX_LISTED.1));
}

fn auth(auth: &Auth, found: &mut Findings) {
    if let Some(key) = &auth.admin_key {
        let key = key.expose_secret();
        let long = key.chars().count() >= MIN_KEY_CHARACTERS;
        found.require("auth.admin_key", long, format!("must have at least {MIN_KEY_CHARACTERS} characters"));
        // It is sent in an HTTP header.
        let visible = key.chars().all(|c| c.is_ascii_graphic());
        found.require("auth.admin_key", visible, "must consist of visible ASCII characters without spaces");
    }
}

fn node(node: &Node, found: &mut Findings) {
    if let Some(name) = &node.name {
        let plain = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
        let good = (1..=64).contains(&name.chars().count()) && plain;
        found.require("node.name", good, "must consist of 1 to 64 characters without spaces");
    }
    found.require("node.heartbeat", node.heartbeat < node.lease, "must be shorter than node.lease");
}

fn history(history: &History, limits: &Limits, found: &mut Findings) {
    let largest = limits.max_content_bytes.saturating_add(MAX_ENVELOPE_BYTES) as u64;
    let what = format!(
        "must be at least limits.max_content_bytes + {MAX_ENVELOPE_BYTES} = {largest}, not {}",
        history.max_bytes
    );
    found.require("history.max_bytes", history.max_bytes >= largest, what);
}

fn limits(limits: &Limits, found: &mut Findings) {
    let burst_fits = limits.messages_per_second == 0 || BURST.contains(&limits.burst);
    let what =
        format!("must be a whole number from {} to {}, not {}", BURST.start(), BURST.end(), limits.burst);
    found.require("limits.burst", burst_fits, what);
    let least = limits.max_content_bytes.saturating_mul(MAX_JSON_GROWTH).saturating_add(MAX_ENVELOPE_BYTES);
    let what = format!(
        "must be at least {MAX_JSON_GROWTH} × limits.max_content_bytes + {MAX_ENVELOPE_BYTES} = {least} (JSON can \
         escape one byte as six), not {}",
        limits.max_frame_bytes
    );
    found.require("limits.max_frame_bytes", limits.max_frame_bytes >= least, what);
    // The names and ids of a message, in their longest form, and what the node keeps free for a page or an error.
    let least = limits.max_content_bytes.saturating_add(MAX_ENVELOPE_BYTES);
    let what = format!(
        "must be at least limits.max_content_bytes + {MAX_ENVELOPE_BYTES} = {least}, not {}",
        limits.delivery_bytes()
    );
    found.require("limits.max_delivery_bytes", limits.delivery_bytes() >= least, what);
    // Otherwise the largest message could never arrive.
    let holds_a_message = limits.max_unfinished_bytes >= limits.max_frame_bytes;
    found.require("limits.max_unfinished_bytes", holds_a_message, "must be at least limits.max_frame_bytes");
}

fn server(server: &Server, limits: &Limits, found: &mut Findings) {
    // While a request runs, its connection reads nothing, pongs included.
    let what = "must be longer than limits.request_timeout, or a slow request closes the connection";
    found.require("server.pong_timeout", server.pong_timeout > limits.request_timeout, what);
    for origin in &server.allowed_origins {
        let what = format!("{origin:?} is neither `*` nor an origin such as https://chat.example.com");
        found.require("server.allowed_origins", is_origin(origin), what);
    }
    for host in &server.allowed_hosts {
        let plain = host == "*" || is_host(host) && !host.contains(['?', '#', '*', ',', ':']);
        let what =
            format!("{host:?} is neither `*` nor a host name such as chat.example.com, without a port");
        found.require("server.allowed_hosts", plain, what);
    }
}

/// Whether a browser could send this as `Origin`: scheme and host, no path, no slash at the end.
fn is_origin(origin: &str) -> bool {
    let plain = |host: &str| is_host(host) && !host.contains(['?', '#', '*', ',']);
    origin == "*" || origin.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && plain(host))
}

fn drain(drain: &Drain, found: &mut Findings) {
    let what = "must be at least drain.spread, or the node exits before all clients are closed";
    found.require("drain.timeout", drain.timeout >= drain.spread, what);
}

fn log(log: &Log, found: &mut Findings) {
    if let Err(error) = EnvFilter::try_new(&log.filter) {
        found.require("log.filter", false, format!("must be a filter such as info,chatnode=debug: {error}"));
    }
    found.require("log.filter", !log.filter.is_empty(), "must not be empty; `off` turns the log off");
}

/// Warnings about settings that are allowed but dangerous, a line each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.auth.enabled && !is_loopback(&config.host) {
        warnings.push(format!(
            "authentication is off and {} can be reached from outside: anyone can use any name and read private \
             messages; set auth.enabled = true",
            config.host
        ));
    }
    if !config.auth.enabled && config.auth.has_api() {
        warnings.push(
            "authentication is off, so no user has a role: private rooms that the server API makes are closed to all, and nobody \
             writes in rooms for announcements"
                .into(),
        );
    }
    if !config.can_authenticate() {
        warnings.push(
            "authentication is on, auth.admin_key and auth.jwt are unset, and no key in auth.api_keys has the scope tokens: nobody \
             could get a token, so a node does not start"
                .into(),
        );
    }
    let jwt = &config.auth.jwt;
    if jwt.is_on() && jwt.issuer.is_none() && jwt.audience.is_empty() {
        warnings.push(
            "auth.jwt.issuer and auth.jwt.audience are unset: any token that the keys sign is accepted, also one for another \
             application; name yours"
                .into(),
        );
    }
    if let Some(key) = &config.auth.admin_key
        && is_example(key.expose_secret())
    {
        warnings.push("auth.admin_key is an example or a repeated character: anyone can guess it".into());
    }
    for entry in config.auth.api_keys.iter().filter_map(|text| ApiKeyEntry::parse(text.expose_secret()).ok())
    {
        if matches!(&entry.source, ApiKeySource::Text(key) if is_example(key.expose_secret())) {
            warnings.push(format!(
                "the key {} in auth.api_keys is an example or a repeated character: anyone can guess it",
                entry.name
            ));
        }
    }
    if config.internal.port.is_none() && !is_loopback(&config.host) {
        warnings.push(
            "/metrics is on the public port: set internal.port to move it to a port for operators".into(),
        );
    }
    if config.server.allowed_hosts.is_empty() && !is_loopback(&config.host) {
        warnings.push(
            "any host name is served, so a web site could reach this node under a name of its own (DNS rebinding): list \
             the names of this node in server.allowed_hosts"
                .into(),
        );
    }
    if config.limits.delivery_bytes() > COMMON_CLIENT_BYTES {
        warnings.push(format!(
            "frames may have {} bytes: some client libraries end the connection at a message of more than \
             {COMMON_CLIENT_BYTES}, and again each time they resume; lower limits.max_delivery_bytes (or \
             limits.max_content_bytes, from which it follows), or raise the limit of each client",
            config.limits.delivery_bytes()
        ));
    }
    warnings
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a key looks like one from our files or from a tutorial, or has almost no different characters.
fn is_example(key: &str) -> bool {
    let key = key.to_lowercase();
    let mut letters: Vec<char> = key.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    ["change-me", "changeme", "change_me", "example", "secret", "password", "admin", "0123456789"]
        .iter()
        .any(|word| key.contains(word))
        || letters.len() < 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_rate_follows_the_request_rate_unless_it_is_set() {
        let mut limits = Config::default().limits;
        assert_eq!(limits.storage_rate(), 256 << 10);
        limits.messages_per_second = 0;
        assert_eq!(limits.storage_rate(), 0);
        limits.stored_bytes_per_second = Some(7);
        assert_eq!(limits.storage_rate(), 7);
    }

    #[test]
    fn rate_of_a_user_is_that_of_four_connections_unless_it_is_set() {
        let mut limits = Config::default().limits;
        assert_eq!(limits.user_rate(), (200, 400));
        limits.messages_per_second = 0;
        assert_eq!(limits.user_rate(), (0, 400));
        (limits.user_messages_per_second, limits.user_burst) = (Some(7), Some(3));
        assert_eq!(limits.user_rate(), (7, 3));
    }

    #[test]
    fn defaults_are_valid_without_warnings() {
        assert_eq!(problems(&Config::default()), []);
        assert_eq!(warnings(&Config::default()), Vec::<String>::new());
    }

    #[test]
    fn rooms_that_tokens_grant_need_tokens_that_can() {
        let mut config = Config::default();
        config.rooms.create = RoomCreators::Token;
        assert!(
            problems(&config).iter().any(|(key, what)| *key == "rooms.create" && what.contains("no JWT"))
        );
        config.auth.enabled = true;
        config.auth.jwt.algorithms = vec!["HS256".into()];
        config.auth.jwt.hmac_secret = Some("0123456789abcdef0123456789abcdef".into());
        assert_eq!(problems(&config), []);
    }

    #[test]
    fn delivery_size_follows_the_content_unless_it_is_set() {
        let mut config = Config::default();
        assert_eq!(config.limits.delivery_bytes(), 32_768);
        config.limits.max_content_bytes = 16_385;
        assert_eq!(config.limits.delivery_bytes(), 32_769);
        config.limits.max_content_bytes = 1;
        assert_eq!(config.limits.delivery_bytes(), 32_768);
        config.limits.max_content_bytes = 1_000;
        config.limits.max_delivery_bytes = Some(5_096);
        assert_eq!((problems(&config), config.limits.delivery_bytes()), (Vec::new(), 5_096));
        config.limits.max_delivery_bytes = Some(5_095);
        let problems = problems(&config);
        assert_eq!(problems[0].0, "limits.max_delivery_bytes");
        assert!(problems[0].1.contains("= 5096, not 5095"), "{}", problems[0].1);
    }

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        for good in ["*", "https://chat.example.com", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["chat.example.com", "https://chat.example.com/", "https://", "https://*.example.com", ""]
        {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn dangerous_settings_cause_warnings() {
        let mut config = Config { host: "0.0.0.0".into(), ..Config::default() };
        assert!(warnings(&config)[0].starts_with("authentication is off"));
        config.auth.enabled = true;
        config.internal.port = Some(9090);
        config.server.allowed_hosts = vec!["chat.example.com".into()];
        assert!(warnings(&config)[0].contains("nobody could get a token"));
        config.auth.admin_key = Some("change-me-change-me".into());
        assert!(warnings(&config)[0].contains("example"));
        config.auth.admin_key = Some("8Jq2-mVd7-Rz4x-Kp9w".into());
        assert_eq!(warnings(&config), Vec::<String>::new());
        config.auth.admin_key = None;
        config.auth.api_keys = vec!["bot:read:8Jq2-mVd7-Rz4x-Kp9w".into()];
        assert!(warnings(&config)[0].contains("nobody could get a token"));
        config.auth.api_keys = vec!["site:tokens:change-me-change-me".into()];
        assert!(warnings(&config)[0].starts_with("the key site in auth.api_keys is an example"));
        config.auth.api_keys = vec!["site:tokens:8Jq2-mVd7-Rz4x-Kp9w".into()];
        assert_eq!(warnings(&config), Vec::<String>::new());
        config.server.allowed_hosts.clear();
        assert!(warnings(&config)[0].contains("server.allowed_hosts"));
        config = Config::default();
        config.auth.admin_key = Some("8Jq2-mVd7-Rz4x-Kp9w".into());
        assert!(warnings(&config)[0].contains("no user has a role"));
        let mut config = Config::default();
        config.limits.max_delivery_bytes = Some(32_769);
        assert!(warnings(&config)[0].contains("limits.max_delivery_bytes"));
        config.limits.max_delivery_bytes = Some(32_768);
        assert_eq!(warnings(&config), Vec::<String>::new());
        config.limits.max_delivery_bytes = None;
        config.limits.max_content_bytes = 20_000;
        assert!(warnings(&config)[0].contains("frames may have 36384 bytes"));
    }
}
