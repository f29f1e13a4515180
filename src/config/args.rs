//! The flags that are settings. Owns their names and help texts, not their checks: their values are read like those of
//! every other source, with the same errors. Used by the parser of the command line.

use std::path::PathBuf;

/// Flags of every subcommand that reads the settings. The values stay texts here; `config::load` checks them.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Read settings from this TOML file [default: no file]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Listen for clients on this address [default: 127.0.0.1]
    #[arg(long, global = true)]
    pub host: Option<String>,
    /// Listen for clients on this port; 0 lets the system choose [default: 8080]
    #[arg(long, global = true)]
    pub port: Option<String>,
    /// The maximum number of open WebSocket connections [default: 10000]
    #[arg(long, value_name = "N", global = true)]
    pub max_connections: Option<String>,
    /// Require a token for every request [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        global = true
    )]
    pub auth: Option<String>,
    /// Share the store in this Redis with other nodes; without it, this node works alone. Put a URL with a password
    /// into the environment instead (CHAT_REDIS__URL): other users of the machine can read the command line
    #[arg(long, value_name = "URL", global = true)]
    pub redis_url: Option<String>,
    /// The name of this node for operators [default: generated]
    #[arg(long, value_name = "NAME", global = true)]
    pub node_name: Option<String>,
    /// Serve /healthz, /readyz, /metrics and the server API on this port [default: the port for clients]
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
