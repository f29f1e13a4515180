//! The embedded broker. Owns the logs and who listens to each; delivers inside the publish, under the topic's lock, so
//! that every listener sees a log's order. Called by `chat` through the traits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;

use super::log::{First, Log, Retention};
use crate::backend::{
    BackendError, Broker, Deliver, Notice, Page, PageLimit, Publication, Publish, Range, Stored, Topic,
    unix_ms,
};
use crate::protocol::{ConnectionId, Position};

/// An empty log that nobody listens to is forgotten after this time.
const FORGET_AFTER_MS: u64 = 10 * 60 * 1_000;

struct Channel {
    log: Log,
    listeners: Vec<usize>,
}

/// All topics of the process. Lock order: the map, then a topic, then whatever `Deliver` locks.
pub(super) struct Topics {
    map: RwLock<HashMap<Topic, Arc<Mutex<Channel>>>>,
    nodes: RwLock<Vec<Arc<dyn Deliver>>>,
    retention: Retention,
    sweep_at: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Topics {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            map: RwLock::default(),
            nodes: RwLock::default(),
            retention,
            sweep_at: AtomicUsize::new(1_024),
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
            let now = unix_ms();
            map.retain(|_, channel| {
                let mut held = lock(channel);
                let idle = now.saturating_sub(held.log.used_at) > FORGET_AFTER_MS;
                let unused = Arc::strong_count(channel) == 1 && held.listeners.is_empty();
                !(idle && unused && held.log.is_spent(now, &self.retention))
            });
            self.sweep_at.store((map.len() * 2).max(1_024), Ordering::Relaxed);
        }
        let fresh = || Arc::new(Mutex::new(Channel { log: Log::new(unix_ms()), listeners: Vec::new() }));
        map.entry(topic.clone()).or_insert_with(fresh).clone()
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
        topics.dedup();
        let channels: Vec<_> = topics.iter().map(|topic| self.topics.channel(topic)).collect();
        // All at once, in an order that all publishes keep, so that two of them can't wait for each other.
        let mut order: Vec<usize> = (0..channels.len()).collect();
        order.sort_by_key(|index| Arc::as_ptr(&channels[*index]));
        let mut held: Vec<(usize, MutexGuard<'_, Channel>)> =
            order.into_iter().map(|index| (index, lock(&channels[index]))).collect();
        held.sort_by_key(|(index, _)| *index);
        // A repeat of which only one half is there is completed under the first's id, as it was stored.
        let records: Vec<Option<First>> =
            held.iter_mut().map(|(_, channel)| channel.log.first(&dedupe_key, now, retention)).collect();
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
            let entry =
                channel.log.append(dedupe_key.clone(), message_id, sent_at, body.clone(), now, retention);
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
        Ok(channel.log.page(range, limit, unix_ms(), &self.topics.retention))
    }

    async fn tops(&self, topics: &[Topic]) -> Result<Vec<Position>, BackendError> {
        Ok(topics.iter().map(|topic| lock(&self.topics.channel(topic)).log.top).collect())
    }

    fn ready(&self) -> bool {
        true
    }
}
