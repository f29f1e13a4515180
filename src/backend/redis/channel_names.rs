//! Names of channels on the server. Owns what distinguishes the channels of two databases of one server: keys of different
//! databases are apart, but channels are shared by all. Used by whoever publishes, and by the subscriptions.
//!
//! In database 0, a channel has the name that `keys` builds. In another one, the number of the database and `/` come before it. Nodes
//! of an earlier version do not know this: while one of them runs, it is left out. If that changes, each node
//! replaces its subscription connection, and reads from the logs what it has missed meanwhile.

use std::sync::Arc;

use super::format_level::FormatLevel;

/// How this node names the channels.
#[derive(Debug, Clone)]
pub(super) struct ChannelNames {
    database: i64,
    format: Arc<FormatLevel>,
}

impl ChannelNames {
    /// Names for a database of the server.
    pub(super) fn new(database: i64, format: Arc<FormatLevel>) -> Self {
        Self { database, format }
    }

    /// What comes before the name of each channel now.
    pub(super) fn prefix(&self) -> String {
        match self.database {
            0 => String::new(),
            _ if self.format.has_older_nodes() => String::new(),
            database => format!("{database}/"),
        }
    }

    /// The name of a channel on the server, to publish there.
    pub(super) fn on_server(&self, channel: &str) -> String {
        self.prefix() + channel
    }

    /// Waits until it is known which names are right. A connection before that would be replaced at once.
    pub(super) async fn known(&self) {
        if self.database != 0 {
            self.format.known().await;
        }
    }

    /// Resolves once the names do not begin with this any longer.
    pub(super) async fn differ_from(&self, prefix: &str) {
        self.format.until(|| self.prefix() != prefix).await;
    }
}
