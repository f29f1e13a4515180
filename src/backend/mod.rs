//! What all nodes share: logs, channels, presence, tokens, markers. Topics and bytes, no chat rules. Owns the choice
//! between the embedded backend and Redis; called by `server`, used by `chat` through the traits alone.

mod broker;
mod error;
mod markers;
mod presence;
pub mod redis;
mod tokens;

use std::sync::Arc;

pub use broker::{
    Broker, Deliver, Entry, Notice, Page, PageLimit, Publication, Publish, Range, Stored, Topic,
};
pub use error::BackendError;
pub use markers::{MAX_READ_MARKERS, Markers};
pub use presence::{Incarnation, Lease, MembersPage, NodeInfo, Presence};
pub use tokens::{TokenHash, TokenRecord, Tokens};

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
