//! Logs and their channels. Owns the traits between the chat rules and the message store, in topics and bytes; knows no
//! chat rules. Every backend implements [`Broker`] and calls [`Deliver`]; `chat` does the reverse.

use async_trait::async_trait;
use bytes::Bytes;

use super::change::{Change, Fold};
use super::error::BackendError;
use super::owner::Owner;
use super::rights::{Asker, RightsUpdate, RoomClaim, RoomUsers, UserRights};
use crate::protocol::{ConnectionId, Epoch, MessageId, Position, RoomName, Topic, UserName};

/// One stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Sequence number: 1 for the first entry of the log, then one more for each entry.
    pub seq: u64,
    /// Message id.
    pub message_id: MessageId,
    /// Id of the previous entry ([`MessageId::NONE`] for the first). It proves that no entry is missing between the two.
    pub prev: MessageId,
    /// Time of storing by the backend's clock, Unix ms.
    pub stored_at: u64,
    /// Stored body, opaque to the backend (see `protocol::encode::ChatBody`).
    pub body: Bytes,
}

/// A message or an event that arrives on a topic's channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publication {
    /// A message was appended to the topic's log.
    Message {
        /// The log's epoch.
        epoch: Epoch,
        /// The message.
        entry: Entry,
    },
    /// An event that is not stored: a complete JSON text for every member except its origin.
    Event {
        /// Connection that caused the event. It does not receive the event.
        origin: Option<ConnectionId>,
        /// The JSON of the frame.
        body: Bytes,
    },
}

/// A message to append to one or two logs.
#[derive(Debug, Clone)]
pub struct Publish {
    /// One topic, or two of which the last is the publisher's own. All get the same body and message id.
    pub topics: Vec<Topic>,
    /// Two publishes to a topic with the same key are the same message. Any bytes. `None` if nothing repeats the message: then
    /// the store looks for no repeat.
    pub dedupe_key: Option<String>,
    /// Message id, unless this is a duplicate. If it does not sort after the last id of each log, the store raises its time,
    /// and replaces it in the body.
    pub message_id: MessageId,
    /// Time by the publisher's clock, Unix ms. It is stored, so that a duplicate returns the time of the first publish.
    pub sent_at: u64,
    /// Body, opaque to the backend.
    pub body: Bytes,
    /// Whom the message is charged to. Without an owner, no limit of a single owner applies.
    pub owner: Option<Owner>,
    /// True if nothing new may be stored: only a message that at least one log holds is answered, and completed.
    pub is_repeat_only: bool,
    /// Who asks for it. The rights of a room decide whether it is accepted.
    pub asker: Asker,
    /// What it is.
    pub entry: NewEntry,
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewEntry {
    /// A message. What it names, so that the store can count it.
    Message(Links),
    /// A change of an earlier message. With two topics, the first one decides whether it is accepted.
    Change(Change),
    /// A change of the rights of a room, which is the only topic.
    Rights(RightsUpdate),
    /// A note for one user, which is the only topic. It is no message, and changes none.
    Note,
}

impl NewEntry {
    /// The change, if it is one of a message.
    pub fn change(&self) -> Option<&Change> {
        match self {
            Self::Change(change) => Some(change),
            _ => None,
        }
    }

    /// What a message names. Nothing for other entries.
    pub fn links(&self) -> Option<&Links> {
        match self {
            Self::Message(links) if !links.is_empty() => Some(links),
            _ => None,
        }
    }
}

/// The messages and users that a message names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Messages that it answers. One that the log does not hold is ignored.
    pub answers: Vec<MessageId>,
    /// Users that it mentions.
    pub mentions: Vec<UserName>,
}

impl Links {
    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.mentions.is_empty()
    }
}

/// A message that the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Position in the log of the last topic, with the stored id (of a duplicate: the id of the first publish).
    pub position: Position,
    /// Time by the publisher's clock, Unix ms (of a duplicate: the time of the first publish).
    pub sent_at: u64,
    /// True if all topics already held the message.
    pub duplicate: bool,
    /// How many of the logs were empty before.
    pub logs_begun: u32,
    /// True if all was as wanted already: nothing was stored. Then the position has the epoch of the log, and for a change of a
    /// message the id of the message.
    pub is_unchanged: bool,
}

impl Stored {
    /// All was as wanted already: nothing was stored.
    pub(super) fn unchanged(position: Position, sent_at: u64) -> Self {
        Self { position, sent_at, duplicate: false, logs_begun: 0, is_unchanged: true }
    }
}

/// Selects the entries of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// No entries, only the top of the log.
    Top,
    /// The oldest entries after this `seq`.
    After(u64),
    /// The newest entries below this `seq`.
    Before(u64),
    /// The newest entries.
    Newest,
}

/// Limits of one page. The first limit that is reached ends the page, but a page holds at least one entry if the range
/// has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Number of entries.
    pub messages: u32,
    /// Sum of the bodies, bytes.
    pub bytes: usize,
}

/// The limit of the private log of a user who has never connected: the name may be invented. A full log does not drop unread
/// messages. It refuses further ones. The log takes at least one message.
pub(super) const UNOPENED_INBOX: PageLimit = PageLimit { messages: 64, bytes: 64 << 10 };

/// A part of a log. It is read in one atomic step, so `top` and `entries` are consistent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Position of the newest entry ever stored.
    pub top: Position,
    /// Entries with ascending, contiguous `seq`. Expired entries are left out.
    pub entries: Vec<Entry>,
    /// True if more entries follow in the direction of reading: newer ones for [`Range::After`], older ones otherwise.
    pub more: bool,
    /// False if no message of the log was ever changed: then all its entries are messages as they are.
    pub has_changes: bool,
    /// Whether the room has rights.
    pub has_rights: bool,
}

/// A part of a log: its messages without the changes, each with what they come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePage {
    /// Position of the newest entry ever stored.
    pub top: Position,
    /// Messages with ascending `seq`.
    pub messages: Vec<(Entry, Fold)>,
    /// The lowest `seq` that was looked at, and the highest one; all between them were. In a page that looked at nothing, the
    /// first one is greater.
    pub looked_at: (u64, u64),
    /// True if more entries follow in the direction of reading: newer ones for [`Range::After`], older ones otherwise.
    pub more: bool,
    /// Whether the room has rights.
    pub has_rights: bool,
}

/// What a user has not read of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// Position of the newest entry ever stored.
    pub top: Position,
    /// The messages after the marker that the log holds and that were not retracted.
    pub messages: u64,
    /// Those of them that mention the user, as far as they are among the newest 100 that do.
    pub mentions: u64,
    /// Whether the room has rights.
    pub has_rights: bool,
}

/// Appends to logs, subscribes to their channels and reads them. Reading a topic without a log starts one, with a new epoch.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends and publishes in one atomic step. A duplicate changes nothing.
    ///
    /// # Errors
    /// `Refused`: the message is not stored and never will be. `Unknown`: it may have been stored.
    async fn publish(&self, publish: Publish) -> Result<Stored, BackendError>;

    /// Publishes an event to the current subscribers of the topic, at most once.
    async fn announce(
        &self,
        topic: &Topic,
        origin: Option<ConnectionId>,
        body: Bytes,
    ) -> Result<(), BackendError>;

    /// Sends a notice to every node, including this one, at most once.
    async fn notify(&self, notice: Notice) -> Result<(), BackendError>;

    /// Returns once every later publication will reach [`Deliver`]. The subscription stays until `unsubscribe`, and
    /// survives lost connections. Idempotent.
    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError>;

    /// Ends the subscription. A few deliveries may still arrive. Returns without waiting for the store.
    fn unsubscribe(&self, topic: &Topic);

    /// Reads a page of the log.
    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError>;

    /// Reads messages of the log, and what their changes come to for this reader. A call looks at a bounded number of entries, so a
    /// page may be empty although there are more.
    async fn messages(
        &self,
        topic: &Topic,
        range: Range,
        limit: PageLimit,
        reader: Option<&UserName>,
    ) -> Result<MessagePage, BackendError>;

    /// Counts what a user has not read of a log after a marker, which is the `seq` of an epoch. Without one, and with one of another
    /// epoch, that is all that the log holds. `None` if there is no log. Starts none.
    async fn unread(
        &self,
        topic: &Topic,
        marker: Option<(Epoch, u64)>,
        user: &UserName,
    ) -> Result<Option<Unread>, BackendError>;

    /// What a user is in a room. `None` if the room has no rights.
    async fn rights(&self, room: &RoomName, user: &UserName) -> Result<Option<UserRights>, BackendError>;

    /// Notes that a user is about to make a room. A user makes only so many (at least 1).
    async fn claim_room(
        &self,
        user: &UserName,
        room: &RoomName,
        most: usize,
    ) -> Result<RoomClaim, BackendError>;

    /// The user has not made the room after all.
    async fn release_room(&self, user: &UserName, room: &RoomName) -> Result<(), BackendError>;

    /// The users of whom something is kept in the log of a room, or whom the user of a private log blocks. `None` if it has no rights.
    async fn users(&self, log: &Topic) -> Result<Option<RoomUsers>, BackendError>;

    /// Reads the tops of many logs, in the given order, with one round trip per hundred logs and server. `None` for a log whose
    /// server does not answer while others do.
    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Option<Position>>, BackendError>;

    /// True if the store answers and every subscription connection has recently delivered a probe.
    fn ready(&self) -> bool;
}

/// An instruction to all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The token is no longer valid.
    TokenRevoked(super::tokens::TokenHash),
    /// No token of this user is valid any longer.
    UserTokensRevoked(UserName),
    /// An administrator closes this user's connections.
    Disconnect(UserName),
    /// The user is banned from the whole server.
    UserBanned(UserName),
}

/// How a node noticed that its subscriptions were interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// The connection ended.
    Lost,
    /// The connection seemed alive but did not deliver a probe.
    Silent,
}

/// Receives what a backend delivers. Its methods are not async on purpose: an implementation can't wait, so it can't
/// stall the dispatcher.
pub trait Deliver: Send + Sync + 'static {
    /// Takes publications of the topic in the order of its channel, at most 64 at a time.
    fn deliver(&self, topic: &Topic, publications: &mut dyn Iterator<Item = Publication>);

    /// Reports that these topics deliver nothing until `restored`. Publications in between are only in the log.
    fn interrupted(&self, topics: &[Topic], how: Interruption);

    /// Reports that these topics are subscribed again.
    fn restored(&self, topics: &[Topic]);

    /// Takes a notice.
    fn notice(&self, notice: Notice);
}
