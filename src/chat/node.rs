//! The node: everything that sessions, the server API and the transport may ask. Puts the parts of the chat layer
//! together and runs their background tasks; each part owns its own state, and sessions own what belongs to one
//! connection. Made by `server`, shared by all connections.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admin::Admin;
use super::attachments::AttachmentRules;
use super::auth::{Credential, TokensInUse};
use super::connections::{ConnectionGuard, Connections};
use super::cursors::PrivateCursors;
use super::error::RequestError;
use super::failed_tokens::FailedTokens;
use super::history::HistoryReader;
use super::join::Joins;
use super::lease::LeaseKeeper;
use super::lease_health::LeaseHealth;
use super::members::MembersReader;
use super::outbox::Outbox;
use super::presence::LocalPresence;
use super::publisher::{NewChange, Publisher, Submission};
use super::read_slots::ReadSlots;
use super::registry::Registry;
use super::replay::Replay;
use super::room_rules::RoomRules;
use super::seats::NoPlace;
use super::sent_markers::SentMarkers;
use super::token_check::TokenCheck;
use super::topic_worker::TopicWorker;
use super::unread::UnreadReader;
use crate::backend::{Backend, Notice, Stored};
use crate::config::{Config, Live};
use crate::jwt::Verifier;
use crate::metrics as names;
use crate::protocol::{CloseReason, ConnectionId, Extras, MessageId, Token, Topic};
use crate::supervise::critical;

/// How often the read markers of users who send messages are written.
const SENT_MARKERS_INTERVAL: Duration = Duration::from_secs(10);

/// The receiving end of a node, made before there is a backend to deliver to it.
pub struct Inlet {
    registry: Arc<Registry>,
    notices: mpsc::Receiver<Notice>,
}

impl Inlet {
    /// Give [`Inlet::registry`] to the backend, and then the inlet to [`Node::start`].
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
    config: Live,
    pub(super) rooms: RoomRules,
    pub(super) backend: Backend,
    pub(super) registry: Arc<Registry>,
    pub(super) presence: Arc<LocalPresence>,
    pub(super) tokens: Arc<TokensInUse>,
    jwt: Arc<Verifier>,
    failed_tokens: FailedTokens,
    pub(super) joins: Joins,
    pub(super) history: HistoryReader,
    pub(super) members: MembersReader,
    lease_health: Arc<LeaseHealth>,
    pub(super) cursors: PrivateCursors,
    pub(super) sent: Arc<SentMarkers>,
    pub(super) unread: UnreadReader,
    pub(super) publisher: Publisher,
    attachments: AttachmentRules,
    connections: Arc<Connections>,
    admin: Admin,
}

impl Node {
    /// Puts the parts together and starts their background tasks on `tracker`; `stop` ends them.
    pub fn start(
        config: Config,
        (rooms, jwt): (RoomRules, Verifier),
        backend: Backend,
        inlet: Inlet,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let Inlet { registry, notices } = inlet;
        let presence = LocalPresence::new(backend.presence.clone(), registry.needs_restore.clone());
        let lease_health = Arc::new(LeaseHealth::new(config.node.lease, config.node.heartbeat));
        let slots = Arc::new(ReadSlots::new());
        let queued = registry.queued().clone();
        let replay = Replay::new(registry.clone(), backend.broker.clone());
        let sent = Arc::new(SentMarkers::new(backend.markers.clone()));
        let jwt = Arc::new(jwt);
        let token_check = TokenCheck::new(backend.tokens.clone(), jwt.clone());
        let node = Arc::new(Self {
            presence: Arc::new(presence),
            tokens: Arc::new(TokensInUse::new(token_check)),
            failed_tokens: FailedTokens::default(),
            joins: Joins::new(replay),
            history: HistoryReader::new(backend.broker.clone(), slots.clone(), queued.clone()),
            unread: UnreadReader::new(backend.clone(), sent.clone(), slots.clone()),
            members: MembersReader::new(backend.presence.clone(), lease_health.clone(), slots, queued),
            lease_health,
            cursors: PrivateCursors::new(backend.markers.clone()),
            sent,
            publisher: Publisher::new(&backend, &config.limits),
            attachments: AttachmentRules::new(&config.messages.attachment_hosts),
            connections: Connections::new(config.max_connections),
            admin: Admin::new(backend.clone(), &config.auth, jwt.clone()),
            jwt,
            rooms,
            registry,
            backend,
            config: Live::new(config),
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
        let config = self.config();
        let settings = &config.node;
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
        let health = self.lease_health.clone();
        let lease = LeaseKeeper::new(presence, backend, settings.heartbeat, settings.lease, health);
        tracker.spawn(critical("lease", stop, lease.run(stop.clone())));
        let recheck = config.auth.recheck_interval;
        spawn!("flush", self.registry, |part, stop| part.flush(stop));
        spawn!("topics", worker, |part, stop| part.run(stop));
        spawn!("quiet topics", worker, |part, stop| part.check_quiet_topics(idle_check, stop));
        spawn!("idle topics", worker, |part, stop| part.unsubscribe_idle(stop));
        spawn!("departures", self.presence, |part, stop| part.settle_departures(stop));
        spawn!("tokens", self.tokens, |part, stop| part.watch(recheck, stop));
        spawn!("keys of the identity provider", self.jwt, |part, stop| part.run(stop));
        spawn!("notices", self, |part, stop| part.handle_notices(notices, stop));
        spawn!("upkeep", self, |part, stop| part.upkeep(stop));
    }

    /// The settings now.
    pub fn config(&self) -> Arc<Config> {
        self.config.get()
    }

    /// Takes other settings over, of those that a running node can change.
    pub fn apply(&self, config: Config) {
        self.publisher.set_rates(&config.limits);
        // The settings are checked, the files are not.
        if let Err(error) = self.jwt.reload(&config.auth.jwt) {
            tracing::error!(
                error,
                "can't use the changed keys of auth.jwt: the node keeps those that it has"
            );
        }
        self.config.set(config);
    }

    /// Whether the store answers, accepts writes and keeps this node's lease, and its subscriptions are proved to deliver.
    pub fn is_ready(&self) -> bool {
        self.backend.broker.ready() && self.lease_health.is_fresh()
    }

    /// Whether a further user can connect.
    pub fn has_free_seat(&self) -> bool {
        self.connections.has_free_seat()
    }

    /// Whether a further connection from this address could wait for the name of its user. It takes no place.
    ///
    /// # Errors
    /// The waiting room is full, or the address has its share of it.
    pub fn check_wait(&self, address: Option<IpAddr>) -> Result<(), NoPlace> {
        self.connections.check_wait(address)
    }

    /// Adds a new connection, which has no place yet.
    pub fn connect(&self) -> ConnectionGuard {
        let queued = self.registry.queued().clone();
        let outbox = Outbox::new(ConnectionId::generate(), self.config().limits.max_queue_bytes, queued);
        self.connections.open(Arc::new(outbox))
    }

    /// Checks a token for a connection, from an address unless many clients share it.
    ///
    /// # Errors
    /// `rate_limited` if too many tokens of this address failed; `unauthorized` and `forbidden` only if the store checked the token.
    pub async fn authenticate(
        &self,
        token: &Token,
        outbox: &Arc<Outbox>,
        address: Option<IpAddr>,
    ) -> Result<Credential, RequestError> {
        if let Some(address) = address {
            let taken = self.failed_tokens.take(address, Instant::now());
            taken.map_err(RequestError::too_many_failed_tokens)?;
        }
        let deadline = self.config().limits.request_timeout;
        let checked = timeout(deadline, self.tokens.authenticate(token, outbox)).await;
        let checked = checked.unwrap_or_else(|_| Err(RequestError::timed_out()));
        if let Some(address) = address
            && checked.as_ref().err().is_none_or(|error| !error.is_of_token())
        {
            self.failed_tokens.give_back(address, Instant::now());
        }
        checked
    }

    /// Stores and publishes a message; returns once the store has it.
    pub async fn publish(
        &self,
        from: &Submission<'_>,
        content: &str,
        extras: &Extras,
    ) -> Result<Stored, RequestError> {
        self.attachments.check(&extras.attachments)?;
        self.publisher.publish(from, content, extras).await
    }

    /// Stores and publishes a change of a message; returns once the store has it.
    pub async fn change(
        &self,
        from: &Submission<'_>,
        target: MessageId,
        change: NewChange<'_>,
    ) -> Result<Stored, RequestError> {
        let window = matches!(change, NewChange::Edit { .. }).then(|| self.config().messages.edit_window);
        self.publisher.change(from, target, change, window).await
    }

    /// What the server API may do.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Lists of members.
    pub fn members(&self) -> &MembersReader {
        &self.members
    }

    /// Pages of older messages.
    pub fn history(&self) -> &HistoryReader {
        &self.history
    }

    /// Serves the topics in which this connection lags; see [`Replay::serve_lagging`].
    pub async fn serve_lagging(&self, outbox: &Arc<Outbox>) {
        self.joins.replay().serve_lagging(outbox).await;
    }

    async fn upkeep(&self, stop: CancellationToken) {
        let [mut tick, mut sent_tick] = [Duration::from_secs(1), SENT_MARKERS_INTERVAL].map(interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sent_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.write_markers().await,
                _ = sent_tick.tick() => self.sent.write().await,
                _ = tick.tick() => self.cursors.write().await,
            }
            gauge!(names::SUBSCRIPTIONS).set(self.registry.len() as f64);
            gauge!(names::PRESENCE_ENTRIES).set(self.presence.len() as f64);
            gauge!(names::SEND_QUEUE_BYTES).set(self.registry.queued().get() as f64);
        }
    }

    async fn handle_notices(&self, mut notices: mpsc::Receiver<Notice>, stop: CancellationToken) {
        loop {
            let notice = tokio::select! {
                () = stop.cancelled() => return,
                Some(notice) = notices.recv() => notice,
            };
            match notice {
                Notice::TokenRevoked(hash) => self.tokens.revoke(hash),
                Notice::UserTokensRevoked(user) => self.tokens.revoke_user(&user),
                Notice::UserBanned(user) => self.tokens.ban_user(&user),
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
        self.connections.count()
    }

    /// Closes every connection, those to come included, over at most `spread`.
    pub async fn close_all(&self, reason: CloseReason, spread: Duration) {
        self.connections.close_all(reason, spread).await;
    }

    /// Waits until the store knows of every departure.
    pub async fn settle(&self) {
        while self.presence.len() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn write_markers(&self) {
        self.cursors.write().await;
        self.sent.write().await;
    }

    /// Writes the markers and releases the lease, at the end of a drain.
    pub async fn release(&self) {
        self.write_markers().await;
        if let Err(error) = self.backend.presence.release().await {
            tracing::warn!(%error, "the presence lease could not be released; it expires by itself");
        }
    }
}
