//! Every setting: its default, its meaning, its check. Owns the values; where they come from is `config::load`'s
//! business. Built once by the command, read by every layer.

use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

/// The settings of one node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address that clients connect to.
    pub host: String,
    /// Its port; 0 lets the system choose.
    pub port: u16,
    /// The most WebSocket connections at a time.
    pub max_connections: usize,
    /// Who may talk.
    pub auth: Auth,
    /// The store that nodes share.
    pub redis: Redis,
    /// This node.
    pub node: Node,
    /// A second listener for operators.
    pub internal: Internal,
    /// What a log keeps.
    pub history: History,
    /// What a client may use up.
    pub limits: Limits,
    /// Sockets.
    pub server: Server,
    /// Rooms.
    pub rooms: Rooms,
    /// How the node goes down.
    pub drain: Drain,
    /// Logs of the program.
    pub log: Log,
}

/// Who may talk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether requests need a token. Off: names are claims.
    pub enabled: bool,
    /// The server API's key; without one that API is off.
    pub admin_key: Option<SecretString>,
    /// How long an issued token lives where nothing else is said.
    #[serde(with = "humantime_serde")]
    pub token_ttl: Duration,
    /// How long a connection may stay without authenticating.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How often the tokens of open connections are checked again, in case a notice of revocation was lost.
    #[serde(with = "humantime_serde")]
    pub recheck_interval: Duration,
}

/// The store that nodes share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Where Redis is; none: the embedded backend, one node by itself. May hold a password, hence secret.
    pub url: Option<SecretString>,
    /// What every key and channel begins with.
    pub prefix: String,
    /// Connections for commands on the hot path, each topic always on the same.
    pub command_connections: usize,
    /// Connections for subscriptions, each topic always on the same.
    pub subscriber_connections: usize,
    /// Connections for everything slow: history, presence, tokens.
    pub pool_size: usize,
    /// How long a command may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The longest pause between two attempts to connect.
    #[serde(with = "humantime_serde")]
    pub max_reconnect_delay: Duration,
}

/// This node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// What operators call it; none: generated.
    pub name: Option<String>,
    /// How long the node's presence lease runs.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How often the lease is renewed, and other nodes' leases are looked at.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// How often a quiet topic's top is compared with the log's.
    #[serde(with = "humantime_serde")]
    pub idle_check: Duration,
    /// How long a topic stays subscribed after its last local member left.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// The memory of all rings of recent messages.
    pub ring_bytes: usize,
    /// Worker threads; 0: as many as there are cores.
    pub threads: usize,
}

/// A second listener for operators.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Internal {
    /// Its address.
    pub host: String,
    /// Its port; none: `/healthz`, `/readyz`, `/metrics` and `/api/v1` answer on the public port.
    pub port: Option<u16>,
}

/// What a log keeps; what comes first wins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Messages per log.
    pub max_messages: u64,
    /// Age of a message.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Bytes of stored bodies per log.
    pub max_bytes: u64,
    /// How long a repeated publish is recognised.
    #[serde(with = "humantime_serde")]
    pub dedupe_window: Duration,
}

/// What a client may use up.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per second and connection; 0: no limit.
    pub messages_per_second: u32,
    /// How many may come at once.
    pub burst: u32,
    /// Bytes of `content` after JSON decoding.
    pub max_content_bytes: usize,
    /// Bytes of a WebSocket frame or message.
    pub max_frame_bytes: usize,
    /// Rooms that one connection may be in.
    pub max_rooms_per_connection: usize,
    /// WebSocket connections from one address at a time; 0: no limit.
    pub max_connections_per_address: usize,
    /// How far fan-out to one connection may run ahead of its socket.
    pub max_queue_bytes: usize,
    /// How long a client may take nothing of what is sent.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// How long a request may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

/// Sockets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// How long a client may take for its HTTP request and the upgrade.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// How often a quiet connection is pinged, give or take a fifth.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// How long after a ping something must have come.
    #[serde(with = "humantime_serde")]
    pub pong_timeout: Duration,
    /// Origins that browsers may connect from, such as `https://chat.example.com`; `*` allows all. Empty: the same host
    /// and port.
    pub allowed_origins: Vec<String>,
    /// Networks whose `X-Forwarded-For` is believed, read from the right.
    pub trusted_proxies: Vec<IpNet>,
}

/// Rooms.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// The room that an `Enter` without one joins.
    pub default: String,
    /// Rooms with more members than this hear of nobody entering or leaving.
    pub quiet_above: usize,
}

/// How the node goes down.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long `/readyz` says 503 before the listener stops, for load balancers to notice.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// Over how long the connections are closed.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
    /// When the node exits, whatever is left.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// Logs of the program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged, in the syntax of tracing's `EnvFilter`.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            max_connections: 10_000,
            auth: Auth::default(),
            redis: Redis::default(),
            node: Node::default(),
            internal: Internal::default(),
            history: History::default(),
            limits: Limits::default(),
            server: Server::default(),
            rooms: Rooms::default(),
            drain: Drain::default(),
            log: Log::default(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            admin_key: None,
            token_ttl: Duration::from_secs(24 * 3600),
            deadline: Duration::from_secs(10),
            recheck_interval: Duration::from_secs(15),
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "chat".into(),
            command_connections: 1,
            subscriber_connections: 1,
            pool_size: 8,
            timeout: Duration::from_secs(2),
            max_reconnect_delay: Duration::from_secs(1),
        }
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_secs(5),
            idle_check: Duration::from_secs(8),
            linger: Duration::from_secs(5),
            ring_bytes: 64 << 20,
            threads: 0,
        }
    }
}

impl Default for Internal {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: None }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            max_messages: 1_000,
            max_age: Duration::from_secs(24 * 3600),
            max_bytes: 4 << 20,
            dedupe_window: Duration::from_secs(300),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages_per_second: 50,
            burst: 100,
            max_content_bytes: 16_384,
            max_frame_bytes: 131_072,
            max_rooms_per_connection: 64,
            max_connections_per_address: 0,
            max_queue_bytes: 256 << 10,
            write_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self { default: "lobby".into(), quiet_above: 1_000 }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(5),
            spread: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}
