//! The flags that are settings. Owns their names and help; they go through the same provider as every other setting, so a
//! bad one is reported like every other. Called by the command's parser.

use std::path::PathBuf;

/// Flags of every subcommand that reads the settings. Values are kept as text: the settings judge them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Read settings from this TOML file. No file is read unless it is named here.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The address that clients connect to [default: 127.0.0.1]
    #[arg(long, global = true)]
    pub host: Option<String>,
    /// Its port; 0 lets the system choose [default: 8080]
    #[arg(long, global = true)]
    pub port: Option<String>,
    /// The most WebSocket connections at a time [default: 10000]
    #[arg(long, value_name = "N", global = true)]
    pub max_connections: Option<String>,
    /// Whether requests need a token [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true
    )]
    pub auth: Option<String>,
    /// Where the nodes' common store is; without it this node stands alone. A password is safer in the environment
    /// (CHAT_REDIS__URL): other users of the machine can read a command line
    #[arg(long, value_name = "URL", global = true)]
    pub redis_url: Option<String>,
    /// What operators call this node [default: generated]
    #[arg(long, value_name = "NAME", global = true)]
    pub node_name: Option<String>,
    /// A second port for /healthz, /readyz, /metrics and the server API [default: they answer on the public one]
    #[arg(long, value_name = "PORT", global = true)]
    pub internal_port: Option<String>,
}

impl Flags {
    /// The flags that were given: flag, setting, value.
    pub(super) fn given(&self) -> Vec<(&'static str, &'static str, &str)> {
        [
            ("--host", "host", &self.host),
            ("--port", "port", &self.port),
            ("--max-connections", "max_connections", &self.max_connections),
            ("--auth", "auth.enabled", &self.auth),
            ("--redis-url", "redis.url", &self.redis_url),
            ("--node-name", "node.name", &self.node_name),
            ("--internal-port", "internal.port", &self.internal_port),
        ]
        .into_iter()
        .filter_map(|(flag, key, value)| Some((flag, key, value.as_deref()?)))
        .collect()
    }
}
