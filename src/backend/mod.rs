//! State that all nodes share: logs, channels, presence, tokens, markers and rates. Owns the traits of the stores and their two
//! implementations, in topics and bytes; knows no chat rules. `server` connects the backend, `chat` uses the traits.

mod body;
mod broker;
mod change;
mod clock;
mod connect;
mod error;
#[cfg(feature = "failpoints")]
mod flawed_broker;
mod lease_observer;
mod markers;
pub mod memory;
mod owner;
mod presence;
mod rates;
pub mod redis;
mod rights;
mod tokens;

use std::sync::Arc;

use broker::UNOPENED_INBOX;
pub use broker::{
    Broker, Deliver, Entry, Interruption, Links, MessagePage, NewEntry, Notice, Page, PageLimit, Publication,
    Publish, Range, Stored, Unread,
};
pub use change::{Change, ChangeKind, ChangeRefusal, Fold};
use clock::steady_ms;
pub(crate) use clock::unix_ms;
pub use connect::connect;
pub use error::BackendError;
pub use markers::{MAX_READ_MARKERS, Markers, Move};
pub use memory::Embedded;
pub use owner::{Owner, Payer};
use presence::{CLAIM_DURATION, STALE_MEMBERS_PER_PAGE};
pub use presence::{Incarnation, Lease, LostRooms, MembersPage, NodeInfo, Presence, RoomSize, RoomsPage};
pub use rates::{LeaseRequest, Rate, RateLease, Rates};
pub use redis::ConnectError;
pub(crate) use rights::shown_end;
pub use rights::{Asker, FOREVER, RightsRefusal, RightsUpdate, RoomClaim, RoomUsers, UserRights, UserState};
pub use tokens::{SignedToken, TokenHash, TokenLookup, TokenRecord, Tokens};

/// One backend: a handle for each store.
#[derive(Clone)]
pub struct Backend {
    /// Logs and channels.
    pub broker: Arc<dyn Broker>,
    /// Members of rooms.
    pub presence: Arc<dyn Presence>,
    /// Tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Cursors and read markers.
    pub markers: Arc<dyn Markers>,
    /// How fast users store.
    pub rates: Arc<dyn Rates>,
}
