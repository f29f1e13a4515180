//! Broker of the embedded store. Owns the logs and their listeners; delivers within the publish, under the topic's lock,
//! so that every listener sees the order of the log. Called by `chat` through [`Broker`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use super::budget::{Budget, Capacity};
use super::lock::lock;
use super::log::{First, Log, Retention};
use crate::backend::{
    BackendError, Broker, Deliver, Notice, Page, PageLimit, Publication, Publish, Range, Stored, unix_ms,
};
use crate::protocol::{ConnectionId, Position, Topic};

/// An empty log without listeners is deleted if it was unused for this time.
const DELETE_AFTER_MS: u64 = 10 * 60 * 1_000;

struct Channel {
    log: Log,
    listeners: Vec<usize>,
}

type Map = HashMap<Topic, Arc<Mutex<Channel>>>;

/// All topics of the process. Lock order: the map, then a topic, then the locks of [`Deliver`].
pub(super) struct Topics {
    map: RwLock<Map>,
    nodes: RwLock<Vec<Arc<dyn Deliver>>>,
    retention: Retention,
    sweep_at: AtomicUsize,
    budget: Budget,
}

impl Topics {
    pub(super) fn new(retention: Retention, max_bytes: usize) -> Self {
        Self {
            map: RwLock::default(),
            nodes: RwLock::default(),
            retention,
            sweep_at: AtomicUsize::new(1_024),
            budget: Budget::new(max_bytes),
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

    fn channel(&self, topic: &Topic) -> Arc<Mutex<Channel>> {
        if let Some(channel) = self.map.read().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return channel.clone();
        }
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        // A client can invent room names without end. Whenever the map has doubled, unused logs are deleted.
        if map.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.sweep(&mut map, DELETE_AFTER_MS);
        }
        let fresh = || {
            let log = Log::new(unix_ms());
            self.budget.record_change(0, log.weight());
            Arc::new(Mutex::new(Channel { log, listeners: Vec::new() }))
        };
        map.entry(topic.clone()).or_insert_with(fresh).clone()
    }

    /// Deletes empty logs without listeners that no caller holds and that were unused for `unused_for_ms`.
    fn sweep(&self, map: &mut Map, unused_for_ms: u64) {
        let now = unix_ms();
        map.retain(|_, channel| {
            let mut held = lock(channel);
            let idle = now.saturating_sub(held.log.used_at) >= unused_for_ms;
            let unused = Arc::strong_count(channel) == 1 && held.listeners.is_empty();
            let is_deleted =
                self.change(&mut held, |log| idle && unused && log.is_unused(now, &self.retention));
            if is_deleted {
                self.budget.record_change(held.log.weight(), 0);
            }
            !is_deleted
        });
        self.sweep_at.store((map.len() * 2).max(1_024), Ordering::Relaxed);
    }

    /// Changes a log and updates the budget. Every change of a log must go through here.
    fn change<R>(&self, channel: &mut Channel, change: impl FnOnce(&mut Log) -> R) -> R {
        let before = channel.log.weight();
        let result = change(&mut channel.log);
        self.budget.record_change(before, channel.log.weight());
        result
    }

    /// True if there is capacity for one more message. If needed, evicts the messages of the logs that were unused for
    /// longest, and deletes the logs that are empty then.
    fn has_capacity(&self, now: u64) -> bool {
        let target = match self.budget.capacity(now) {
            Capacity::Available => return true,
            Capacity::Exhausted => return false,
            Capacity::Evict(target) => target,
        };
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        let mut by_use: Vec<_> = map.values().map(|channel| (lock(channel).log.used_at, channel)).collect();
        by_use.sort_by_key(|(used_at, _)| *used_at);
        let mut trimmed = 0_usize;
        for (_, channel) in by_use {
            if !self.budget.is_over(target) {
                break;
            }
            let mut held = lock(channel);
            let has_listeners = !held.listeners.is_empty();
            self.change(&mut held, |log| log.evict(has_listeners));
            trimmed += 1;
        }
        self.sweep(&mut map, 0);
        let has_capacity = self.budget.record_eviction(now);
        tracing::warn!(trimmed, has_capacity, "the embedded store is full: old messages were deleted");
        has_capacity
    }

    fn deliver(&self, topic: &Topic, channel: &Channel, publication: &Publication) {
        for node in channel.listeners.iter().filter_map(|index| self.node(*index)) {
            node.deliver(topic, &mut vec![publication.clone()]);
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
        let Publish { mut topics, dedupe_key, mut message_id, mut sent_at, mut body } = publish;
        let retention = &self.topics.retention;
        let now = unix_ms();
        // Before any log is locked, since an eviction locks every log.
        let has_capacity = self.topics.has_capacity(now);
        topics.dedup();
        let channels: Vec<_> = topics.iter().map(|topic| self.topics.channel(topic)).collect();
        // All channels are locked at once and in the same order by all publishes, so that two publishes can't deadlock.
        let mut order: Vec<usize> = (0..channels.len()).collect();
        order.sort_by_key(|index| Arc::as_ptr(&channels[*index]));
        let mut held: Vec<(usize, MutexGuard<'_, Channel>)> =
            order.into_iter().map(|index| (index, lock(&channels[index]))).collect();
        held.sort_by_key(|(index, _)| *index);
        // If only one of two logs holds the message, the other log gets the same message under the same id.
        let look = |log: &mut Log| log.first(&dedupe_key, now, retention);
        let records: Vec<Option<First>> =
            held.iter_mut().map(|(_, channel)| self.topics.change(channel, look)).collect();
        // A full store still answers duplicates, and still completes a message that only one of two logs holds.
        if !has_capacity && records.iter().all(Option::is_none) {
            return Err(BackendError::Refused("the embedded store is full".into()));
        }
        let first =
            records.iter().zip(&held).find_map(|(record, (_, channel))| Some((record.as_ref()?, channel)));
        if let Some((first, channel)) = first {
            (message_id, sent_at) = (first.message_id, first.sent_at);
            body = channel.log.body(first.seq).unwrap_or(body);
        }
        let duplicate = records.iter().all(Option::is_some);
        let mut position = None;
        for ((index, channel), record) in held.iter_mut().zip(records) {
            let epoch = channel.log.top.epoch;
            if let Some(first) = record {
                position = Some(Position { epoch, seq: first.seq, message_id: first.message_id });
                continue;
            }
            let entry = self.topics.change(channel, |log| {
                log.append(dedupe_key.clone(), message_id, sent_at, body.clone(), now, retention)
            });
            position = Some(channel.log.top);
            self.topics.deliver(&topics[*index], channel, &Publication::Message { epoch, entry });
        }
        let position = position.ok_or_else(|| BackendError::Refused("a message needs a topic".into()))?;
        Ok(Stored { position, sent_at, duplicate })
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
        let retention = &self.topics.retention;
        Ok(self.topics.change(&mut channel, |log| log.page(range, limit, unix_ms(), retention)))
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Position>, BackendError> {
        Ok(topics.iter().map(|topic| lock(&self.topics.channel(topic)).log.top).collect())
    }

    fn ready(&self) -> bool {
        true
    }
}
