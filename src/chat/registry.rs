//! The topics of this node. Owns which topics have members here and which wait for the topic worker, and takes what the
//! backend delivers. It does not read logs (the topic worker does) and does not know the rules of rooms (the session
//! does). Called by the backend for deliveries, and by joins.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::flush_list::{FlushList, WaitList};
use super::node_resources::NodeResources;
use super::outbox::Outbox;
use super::ring::RingBudget;
use super::send_budget::SendBudget;
use super::topic::{Delivery, LocalTopic, Phase};
use crate::backend::{BackendError, Deliver, Interruption, Notice, Publication};
use crate::protocol::Topic;
use crate::work_queue::WorkQueue;

type Map = HashMap<Topic, Arc<LocalTopic>>;

/// Every topic of this node, with its members, its last position and its ring.
pub struct Registry {
    topics: RwLock<Map>,
    /// Topics for the topic worker: to start, to recover, or to unsubscribe from. Only the worker that has a topic in
    /// hand subscribes to it or unsubscribes from it.
    work: WorkQueue<Topic>,
    /// Topics without a holder, by the time at which the last one went, oldest first.
    idle: Mutex<VecDeque<(Instant, Topic)>>,
    /// Topics that wait for the delivery of what they received, each once.
    received: WaitList<LocalTopic>,
    shared: Arc<NodeResources>,
    notices: mpsc::Sender<Notice>,
    /// The connection to the store was lost: it may have lost members too, so the next heartbeat adds them again.
    pub(super) needs_restore: Arc<AtomicBool>,
}

/// A member of a topic, or a join under way. Dropping it releases the topic.
pub(super) struct TopicGuard {
    pub(super) topic: Arc<LocalTopic>,
    registry: Arc<Registry>,
}

impl Drop for TopicGuard {
    fn drop(&mut self) {
        if self.topic.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let now = Instant::now();
            self.topic.lock().idle_since = Some(now);
            self.registry.idle().push_back((now, self.topic.name.clone()));
        }
    }
}

impl Registry {
    /// An empty registry, and the notices to act on. While 1,024 notices wait, further ones are dropped: the tokens of
    /// open connections are checked again anyway.
    pub(super) fn new(ring_bytes: usize) -> (Self, mpsc::Receiver<Notice>) {
        let (notices, pending_notices) = mpsc::channel(1_024);
        let shared = Arc::new(NodeResources {
            budget: Arc::new(RingBudget::new(ring_bytes)),
            queued: Arc::new(SendBudget::default()),
            to_flush: FlushList::default(),
            counters: Counters::new(),
        });
        let registry = Self {
            topics: RwLock::default(),
            work: WorkQueue::default(),
            idle: Mutex::default(),
            received: WaitList::default(),
            shared,
            notices,
            needs_restore: Arc::default(),
        };
        (registry, pending_notices)
    }

    fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Map> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes queued for all connections.
    pub fn queued(&self) -> &Arc<SendBudget> {
        &self.shared.queued
    }

    /// Delivers what topics receive, and writes to the sockets what they push, until the node stops.
    pub(super) async fn flush(&self, stop: CancellationToken) {
        self.shared.to_flush.run(|| self.deliver_all_received(), stop).await;
    }

    /// Has the answer to a publish written together with what comes of the publish itself.
    pub(super) fn write_soon(&self, outbox: &Arc<Outbox>) {
        self.shared.to_flush.write_soon(outbox);
    }

    fn deliver_all_received(&self) {
        self.received.take().iter().for_each(|topic| self.deliver_received(topic));
    }

    fn deliver_received(&self, topic: &Arc<LocalTopic>) {
        if topic.deliver_received() {
            self.enqueue(topic);
        }
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Topics that this node is subscribed to, or about to be.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is no topic.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Holds a topic, so that it stays subscribed. Counted under the map's lock, so that an idle topic is not removed at the
    /// same moment.
    pub(super) fn hold(self: &Arc<Self>, name: &Topic) -> TopicGuard {
        let held = |topic: &Arc<LocalTopic>| {
            topic.holders.fetch_add(1, Ordering::AcqRel);
            TopicGuard { topic: topic.clone(), registry: self.clone() }
        };
        if let Some(topic) = self.read().get(name) {
            return held(topic);
        }
        let mut topics = self.write();
        let fresh = || Arc::new(LocalTopic::new(name.clone(), self.shared.clone()));
        held(topics.entry(name.clone()).or_insert_with(fresh))
    }

    /// Waits until the topic is subscribed and its top is known. The first caller starts that.
    ///
    /// # Errors
    /// The start failed; the next call tries again. The caller has its own deadline.
    pub(super) async fn ready(&self, topic: &Arc<LocalTopic>) -> Result<(), BackendError> {
        let mut started = false;
        loop {
            let changed = topic.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = topic.lock();
                match &state.phase {
                    Phase::Ready => return Ok(()),
                    Phase::Failed(error) if started => return Err(error.clone()),
                    Phase::Idle | Phase::Failed(_) => {
                        state.phase = Phase::Starting;
                        drop(state);
                        self.enqueue(topic);
                    }
                    Phase::Starting => {}
                }
            }
            started = true;
            changed.await;
        }
    }

    /// Asks the topic worker to bring the topic into line with its state. To be called after each change that leaves
    /// work to do.
    pub(super) fn enqueue(&self, topic: &LocalTopic) {
        self.work.add(topic.name.clone());
    }

    /// The topics that wait for the topic worker.
    pub(super) fn work(&self) -> &WorkQueue<Topic> {
        &self.work
    }

    /// Every topic.
    pub(super) fn all(&self) -> Vec<Arc<LocalTopic>> {
        self.read().values().cloned().collect()
    }

    /// Hands the topics that have had no holder for `linger` to the topic worker, which looks at them again with
    /// [`Registry::forget_idle`].
    pub(super) fn enqueue_idle(&self, linger: Duration) {
        let due: Vec<Topic> = {
            let mut idle = self.idle();
            let count = idle.iter().take_while(|(since, _)| since.elapsed() >= linger).count();
            idle.drain(..count).map(|(_, topic)| topic).collect()
        };
        due.into_iter().for_each(|topic| self.work.add(topic));
    }

    /// Forgets what is known of a topic that has had no holder for `linger`. True if it has to be unsubscribed from now,
    /// and then removed with [`Registry::remove_idle`]. Only the worker that has the topic in hand may call this: a
    /// joiner that comes meanwhile asks for a start, which waits until the worker is done, so a subscription is never
    /// overtaken by the end of the one before.
    pub(super) fn forget_idle(&self, topic: &LocalTopic, linger: Duration) -> bool {
        let mut state = topic.lock();
        // A topic that was held again has a later time, and a later entry in `idle`.
        let is_due = state.idle_since.is_some_and(|since| since.elapsed() >= linger);
        if topic.holders.load(Ordering::Acquire) > 0 || !is_due {
            return false;
        }
        state.forget();
        true
    }

    /// Removes a topic that was unsubscribed from, unless it has a holder again.
    pub(super) fn remove_idle(&self, topic: &Arc<LocalTopic>) {
        let mut topics = self.write();
        let is_current = topics.get(&topic.name).is_some_and(|current| Arc::ptr_eq(current, topic));
        if is_current && topic.holders.load(Ordering::Acquire) == 0 {
            topics.remove(&topic.name);
        }
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Instant, Topic)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that are in a topic here.
    pub(super) fn members(&self, name: &Topic) -> Vec<Arc<Outbox>> {
        let Some(topic) = self.find(name) else { return Vec::new() };
        let state = topic.lock();
        state.members.values().map(|member| member.outbox.clone()).collect()
    }

    pub(super) fn find(&self, name: &Topic) -> Option<Arc<LocalTopic>> {
        self.read().get(name).cloned()
    }
}

impl Deliver for Registry {
    fn deliver(&self, name: &Topic, publications: &mut dyn Iterator<Item = Publication>) {
        // Without members here, the unsubscription is on its way.
        let Some(topic) = self.find(name) else { return };
        match topic.receive(publications) {
            Delivery::Awaited => {}
            Delivery::Due => {
                self.received.add([topic]);
                if !self.shared.to_flush.deliver_soon() {
                    self.deliver_all_received();
                }
            }
            Delivery::DueNow => self.deliver_received(&topic),
        }
    }

    fn interrupted(&self, topics: &[Topic], how: Interruption) {
        self.needs_restore.store(true, Ordering::Release);
        for topic in topics.iter().filter_map(|name| self.find(name)) {
            match how {
                Interruption::Lost => self.shared.counters.gap_reconnect.increment(1),
                Interruption::Silent => self.shared.counters.gap_probe.increment(1),
            }
            self.deliver_received(&topic);
            topic.interrupt();
        }
    }

    fn restored(&self, topics: &[Topic]) {
        for topic in topics.iter().filter_map(|name| self.find(name)) {
            self.deliver_received(&topic);
            topic.resume();
            self.enqueue(&topic);
        }
    }

    fn notice(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            tracing::warn!(%error, "a notice was dropped; open connections are checked again within auth.recheck_interval");
        }
    }
}
