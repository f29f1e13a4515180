//! The state that all requests share. Owns the node's handle, the limits per address and the drain flag; holds no
//! request's own data. Built by the server, used by every handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address_limit::AddressLimit;
use super::api_keys::ApiKeys;
use super::early_closes::EarlyCloses;
use super::handshake_rate::HandshakeRate;
use super::notices::Notices;
use super::unfinished::UnfinishedBudget;
use crate::chat::Node;
use crate::config::Config;

/// The state that all requests share.
pub struct AppState {
    pub(super) node: Arc<Node>,
    pub(super) address_limit: Arc<AddressLimit>,
    pub(super) early_closes: Arc<EarlyCloses>,
    pub(super) handshake_rate: HandshakeRate,
    /// One task per WebSocket connection.
    pub(super) connections: TaskTracker,
    pub(super) is_draining: AtomicBool,
    pub(super) notices: Notices,
    pub(super) unfinished: Arc<UnfinishedBudget>,
    pub(super) api_keys: ApiKeys,
    pub(super) metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl AppState {
    /// `api_keys` are those of the settings; `metrics` renders the metrics page; `connections` tracks every connection's task.
    pub fn new(
        node: Arc<Node>,
        api_keys: ApiKeys,
        connections: TaskTracker,
        metrics: Box<dyn Fn() -> String + Send + Sync>,
    ) -> Arc<Self> {
        let config = node.config();
        Arc::new(Self {
            address_limit: Arc::default(),
            early_closes: Arc::default(),
            handshake_rate: HandshakeRate::default(),
            connections,
            is_draining: AtomicBool::new(false),
            notices: Notices::default(),
            unfinished: UnfinishedBudget::new(config.limits.max_unfinished_bytes),
            api_keys,
            metrics,
            node,
        })
    }

    /// Sums up the warnings that were left out of the log, until the node stops.
    pub async fn sum_up_notices(self: Arc<Self>, stop: CancellationToken) {
        self.notices.run(stop).await;
    }

    /// Takes other settings over, of those that a running node can change.
    pub fn apply(&self, config: Config) {
        self.unfinished.set(config.limits.max_unfinished_bytes);
        // The settings are checked, the files are not.
        if let Err(error) = self.api_keys.reload(&config.auth) {
            tracing::error!(
                error,
                "can't use the changed keys of auth.api_keys: the node keeps those that it has"
            );
        }
        self.node.apply(config);
    }

    /// From now on, `/readyz` answers 503.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }
}
