//! The node: what a session, the server API and the transport may ask. Owns the parts of the chat layer and their
//! background tasks; sessions own what belongs to one connection. Made by `server`, shared by all connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::{Credential, TokensInUse};
use super::counters::Publishing;
use super::error::RequestError;
use super::lease::LeaseKeeper;
use super::outbox::{Close, Outbox};
use super::presence::LocalPresence;
use super::registry::Registry;
use super::room_rules::RoomRules;
use super::topic_worker::TopicWorker;
use crate::backend::{Backend, BackendError, Notice, Publish, Stored, unix_ms};
use crate::config::Config;
use crate::metrics as names;
use crate::protocol::server_message::ChatBody;
use crate::protocol::{CloseReason, ConnectionId, MessageId, Position, Token, Topic, UserName};
use crate::supervise::critical;

/// For each connection that a drain closes: twenty a second storm nobody, and one is closed at once.
const PACE: Duration = Duration::from_millis(50);

/// What the registry needs before there is a backend to deliver to it.
pub struct Inlet {
    registry: Arc<Registry>,
    notices: mpsc::Receiver<Notice>,
}

impl Inlet {
    /// The receiving end of a node: give [`Inlet::registry`] to the backend, then the whole to [`Node::start`].
    pub fn new(config: &Config) -> Self {
        let (registry, notices) = Registry::new(config.node.ring_bytes);
        Self { registry: Arc::new(registry), notices }
    }

    /// Where deliveries go.
    pub fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }
}

/// The chat layer of one node.
pub struct Node {
    pub(super) config: Arc<Config>,
    pub(super) rooms: RoomRules,
    pub(super) backend: Backend,
    pub(super) registry: Arc<Registry>,
    pub(super) presence: Arc<LocalPresence>,
    pub(super) tokens: Arc<TokensInUse>,
    connections: Mutex<Connections>,
    /// Cursors that have moved and are not yet written: one per user, the latest.
    cursors: Mutex<HashMap<UserName, Position>>,
}

/// Every open connection, for the drain.
#[derive(Default)]
struct Connections {
    open: HashMap<ConnectionId, Arc<Outbox>>,
    /// Set when the drain closes them: who is still on the way in is closed as it arrives.
    closing: Option<CloseReason>,
}

/// An open connection's place in the node; dropping it takes it out.
pub struct ConnectionGuard {
    outbox: Arc<Outbox>,
    node: Arc<Node>,
}

impl ConnectionGuard {
    /// The connection's queue.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.outbox.shut();
        self.node.connections().open.remove(&self.outbox.id());
    }
}

impl Node {
    /// Puts the parts together and starts their background tasks on `tracker`; `stop` ends them.
    pub fn start(
        config: Arc<Config>,
        rooms: RoomRules,
        backend: Backend,
        inlet: Inlet,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let Inlet { registry, notices } = inlet;
        let presence = LocalPresence::new(backend.presence.clone(), registry.needs_restore.clone());
        let node = Arc::new(Self {
            rooms,
            registry,
            presence: Arc::new(presence),
            tokens: Arc::new(TokensInUse::new(backend.tokens.clone())),
            connections: Mutex::default(),
            cursors: Mutex::default(),
            backend,
            config,
        });
        node.spawn_all(notices, tracker, stop);
        node
    }

    fn spawn_all(
        self: &Arc<Self>,
        notices: mpsc::Receiver<Notice>,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) {
        let settings = &self.config.node;
        let worker = Arc::new(TopicWorker {
            registry: self.registry.clone(),
            broker: self.backend.broker.clone(),
            linger: settings.linger,
        });
        macro_rules! spawn {
            ($name:literal, $owner:expr, |$part:ident, $stop:ident| $run:expr) => {{
                let ($part, $stop) = ($owner.clone(), stop.clone());
                tracker.spawn(critical($name, stop, async move { $run.await }));
            }};
        }
        let idle_check = settings.idle_check;
        let (presence, backend) = (self.presence.clone(), self.backend.presence.clone());
        let lease = LeaseKeeper::new(presence, backend, settings.heartbeat, settings.lease);
        tracker.spawn(critical("lease", stop, lease.run(stop.clone())));
        let recheck = self.config.auth.recheck_interval;
        spawn!("topics", worker, |part, stop| part.run(stop));
        spawn!("quiet topics", worker, |part, stop| part.check_quiet_topics(idle_check, stop));
        spawn!("idle topics", worker, |part, stop| part.unsubscribe_idle(stop));
        spawn!("departures", self.presence, |part, stop| part.settle_departures(stop));
        spawn!("tokens", self.tokens, |part, stop| part.watch(recheck, stop));
        spawn!("notices", self, |part, stop| part.handle_notice(notices, stop));
        spawn!("upkeep", self, |part, stop| part.upkeep(stop));
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings that the node was started with.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Whether the store answers and its subscriptions are proven.
    pub fn is_ready(&self) -> bool {
        self.backend.broker.ready()
    }

    /// Seats a new connection.
    pub fn connect(self: &Arc<Self>) -> ConnectionGuard {
        let id = ConnectionId::generate();
        let queued = self.registry.queued().clone();
        let outbox = Arc::new(Outbox::new(id, self.config.limits.max_queue_bytes, queued));
        let mut connections = self.connections();
        connections.open.insert(id, outbox.clone());
        if let Some(reason) = connections.closing {
            outbox.close(come_back(reason));
        }
        drop(connections);
        ConnectionGuard { outbox, node: self.clone() }
    }

    /// Checks a token for a connection; see [`RequestError`] for how it fails.
    pub async fn authenticate(
        &self,
        token: &Token,
        outbox: &Arc<Outbox>,
    ) -> Result<Credential, RequestError> {
        let deadline = self.config.limits.request_timeout;
        let check = self.tokens.authenticate(token, outbox);
        tokio::time::timeout(deadline, check).await.unwrap_or_else(|_| Err(RequestError::timed_out()))
    }

    /// Stores and publishes a message: the only place in the cluster where its body is encoded. One round trip.
    pub async fn publish(
        &self,
        sender: &UserName,
        to: &Topic,
        content: &str,
        client_id: Option<&str>,
    ) -> Result<Stored, BackendError> {
        let message_id = MessageId::generate();
        let sent_at = unix_ms();
        let (room, target) = match to {
            Topic::Room(room) => (Some(room), None),
            Topic::User(target) => (None, Some(target)),
        };
        let body = ChatBody {
            sender_username: sender,
            target_username: target,
            content,
            room,
            message_id,
            client_id,
            sent_at,
        };
        let topics = match to {
            Topic::Room(room) => vec![Topic::Room(room.clone())],
            Topic::User(target) if target == sender => vec![Topic::User(sender.clone())],
            Topic::User(target) => vec![Topic::User(target.clone()), Topic::User(sender.clone())],
        };
        // No name holds a control character, so the parts can't run into each other; the client's own id comes last.
        // A publish without one repeats only where a client library sends it again: then its message id is the same.
        let dedupe_key = match client_id {
            Some(id) => format!("{sender}\u{1f}{}\u{1f}{id}", target.map_or("", UserName::as_str)),
            None => format!("\u{1f}{message_id}"),
        };
        let publish = Publish { topics, dedupe_key, message_id, sent_at, body: body.encode() };
        let publishing = Publishing::begin();
        let result = self.backend.broker.publish(publish).await;
        publishing.end(&result);
        result
    }

    /// Notes how far a user's private log has arrived; written within a second, the latest only.
    pub(super) fn advance_cursor(&self, user: &UserName, position: Position) {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        match cursors.get_mut(user) {
            Some(old) if old.epoch == position.epoch && old.seq >= position.seq => {}
            Some(old) => *old = position,
            None => drop(cursors.insert(user.clone(), position)),
        }
    }

    async fn write_cursors(&self) {
        let moved = std::mem::take(&mut *self.cursors.lock().unwrap_or_else(PoisonError::into_inner));
        let mut moved = moved.into_iter();
        while let Some((user, position)) = moved.next() {
            if let Err(error) = self.backend.markers.advance_cursor(&user, position).await {
                tracing::debug!(%error, "cursors wait for the store");
                // The rest would wait out a deadline each, and the end of a drain for all of them. Where it is the end,
                // the messages come again instead: the client drops them by their id.
                let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
                for (user, position) in std::iter::once((user, position)).chain(moved) {
                    cursors.entry(user).or_insert(position);
                }
                return;
            }
        }
    }

    async fn upkeep(&self, stop: CancellationToken) {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.write_cursors().await,
                _ = tick.tick() => self.write_cursors().await,
            }
            gauge!(names::SUBSCRIPTIONS).set(self.registry.len() as f64);
            gauge!(names::PRESENCE_ENTRIES).set(self.presence.len() as f64);
            gauge!(names::SEND_QUEUE_BYTES).set(self.registry.queued().get() as f64);
        }
    }

    async fn handle_notice(&self, mut notices: mpsc::Receiver<Notice>, stop: CancellationToken) {
        loop {
            let notice = tokio::select! {
                () = stop.cancelled() => return,
                Some(notice) = notices.recv() => notice,
            };
            match notice {
                Notice::TokenRevoked(hash) => self.tokens.revoke(hash),
                Notice::UserTokensRevoked(user) => self.tokens.revoke_user(&user),
                Notice::Disconnect(user) => {
                    let bound = self.registry.members(&Topic::User(user.clone()));
                    for outbox in bound.into_iter().chain(self.tokens.connections_of(&user)) {
                        outbox.close(CloseReason::Removed.into());
                    }
                }
            }
        }
    }

    /// Open connections.
    pub fn connection_count(&self) -> usize {
        self.connections().open.len()
    }

    /// Closes every connection, those to come included, over `spread` or as long as [`PACE`] takes if that is less; each
    /// is told to come back at its own time, so that the rest of the cluster is not stormed.
    pub async fn close_all(&self, reason: CloseReason, spread: Duration) {
        let outboxes: Vec<Arc<Outbox>> = {
            let mut connections = self.connections();
            connections.closing = Some(reason);
            connections.open.values().cloned().collect()
        };
        let size = outboxes.len().div_ceil(50).max(1);
        let mut batches = outboxes.chunks(size).peekable();
        let pause = (spread / (batches.len().max(1) as u32)).min(PACE * size as u32);
        while let Some(batch) = batches.next() {
            batch.iter().for_each(|outbox| outbox.close(come_back(reason)));
            if batches.peek().is_some() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Waits until the store has heard of every departure.
    pub async fn settle(&self) {
        while self.presence.len() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Gives the lease up, at the end of a drain.
    pub async fn release(&self) {
        self.write_cursors().await;
        if let Err(error) = self.backend.presence.release().await {
            tracing::warn!(%error, "the lease could not be released; it ends by itself");
        }
    }
}

/// For a client of a node that goes down.
fn come_back(reason: CloseReason) -> Close {
    Close { reason, retry_after_ms: Some(rand::random_range(100..=2_000)) }
}
