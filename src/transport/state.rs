//! The state that all requests share. Owns the node's handle, the admission control and the drain flag; holds no
//! request's own data. Built by the server, used by every handler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::task::TaskTracker;

use super::admission::AdmissionControl;
use super::failed_tokens::FailedTokens;
use super::notices::Notices;
use super::unfinished::UnfinishedBudget;
use crate::chat::Node;

/// The state that all requests share.
pub struct AppState {
    pub(super) node: Arc<Node>,
    pub(super) admission: Arc<AdmissionControl>,
    /// One task per WebSocket connection.
    pub(super) connections: TaskTracker,
    pub(super) is_draining: AtomicBool,
    pub(super) notices: Notices,
    pub(super) failed_tokens: FailedTokens,
    pub(super) unfinished: Arc<UnfinishedBudget>,
    pub(super) metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl AppState {
    /// `metrics` renders the metrics page; `connections` tracks every connection's task.
    pub fn new(
        node: Arc<Node>,
        connections: TaskTracker,
        metrics: Box<dyn Fn() -> String + Send + Sync>,
    ) -> Arc<Self> {
        let config = node.config();
        let admission =
            AdmissionControl::new(config.max_connections, config.limits.max_connections_per_address);
        Arc::new(Self {
            admission: Arc::new(admission),
            connections,
            is_draining: AtomicBool::new(false),
            notices: Notices::default(),
            failed_tokens: FailedTokens::default(),
            unfinished: UnfinishedBudget::new(config.limits.max_unfinished_bytes),
            metrics,
            node,
        })
    }

    /// From now on, `/readyz` answers 503.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }
}
