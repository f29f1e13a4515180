//! The embedded broker. Owns the logs and who listens to each; delivers inside the publish, under the topic's lock, so
//! that every listener sees a log's order. Called by `chat` through the traits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use super::budget::{Budget, Capacity};
use super::log::{First, Log, Retention};
use crate::backend::{
    BackendError, Broker, Deliver, Notice, Page, PageLimit, Publication, Publish, Range, Stored, unix_ms,
};
use crate::protocol::{ConnectionId, Position, Topic};

/// An empty log that nobody listens to is forgotten after this time.
const FORGET_AFTER_MS: u64 = 10 * 60 * 1_000;

struct Channel {
    log: Log,
    listeners: Vec<usize>,
}

type Map = HashMap<Topic, Arc<Mutex<Channel>>>;

/// All topics of the process. Lock order: the map, then a topic, then whatever `Deliver` locks.
pub(super) struct Topics {
    map: RwLock<Map>,
    nodes: RwLock<Vec<Arc<dyn Deliver>>>,
    retention: Retention,
    sweep_at: AtomicUsize,
    budget: Budget,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        // A client can make rooms up for ever: as the map doubles, what is spent goes.
        if map.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.sweep(&mut map, FORGET_AFTER_MS);
        }
        let fresh = || {
            let log = Log::new(unix_ms());
            self.budget.change(0, log.weight());
            Arc::new(Mutex::new(Channel { log, listeners: Vec::new() }))
        };
        map.entry(topic.clone()).or_insert_with(fresh).clone()
    }

    /// Forgets the logs that are empty and in nobody's hands, if they were not used for so long.
    fn sweep(&self, map: &mut Map, unused_for_ms: u64) {
        let now = unix_ms();
        map.retain(|_, channel| {
            let mut held = lock(channel);
            let idle = now.saturating_sub(held.log.used_at) >= unused_for_ms;
            let unused = Arc::strong_count(channel) == 1 && held.listeners.is_empty();
            let forget = self.change(&mut held, |log| idle && unused && log.is_spent(now, &self.retention));
            if forget {
                self.budget.change(held.log.weight(), 0);
            }
            !forget
        });
        self.sweep_at.store((map.len() * 2).max(1_024), Ordering::Relaxed);
    }

    /// Whatever is done to a log goes through here, so that the budget knows of it.
    fn change<R>(&self, channel: &mut Channel, change: impl FnOnce(&mut Log) -> R) -> R {
        let before = channel.log.weight();
        let result = change(&mut channel.log);
        self.budget.change(before, channel.log.weight());
        result
    }

    /// Whether there is room for one more message. If need be some is made: the logs that were used longest ago lose their
    /// messages, and those that hold nothing any more are forgotten.
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
            let somebody_listens = !held.listeners.is_empty();
            self.change(&mut held, |log| log.give_up(somebody_listens));
            trimmed += 1;
        }
        self.sweep(&mut map, 0);
        let has_capacity = self.budget.made(now);
        tracing::warn!(trimmed, has_capacity, "the embedded store is full: history was given up");
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

/// One node's view of the shared topics.
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
        // Before anything is locked, since it looks at every log.
        let has_capacity = self.topics.has_capacity(now);
        topics.dedup();
        let channels: Vec<_> = topics.iter().map(|topic| self.topics.channel(topic)).collect();
        // All at once, in an order that all publishes keep, so that two of them can't wait for each other.
        let mut order: Vec<usize> = (0..channels.len()).collect();
        order.sort_by_key(|index| Arc::as_ptr(&channels[*index]));
        let mut held: Vec<(usize, MutexGuard<'_, Channel>)> =
            order.into_iter().map(|index| (index, lock(&channels[index]))).collect();
        held.sort_by_key(|(index, _)| *index);
        // A repeat of which only one half is there is completed under the first's id, as it was stored.
        let look = |log: &mut Log| log.first(&dedupe_key, now, retention);
        let records: Vec<Option<First>> =
            held.iter_mut().map(|(_, channel)| self.topics.change(channel, look)).collect();
        // What was stored before is no less stored for want of room, and a half is completed.
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
        let position = position.ok_or_else(|| BackendError::Refused("no topic was named".into()))?;
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
