//! What the settings must be, singly and together. Owns the ranges and their reasons; changes nothing. Called by
//! `config::load` before anything is opened, and by the command for its warnings.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ::redis::IntoConnectionInfo;
use humantime::format_duration;
use secrecy::ExposeSecret;
use tracing_subscriber::EnvFilter;

use super::{Auth, Config, Drain, History, Limits, Log, Node, Redis, Server};
use crate::protocol::RoomName;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The fewest characters of the server API's key: 16 random ones can't be guessed over a network.
const MIN_ADMIN_KEY: usize = 16;

/// What a request may cost at most ([`Limits::burst`] must allow one).
const DEAREST_REQUEST: u32 = 5;

/// JSON may spell one byte of content as six (`\u0000`), and the rest of a request takes some room.
const MAX_JSON_GROWTH: usize = 6;
const MAX_ENVELOPE_BYTES: usize = 4096;

/// The problems found so far, each with the key that is to blame.
#[derive(Default)]
struct Findings(Vec<(&'static str, String)>);

impl Findings {
    fn require(&mut self, key: &'static str, holds: bool, what: impl Into<String>) {
        if !holds {
            self.0.push((key, what.into()));
        }
    }

    fn number<T: PartialOrd + Display>(&mut self, key: &'static str, value: T, range: RangeInclusive<T>) {
        let what = format!("must be {} to {}, not {value}", range.start(), range.end());
        self.require(key, range.contains(&value), what);
    }

    fn time(&mut self, key: &'static str, value: Duration, range: RangeInclusive<Duration>) {
        let [least, most, value_text] = [*range.start(), *range.end(), value].map(format_duration);
        let what = format!("must be {least} to {most}, not {value_text}");
        self.require(key, range.contains(&value), what);
    }
}

/// All that is wrong with the settings: key and what to do. Empty: they are good.
pub(super) fn problems(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Findings::default();
    found.require("host", is_host(&config.host), "must be an address or a host name");
    found.number("max_connections", config.max_connections, 1..=10_000_000);
    auth(&config.auth, &mut found);
    redis(&config.redis, &config.limits, &mut found);
    node(&config.node, &mut found);
    found.require("internal.host", is_host(&config.internal.host), "must be an address or a host name");
    let same_port = config.port != 0 && config.internal.port == Some(config.port);
    found.require("internal.port", !same_port, "must differ from port; leave it unset to answer on that one");
    history(&config.history, &config.limits, &mut found);
    let holds_a_log =
        config.is_clustered() || config.history.embedded_bytes as u64 >= config.history.max_bytes;
    found.require("history.embedded_bytes", holds_a_log, "must be at least history.max_bytes");
    limits(&config.limits, &mut found);
    server(&config.server, &config.limits, &mut found);
    if let Err(error) = RoomName::parse(&config.rooms.default) {
        found.require("rooms.default", false, error.to_string());
    }
    for name in &config.rooms.read_only {
        if let Err(error) = RoomName::parse(name) {
            found.require("rooms.read_only", false, format!("has {name:?}, which {error}"));
        }
    }
    drain(&config.drain, &mut found);
    log(&config.log, &mut found);
    found.0
}

fn is_host(host: &str) -> bool {
    !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@'))
}

fn auth(auth: &Auth, found: &mut Findings) {
    if let Some(key) = &auth.admin_key {
        let key = key.expose_secret();
        let long = key.chars().count() >= MIN_ADMIN_KEY;
        found.require("auth.admin_key", long, format!("must have at least {MIN_ADMIN_KEY} characters"));
        // It travels in an HTTP header.
        let visible = key.chars().all(|c| c.is_ascii_graphic());
        found.require("auth.admin_key", visible, "must be visible ASCII characters without spaces");
    }
    found.time("auth.token_ttl", auth.token_ttl, SECOND..=366 * DAY);
    found.time("auth.deadline", auth.deadline, 10 * MILLISECOND..=10 * MINUTE);
    found.time("auth.recheck_interval", auth.recheck_interval, 10 * MILLISECOND..=HOUR);
}

fn redis(redis: &Redis, limits: &Limits, found: &mut Findings) {
    if let Some(url) = &redis.url {
        let url = url.expose_secret();
        let what = if url.starts_with("rediss:") {
            Some("asks for TLS, which this build does not have")
        } else if url.contains("://") && url.into_connection_info().is_ok() {
            None
        } else {
            Some("must be redis://[[user]:password@]host[:port][/db]")
        };
        found.require("redis.url", what.is_none(), what.unwrap_or_default());
    }
    // Braces would move or break the hash tag that keeps a topic's keys together; the rest would garble key lists.
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}');
    let good = (1..=64).contains(&redis.prefix.len()) && redis.prefix.chars().all(plain);
    found.require("redis.prefix", good, "must be 1 to 64 visible ASCII characters without braces");
    found.number("redis.command_connections", redis.command_connections, 1..=64);
    found.number("redis.subscriber_connections", redis.subscriber_connections, 1..=64);
    found.number("redis.pool_size", redis.pool_size, 1..=1024);
    found.time("redis.timeout", redis.timeout, 10 * MILLISECOND..=MINUTE);
    // Otherwise every message that Redis is slow to answer is cut off first: `unknown`, even where it was refused.
    let in_time = redis.url.is_none() || redis.timeout < limits.request_timeout;
    found.require("redis.timeout", in_time, "must be shorter than limits.request_timeout");
    found.time("redis.max_reconnect_delay", redis.max_reconnect_delay, 10 * MILLISECOND..=MINUTE);
}

fn node(node: &Node, found: &mut Findings) {
    if let Some(name) = &node.name {
        let plain = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
        let good = (1..=64).contains(&name.chars().count()) && plain;
        found.require("node.name", good, "must be 1 to 64 characters without spaces");
    }
    found.time("node.lease", node.lease, 100 * MILLISECOND..=10 * MINUTE);
    found.time("node.heartbeat", node.heartbeat, 10 * MILLISECOND..=10 * MINUTE);
    found.require("node.heartbeat", node.heartbeat < node.lease, "must be shorter than node.lease");
    found.time("node.idle_check", node.idle_check, 10 * MILLISECOND..=HOUR);
    found.time("node.linger", node.linger, Duration::ZERO..=HOUR);
    found.number("node.ring_bytes", node.ring_bytes, 64 << 10..=64 << 30);
    found.number("node.threads", node.threads, 0..=1024);
}

fn history(history: &History, limits: &Limits, found: &mut Findings) {
    found.number("history.max_messages", history.max_messages, 1..=10_000_000);
    found.time("history.max_age", history.max_age, SECOND..=3650 * DAY);
    let largest = limits.max_content_bytes.saturating_add(MAX_ENVELOPE_BYTES) as u64;
    found.number("history.max_bytes", history.max_bytes, largest..=1 << 40);
    found.time("history.dedupe_window", history.dedupe_window, SECOND..=DAY);
}

fn limits(limits: &Limits, found: &mut Findings) {
    found.number("limits.messages_per_second", limits.messages_per_second, 0..=1_000_000);
    if limits.messages_per_second > 0 {
        // Less would never let an `Enter` through.
        found.number("limits.burst", limits.burst, DEAREST_REQUEST..=10_000_000);
    }
    found.number("limits.max_content_bytes", limits.max_content_bytes, 1..=16 << 20);
    let least = limits.max_content_bytes.saturating_mul(MAX_JSON_GROWTH).saturating_add(MAX_ENVELOPE_BYTES);
    let what = format!(
        "must be at least {MAX_JSON_GROWTH} × limits.max_content_bytes + {MAX_ENVELOPE_BYTES} = {least}, since JSON \
         may spell one byte as six; not {}",
        limits.max_frame_bytes
    );
    found.require("limits.max_frame_bytes", limits.max_frame_bytes >= least, what);
    found.require("limits.max_frame_bytes", limits.max_frame_bytes <= 256 << 20, "must be at most 268435456");
    found.number("limits.max_rooms_per_connection", limits.max_rooms_per_connection, 1..=100_000);
    found.number("limits.max_connections_per_address", limits.max_connections_per_address, 0..=10_000_000);
    found.number("limits.max_queue_bytes", limits.max_queue_bytes, 1024..=1 << 30);
    found.time("limits.write_timeout", limits.write_timeout, 10 * MILLISECOND..=10 * MINUTE);
    found.time("limits.request_timeout", limits.request_timeout, 10 * MILLISECOND..=10 * MINUTE);
}

fn server(server: &Server, limits: &Limits, found: &mut Findings) {
    found.time("server.handshake_timeout", server.handshake_timeout, 10 * MILLISECOND..=10 * MINUTE);
    found.time("server.ping_interval", server.ping_interval, 10 * MILLISECOND..=HOUR);
    found.time("server.pong_timeout", server.pong_timeout, 10 * MILLISECOND..=HOUR);
    // A connection reads no further while its request runs, so it sees no pong either.
    let what = "must be longer than limits.request_timeout, or a slow request costs the connection";
    found.require("server.pong_timeout", server.pong_timeout > limits.request_timeout, what);
    for origin in &server.allowed_origins {
        let what = format!("{origin:?} must be `*` or an origin such as https://chat.example.com");
        found.require("server.allowed_origins", is_origin(origin), what);
    }
}

/// What a browser sends as `Origin`: scheme and host, no path, no slash at the end.
fn is_origin(origin: &str) -> bool {
    let plain = |host: &str| is_host(host) && !host.contains(['?', '#', '*', ',']);
    origin == "*" || origin.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && plain(host))
}

fn drain(drain: &Drain, found: &mut Findings) {
    found.time("drain.delay", drain.delay, Duration::ZERO..=HOUR);
    found.time("drain.spread", drain.spread, Duration::ZERO..=HOUR);
    found.time("drain.timeout", drain.timeout, 10 * MILLISECOND..=3 * HOUR);
    let what = "must be at least drain.spread, or the node exits with clients left";
    found.require("drain.timeout", drain.timeout >= drain.spread, what);
}

fn log(log: &Log, found: &mut Findings) {
    if let Err(error) = EnvFilter::try_new(&log.filter) {
        found.require("log.filter", false, format!("not a filter such as info,chatnode=debug: {error}"));
    }
    found.require("log.filter", !log.filter.is_empty(), "must not be empty; `off` is silence");
}

/// What an operator should hear at the start: settings that are allowed and dangerous, a line each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !config.auth.enabled && !is_loopback(&config.host) {
        warnings.push(format!(
            "authentication is off and {} can be reached from outside: anybody can speak under any name and read \
             private messages (auth.enabled = true)",
            config.host
        ));
    }
    if config.auth.enabled && config.auth.admin_key.is_none() {
        warnings.push("authentication is on and auth.admin_key is unset: no token can be issued here".into());
    }
    if let Some(key) = &config.auth.admin_key
        && is_example(key.expose_secret())
    {
        warnings.push("auth.admin_key is an example or a repeated character: anybody can guess it".into());
    }
    if config.internal.port.is_none() && !is_loopback(&config.host) {
        warnings
            .push("/metrics answers on the public port: set internal.port to keep it for operators".into());
    }
    warnings
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Keys that stand in our files and in everybody's tutorials.
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
    fn the_defaults_are_good_and_quiet() {
        assert_eq!(problems(&Config::default()), []);
        assert_eq!(warnings(&Config::default()), Vec::<String>::new());
    }

    #[test]
    fn redis_has_less_time_than_the_request_that_asks_it() {
        let mut config = Config::default();
        config.redis.timeout = config.limits.request_timeout;
        assert_eq!(problems(&config), [], "without Redis it does not matter");
        config.redis.url = Some("redis://127.0.0.1".into());
        assert_eq!(problems(&config)[0].0, "redis.timeout");
        config.redis.timeout -= MILLISECOND;
        assert_eq!(problems(&config), []);
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for good in ["*", "https://chat.example.com", "http://localhost:3000", "http://[::1]:8080"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["chat.example.com", "https://chat.example.com/", "https://", "https://*.example.com", ""]
        {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn dangerous_settings_are_told() {
        let mut config = Config { host: "0.0.0.0".into(), ..Config::default() };
        assert!(warnings(&config)[0].starts_with("authentication is off"));
        config.auth.enabled = true;
        config.internal.port = Some(9090);
        assert!(warnings(&config)[0].contains("no token can be issued"));
        config.auth.admin_key = Some("change-me-change-me".into());
        assert!(warnings(&config)[0].contains("example"));
        config.auth.admin_key = Some("8Jq2-mVd7-Rz4x-Kp9w".into());
        assert_eq!(warnings(&config), Vec::<String>::new());
    }
}
