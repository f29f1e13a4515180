//! Logs and their channels. Owns the seam between the chat rules and whatever stores messages: topics and bytes, no
//! chat rules. Implemented by every backend, called by `chat`.

use async_trait::async_trait;
use bytes::Bytes;

use super::error::BackendError;
use crate::protocol::{ConnectionId, Epoch, MessageId, Position, Topic, UserName};

/// One stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place: 1 for the log's first, growing by one.
    pub seq: u64,
    /// Its id.
    pub message_id: MessageId,
    /// The id of the message before it ([`MessageId::NONE`] for the first): the proof of continuity.
    pub prev: MessageId,
    /// When the backend stored it, Unix ms by the backend's clock.
    pub stored_at: u64,
    /// The stored body, opaque (see `protocol::server_message::ChatBody`).
    pub body: Bytes,
}

/// What arrives on a topic's channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// A message was appended to the topic's log.
    Message {
        /// The log's epoch.
        epoch: Epoch,
        /// The message.
        entry: Entry,
    },
    /// Something that is not stored happened: a finished JSON text for every member but its origin.
    Event {
        /// The connection that it came from, which is not told.
        origin: Option<ConnectionId>,
        /// The JSON of the frame.
        body: Bytes,
    },
}

/// A message to be appended to one log or to two.
#[derive(Debug, Clone)]
pub struct Publish {
    /// One topic; or two, of which the last is the publisher's own. All of them get the same body under one message id.
    pub topics: Vec<Topic>,
    /// What makes a repeat a repeat, within one topic. Any bytes.
    pub dedupe_key: String,
    /// The id that it gets unless it is a repeat.
    pub message_id: MessageId,
    /// What the publisher calls the time, Unix ms; kept so that a repeat is told the first's.
    pub sent_at: u64,
    /// Opaque.
    pub body: Bytes,
}

/// A publish that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Where, in the last topic's log, with the id that was stored (of a repeat: the first's).
    pub position: Position,
    /// The publisher's time, of a repeat the first's. Unix ms.
    pub sent_at: u64,
    /// All topics had it before.
    pub duplicate: bool,
}

/// Which entries a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// None: just the log's top.
    Top,
    /// The oldest first, from this `seq` + 1 on.
    After(u64),
    /// The newest, below this `seq`.
    Before(u64),
    /// The newest.
    Newest,
}

/// The most that one page may hold: whichever comes first, but at least one entry where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Entries.
    pub messages: u32,
    /// Bytes of bodies.
    pub bytes: usize,
}

/// A piece of a log. Read in one step, so that `top` and `entries` belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The log's end at that moment.
    pub top: Position,
    /// Ascending, contiguous `seq`; expired ones are left out.
    pub entries: Vec<Entry>,
    /// More in the direction of reading: later ones for [`Range::After`], older ones otherwise.
    pub more: bool,
}

/// Appends, subscribes, reads back. Reading or subscribing to a topic that never was starts its log (its epoch).
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends and publishes in one atomic step, or finds that it had been done (`duplicate`).
    ///
    /// # Errors
    /// `Refused`: nothing was or will be stored. `Unknown`: it may have been.
    async fn publish(&self, publish: Publish) -> Result<Stored, BackendError>;

    /// Publishes an event to the topic's channel. At most once, to whoever listens.
    async fn announce(
        &self,
        topic: &Topic,
        origin: Option<ConnectionId>,
        body: Bytes,
    ) -> Result<(), BackendError>;

    /// Tells every node, this one included. At most once.
    async fn notify(&self, notice: Notice) -> Result<(), BackendError>;

    /// Returns once everything published from now on will reach [`Deliver`]. Wanted until `unsubscribe`, through any
    /// number of lost connections. Idempotent.
    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError>;

    /// Ends the wish; deliveries may still come for a moment. Returns without waiting for the outside.
    fn unsubscribe(&self, topic: &Topic);

    /// Reads a page of the log, with its top.
    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError>;

    /// The tops of many logs, in one round trip per hundred, in the order asked.
    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Position>, BackendError>;

    /// Whether the store answers and a probe through the subscriptions came back lately.
    fn ready(&self) -> bool;
}

/// Something that all nodes act on at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// This token is no longer valid.
    TokenRevoked(super::tokens::TokenHash),
    /// No token of this user is valid any longer.
    UserTokensRevoked(UserName),
    /// An administrator removes this user's connections.
    Disconnect(UserName),
}

/// How the way of messages to a node was found to be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// It ended.
    Lost,
    /// It looked alive, and a probe did not come through.
    Silent,
}

/// Where a backend's deliveries go. Not async on purpose: whoever implements it can't wait, so the pump can't stall.
pub trait Deliver: Send + Sync + 'static {
    /// These came on the topic, in the order of the channel; at most 64 at a time. Drained by the callee.
    fn deliver(&self, topic: &Topic, publications: &mut Vec<Publication>);

    /// Nothing comes on these topics until `restored`: what was published meanwhile is only in the log.
    fn interrupted(&self, topics: &[Topic], how: Interruption);

    /// The topics are subscribed again.
    fn restored(&self, topics: &[Topic]);

    /// See [`Notice`].
    fn notice(&self, notice: Notice);
}
