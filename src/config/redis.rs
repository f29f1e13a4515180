//! The settings of the shared store. Owns their structure; the rules between them are in `redis_rules`, and the form of the URL
//! is in `redis_url`. Used by the backend.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::redis_url::RedisUrl;
use super::secret;

/// How messages reach the other nodes through a Redis Cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterPubSub {
    /// Sharded.
    #[default]
    Auto,
    /// Only the servers of a topic's slot get its messages (`SPUBLISH`).
    Sharded,
    /// Every server of the cluster gets every message (`PUBLISH`).
    Broadcast,
}

/// The store that the nodes share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// The address of Redis, or addresses of a Redis Cluster or of the Sentinels; if unset, the node uses the embedded store and works alone.
    /// Secret, because it may contain a password.
    #[serde(serialize_with = "secret::hidden_url")]
    pub url: Option<SecretString>,
    /// The user of Redis; wins over the URL's.
    pub username: Option<String>,
    /// The user's password; wins over the URL's.
    #[serde(serialize_with = "secret::hidden")]
    pub password: Option<SecretString>,
    /// The file that contains the password; wins over the URL's. Read at each connect.
    pub password_file: Option<PathBuf>,
    /// The name by which the Sentinels know the master. If set, `url` has the addresses of the Sentinels.
    pub sentinel_master: Option<String>,
    /// The user of the Sentinels, if they ask for one.
    pub sentinel_username: Option<String>,
    /// The password of the Sentinels.
    #[serde(serialize_with = "secret::hidden")]
    pub sentinel_password: Option<SecretString>,
    /// The file that contains the password of the Sentinels. Read at each connect.
    pub sentinel_password_file: Option<PathBuf>,
    /// Addresses that Redis or the Sentinels announce and that are others for this node, as `announced=reachable`.
    pub address_map: Vec<String>,
    /// TLS to Redis and to the Sentinels, for a URL that asks for it.
    pub tls: RedisTls,
    /// The prefix of every key and channel.
    pub prefix: String,
    /// Connections for commands on the hot path. Each topic always uses the same one.
    pub command_connections: usize,
    /// Connections for subscriptions. Each topic always uses the same one.
    pub subscriber_connections: usize,
    /// Connections for slow operations: history, presence, tokens.
    pub pool_size: usize,
    /// How messages reach the other nodes through a Redis Cluster.
    pub cluster_pubsub: ClusterPubSub,
    /// How long a command may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How many replicas must have a message before it is acknowledged; 0: the master's own answer is enough.
    pub min_replicas_acked: usize,
    /// The longest pause between two attempts to connect.
    #[serde(with = "humantime_serde")]
    pub max_reconnect_delay: Duration,
}

impl Redis {
    /// The URL, if it is set. Without a port, Sentinels have another one than Redis.
    ///
    /// # Errors
    /// As of [`RedisUrl::parse`].
    pub fn parse_url(&self) -> Option<Result<RedisUrl, String>> {
        let url = self.url.as_ref()?.expose_secret();
        Some(match self.sentinel_master {
            Some(_) => RedisUrl::parse_sentinels(url),
            None => RedisUrl::parse(url),
        })
    }
}

/// TLS to Redis. The files are PEM; they are read again after they have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisTls {
    /// The authorities that may sign the server's certificate; if unset, those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// This node's certificate, for a server that asks for one.
    pub cert_file: Option<PathBuf>,
    /// The private key of the certificate.
    pub key_file: Option<PathBuf>,
    /// The name that the server's certificate must have; if unset, the host in the URL.
    pub server_name: Option<String>,
}
