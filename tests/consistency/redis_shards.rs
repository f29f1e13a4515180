//! A Redis Cluster for a run: three masters with a replica each. Owns the processes, who is the master of what, and how a slot moves;
//! the injector decides when. Used by runs whose fault is one of a cluster.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use redis::{FromRedisValue, Value};
use tokio::time::{Instant, sleep};

use crate::process::{Fsync, RedisServer};

/// A silent master is replaced after this time, which is longer than `redis.timeout` of the nodes.
const NODE_TIMEOUT_MS: u64 = 3_000;

/// How long a failover, or the return of all servers, may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The number of masters, each of which has a replica.
const MASTERS: usize = 3;

const SLOTS: usize = 16_384;

pub struct RedisShards {
    servers: Vec<RedisServer>,
}

/// What a server says of the cluster.
struct View {
    /// Id of each server, by its port.
    ids: HashMap<u16, String>,
    /// Port of the master of each slot.
    owners: Vec<Option<u16>>,
}

impl RedisShards {
    /// Starts all servers.
    ///
    /// # Errors
    /// They did not find each other in time.
    pub async fn start(dir: &Path, fsync: Fsync) -> std::io::Result<Self> {
        let mut servers = Vec::new();
        for number in 0..2 * MASTERS {
            let mut server = RedisServer::new(dir.join(format!("shard-{number}")), fsync)?;
            let options = format!(
                "--cluster-enabled yes --cluster-node-timeout {NODE_TIMEOUT_MS} --cluster-replica-validity-factor 0 \
                 --cluster-allow-replica-migration no \
                 --repl-diskless-sync-delay 0"
            );
            server.set_options(options.split_whitespace().map(str::to_owned).collect());
            server.up().await?;
            servers.push(server);
        }
        let shards = Self { servers };
        for (number, server) in shards.servers.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            if number < MASTERS {
                let [first, end] = [number, number + 1].map(|part| part * SLOTS / MASTERS);
                let (first, last) = (first.to_string(), (end - 1).to_string());
                server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            }
            let first = shards.servers[0].address.port().to_string();
            server.command(&["CLUSTER", "MEET", "127.0.0.1", &first]).await;
        }
        let start = Instant::now();
        for replica in MASTERS..2 * MASTERS {
            let master = shards.servers[replica - MASTERS].address.port();
            loop {
                let id = shards.view(replica).await.and_then(|view| view.ids.get(&master).cloned());
                let follow = match &id {
                    Some(id) => shards.servers[replica].command(&["CLUSTER", "REPLICATE", id]).await,
                    None => None,
                };
                if follow.is_some() {
                    break;
                }
                too_late(start, "the servers find each other")?;
                sleep(Duration::from_millis(50)).await;
            }
        }
        shards.until_complete().await?;
        Ok(shards)
    }

    /// The URL of three servers.
    pub fn url(&self) -> String {
        let addresses: Vec<String> =
            self.servers[..MASTERS].iter().map(|server| server.address.to_string()).collect();
        format!("redis://{}", addresses.join(","))
    }

    /// All servers.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// A server.
    pub fn server(&mut self, number: usize) -> &mut RedisServer {
        &mut self.servers[number]
    }

    async fn view(&self, by: usize) -> Option<View> {
        let reply = self.servers[by].command(&["CLUSTER", "NODES"]).await?;
        let text = String::from_redis_value(reply).ok()?;
        let mut view = View { ids: HashMap::new(), owners: vec![None; SLOTS] };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let port: u16 = words.get(1)?.split('@').next()?.rsplit_once(':')?.1.parse().ok()?;
            view.ids.insert(port, words[0].to_owned());
            for range in words.iter().skip(8).filter(|range| !range.starts_with('[')) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                view.owners.get_mut(first..=last)?.fill(Some(port));
            }
        }
        Some(view)
    }

    fn by_port(&self, port: u16) -> Option<usize> {
        self.servers.iter().position(|server| server.address.port() == port)
    }

    /// The number of the master of a slot, as one server says.
    pub async fn owner(&self, by: usize, slot: usize) -> Option<usize> {
        self.by_port(self.view(by).await?.owners[slot]?)
    }

    /// The numbers of the masters.
    ///
    /// # Errors
    /// No server says.
    pub async fn masters(&self) -> std::io::Result<Vec<usize>> {
        for by in 0..self.servers.len() {
            let Some(view) = self.view(by).await else { continue };
            let mut masters: Vec<usize> =
                view.owners.iter().flatten().filter_map(|port| self.by_port(*port)).collect();
            masters.sort_unstable();
            masters.dedup();
            return Ok(masters);
        }
        Err(std::io::Error::other("no server of the cluster answers"))
    }

    /// The slot of a key.
    pub async fn slot(&self, key: &str) -> Option<usize> {
        usize::from_redis_value(self.servers[0].command(&["CLUSTER", "KEYSLOT", key]).await?).ok()
    }

    /// The number of the replica of a master.
    ///
    /// # Errors
    /// It has none.
    pub async fn replica_of(&self, master: usize) -> std::io::Result<usize> {
        let port = self.servers[master].address.port();
        for (number, server) in self.servers.iter().enumerate() {
            let role =
                server.command(&["ROLE"]).await.and_then(|role| Vec::<Value>::from_redis_value(role).ok());
            if let Some([Value::BulkString(role), _, Value::Int(of), ..]) = role.as_deref()
                && role == b"slave"
                && *of == i64::from(port)
            {
                return Ok(number);
            }
        }
        Err(std::io::Error::other("the master has no replica"))
    }

    /// Lets a replica take over as planned.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn fail_over(&self, replica: usize) -> std::io::Result<()> {
        let (start, mut asked_at) = (Instant::now(), None);
        while !self.masters().await?.contains(&replica) {
            too_late(start, "a replica takes over")?;
            if asked_at.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(6)) {
                asked_at = Some(Instant::now());
                self.servers[replica].command(&["CLUSTER", "FAILOVER"]).await;
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until the others say that a master is none any longer.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn until_replaced(&self, old: usize) -> std::io::Result<()> {
        let start = Instant::now();
        let by = (0..self.servers.len()).find(|number| *number != old).unwrap_or(0);
        let port = self.servers[old].address.port();
        while self.view(by).await.is_none_or(|view| view.owners.contains(&Some(port))) {
            too_late(start, "the master is replaced")?;
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until all servers say that the cluster works, and each master has a replica with its data.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn until_complete(&self) -> std::io::Result<()> {
        let start = Instant::now();
        loop {
            let (mut works, mut replicas) = (true, 0);
            for server in &self.servers {
                let info = server.command(&["CLUSTER", "INFO"]).await;
                let info = info.and_then(|info| String::from_redis_value(info).ok()).unwrap_or_default();
                works &= info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6");
                let info = server.command(&["INFO", "replication"]).await;
                let info = info.and_then(|info| String::from_redis_value(info).ok()).unwrap_or_default();
                replicas += usize::from(info.contains("master_link_status:up"));
            }
            if works && replicas == MASTERS {
                return Ok(());
            }
            too_late(start, "the cluster is complete")?;
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Moves a slot with all its keys, as `redis-cli --cluster reshard` does.
    ///
    /// # Errors
    /// A server refuses.
    pub async fn move_slot(&self, slot: usize, from: usize, to: usize) -> std::io::Result<()> {
        self.begin_to_move(slot, from, to).await?;
        self.end_move(slot, from, to).await
    }

    /// Begins to move a slot. Its keys stay.
    ///
    /// # Errors
    /// A server refuses.
    pub async fn begin_to_move(&self, slot: usize, from: usize, to: usize) -> std::io::Result<()> {
        self.set_slot(slot, to, ["IMPORTING", &self.id(from).await?]).await?;
        self.set_slot(slot, from, ["MIGRATING", &self.id(to).await?]).await
    }

    /// Moves the keys of a slot that has begun to move, and then the slot.
    ///
    /// # Errors
    /// A server refuses.
    pub async fn end_move(&self, slot: usize, from: usize, to: usize) -> std::io::Result<()> {
        let (number, port) = (slot.to_string(), self.servers[to].address.port().to_string());
        loop {
            let keys = self.servers[from].command(&["CLUSTER", "GETKEYSINSLOT", &number, "50"]).await;
            let keys = keys.and_then(|keys| Vec::<String>::from_redis_value(keys).ok());
            let keys = keys.ok_or_else(not_moved)?;
            if keys.is_empty() {
                break;
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            migrate.extend(keys.iter().map(String::as_str));
            self.servers[from].command(&migrate).await.ok_or_else(not_moved)?;
        }
        let id = self.id(to).await?;
        self.set_slot(slot, to, ["NODE", &id]).await?;
        for master in self.masters().await? {
            self.set_slot(slot, master, ["NODE", &id]).await?;
        }
        Ok(())
    }

    async fn id(&self, number: usize) -> std::io::Result<String> {
        let id = self.servers[number].command(&["CLUSTER", "MYID"]).await;
        id.and_then(|id| String::from_redis_value(id).ok()).ok_or_else(not_moved)
    }

    async fn set_slot(&self, slot: usize, at: usize, words: [&str; 2]) -> std::io::Result<()> {
        let slot = slot.to_string();
        let words = [&["CLUSTER", "SETSLOT", &slot][..], &words].concat();
        self.servers[at].command(&words).await.map(|_| ()).ok_or_else(not_moved)
    }
}

fn not_moved() -> std::io::Error {
    std::io::Error::other("a server refuses to move a slot")
}

fn too_late(start: Instant, what: &str) -> std::io::Result<()> {
    if start.elapsed() > PATIENCE {
        Err(std::io::Error::other(format!("not in time: {what}")))
    } else {
        Ok(())
    }
}
