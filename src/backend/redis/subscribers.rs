//! All subscription connections of a node. Owns which of them has a channel, also after a slot has moved to another master; the
//! connections themselves are `subscriber`'s. Called by the broker, watched by the probe.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::error::ConnectionRole;
use super::server::Server;
use super::slot::Slot;
use super::subscriber::{Source, Subscriber, SubscriberTerms};
use super::subscription_state::SharedSubscriptions;
use super::subscriptions::{Owner, SubscribeOutcome};
use super::topology::{Topology, TopologyWatch};
use crate::backend::{BackendError, Interruption};
use crate::protocol::Topic;
use crate::supervise::until_stopped;

/// Nobody serves the channels of slots without a master.
const NOBODY: Owner = Owner(u64::MAX);

/// Where a message of a channel is heard.
enum Placement {
    /// On any connection, always the same one.
    Anywhere,
    /// On the connection to the master of the slot.
    Shard(TopologyWatch),
}

/// All subscription connections.
#[derive(Clone)]
pub(super) struct Subscribers(Arc<Inner>);

struct Inner {
    subscriptions: SharedSubscriptions,
    connections: Mutex<Vec<Arc<Subscriber>>>,
    placement: Placement,
    /// With shards: the connection for what all nodes are told, which has no topics.
    notices: Option<Arc<Subscriber>>,
    timeout: Duration,
}

impl Subscribers {
    /// Connections that all hear everything: to a single Redis, or to any master of a cluster.
    pub(super) fn anywhere(source: &Source, count: usize, terms: &SubscriberTerms) -> Self {
        let subscriptions = SharedSubscriptions::default();
        let connections = (0..count.max(1))
            .map(|index| {
                let shared = (Owner(index as u64), subscriptions.clone());
                Subscriber::spawn(source.clone(), index == 0, shared, terms)
            })
            .collect();
        Self(Arc::new(Inner {
            subscriptions,
            connections: Mutex::new(connections),
            placement: Placement::Anywhere,
            notices: None,
            timeout: terms.timeout,
        }))
    }

    /// One connection to each master, for the channels of its slots.
    pub(super) fn sharded(topology: &TopologyWatch, terms: &SubscriberTerms) -> Self {
        let any = Source::AnyMaster(topology.clone(), Arc::new(AtomicUsize::new(0)));
        let notices = Subscriber::spawn(any, true, (Owner::default(), SharedSubscriptions::default()), terms);
        let subscribers = Self(Arc::new(Inner {
            subscriptions: SharedSubscriptions::default(),
            connections: Mutex::default(),
            placement: Placement::Shard(topology.clone()),
            notices: Some(notices),
            timeout: terms.timeout,
        }));
        let follow = subscribers.clone().follow(topology.clone(), terms.clone());
        terms.tracker.spawn(until_stopped("shards", &terms.stop, follow));
        subscribers
    }

    /// Connects to new masters, and moves the channels of slots that have moved.
    async fn follow(self, mut topology: TopologyWatch, terms: SubscriberTerms) {
        let mut last_owner = 0;
        loop {
            self.rearrange(&topology, &terms, &mut last_owner);
            topology.changed().await;
        }
    }

    fn rearrange(&self, topology: &TopologyWatch, terms: &SubscriberTerms, last_owner: &mut u64) {
        let _reports = self.0.subscriptions.reports();
        let now = topology.now();
        // One lock for the connections and one for the subscriptions, always in this order: a subscription that begins
        // meanwhile sees either the old topology and is moved, or the new one.
        let mut connections = self.connections();
        let mut subscriptions = self.0.subscriptions.lock();
        let is_used = |connection: &Arc<Subscriber>| {
            let shard = connection.shard();
            now.masters().iter().any(|master| shard.is_some_and(|shard| Arc::ptr_eq(shard, master)))
        };
        connections.retain(is_used);
        for master in now.masters() {
            if !connections.iter().any(|c| c.shard().is_some_and(|shard| Arc::ptr_eq(shard, master))) {
                *last_owner += 1;
                let shared = (Owner(*last_owner), self.0.subscriptions.clone());
                let source = Source::Shard(master.clone(), topology.clone());
                connections.push(Subscriber::spawn(source, false, shared, terms));
            }
        }
        let interrupted = subscriptions.reassign(|channel| owner_of(&now, &connections, channel));
        drop(subscriptions);
        connections.iter().for_each(|connection| connection.state.changed.notify_one());
        drop(connections);
        if !interrupted.is_empty() {
            terms.deliver.interrupted(&interrupted, Interruption::Lost);
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the connection that has a channel.
    fn wake(&self, owner: Owner) {
        if let Some(connection) = self.connections().iter().find(|connection| connection.state.owner == owner)
        {
            connection.state.changed.notify_one();
        }
    }

    /// See [`crate::backend::Broker::subscribe`].
    pub(super) async fn subscribe(&self, channel: String, topic: &Topic) -> Result<(), BackendError> {
        let (outcome, owner) = {
            let connections = self.connections();
            let mut subscriptions = self.0.subscriptions.lock();
            let owner = match &self.0.placement {
                Placement::Anywhere => {
                    connections[Slot::of(&channel).index() % connections.len()].state.owner
                }
                Placement::Shard(topology) => owner_of(&topology.now(), &connections, &channel),
            };
            let outcome = subscriptions.subscribe(owner, &channel, topic);
            (outcome, subscriptions.owner(&channel).unwrap_or(owner))
        };
        let SubscribeOutcome::Pending(ticket, confirmed) = outcome else { return Ok(()) };
        self.wake(owner);
        // Also if the caller is dropped while it waits.
        let _waiting = Waiting { subscribers: self, channel: &channel, ticket };
        match timeout(self.0.timeout, confirmed).await {
            Ok(Ok(())) if self.0.subscriptions.lock().acknowledge(&channel, ticket) => Ok(()),
            Ok(_) => Err(BackendError::Refused("the topic was unsubscribed in the meantime".into())),
            Err(_) => {
                Err(ConnectionRole::Subscriber.refused("Redis did not confirm the subscription in time"))
            }
        }
    }

    /// See [`crate::backend::Broker::unsubscribe`].
    pub(super) fn unsubscribe(&self, channel: &str) {
        self.change(channel, |subscriptions| subscriptions.unsubscribe(channel));
    }

    fn change(&self, channel: &str, change: impl FnOnce(&mut super::subscriptions::Subscriptions)) {
        let owner = {
            let mut subscriptions = self.0.subscriptions.lock();
            let owner = subscriptions.owner(channel);
            change(&mut subscriptions);
            owner
        };
        if let Some(owner) = owner {
            self.wake(owner);
        }
    }

    /// The connections that hear what a master publishes. `is_first`: it is the first one of the topology.
    pub(super) fn hearing(&self, master: &Arc<Server>, is_first: bool) -> Vec<Arc<Subscriber>> {
        let hears =
            |connection: &&Arc<Subscriber>| connection.shard().is_none_or(|shard| Arc::ptr_eq(shard, master));
        let mut hearing: Vec<Arc<Subscriber>> = self.connections().iter().filter(hears).cloned().collect();
        // What all nodes are told is published at the first master.
        hearing.extend(self.0.notices.iter().filter(|_| is_first).cloned());
        hearing
    }

    /// All connections.
    pub(super) fn all(&self) -> Vec<Arc<Subscriber>> {
        self.connections().iter().chain(&self.0.notices).cloned().collect()
    }
}

/// The connection to the master of a channel's slot.
fn owner_of(topology: &Topology, connections: &[Arc<Subscriber>], channel: &str) -> Owner {
    let Some(master) = topology.owner(Slot::of(channel)) else { return NOBODY };
    let leads_there = |c: &&Arc<Subscriber>| c.shard().is_some_and(|shard| Arc::ptr_eq(shard, master));
    connections.iter().find(leads_there).map_or(NOBODY, |connection| connection.state.owner)
}

/// A caller that waits for a confirmation. Its end cancels the request, unless the subscription was acknowledged.
struct Waiting<'a> {
    subscribers: &'a Subscribers,
    channel: &'a str,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.subscribers
            .change(self.channel, |subscriptions| subscriptions.cancel(self.channel, self.ticket));
    }
}
