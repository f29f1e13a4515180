//! Broker of the embedded store. Owns the logs and their listeners; delivers within the publish, under the topic's lock,
//! so that every listener sees the order of the log. Called by `chat` through [`Broker`].

use std::sync::{Arc, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use smallvec::SmallVec;

use super::lock::lock;
use super::log::{Addition, First, RecordKey};
use super::presence::PresenceStore;
use super::rights::{Act, Plan};
use super::topics::{Channel, Topics};
use crate::backend::body::with_id;
use crate::backend::{
    Asker, BackendError, Broker, Change, ChangeKind, ChangeRefusal, MessagePage, NewEntry, Notice, Page,
    PageLimit, Publication, Publish, Range, RightsRefusal, RoomClaim, RoomUsers, Stored, Unread, UserRights,
    steady_ms, unix_ms,
};
use crate::protocol::{ConnectionId, Epoch, MessageId, Position, RoomName, Topic, UserName};

/// Of each log of a message: one, or two for a private message.
type Logs<T> = SmallVec<[T; 2]>;

impl Channel {
    /// Whether the rights of the room allow this, and what an update of them comes to.
    fn check_rights(
        &self,
        entry: &NewEntry,
        asker: &Asker,
        has_members: bool,
    ) -> Result<Option<Plan>, RightsRefusal> {
        let (rights, now) = (&self.log.rights, unix_ms());
        let act = match entry {
            // An invitation: whom the user blocks can't send one.
            NewEntry::Note => Act::EditOrReaction,
            NewEntry::Rights(update) => {
                let is_empty = self.log.top.seq == 0 && !has_members;
                return rights.plan(update, asker, is_empty, now).map(Some);
            }
            NewEntry::Message(_) => Act::Message,
            NewEntry::Change(Change {
                kind: ChangeKind::Retract { moderated: Some(author), .. }, ..
            }) => Act::ModeratedRetraction(author),
            NewEntry::Change(Change { kind: ChangeKind::Retract { .. }, .. }) => Act::OwnRetraction,
            NewEntry::Change(_) => Act::EditOrReaction,
        };
        rights.check_writing(asker, act, now).map(|()| None)
    }
}

/// The topics, as one node uses them.
pub(super) struct MemoryBroker {
    pub(super) topics: Arc<Topics>,
    pub(super) presence: Arc<PresenceStore>,
    pub(super) node: usize,
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, publish: Publish) -> Result<Stored, BackendError> {
        let Publish { mut topics, dedupe_key, mut message_id, mut sent_at, mut body, .. } = publish;
        let Publish { owner, is_repeat_only, asker, entry, .. } = publish;
        let key = dedupe_key.as_deref().map(RecordKey::of);
        let retention = &self.topics.retention;
        let now = steady_ms();
        if is_repeat_only && !topics.iter().any(|topic| self.topics.holds(topic, key.as_ref(), now)) {
            return Err(BackendError::NotARepeat);
        }
        if entry.change().is_some()
            && topics.first().is_none_or(|topic| self.topics.existing(topic).is_none())
        {
            return Err(ChangeRefusal::NotFound.into());
        }
        let has_members = matches!(entry, NewEntry::Rights(_))
            && topics.first().and_then(Topic::room).is_some_and(|room| self.presence.has_members(room));
        // Before any log is locked, since an eviction locks every log.
        let room = self.topics.make_room(owner, now);
        topics.dedup();
        // A message that is refused must not leave the logs of invented names behind.
        if let Err(error) = &room
            && !topics.iter().all(|topic| self.topics.existing(topic).is_some())
        {
            return Err(error.clone());
        }
        let channels: Logs<_> = topics.iter().map(|topic| self.topics.channel(topic)).collect();
        // All channels are locked at once and in the same order by all publishes, so that two publishes can't deadlock.
        let mut order: Logs<usize> = (0..channels.len()).collect();
        order.sort_by_key(|index| Arc::as_ptr(&channels[*index]));
        let mut held: Logs<(usize, MutexGuard<'_, Channel>)> =
            order.into_iter().map(|index| (index, lock(&channels[index]))).collect();
        held.sort_by_key(|(index, _)| *index);
        // If only one of two logs holds the message, the other log gets the same message under the same id.
        let records: Logs<Option<First>> =
            held.iter_mut().map(|(_, channel)| channel.log.first(key.as_ref(), now, retention)).collect();
        let mut rights = None;
        // A full store still answers duplicates, and still completes a message that only one of two logs holds.
        if records.iter().all(Option::is_none) {
            room?;
            let inbox = match &mut held[..] {
                [(_, inbox), _] => Some(inbox),
                [(_, inbox)] if entry == NewEntry::Note => Some(inbox),
                _ => None,
            };
            if owner.is_some()
                && let Some(inbox) = inbox
                && !inbox.log.takes(body.len(), now, retention)
            {
                return Err(BackendError::InboxFull);
            }
            // Those of the room, or of the log of the target of a private message.
            if let [(_, channel), ..] = &mut held[..] {
                match channel.check_rights(&entry, &asker, has_members)? {
                    Some(Plan::Unchanged) => {
                        let position = Position { message_id: MessageId::NONE, ..channel.log.top };
                        return Ok(Stored::unchanged(position, sent_at));
                    }
                    plan => rights = plan,
                }
            }
            if let (Some(change), [(_, deciding), ..]) = (entry.change(), &mut held[..])
                && !deciding.log.check_change(change, now, retention)?
            {
                let top = deciding.log.top;
                let position = Position { message_id: change.target, ..top };
                return Ok(Stored::unchanged(position, sent_at));
            }
            if let Some(Change { target, kind: ChangeKind::Edit { .. }, .. }) = entry.change()
                && held.iter().any(|(_, channel)| channel.log.is_retracted(*target))
            {
                return Err(ChangeRefusal::Gone.into());
            }
        }
        let first =
            records.iter().zip(&held).find_map(|(record, (_, channel))| Some((record.as_ref()?, channel)));
        if let Some((first, channel)) = first {
            (message_id, sent_at) = (first.message_id, first.sent_at);
            body = channel.log.body(first.seq).unwrap_or(body);
        } else {
            let id = held.iter().fold(message_id, |id, (_, channel)| id.after(channel.log.top.message_id));
            body = with_id(body, message_id, id);
            message_id = id;
        }
        let duplicate = records.iter().all(Option::is_some);
        let (mut position, mut logs_begun) = (None, 0);
        for ((index, channel), record) in held.iter_mut().zip(records) {
            let epoch = channel.log.top.epoch;
            if let Some(first) = record {
                position = Some(Position { epoch, seq: first.seq, message_id: first.message_id });
                continue;
            }
            let (stored_at, body) = (unix_ms(), body.clone());
            let links = entry.links().cloned().unwrap_or_default();
            let addition = Addition { key, message_id, sent_at, stored_at, body, owner, links };
            logs_begun += u32::from(channel.log.top.seq == 0);
            let stored = channel.log.append(addition, now, retention);
            position = Some(channel.log.top);
            match &entry {
                NewEntry::Message(_) => channel.log.rights.note_message(&asker, stored_at),
                NewEntry::Change(change) => channel.log.apply_change(change),
                NewEntry::Rights(_) | NewEntry::Note => channel.log.note_other_entry(),
            }
            if let Some(plan) = rights.take() {
                channel.log.apply_rights(plan, stored_at, owner);
            }
            self.topics.deliver(&topics[*index], channel, &Publication::Message { epoch, entry: stored });
        }
        let position = position.ok_or_else(|| BackendError::Refused("a message needs a topic".into()))?;
        Ok(Stored { position, sent_at, duplicate, logs_begun, is_unchanged: false })
    }

    async fn announce(
        &self,
        topic: &Topic,
        origin: Option<ConnectionId>,
        body: Bytes,
    ) -> Result<(), BackendError> {
        self.topics.announce(topic, origin, body);
        Ok(())
    }

    async fn notify(&self, notice: Notice) -> Result<(), BackendError> {
        let nodes = self.topics.nodes.read().unwrap_or_else(PoisonError::into_inner).clone();
        nodes.iter().for_each(|node| node.notice(notice.clone()));
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Result<(), BackendError> {
        let channel = self.topics.channel(topic);
        let mut channel = lock(&channel);
        channel.log.is_opened = true;
        if !channel.listeners.contains(&self.node) {
            channel.listeners.push(self.node);
        }
        Ok(())
    }

    fn unsubscribe(&self, topic: &Topic) {
        lock(&self.topics.channel(topic)).listeners.retain(|node| *node != self.node);
    }

    async fn history(&self, topic: &Topic, range: Range, limit: PageLimit) -> Result<Page, BackendError> {
        let channel = self.topics.channel(topic);
        let mut channel = lock(&channel);
        Ok(channel.log.page(range, limit, steady_ms(), &self.topics.retention))
    }

    async fn messages(
        &self,
        topic: &Topic,
        range: Range,
        limit: PageLimit,
        reader: Option<&UserName>,
    ) -> Result<MessagePage, BackendError> {
        let channel = self.topics.channel(topic);
        let mut channel = lock(&channel);
        Ok(channel.log.messages(range, limit, reader, (steady_ms(), &self.topics.retention)))
    }

    async fn unread(
        &self,
        topic: &Topic,
        marker: Option<(Epoch, u64)>,
        user: &UserName,
    ) -> Result<Option<Unread>, BackendError> {
        let Some(channel) = self.topics.existing(topic) else { return Ok(None) };
        let log = &mut lock(&channel).log;
        Ok(Some(log.unread(marker, user, (steady_ms(), &self.topics.retention))))
    }

    async fn rights(&self, room: &RoomName, user: &UserName) -> Result<Option<UserRights>, BackendError> {
        let Some(channel) = self.topics.existing(&Topic::Room(room.clone())) else { return Ok(None) };
        let log = &lock(&channel).log;
        Ok(log.rights.of(user, log.top))
    }

    async fn claim_room(
        &self,
        user: &UserName,
        room: &RoomName,
        most: usize,
    ) -> Result<RoomClaim, BackendError> {
        Ok(self.topics.claim_room(user, room, most))
    }

    async fn release_room(&self, user: &UserName, room: &RoomName) -> Result<(), BackendError> {
        self.topics.release_room(user, room);
        Ok(())
    }

    async fn users(&self, log: &Topic) -> Result<Option<RoomUsers>, BackendError> {
        let channel = self.topics.existing(log);
        Ok(channel.and_then(|channel| lock(&channel).log.rights.all()))
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Option<Position>>, BackendError> {
        Ok(topics.iter().map(|topic| Some(lock(&self.topics.channel(topic)).log.top)).collect())
    }

    fn ready(&self) -> bool {
        true
    }
}
