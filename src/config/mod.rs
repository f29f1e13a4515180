//! Every setting: its default, its meaning, its check. Owns the values; where they come from is [`load()`]'s business,
//! and what they bring about is each layer's. Built once by the command, read by every layer.

mod args;
mod defaults;
mod dot_env;
mod load;
mod print;
mod problem;
mod providers;
mod schema;
mod secret;
mod sources;
mod validate;

use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use args::Flags;
pub use load::{Loaded, Origins, load, resolve};
pub use problem::{Problem, Refused};
pub use sources::Sources;
pub use validate::warnings;

/// The settings of one node. Serialising it hides what is secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

impl Config {
    /// Whether other nodes may share this one's store.
    pub fn is_clustered(&self) -> bool {
        self.redis.url.is_some()
    }
}

/// Who may talk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether requests need a token. Off: names are claims.
    pub enabled: bool,
    /// The server API's key; without one that API is off.
    #[serde(serialize_with = "secret::hidden")]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Where Redis is; none: the embedded backend, one node by itself. May hold a password, hence secret.
    #[serde(serialize_with = "secret::hidden_url")]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Internal {
    /// Its address.
    pub host: String,
    /// Its port; none: `/healthz`, `/readyz`, `/metrics` and `/api/v1` answer on the public port.
    pub port: Option<u16>,
}

/// What a log keeps; what comes first wins.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Messages per log.
    pub max_messages: u64,
    /// Age of a message.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Bytes of stored bodies per log.
    pub max_bytes: u64,
    /// Bytes of all logs of the embedded store together; with Redis, its own settings bound it.
    pub embedded_bytes: usize,
    /// How long a repeated publish is recognised.
    #[serde(with = "humantime_serde")]
    pub dedupe_window: Duration,
}

/// What a client may use up.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// The room that an `Enter` without one joins.
    pub default: String,
    /// Rooms in which users only read: what is said there comes through the server API.
    pub read_only: Vec<String>,
    /// Rooms with more members than this hear of nobody entering or leaving.
    pub quiet_above: usize,
}

/// How the node goes down.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long `/readyz` says 503 before the listener stops, for load balancers to notice.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// Over how long the connections are closed, at most: twenty a second are not too many for the other nodes.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
    /// How long after the delay the node exits, whatever is left.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// Logs of the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged, in the syntax of tracing's `EnvFilter`.
    pub filter: String,
    /// How.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("must be text or json, not {word}")),
        }
    }
}
