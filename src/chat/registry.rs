//! Topics of this node. Owns which topics have somebody here, and takes what the backend delivers; does not read the
//! log (the keeper does) and does not know rooms' rules (the session does). Called by the backend's pump and by joins.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::counters::Counters;
use super::outbox::Outbox;
use super::ring::RingBudget;
use super::send_budget::SendBudget;
use super::topic::{LocalTopic, NodeResources, Phase};
use crate::backend::{BackendError, Deliver, Interruption, Notice, Publication};
use crate::protocol::Topic;

/// What the keeper is asked to look at.
pub(super) type Jobs = mpsc::UnboundedReceiver<Arc<LocalTopic>>;

type Map = HashMap<Topic, Arc<LocalTopic>>;

/// Topic → members, last position, ring.
pub struct Registry {
    topics: RwLock<Map>,
    /// Unbounded, but a topic is in it at most once (`State::is_kept`), so it holds no more than there are topics.
    jobs: mpsc::UnboundedSender<Arc<LocalTopic>>,
    /// Topics that nobody holds, oldest first. One that was taken up again is skipped when its time comes.
    lingering: Mutex<VecDeque<(Instant, Arc<LocalTopic>)>>,
    shared: Arc<NodeResources>,
    notices: mpsc::Sender<Notice>,
    /// The store was lost for a moment: what presence it holds is in doubt.
    pub(super) needs_reassert: Arc<AtomicBool>,
}

/// Membership of a topic, or a join under way. Dropping it lets go.
pub(super) struct TopicGuard {
    pub(super) topic: Arc<LocalTopic>,
    registry: Arc<Registry>,
}

impl Drop for TopicGuard {
    fn drop(&mut self) {
        if self.topic.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.registry.lingering().push_back((Instant::now(), self.topic.clone()));
        }
    }
}

impl Registry {
    /// An empty registry, the keeper's queue, and the notices to act on. Over 1,024 waiting notices, further ones are
    /// dropped: the tokens of open connections are checked again anyway.
    pub(super) fn new(ring_bytes: usize) -> (Self, Jobs, mpsc::Receiver<Notice>) {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (notices, pending_notices) = mpsc::channel(1_024);
        let shared = Arc::new(NodeResources {
            budget: Arc::new(RingBudget::new(ring_bytes)),
            queued: Arc::new(SendBudget::default()),
            counters: Counters::new(),
        });
        let registry = Self {
            topics: RwLock::default(),
            jobs,
            lingering: Mutex::default(),
            shared,
            notices,
            needs_reassert: Arc::default(),
        };
        (registry, queue, pending_notices)
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

    pub(super) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Topics that this node wants.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// No topic is wanted.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// Takes a topic up. Under the map's lock, so that the reaper can't take it away at the same moment.
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

    /// Waits until the topic is subscribed and its top known; the first to ask starts that.
    ///
    /// # Errors
    /// The start failed; the next to ask tries again. The caller has its own deadline.
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
                        self.keep(topic);
                    }
                    Phase::Starting => {}
                }
            }
            started = true;
            changed.await;
        }
    }

    /// Hands the topic to the keeper, unless it has it.
    pub(super) fn keep(&self, topic: &Arc<LocalTopic>) {
        let is_kept = std::mem::replace(&mut topic.lock().is_kept, true);
        if !is_kept {
            // The keeper ends with the node: then there is nobody to heal for.
            let _ = self.jobs.send(topic.clone());
        }
    }

    /// Every topic, for checks that go round.
    pub(super) fn all(&self) -> Vec<Arc<LocalTopic>> {
        self.read().values().cloned().collect()
    }

    /// Lets go of the topics that nobody has held for `linger`: calls `unsubscribe` for each, with no lock held.
    ///
    /// The topic counts as kept meanwhile: who takes it up at this moment waits until the unsubscription was sent, so
    /// that a subscription can't be overtaken by it.
    pub(super) fn unsubscribe_idle(&self, linger: Duration, unsubscribe: impl Fn(&Topic)) {
        for topic in self.due(linger) {
            {
                let mut state = topic.lock();
                if topic.holders.load(Ordering::Acquire) > 0 {
                    continue;
                }
                if state.is_kept {
                    drop(state);
                    self.requeue_idle(topic);
                    continue;
                }
                state.forget();
                state.is_kept = true;
            }
            unsubscribe(&topic.name);
            let mut topics = self.write();
            let is_current = topics.get(&topic.name).is_some_and(|current| Arc::ptr_eq(current, &topic));
            if is_current && topic.holders.load(Ordering::Acquire) == 0 {
                topics.remove(&topic.name);
            } else {
                drop(topics);
                topic.lock().is_kept = false;
                self.keep(&topic);
            }
        }
    }

    /// The keeper has the topic in hand at the moment: it is looked at again, or it would stay subscribed for ever with
    /// nobody in it. One that is out of the map counts as kept too, and has gone for good.
    fn requeue_idle(&self, topic: Arc<LocalTopic>) {
        if self.find(&topic.name).is_some_and(|current| Arc::ptr_eq(&current, &topic)) {
            self.lingering().push_back((Instant::now(), topic));
        }
    }

    fn lingering(&self) -> MutexGuard<'_, VecDeque<(Instant, Arc<LocalTopic>)>> {
        self.lingering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self, linger: Duration) -> Vec<Arc<LocalTopic>> {
        let mut lingering = self.lingering();
        let count = lingering.iter().take_while(|(since, _)| since.elapsed() >= linger).count();
        lingering.drain(..count).map(|(_, topic)| topic).collect()
    }

    /// The connections that are in a topic here.
    pub(super) fn members(&self, name: &Topic) -> Vec<Arc<Outbox>> {
        let Some(topic) = self.find(name) else { return Vec::new() };
        let state = topic.lock();
        state.members.values().map(|member| member.outbox.clone()).collect()
    }

    fn find(&self, name: &Topic) -> Option<Arc<LocalTopic>> {
        self.read().get(name).cloned()
    }
}

impl Deliver for Registry {
    fn deliver(&self, name: &Topic, publications: &mut Vec<Publication>) {
        match self.find(name) {
            Some(topic) => {
                if topic.deliver(publications) {
                    self.keep(&topic);
                }
            }
            // Nobody is here any more; the unsubscription is on its way.
            None => publications.clear(),
        }
    }

    fn interrupted(&self, topics: &[Topic], how: Interruption) {
        self.needs_reassert.store(true, Ordering::Release);
        for topic in topics.iter().filter_map(|name| self.find(name)) {
            match how {
                Interruption::Lost => self.shared.counters.gap_reconnect.increment(1),
                Interruption::Silent => self.shared.counters.gap_probe.increment(1),
            }
            topic.interrupt();
        }
    }

    fn restored(&self, topics: &[Topic]) {
        for topic in topics.iter().filter_map(|name| self.find(name)) {
            topic.resume();
            self.keep(&topic);
        }
    }

    fn notice(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            tracing::warn!(%error, "a notice was dropped; connections are checked again within the interval");
        }
    }
}
