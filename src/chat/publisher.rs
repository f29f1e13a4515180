//! Publishing. Owns how a message, or a change of one, becomes a publish: its topics, its dedupe key and its encoded body. The broker stores
//! it. Called by requests and by the server API, once they know that the sender may write there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::counters::{EntryKind, PublishCounters, Publishing};
use super::error::RequestError;
use super::storage_rate::StorageRate;
use super::user_rate::UserRate;
use crate::backend::{
    Asker, Backend, BackendError, Broker, Change, ChangeKind, Links, NewEntry, Owner, Payer, Publish, Rate,
    RightsUpdate, Stored, unix_ms,
};
use crate::config::Limits;
use crate::protocol::encode::{self, ChatBody, SPARE_BYTES};
use crate::protocol::events::Target;
use crate::protocol::requests::ChangeAck;
use crate::protocol::stored::{self, ChangeBody, EditedText, Moderation};
use crate::protocol::stored_rights::{RightsBody, RightsEntry};
use crate::protocol::{Extras, MessageId, Outcome, RoomName, Topic, UserName};

/// Who publishes, and where.
#[derive(Clone, Copy)]
pub struct Submission<'a> {
    /// The user that sends it.
    pub sender: &'a UserName,
    /// The room, or the user that gets it.
    pub to: &'a Topic,
    /// The `id` of the request. Without it, nothing is recognised as a repeat.
    pub client_id: Option<&'a str>,
    /// Whom it is charged to: the limits of single users apply only then.
    pub payer: Option<&'a Payer>,
    /// The id of the new entry. A repeat of a stored one does not get it.
    pub message_id: MessageId,
    /// Whose rights count in a room.
    pub asker: &'a Asker,
}

/// An entry about the rights of a room, or about an invitation to one.
pub(super) struct RightsSubmission<'a> {
    /// The room, if it is about one.
    pub(super) room: Option<&'a RoomName>,
    /// Who does it, if that is said.
    pub(super) by: Option<&'a UserName>,
    /// Where it is stored.
    pub(super) to: Topic,
    /// Whose rights count.
    pub(super) asker: Asker,
    /// The `id` of the request. Without it, nothing is recognised as a repeat.
    pub(super) client_id: Option<&'a str>,
    /// Whom it is charged to.
    pub(super) payer: Option<&'a Payer>,
    /// The id of the new entry.
    pub(super) message_id: MessageId,
}

/// A change of a message that is to be made.
#[derive(Clone, Copy)]
pub enum NewChange<'a> {
    /// Its text is replaced, by its author.
    Edit {
        /// The new text.
        content: &'a str,
        /// The last edit that the author knows.
        if_version: Option<MessageId>,
    },
    /// It is taken back. The sender is its author in any case.
    Retract {
        /// Why.
        reason: Option<&'a str>,
        /// Who takes it back, if not its author.
        moderation: Moderation<'a>,
    },
    /// A reaction of the sender is added or taken away.
    React {
        /// Which.
        reaction: &'a str,
        /// True to add it.
        on: bool,
    },
}

impl From<Stored> for ChangeAck {
    fn from(stored: Stored) -> Self {
        let position = stored.position;
        Self {
            message_id: position.message_id,
            epoch: position.epoch,
            seq: (!stored.is_unchanged).then_some(position.seq),
            sent_at: stored.sent_at,
            duplicate: stored.duplicate,
            unchanged: stored.is_unchanged,
        }
    }
}

/// Why nothing was stored, or may not have been.
enum StoreError {
    /// The frame would have so many bytes.
    TooLarge(usize),
    Other(RequestError),
}

/// Publishes to the broker.
pub(super) struct Publisher {
    broker: Arc<dyn Broker>,
    rate: StorageRate,
    user_rate: Arc<UserRate>,
    counters: PublishCounters,
    /// The maximum size of a frame's payload.
    max_bytes: usize,
}

impl Publisher {
    /// With the limits of single users, and the maximum size of a frame.
    pub(super) fn new(backend: &Backend, limits: &Limits) -> Self {
        Self {
            broker: backend.broker.clone(),
            rate: StorageRate::new(limits.storage_rate(), limits.stored_bytes_burst),
            user_rate: Arc::new(UserRate::new(backend.rates.clone(), user_rate(limits))),
            counters: PublishCounters::new(),
            max_bytes: limits.delivery_bytes(),
        }
    }

    /// From now on, these limits of single users hold.
    pub(super) fn set_rates(&self, limits: &Limits) {
        self.rate.set(limits.storage_rate(), limits.stored_bytes_burst);
        self.user_rate.set(user_rate(limits));
    }

    /// Stores and publishes a message. This is the only place in the cluster where its body is encoded. One round trip.
    ///
    /// # Errors
    /// Besides those of the broker: who pays, if anyone does, has sent or stored too much lately; or the frame of the message would
    /// be too large. If it is stored already, it is acknowledged, and completed, whatever its size.
    pub(super) async fn publish(
        &self,
        from: &Submission<'_>,
        content: &str,
        extras: &Extras,
    ) -> Result<Stored, RequestError> {
        let sent_at = unix_ms();
        let body = ChatBody {
            sender_username: from.sender,
            target_username: from.to.user(),
            content,
            room: from.to.room(),
            message_id: from.message_id,
            client_id: from.client_id,
            sent_at,
            extras,
        };
        let kind = NewEntry::Message(links(from.to, extras));
        let stored = self.store(from, Some(from.sender), sent_at, body.encode(), kind).await;
        stored.map_err(|error| match error {
            StoreError::TooLarge(bytes) => {
                let mut fields = vec![("content", encode::string_bytes(content))];
                fields.extend(extras.sizes());
                let largest =
                    fields.iter().max_by_key(|(_, bytes)| *bytes).map_or("content", |(name, _)| *name);
                RequestError::frame_too_large(largest, bytes, self.max_bytes)
            }
            StoreError::Other(error) => error,
        })
    }

    /// Stores and publishes a change of a message. One round trip.
    ///
    /// # Errors
    /// Those of [`Publisher::publish`], and that the store refuses the change.
    pub(super) async fn change(
        &self,
        from: &Submission<'_>,
        target: MessageId,
        change: NewChange<'_>,
        window: Option<Duration>,
    ) -> Result<Stored, RequestError> {
        let sent_at = unix_ms();
        let event_target = Target { message_id: target };
        let body_of = |message_id, change, sent_at| ChangeBody {
            sender_username: from.sender,
            target_username: from.to.user(),
            room: from.to.room(),
            message_id,
            change,
            client_id: from.client_id,
            sent_at,
        };
        let (event, kind) = match change {
            NewChange::Edit { content, if_version } => {
                let text = EditedText { content, edited_at: sent_at }.encode();
                (
                    stored::Change::Edit { target: event_target, content },
                    ChangeKind::Edit { if_version, text, max_bytes: self.max_stored_bytes(from.to) },
                )
            }
            NewChange::Retract { reason, moderation } => {
                let erased = stored::Change::Tombstone { moderation };
                let tombstone = ChangeBody { client_id: None, ..body_of(target, erased, None) };
                // A user that is not the author acts as a moderator of the room.
                let is_user = !matches!(from.asker, Asker::Server);
                let moderated = (moderation.moderated && is_user).then(|| from.sender.clone());
                let kind = ChangeKind::Retract { tombstone: tombstone.encode(), moderated };
                (stored::Change::Retract { target: event_target, reason, moderation }, kind)
            }
            NewChange::React { reaction, on } => {
                let (user, reaction_text) = (from.sender.clone(), reaction.to_owned());
                let kind = ChangeKind::React { user, reaction: reaction_text, on };
                (stored::Change::React { target: event_target, reaction, on }, kind)
            }
        };
        let author = match change {
            NewChange::React { .. } => {
                from.to.user().map_or_else(Bytes::new, |peer| stored::conversation(from.sender, peer))
            }
            NewChange::Edit { .. } | NewChange::Retract { .. } => stored::author(from.sender),
        };
        let body = body_of(from.message_id, event, Some(sent_at)).encode();
        let asks = match change {
            NewChange::Retract { moderation: Moderation { moderated: true, moderator }, .. } => moderator,
            _ => Some(from.sender),
        };
        let change = Change { target, author, window, kind };
        let stored = self.store(from, asks, sent_at, body, NewEntry::Change(change)).await;
        stored.map_err(|error| match error {
            StoreError::TooLarge(bytes) => RequestError::frame_too_large("content", bytes, self.max_bytes),
            StoreError::Other(error) => error.with_text_of(self.max_bytes.saturating_sub(SPARE_BYTES)),
        })
    }

    /// Stores and publishes an entry about rights. One round trip.
    ///
    /// # Errors
    /// Those of [`Publisher::publish`], and that the store refuses it.
    pub(super) async fn update_rights(
        &self,
        from: &RightsSubmission<'_>,
        entry: RightsEntry<'_>,
        update: Option<RightsUpdate>,
    ) -> Result<Stored, RequestError> {
        let &RightsSubmission { room, by, ref to, ref asker, client_id, payer, message_id } = from;
        let sent_at = unix_ms();
        let body = RightsBody { sender_username: by, room, entry, message_id, client_id, sent_at }.encode();
        // The name is part of what tells repeats apart only.
        let nobody = UserName::parse("-").expect("a dash is a name");
        let sender = by.unwrap_or(&nobody);
        let from = Submission { sender, to, client_id, payer, message_id, asker };
        let entry = update.map_or(NewEntry::Note, NewEntry::Rights);
        let stored = self.store(&from, by, sent_at, body, entry).await;
        stored.map_err(|error| match error {
            StoreError::TooLarge(bytes) => RequestError::frame_too_large("reason", bytes, self.max_bytes),
            StoreError::Other(error) => error,
        })
    }

    /// The most bytes of a stored message that a frame has place for.
    fn max_stored_bytes(&self, to: &Topic) -> usize {
        self.max_bytes.saturating_sub(encode::chat_bytes(to, b"") + SPARE_BYTES)
    }

    /// `asks` is whose `id` the request has: an administrator can do without a name.
    async fn store(
        &self,
        from: &Submission<'_>,
        asks: Option<&UserName>,
        sent_at: u64,
        body: Bytes,
        entry: NewEntry,
    ) -> Result<Stored, StoreError> {
        let &Submission { sender, to, client_id, payer, message_id, asker } = from;
        let topics = match to {
            Topic::Room(room) => vec![Topic::Room(room.clone())],
            Topic::User(target) if target == sender || entry == NewEntry::Note => {
                vec![Topic::User(target.clone())]
            }
            Topic::User(target) => vec![Topic::User(target.clone()), Topic::User(sender.clone())],
        };
        // No name holds a control character, so the parts can't run into each other; the client's own id comes last.
        // Without an id, nobody can repeat the publish: the node itself sends a message to the store only once.
        let name = |user: Option<&UserName>| user.map_or("", UserName::as_str).to_owned();
        let dedupe_key = client_id.map(|id| format!("{}\u{1f}{}\u{1f}{id}", name(asks), name(to.user())));
        let publishing = Publishing::begin(&self.counters, EntryKind::of(to, &entry));
        let bytes = encode::chat_bytes(to, &body) + SPARE_BYTES;
        let is_repeat_only = bytes > self.max_bytes;
        // Without an id it repeats nothing: the store has nothing to say, reachable or not.
        if is_repeat_only && dedupe_key.is_none() {
            publishing.end(Err(&BackendError::NotARepeat));
            return Err(StoreError::TooLarge(bytes));
        }
        let owner = payer.map(Owner::from);
        // It counts whether or not the store will accept it, since it costs the store the same.
        if let (Some(payer), Some(owner)) = (payer, owner)
            && let Err(retry_after) = self.user_rate.take(payer, owner).await
        {
            publishing.end(Err(&BackendError::OverShare(retry_after)));
            return Err(StoreError::Other(RequestError::sends_too_much(retry_after)));
        }
        let cost = StorageRate::cost(body.len(), topics.len());
        if let Some(owner) = owner
            && let Err(error) = self.rate.take(owner, cost, Instant::now())
        {
            publishing.end(Err(&error));
            return Err(StoreError::Other(error.into()));
        }
        let asker = asker.clone();
        let publish =
            Publish { topics, dedupe_key, message_id, sent_at, body, owner, is_repeat_only, asker, entry };
        let result = self.broker.publish(publish).await;
        publishing.end(result.as_ref());
        let is_stored = match &result {
            Ok(stored) => !stored.duplicate && !stored.is_unchanged,
            Err(error) => error.outcome() == Outcome::Unknown,
        };
        match (owner, &result) {
            (Some(owner), _) if !is_stored => self.rate.give_back(owner, cost, Instant::now()),
            (Some(owner), Ok(stored)) => self.rate.charge_for_logs(owner, stored.logs_begun, Instant::now()),
            _ => {}
        }
        result.map_err(|error| match error {
            BackendError::NotARepeat => StoreError::TooLarge(bytes),
            BackendError::Rights(refusal) if to.room().is_none() => {
                StoreError::Other(BackendError::from(refusal.in_private_log()).into())
            }
            error => StoreError::Other(error.into()),
        })
    }
}

/// The limit of requests of one user, if there is one.
fn user_rate(limits: &Limits) -> Option<Rate> {
    let (per_second, burst) = limits.user_rate();
    (per_second > 0).then_some(Rate { per_second, burst })
}

/// What the store counts. In a private conversation, no mention is counted: each message counts.
fn links(to: &Topic, extras: &Extras) -> Links {
    let mut answers: Vec<MessageId> = extras.reply_to.into_iter().chain(extras.thread).collect();
    answers.dedup();
    let mentions = if to.room().is_some() { extras.mentions.clone() } else { Vec::new() };
    Links { answers, mentions }
}
