//! The embedded backend: a complete single node with no set-up, and clusters of nodes in one test process. Owns
//! everything in this process's memory, so a restart starts every log afresh under a new epoch. Called by `server`.

mod broker;
mod budget;
mod log;
mod presence;
mod tokens;

use std::sync::{Arc, Mutex};

use broker::{MemoryBroker, Topics};
use log::Retention;
use presence::{MemoryPresence, PresenceStore};
use tokens::{MemoryMarkers, MemoryTokens};

use super::{Backend, Deliver};
use crate::config::Config;

/// What the nodes of one process share. A node alone has one to itself.
pub struct Embedded {
    topics: Arc<Topics>,
    presence: Arc<PresenceStore>,
    tokens: Arc<MemoryTokens>,
    markers: Arc<MemoryMarkers>,
}

impl Embedded {
    /// An empty store with the retention of `config.history`.
    pub fn new(config: &Config) -> Self {
        let retention = Retention {
            max_messages: config.history.max_messages,
            max_age: config.history.max_age,
            max_bytes: config.history.max_bytes,
            dedupe_window: config.history.dedupe_window,
        };
        Self {
            topics: Arc::new(Topics::new(retention, config.history.embedded_bytes)),
            presence: Arc::default(),
            tokens: Arc::default(),
            markers: Arc::default(),
        }
    }

    /// One more node, whose deliveries go to `deliver`.
    pub fn join(&self, config: &Config, deliver: Arc<dyn Deliver>) -> Backend {
        let node = self.topics.add_node(deliver);
        let name = config.node.name.clone().unwrap_or_else(|| format!("node-{node}"));
        Backend {
            broker: Arc::new(MemoryBroker { topics: self.topics.clone(), node }),
            presence: Arc::new(MemoryPresence {
                shared: self.presence.clone(),
                topics: self.topics.clone(),
                name,
                lease: config.node.lease,
                quiet_above: config.rooms.quiet_above,
                incarnation: Mutex::default(),
            }),
            tokens: self.tokens.clone(),
            markers: self.markers.clone(),
        }
    }
}

/// A node by itself.
pub fn connect(config: &Config, deliver: Arc<dyn Deliver>) -> Backend {
    Embedded::new(config).join(config, deliver)
}
