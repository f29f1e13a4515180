//! The settings of a node. Owns their structure and values; [`load()`] knows where they come from, and each layer gives
//! its own settings their effect. Built once by the command, read by every layer.

mod address_map;
mod api_keys;
mod args;
mod defaults;
mod dot_env;
mod findings;
mod host;
mod jwt;
mod jwt_rules;
mod live;
mod load;
mod print;
mod problem;
mod providers;
mod redis;
mod redis_rules;
mod redis_url;
mod schema;
mod secret;
mod shape;
mod sources;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

pub use address_map::AddressMap;
pub use api_keys::{ADMIN_KEY_NAME, ApiKeyEntry, ApiKeySource, ApiScope, check_key};
pub use args::Flags;
pub use host::url_host;
pub use jwt::Jwt;
pub use live::{Live, Reload};
pub use load::{Loaded, Origins, load, resolve};
pub use problem::{Problem, Refused};
pub use redis::{ClusterPubSub, Redis, RedisTls};
pub use redis_url::{RedisAddress, RedisUrl};
pub use sources::Sources;
pub use validate::warnings;

/// The settings of one node. Serialising them hides the secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address that clients connect to.
    pub host: String,
    /// The port that clients connect to; 0 lets the system choose.
    pub port: u16,
    /// The maximum number of open WebSocket connections.
    pub max_connections: usize,
    /// Authentication.
    pub auth: Auth,
    /// The store that the nodes share.
    pub redis: Redis,
    /// This node.
    pub node: Node,
    /// The second listener, for operators.
    pub internal: Internal,
    /// TLS on the port for clients.
    pub tls: Tls,
    /// The size of the message logs.
    pub history: History,
    /// Messages and their changes.
    pub messages: Messages,
    /// Limits for clients.
    pub limits: Limits,
    /// Sockets.
    pub server: Server,
    /// Rooms.
    pub rooms: Rooms,
    /// The shutdown of the node.
    pub drain: Drain,
    /// Log output of the program.
    pub log: Log,
}

impl Config {
    /// Whether other nodes can share the store of this node.
    pub fn is_clustered(&self) -> bool {
        self.redis.url.is_some()
    }

    /// Whether users can get a token that this node accepts, if they need one.
    pub fn can_authenticate(&self) -> bool {
        !self.auth.enabled || self.auth.can_issue_tokens() || self.auth.jwt.is_on()
    }

    /// How many connections to the store the node has; the embedded store has none.
    pub fn store_connections(&self) -> usize {
        let redis = &self.redis;
        if self.is_clustered() {
            // Publishes that wait for replicas have connections of their own.
            let publishing = if redis.min_replicas_acked > 0 { redis.command_connections } else { 0 };
            redis.command_connections + publishing + redis.subscriber_connections + redis.pool_size
        } else {
            0
        }
    }
}

/// Authentication.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether requests need a token. If off, anyone can use any name.
    pub enabled: bool,
    /// The key of the server API; if unset, the API is off.
    #[serde(serialize_with = "secret::hidden")]
    pub admin_key: Option<SecretString>,
    /// Further keys of the server API: an [`ApiKeyEntry`] each.
    #[serde(serialize_with = "secret::hidden_keys")]
    pub api_keys: Vec<SecretString>,
    /// The lifetime of an issued token, if the request does not set another.
    #[serde(with = "humantime_serde")]
    pub token_ttl: Duration,
    /// How long a connection may stay open without authentication.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// How often the tokens of open connections are checked again, in case a notice of revocation was lost.
    #[serde(with = "humantime_serde")]
    pub recheck_interval: Duration,
    /// Tokens of an identity provider.
    pub jwt: Jwt,
}

impl Auth {
    /// Whether the server API is on.
    pub fn has_api(&self) -> bool {
        self.admin_key.is_some() || !self.api_keys.is_empty()
    }

    /// Whether a key of the server API may issue tokens.
    fn can_issue_tokens(&self) -> bool {
        let mut entries =
            self.api_keys.iter().filter_map(|entry| ApiKeyEntry::parse(entry.expose_secret()).ok());
        self.admin_key.is_some() || entries.any(|entry| ApiScope::Tokens.is_among(&entry.scopes))
    }
}

/// This node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Its name for operators; if unset, it is generated.
    pub name: Option<String>,
    /// How long the node's presence lease lasts.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How often the node renews its lease and checks the leases of other nodes.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// How often the node compares the newest message of a quiet topic with the log.
    #[serde(with = "humantime_serde")]
    pub idle_check: Duration,
    /// How long a topic stays subscribed after its last local member left.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// The limit for the recent messages of all topics together, in bytes.
    pub ring_bytes: usize,
    /// The number of worker threads; 0 uses the number of cores.
    pub threads: usize,
}

/// Messages and their changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    /// How long after it was stored a message can be edited.
    #[serde(with = "humantime_serde")]
    pub edit_window: Duration,
    /// The hosts that attachments may name, over https or http; if empty, every host over https.
    pub attachment_hosts: Vec<String>,
}

/// The second listener, for operators.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Internal {
    /// Its address.
    pub host: String,
    /// Its port; if unset, `/healthz`, `/readyz`, `/metrics` and `/api/v1` are on the public port.
    pub port: Option<u16>,
}

/// TLS on the port for clients. The files are PEM; they are read again after they have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate of this node, followed by its chain. If unset, the port has no TLS.
    pub cert_file: Option<PathBuf>,
    /// The private key of the certificate.
    pub key_file: Option<PathBuf>,
}

/// The size of the message logs; whichever limit is reached first applies.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// The maximum number of messages per log.
    pub max_messages: u64,
    /// The maximum age of messages.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// The maximum size of the stored bodies per log, in bytes.
    pub max_bytes: u64,
    /// The maximum size of all logs of the embedded store together, in bytes; Redis has its own limit.
    pub embedded_bytes: usize,
    /// How long the server recognises a repeated publish.
    #[serde(with = "humantime_serde")]
    pub dedupe_window: Duration,
}

/// What common client libraries take as one message: Go's coder/websocket closes the connection above it.
const COMMON_CLIENT_BYTES: usize = 32 << 10;

/// Connections of one user that may all be at their own limit at the same time: a phone, a tablet, a browser and a program.
const DEVICES: u32 = 4;

/// Limits for clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests per second and connection; 0 means no limit.
    pub messages_per_second: u32,
    /// How many requests may arrive at once.
    pub burst: u32,
    /// Requests that store something, per second and user (with authentication off: address), over all connections and nodes; 0
    /// means no limit. See [`Limits::user_rate`].
    pub user_messages_per_second: Option<u32>,
    /// How many of them one user may send at once after a pause. See [`Limits::user_rate`].
    pub user_burst: Option<u32>,
    /// Estimated bytes that one user (with authentication off: one address) may store per second through one node; 0 means no
    /// limit, and no share of the embedded store. See [`Limits::storage_rate`].
    pub stored_bytes_per_second: Option<u32>,
    /// How many bytes one user may store at once after a pause.
    pub stored_bytes_burst: u32,
    /// The maximum size of `content` after JSON decoding, in bytes.
    pub max_content_bytes: usize,
    /// The maximum size of a WebSocket frame or message, in bytes.
    pub max_frame_bytes: usize,
    /// The maximum size of a text frame that the node sends, without its header, in bytes. See [`Limits::delivery_bytes`].
    pub max_delivery_bytes: Option<usize>,
    /// The maximum number of rooms per connection.
    pub max_rooms_per_connection: usize,
    /// The maximum number of open WebSocket connections from one address; 0 means no limit.
    pub max_connections_per_address: usize,
    /// How many WebSocket upgrades one address may ask for in a minute; 0 means no limit.
    pub handshakes_per_minute: u32,
    /// How many bytes of messages that are not complete the node holds for all connections together.
    pub max_unfinished_bytes: usize,
    /// How many bytes of live messages may wait for one connection.
    pub max_queue_bytes: usize,
    /// How long a client may accept no data.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// How long a request may take.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

impl Limits {
    /// The effective `stored_bytes_per_second`. Unset, it follows `messages_per_second`: who lifts that limit trusts the
    /// clients.
    pub fn storage_rate(&self) -> u32 {
        let unset = if self.messages_per_second == 0 { 0 } else { 256 << 10 };
        self.stored_bytes_per_second.unwrap_or(unset)
    }

    /// The effective `user_messages_per_second` and `user_burst`. Unset, they allow what a user with a few devices could do at
    /// most, each at its own limit.
    pub fn user_rate(&self) -> (u32, u32) {
        let of_devices = |one: u32| one.saturating_mul(DEVICES);
        let per_second = self.user_messages_per_second.unwrap_or(of_devices(self.messages_per_second));
        (per_second, self.user_burst.unwrap_or(of_devices(self.burst)).max(1))
    }

    /// The effective `max_delivery_bytes`. Unset, a text of the maximum size fits even if JSON makes it somewhat longer.
    pub fn delivery_bytes(&self) -> usize {
        let unset = self.max_content_bytes.saturating_add(16 << 10).max(COMMON_CLIENT_BYTES);
        self.max_delivery_bytes.unwrap_or(unset)
    }
}

/// Sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// How long a client may take for its HTTP request and the upgrade.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// After which time without a frame from the client the node sends a ping, plus up to a fifth.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// How long after this ping the node waits for data.
    #[serde(with = "humantime_serde")]
    pub pong_timeout: Duration,
    /// How long after the last request of a page its user still counts as present, if the page is known to send requests
    /// regularly.
    #[serde(with = "humantime_serde")]
    pub away_after: Duration,
    /// Origins from which browsers may connect besides the node's own page, such as `https://chat.example.com`; `*`
    /// allows all.
    pub allowed_origins: Vec<String>,
    /// Host names under which this node is reached; `*` allows all. If empty, a node that listens on loopback serves
    /// only loopback names and IP addresses, and any other node serves all names.
    pub allowed_hosts: Vec<String>,
    /// Networks whose `X-Forwarded-For` the node trusts. It reads the header from the right.
    pub trusted_proxies: Vec<IpNet>,
}

impl Server {
    /// For how long a client may send nothing at all. The node never closes a connection as idle earlier.
    pub fn idle_timeout(&self) -> Duration {
        self.ping_interval + self.pong_timeout
    }
}

/// Rooms.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rooms {
    /// The room that an `Enter` without `room` joins.
    pub default: String,
    /// Rooms in which users can only read. Messages in them come from the server API.
    pub read_only: Vec<String>,
    /// The rooms that users can find with `Rooms`: names, and beginnings of names with `*`.
    pub listed: Vec<String>,
    /// In rooms with more members than this, nobody receives `Enter` and `Leave` events.
    pub quiet_above: usize,
    /// Who may make rooms with rights.
    pub create: RoomCreators,
    /// How many rooms with rights one user may make.
    pub max_made: usize,
}

/// Who may make rooms with rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomCreators {
    /// Each user with a valid token.
    Anyone,
    /// Users whose token grants it.
    Token,
    /// Only the server API.
    Api,
}

/// The shutdown of the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long `/readyz` answers 503 before the listener stops, so that load balancers notice.
    #[serde(with = "humantime_serde")]
    pub delay: Duration,
    /// The maximum time over which the connections are closed. The node closes at least twenty per second, which the
    /// other nodes can handle.
    #[serde(with = "humantime_serde")]
    pub spread: Duration,
    /// How long after the delay the node exits, even if connections are left.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// Log output of the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged, in the syntax of tracing's `EnvFilter`.
    pub filter: String,
    /// The format of the lines.
    pub format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
