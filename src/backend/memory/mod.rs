//! Embedded backend: a complete single node without any set-up, and clusters of nodes in one test process. Owns its data
//! in the memory of this process, so that every log gets a new epoch after a restart. Called by `backend::connect`.

mod broker;
mod budget;
mod entries;
mod folds;
mod lock;
mod log;
mod markers;
mod presence;
mod rates;
mod rights;
mod tokens;
mod topics;

use std::sync::{Arc, Mutex};

use broker::MemoryBroker;
use budget::Budget;
use entries::Retention;
use markers::MemoryMarkers;
use presence::{MemoryPresence, PresenceStore};
use rates::MemoryRates;
use tokens::MemoryTokens;
use topics::Topics;

use super::lease_observer::LeaseObserver;
use super::{Backend, Deliver};
use crate::config::Config;

/// A single owner may use this part of the embedded store.
const SHARES: usize = 8;

/// The stores of one process. All nodes of the process share them.
pub struct Embedded {
    topics: Arc<Topics>,
    presence: Arc<PresenceStore>,
    tokens: Arc<MemoryTokens>,
    markers: Arc<MemoryMarkers>,
    rates: Arc<MemoryRates>,
}

impl Embedded {
    /// Creates empty stores, with the retention of `config.history`.
    pub fn new(config: &Config) -> Self {
        let retention = Retention {
            max_messages: config.history.max_messages,
            max_age: config.history.max_age,
            max_bytes: config.history.max_bytes,
            dedupe_window: config.history.dedupe_window,
        };
        let max = config.history.embedded_bytes;
        // The operator who lifts the rate of storage trusts the clients.
        let share = if config.limits.storage_rate() == 0 { usize::MAX } else { max / SHARES };
        Self {
            topics: Arc::new(Topics::new(retention, Budget::new(max, share))),
            presence: Arc::default(),
            tokens: Arc::default(),
            markers: Arc::default(),
            rates: Arc::default(),
        }
    }

    /// Adds a node, which delivers to `deliver`.
    pub fn join(&self, config: &Config, deliver: Arc<dyn Deliver>) -> Backend {
        let node = self.topics.add_node(deliver);
        let name = config.node.name.clone().unwrap_or_else(|| format!("node-{node}"));
        Backend {
            broker: Arc::new(MemoryBroker {
                topics: self.topics.clone(),
                presence: self.presence.clone(),
                node,
            }),
            presence: Arc::new(MemoryPresence {
                store: self.presence.clone(),
                topics: self.topics.clone(),
                name,
                lease: config.node.lease,
                quiet_above: config.rooms.quiet_above,
                incarnation: Mutex::default(),
                observer: Mutex::new(LeaseObserver::new(config.node.lease)),
            }),
            tokens: self.tokens.clone(),
            markers: self.markers.clone(),
            rates: self.rates.clone(),
        }
    }
}

/// Creates the backend of a single node.
pub fn connect(config: &Config, deliver: Arc<dyn Deliver>) -> Backend {
    Embedded::new(config).join(config, deliver)
}
