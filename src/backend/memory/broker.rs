//! Broker of the embedded store. Owns the logs and their listeners; delivers within the publish, under the topic's lock,
//! so that every listener sees the order of the log. Called by `chat` through [`Broker`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use smallvec::SmallVec;

use super::budget::{Budget, Capacity, RETRY_AFTER};
use super::entries::Retention;
use super::lock::lock;
use super::log::{Addition, First, Log, RecordKey};
use crate::backend::body::with_id;
use crate::backend::{
    BackendError, Broker, Change, ChangeKind, ChangeRefusal, Deliver, MessagePage, Notice, Owner, Page,
    PageLimit, Publication, Publish, Range, Stored, Unread, steady_ms, unix_ms,
};
use crate::protocol::{ConnectionId, Epoch, Position, Topic, UserName};

/// An empty log without listeners is deleted if it was unused for this time.
const DELETE_AFTER_MS: u64 = 10 * 60 * 1_000;

/// The same for the private log of a user who has connected, as in Redis: without it, the user counts as one who never has.
const DELETE_INBOX_AFTER_MS: u64 = 30 * 86_400_000;

struct Channel {
    log: Log,
    listeners: Vec<usize>,
}

/// Of each log of a message: one, or two for a private message.
type Logs<T> = SmallVec<[T; 2]>;

type Map = HashMap<Topic, Arc<Mutex<Channel>>>;

/// All topics of the process. Lock order: the map, then a topic, then the locks of [`Deliver`].
pub(super) struct Topics {
    map: RwLock<Map>,
    nodes: RwLock<Vec<Arc<dyn Deliver>>>,
    retention: Retention,
    sweep_at: AtomicUsize,
    budget: Arc<Budget>,
}

impl Topics {
    pub(super) fn new(retention: Retention, budget: Budget) -> Self {
        Self {
            map: RwLock::default(),
            nodes: RwLock::default(),
            retention,
            sweep_at: AtomicUsize::new(1_024),
            budget: Arc::new(budget),
        }
    }

    pub(super) fn add_node(&self, deliver: Arc<dyn Deliver>) -> usize {
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        nodes.push(deliver);
        nodes.len() - 1
    }

    fn node(&self, index: usize) -> Option<Arc<dyn Deliver>> {
        self.nodes.read().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    fn existing(&self, topic: &Topic) -> Option<Arc<Mutex<Channel>>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    /// Whether a log recognises this publish. Begins no log.
    fn holds(&self, topic: &Topic, key: Option<&RecordKey>, now: u64) -> bool {
        self.existing(topic)
            .is_some_and(|channel| lock(&channel).log.first(key, now, &self.retention).is_some())
    }

    fn channel(&self, topic: &Topic) -> Arc<Mutex<Channel>> {
        if let Some(channel) = self.existing(topic) {
            return channel;
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // A client can invent room names without end. Whenever the map has doubled, unused logs are deleted.
        if map.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.sweep(&mut map, DELETE_AFTER_MS);
        }
        let fresh = || {
            let name = match topic {
                Topic::Room(room) => room.as_str(),
                Topic::User(user) => user.as_str(),
            };
            let log = Log::new(steady_ms(), name.len(), self.budget.clone());
            Arc::new(Mutex::new(Channel { log, listeners: Vec::new() }))
        };
        map.entry(topic.clone()).or_insert_with(fresh).clone()
    }

    /// Deletes empty logs without listeners that no caller holds and that were unused for `unused_for_ms`.
    fn sweep(&self, map: &mut Map, unused_for_ms: u64) {
        let now = steady_ms();
        map.retain(|topic, channel| {
            let mut held = lock(channel);
            let is_inbox = held.log.is_opened && matches!(topic, Topic::User(_));
            let unused_for_ms =
                if is_inbox && unused_for_ms > 0 { DELETE_INBOX_AFTER_MS } else { unused_for_ms };
            let idle = now.saturating_sub(held.log.used_at) >= unused_for_ms;
            let unused = Arc::strong_count(channel) == 1 && held.listeners.is_empty();
            !(idle && unused && held.log.is_unused(now, &self.retention))
        });
        self.sweep_at.store((map.len() * 2).max(1_024), Ordering::Relaxed);
    }

    /// Makes room for one more message of this owner.
    ///
    /// # Errors
    /// There is none: the owner is over its share, or the dedupe records of all owners fill the store.
    fn make_room(&self, owner: Option<Owner>, now: u64) -> Result<(), BackendError> {
        match (self.budget.capacity(owner, now), owner) {
            (Capacity::Available, _) => Ok(()),
            (Capacity::Evict(target), _) if self.evict(target, now) => Ok(()),
            (Capacity::Reclaim, Some(owner)) if self.reclaim(owner, now) => Ok(()),
            (Capacity::Evict(_) | Capacity::Exhausted, _) => {
                Err(BackendError::Full("the embedded store is full".into()))
            }
            (Capacity::Reclaim | Capacity::OverShare, _) => Err(BackendError::OverShare(RETRY_AFTER)),
        }
    }

    /// Evicts messages until at most `target` bytes are in use, and deletes the logs that are empty then: first the messages
    /// of those who use more than their share, then of all, each time those of the logs that were unused for longest.
    /// True if there is capacity now.
    fn evict(&self, target: usize, now: u64) -> bool {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut by_use: Vec<_> = map
            .values()
            .map(|channel| {
                let held = lock(channel);
                (held.log.used_at, held.log.main_owner(), channel)
            })
            .collect();
        by_use.sort_by_key(|(used_at, ..)| *used_at);
        let mut trimmed = 0_usize;
        for of_all in [false, true] {
            for (_, owner, channel) in &by_use {
                if !self.budget.is_over(target) {
                    break;
                }
                if of_all || owner.is_some_and(|owner| self.budget.is_heavy(owner)) {
                    let mut held = lock(channel);
                    let has_listeners = !held.listeners.is_empty();
                    held.log.evict(has_listeners);
                    trimmed += 1;
                }
            }
        }
        self.sweep(&mut map, 0);
        let has_capacity = self.budget.record_eviction(now);
        tracing::warn!(trimmed, has_capacity, "the embedded store is full: old messages were deleted");
        has_capacity
    }

    /// Frees what an owner over its share no longer needs: old dedupe records, and logs that hold only its messages and no
    /// records, until it is within its share. True if it is.
    fn reclaim(&self, owner: Owner, now: u64) -> bool {
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        self.sweep(&mut map, 0);
        let mut old: Vec<_> = map
            .values()
            .filter_map(|channel| {
                let mut held = lock(channel);
                let is_old = held.listeners.is_empty() && held.log.has_no_records(now, &self.retention);
                (is_old && held.log.main_owner() == Some(owner))
                    .then_some((held.log.used_at, channel.clone()))
            })
            .collect();
        if self.budget.exceeds_share(owner) && !old.is_empty() {
            old.sort_by_key(|(used_at, _)| *used_at);
            // Half at once, since each search scans every log.
            let half = old.len().div_ceil(2);
            old.drain(..half).for_each(|(_, channel)| lock(&channel).log.evict(false));
            drop(old);
            self.sweep(&mut map, 0);
        }
        self.budget.record_reclaim(owner, now)
    }

    fn deliver(&self, topic: &Topic, channel: &Channel, publication: &Publication) {
        for node in channel.listeners.iter().filter_map(|index| self.node(*index)) {
            node.deliver(topic, &mut std::iter::once(publication.clone()));
        }
    }

    pub(super) fn announce(&self, topic: &Topic, origin: Option<ConnectionId>, body: Bytes) {
        let channel = self.channel(topic);
        let channel = lock(&channel);
        self.deliver(topic, &channel, &Publication::Event { origin, body });
    }
}

/// The topics, as one node uses them.
pub(super) struct MemoryBroker {
    pub(super) topics: Arc<Topics>,
    pub(super) node: usize,
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, publish: Publish) -> Result<Stored, BackendError> {
        let Publish { mut topics, dedupe_key, mut message_id, mut sent_at, mut body, .. } = publish;
        let Publish { owner, is_repeat_only, change, links, .. } = publish;
        let key = dedupe_key.as_deref().map(RecordKey::of);
        let retention = &self.topics.retention;
        let now = steady_ms();
        if is_repeat_only && !topics.iter().any(|topic| self.topics.holds(topic, key.as_ref(), now)) {
            return Err(BackendError::NotARepeat);
        }
        if change.is_some() && topics.first().is_none_or(|topic| self.topics.existing(topic).is_none()) {
            return Err(ChangeRefusal::NotFound.into());
        }
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
        // A full store still answers duplicates, and still completes a message that only one of two logs holds.
        if records.iter().all(Option::is_none) {
            room?;
            if owner.is_some()
                && let [(_, inbox), _] = &mut held[..]
                && !inbox.log.takes(body.len(), now, retention)
            {
                return Err(BackendError::InboxFull);
            }
            if let (Some(change), [(_, deciding), ..]) = (&change, &mut held[..])
                && !deciding.log.check_change(change, now, retention)?
            {
                let top = deciding.log.top;
                let position = Position { message_id: change.target, ..top };
                let is_unchanged = true;
                return Ok(Stored { position, sent_at, duplicate: false, logs_begun: 0, is_unchanged });
            }
            if let Some(Change { target, kind: ChangeKind::Edit { .. }, .. }) = &change
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
            let (stored_at, body, links) = (unix_ms(), body.clone(), links.clone());
            let addition = Addition { key, message_id, sent_at, stored_at, body, owner, links };
            logs_begun += u32::from(channel.log.top.seq == 0);
            let entry = channel.log.append(addition, now, retention);
            position = Some(channel.log.top);
            if let Some(change) = &change {
                channel.log.apply_change(change);
            }
            self.topics.deliver(&topics[*index], channel, &Publication::Message { epoch, entry });
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

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Option<Position>>, BackendError> {
        Ok(topics.iter().map(|topic| Some(lock(&self.topics.channel(topic)).log.top)).collect())
    }

    fn ready(&self) -> bool {
        true
    }
}
