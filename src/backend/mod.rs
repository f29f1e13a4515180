//! What all nodes share: logs, channels, presence, tokens, markers. Topics and bytes, no chat rules. Owns the choice
//! between the embedded backend and Redis; called by `server`, used by `chat` through the traits alone.

mod broker;
mod clock;
mod error;
mod markers;
pub mod memory;
mod presence;
pub mod redis;
mod tokens;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;

pub use broker::{
    Broker, Deliver, Entry, Interruption, Notice, Page, PageLimit, Publication, Publish, Range, Stored,
};
pub(crate) use clock::unix_ms;
pub use error::BackendError;
pub use markers::{MAX_READ_MARKERS, Markers};
pub use memory::Embedded;
pub use presence::{Incarnation, Lease, MembersPage, NodeInfo, Presence};
pub use redis::ConnectError;
pub use tokens::{TokenHash, TokenLookup, TokenRecord, Tokens};

/// One backend, by its seams.
#[derive(Clone)]
pub struct Backend {
    /// Logs and channels.
    pub broker: Arc<dyn Broker>,
    /// Who is where.
    pub presence: Arc<dyn Presence>,
    /// Tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Cursors and read markers.
    pub markers: Arc<dyn Markers>,
}

/// The backend that the settings name, with what the operator should know of it, one line each.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    config: &Config,
    deliver: Arc<dyn Deliver>,
    tracker: &TaskTracker,
    stop: CancellationToken,
) -> Result<(Backend, Vec<String>), ConnectError> {
    if config.is_clustered() {
        redis::connect(config, deliver, tracker, stop).await
    } else {
        Ok((memory::connect(config, deliver), Vec::new()))
    }
}
