//! Reads which master of a Redis Cluster holds which slot. Owns when the servers are asked, which of them, and the replacement of
//! the topology; the decision between their answers is `slot_map`'s. A background task of the backend.
//!
//! All masters are asked side by side and the majority counts, so a server that is cut off from the others, or was stopped
//! during a failover, changes nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{counter, gauge};
use redis::{RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::connector::Connector;
use super::lost_slots::LostSlots;
use super::master::{Master, Round};
use super::server::{Server, ServerTerms};
use super::slot::SLOTS;
use super::slot_map::{ServerName, SlotMap};
use super::slot_owners::{Owner, SlotOwners, majority};
use super::topology::Topology;
use crate::config::RedisAddress;
use crate::metrics::{REDIS_MASTERS, REDIS_SLOTS_UNCOVERED, REDIS_TOPOLOGY_CHANGES};

/// Pause between two readings, however many callers ask for one.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The topology is read again after this time at the latest; up to a fifth more, so that not all nodes ask at once.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long a server has to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Tells the slot reader that the topology may have changed.
#[derive(Clone, Default)]
pub(super) struct RefreshSignal(Arc<Signal>);

#[derive(Default)]
struct Signal {
    raised: Arc<Notify>,
    /// Servers that others named.
    named: Mutex<HashSet<RedisAddress>>,
}

/// Named servers that wait to be asked.
const MAX_NAMED: usize = 64;

impl RefreshSignal {
    /// Asks for a new topology. `named` is the server that another one named as the master of a slot.
    pub(super) fn raise(&self, named: Option<RedisAddress>) {
        let mut waiting = self.0.named.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < MAX_NAMED {
            waiting.extend(named);
        }
        drop(waiting);
        self.0.raised.notify_one();
    }

    fn take_named(&self) -> HashSet<RedisAddress> {
        std::mem::take(&mut self.0.named.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the topology.
pub(super) struct SlotReader {
    /// The servers of the settings.
    seeds: Vec<Connector>,
    terms: ServerTerms,
    /// How long a master must be silent before it is replaced, if that is known.
    window: Option<Duration>,
    refresh: RefreshSignal,
    topology: watch::Sender<Arc<Topology>>,
    /// Servers that were in the last map.
    known: Vec<RedisAddress>,
    replicas: Vec<RedisAddress>,
    /// As last decided.
    owners: SlotOwners<Owner>,
    connections: HashMap<RedisAddress, Connection>,
    lost: Arc<LostSlots>,
}

impl SlotReader {
    /// Knows no slot yet. The topology that the sender has is empty.
    pub(super) fn new(
        seeds: Vec<Connector>,
        terms: ServerTerms,
        window: Option<Duration>,
        refresh: RefreshSignal,
        topology: watch::Sender<Arc<Topology>>,
        lost: Arc<LostSlots>,
    ) -> Self {
        Self {
            seeds,
            terms,
            window,
            refresh,
            topology,
            known: Vec::new(),
            replicas: Vec::new(),
            owners: SlotOwners::nobody(),
            connections: HashMap::new(),
            lost,
        }
    }

    /// Reads whenever it is asked to, and from time to time.
    pub(super) async fn run(mut self) {
        loop {
            self.read().await;
            sleep(MIN_PAUSE).await;
            let pause = MAX_PAUSE.mul_f64(rand::random_range(1.0..=1.2));
            let _ = timeout(pause, self.refresh.0.raised.notified()).await;
        }
    }

    /// Reads once. Keeps what is known if no server answers.
    pub(super) async fn read(&mut self) {
        // A round for each master: whether it still is one, asked after now.
        let servers = self.topology.borrow().masters().to_vec();
        let rounds: Vec<(Master, Round)> = (servers.iter())
            .filter_map(|server| {
                server.connector.master().map(|master| (master.clone(), master.begin_round()))
            })
            .collect();
        let is_read = self.read_slots().await;
        let now = self.topology.borrow().clone();
        for (server, (master, round)) in servers.iter().zip(rounds) {
            let is_master = now.masters().iter().any(|other| Arc::ptr_eq(other, server));
            master.end_round(&round, is_read && is_master, None);
        }
    }

    /// Returns whether the majority of the masters was heard.
    async fn read_slots(&mut self) -> bool {
        let mut asked: HashSet<RedisAddress> = self.refresh.take_named();
        asked.extend(self.known.iter().cloned());
        let needed = self.known.len() / 2 + 1;
        let mut maps = self.ask(asked.iter().cloned().collect()).await;
        if maps.len() < needed {
            // The masters may be the ones that are lost.
            let seeds = self.seeds.iter().map(|seed| seed.redis_address().clone());
            let others: HashSet<RedisAddress> = self.replicas.iter().cloned().chain(seeds).collect();
            maps.extend(self.ask(others.difference(&asked).cloned().collect()).await);
        }
        if maps.is_empty() {
            tracing::debug!("no server of the Redis Cluster tells its slots");
            return false;
        }
        let is_majority = maps.len() >= needed;
        let mut replicas = HashSet::new();
        let mut votes = Vec::with_capacity(maps.len());
        for (connector, map) in maps {
            let address = |server: &ServerName| connector.named_by_server(&server.host, server.port);
            replicas.extend(map.replicas.iter().map(address));
            votes.push(map.owners.map(|server| Owner { address: address(&server), id: server.id }));
        }
        self.replicas = replicas.into_iter().collect();
        self.replace(majority(&votes, &self.owners));
        is_majority
    }

    /// Asks servers side by side for their map.
    async fn ask(&mut self, addresses: Vec<RedisAddress>) -> Vec<(Connector, SlotMap)> {
        let calls = addresses.into_iter().map(|address| {
            let connector = self.seeds[0].at(address.clone());
            let connection = self.connections.remove(&address);
            async move {
                let asked = timeout(ANSWER_WITHIN, slots(&connector, connection)).await;
                (address, connector, asked)
            }
        });
        let mut maps = Vec::new();
        for (address, connector, asked) in join_all(calls).await {
            match asked {
                Ok(Ok((connection, map))) => {
                    self.connections.insert(address, connection);
                    maps.extend(map.map(|map| (connector, map)));
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, server = %address, "a server does not tell its slots")
                }
                Err(_) => tracing::debug!(server = %address, "a server does not tell its slots in time"),
            }
        }
        maps
    }

    /// Makes the topology from the masters of all slots, with the connections that are there already.
    fn replace(&mut self, owners: SlotOwners<Owner>) {
        let before = self.topology.borrow().clone();
        let find = |Owner { id, address }: &Owner| {
            let is_it =
                |master: &&Arc<Server>| master.id == *id && master.connector.redis_address() == address;
            before.masters().iter().find(is_it).cloned()
        };
        let known: Vec<Option<Arc<Server>>> = owners.masters().iter().map(find).collect();
        if self.owners == owners && known.iter().all(Option::is_some) {
            return;
        }
        let mut terms = self.terms.clone();
        // All pools together are as large as that of a single Redis, but each has a connection for a long reply and one more.
        terms.settings.pool_size = (terms.settings.pool_size / known.len().max(1)).max(2);
        let mut masters: Vec<Arc<Server>> = Vec::new();
        // For each owner its index among the servers.
        let mut index = Vec::with_capacity(known.len());
        for (owner, known) in owners.masters().iter().zip(known) {
            let server = known.map_or_else(|| self.connect(owner, &terms), Ok);
            index.push(server.is_ok().then_some(masters.len()));
            match server {
                Ok(server) => masters.push(server),
                Err(error) => tracing::error!(error, "cannot use a master of the Redis Cluster"),
            }
        }
        let id_before = |slot| self.owners.owner(slot).map(|owner| &owner.id);
        for slot in 0..SLOTS {
            let new = owners.owner(slot).map(|owner| &owner.id);
            if new.is_some() && id_before(slot).is_some_and(|old| Some(old) != new) {
                self.lost.add(slot);
            }
        }
        self.known = masters.iter().map(|master| master.connector.redis_address().clone()).collect();
        for server in before.masters() {
            if !masters.iter().any(|master| Arc::ptr_eq(master, server)) {
                server.retire();
            }
        }
        self.connections.retain(|address, _| self.known.contains(address));
        let places: Vec<Option<usize>> = (0..SLOTS).map(|slot| index[owners.place(slot)?]).collect();
        let topology = Topology::cluster(masters, &places);
        gauge!(REDIS_MASTERS).set(topology.masters().len() as f64);
        gauge!(REDIS_SLOTS_UNCOVERED).set(topology.uncovered() as f64);
        if !self.owners.masters().is_empty() {
            counter!(REDIS_TOPOLOGY_CHANGES).increment(1);
            let masters: Vec<String> = self.known.iter().map(ToString::to_string).collect();
            tracing::info!(
                ?masters,
                uncovered = topology.uncovered(),
                "the slots of the Redis Cluster have changed"
            );
        }
        self.owners = owners;
        self.topology.send_replace(Arc::new(topology));
    }

    /// Connects to a new master.
    fn connect(&self, owner: &Owner, terms: &ServerTerms) -> Result<Arc<Server>, String> {
        let question = self.refresh.0.raised.clone();
        let master = Master::in_cluster(owner.address.clone(), self.window, question);
        let connector = self.seeds[0].at(owner.address.clone()).to_master(master);
        Server::spawn(owner.id.clone(), connector, terms)
    }
}

/// Asks a server, over a connection that is kept if it works.
async fn slots(
    connector: &Connector,
    connection: Option<Connection>,
) -> Result<(Connection, Option<SlotMap>), RedisError> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => connector.connect(&connector.config()).await?,
    };
    let reply: Value = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut *connection).await?;
    Ok((connection, SlotMap::parse(&reply)))
}
