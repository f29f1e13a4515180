//! Probe of the servers and the subscriptions. Owns the proof that each master accepts writes, and the round trip through its
//! command connection, the server and every subscription connection. Replaces a connection that seems alive but delivers
//! nothing. Started by `connect`; the broker asks [`Readiness`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics::gauge;
use redis::{Cmd, Value, from_redis_value};
use tokio::time::{Instant, sleep};

use super::call::Call;
use super::keys::Keys;
use super::redirect::Failure;
use super::rights;
use super::router::Router;
use super::server::{Lane, Server};
use super::slot::Slot;
use super::subscribers::Subscribers;
use super::topology::Topology;
use crate::metrics::{PUBSUB_SILENCE, REDIS_MEMORY};

/// Interval between two probes.
const INTERVAL: Duration = Duration::from_secs(1);

/// Interval until every connection has delivered a probe: the first one often comes before the subscriptions exist.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);

/// A connection is replaced if a published probe has been missing for this long. Together with the interval and the
/// reconnect, this stays well below the 10 s within which a node must notice a lost message.
const REPLACE_AFTER: Duration = Duration::from_secs(4);

/// A node is not ready if a connection has been silent for this long.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The connections of one node.
pub(super) struct Probe {
    pub(super) keys: Keys,
    /// Id of this node.
    pub(super) node: String,
    pub(super) router: Router,
    pub(super) subscribers: Subscribers,
    /// How long a call may take.
    pub(super) timeout: Duration,
    /// Names of the keys of slots, which take time to find.
    pub(super) probe_keys: HashMap<Slot, String>,
}

impl Probe {
    /// Sends probes without end.
    pub(super) async fn run(mut self) {
        // Where INFO is forbidden, once is enough: the preflight has said so.
        let mut asks_for_memory = true;
        loop {
            let topology = self.router.topology();
            let probes: Vec<_> = (topology.masters().iter().enumerate())
                .map(|(index, master)| (master, index == 0, self.key(&topology, master)))
                .collect();
            let probes = probes
                .into_iter()
                .map(|(master, is_first, key)| self.probe(master, is_first, key, asks_for_memory));
            asks_for_memory &= join_all(probes).await.into_iter().all(|may_ask| may_ask);
            self.judge(&topology);
            let memory = topology.masters().iter().map(|master| master.memory.ratio()).fold(0.0, f64::max);
            gauge!(REDIS_MEMORY).set(memory);
            let all_seen = topology.masters().iter().enumerate().all(|(index, master)| {
                let hearing = self.subscribers.hearing(master, index == 0);
                hearing.iter().all(|s| s.state.probe.silence(&master.id).is_some())
            });
            sleep(if all_seen { INTERVAL } else { FIRST_INTERVAL }).await;
        }
    }

    /// The key that a master is asked to delete: one that never exists.
    fn key(&mut self, topology: &Topology, master: &Arc<Server>) -> String {
        match topology.last_slot(master) {
            None => self.keys.probe(&self.node),
            Some(slot) => {
                let (keys, node) = (&self.keys, &self.node);
                self.probe_keys.entry(slot).or_insert_with(|| keys.probe_in(node, slot)).clone()
            }
        }
    }

    /// Probes one master. Returns false if the user may not ask for the memory.
    async fn probe(&self, master: &Arc<Server>, is_first: bool, key: String, asks_for_memory: bool) -> bool {
        let call = async |command: &Cmd| -> Result<Value, Failure> {
            let deadline = Instant::now() + self.timeout;
            master.call((Lane::Short, Slot::of(&key)), &Call::Command(command), false, deadline).await
        };
        let mut may_ask = true;
        if asks_for_memory {
            let mut info = redis::cmd("INFO");
            info.arg("memory");
            match call(&info).await {
                Ok(info) => {
                    if let Ok(info) = from_redis_value::<String>(info) {
                        master.memory.record(&info);
                    }
                }
                Err(failure) => may_ask = !rights::denies(&failure.error.to_string()),
            }
        }
        // A server that can't save refuses writes and still publishes. This write deletes a key that never exists: it gets
        // every such refusal, but nothing is written to the append-only file, and a server with full memory allows it.
        let mut write = redis::cmd("DEL");
        write.arg(&key);
        // A failure is counted by the command connection, and says nothing of the subscriptions.
        match call(&write).await {
            Ok(_) => master.written.record(),
            Err(failure) => self.router.suspect(&failure),
        }
        let mut published: HashMap<String, Option<Instant>> = HashMap::new();
        for subscriber in self.subscribers.hearing(master, is_first) {
            let Some(channel) = subscriber.state.probe_channel() else { continue };
            subscriber.state.probe.register(&master.id);
            let sent_at = match published.get(&channel) {
                Some(sent_at) => *sent_at,
                None => {
                    let sent_at = Instant::now();
                    let mut publish = redis::cmd(subscriber.publish_command());
                    publish.arg(&channel).arg(&master.id);
                    let sent_at = call(&publish).await.is_ok().then_some(sent_at);
                    *published.entry(channel).or_insert(sent_at)
                }
            };
            if let Some(sent_at) = sent_at {
                subscriber.state.probe.record_sent(&master.id, sent_at);
            }
        }
        may_ask
    }

    /// Replaces connections that miss a probe.
    fn judge(&self, topology: &Topology) {
        let is_used = |id: &str| topology.masters().iter().any(|master| master.id == id);
        let mut silence = Duration::ZERO;
        for subscriber in self.subscribers.all() {
            let probe = &subscriber.state.probe;
            probe.retain(is_used);
            if probe.overdue() >= REPLACE_AFTER {
                subscriber.replace();
            }
            let silences = topology.masters().iter().filter_map(|master| probe.silence(&master.id));
            silence = silences.fold(silence, Duration::max);
        }
        gauge!(PUBSUB_SILENCE).set(silence.as_secs_f64());
    }
}

/// Whether the node can serve clients.
pub(super) struct Readiness {
    pub(super) router: Router,
    pub(super) subscribers: Subscribers,
    /// Key of the leases: without their master, presence is unknown.
    pub(super) leases: String,
}

impl Readiness {
    /// True if the master of the leases and at least half of all masters have recently proved that they accept a write, answer on
    /// every connection, and deliver what is published there. One of many that is replaced makes no node unready: the others
    /// serve their rooms.
    pub(super) fn is_ready(&self) -> bool {
        let topology = self.router.topology();
        let Some(of_leases) = topology.owner(Slot::of(&self.leases)) else { return false };
        let masters = topology.masters();
        let is_recent = |silence: Option<Duration>| silence.is_some_and(|silence| silence < READY_WITHIN);
        let is_proven = |(index, master): (usize, &Arc<Server>)| {
            is_recent(master.written.age())
                && is_recent(master.silence())
                && self
                    .subscribers
                    .hearing(master, index == 0)
                    .iter()
                    .all(|s| is_recent(s.state.probe.silence(&master.id)))
        };
        let proven: Vec<&Arc<Server>> =
            masters.iter().enumerate().filter(|place| is_proven(*place)).map(|(_, master)| master).collect();
        2 * proven.len() >= masters.len() && proven.iter().any(|master| Arc::ptr_eq(master, of_leases))
    }
}
