//! Causes faults: how each begins, how it ends, and what it excuses. The recorded time window of a fault is as short as the
//! guarantees allow: the clients of a killed node can use other nodes, so its absence excuses nothing. Called by the run.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::history::{Damage, Event, Recorder};
use crate::proxy::Mode;

/// What faults act on.
pub struct Injector<'a> {
    pub cluster: &'a mut Cluster,
    pub recorder: &'a Recorder,
    pub reconnect: &'a watch::Sender<u64>,
    pub rng: SmallRng,
}

impl Injector<'_> {
    pub fn began(&self, fault: Fault, damage: Damage) {
        self.recorder.record(Event::FaultBegan { name: fault.name(), damage });
    }

    pub fn ended(&self, fault: Fault) {
        self.recorder.record(Event::FaultEnded { name: fault.name() });
    }

    pub async fn wait(&mut self, least_ms: u64, most_ms: u64) {
        sleep(Duration::from_millis(self.rng.random_range(least_ms..=most_ms))).await;
    }

    fn some_node(&mut self) -> usize {
        self.rng.random_range(0..self.cluster.nodes.len())
    }

    /// Causes one fault; returns after its end.
    pub async fn inject(&mut self, fault: Fault) -> std::io::Result<()> {
        let fault = match fault {
            Fault::MixLossy if self.rng.random_bool(0.5) => {
                Fault::LOSSY[self.rng.random_range(0..Fault::LOSSY.len())]
            }
            Fault::Mix | Fault::MixLossy => Fault::LOSSLESS[self.rng.random_range(0..Fault::LOSSLESS.len())],
            fault => fault,
        };
        if fault.injects() {
            self.recorder.record(Event::Injected { name: fault.name() });
        }
        match fault {
            Fault::None
            | Fault::Forged
            | Fault::NeverReader
            | Fault::Trimmed
            | Fault::Mix
            | Fault::MixLossy => {}
            Fault::KillNode => {
                let node = self.some_node();
                self.began(fault, Damage::None);
                self.cluster.nodes[node].kill();
                self.ended(fault);
                self.wait(3_000, 6_000).await;
                self.restart(&[node]).await?;
            }
            Fault::KillAllNodes => {
                self.began(fault, Damage::None);
                self.cluster.nodes.iter_mut().for_each(|node| node.kill());
                self.wait(500, 3_000).await;
                self.restart(&(0..self.cluster.nodes.len()).collect::<Vec<_>>()).await?;
                self.ended(fault);
            }
            Fault::RollingTerm => {
                for node in 0..self.cluster.nodes.len() {
                    self.began(fault, Damage::None);
                    self.ended(fault);
                    if !self.cluster.nodes[node].terminate(Duration::from_secs(30)).await {
                        return Err(std::io::Error::other(format!("node {node} did not drain in time")));
                    }
                    self.restart(&[node]).await?;
                }
            }
            Fault::StopNode => {
                let node = self.some_node();
                self.began(fault, Damage::None);
                self.cluster.nodes[node].stop();
                self.wait(18_000, 22_000).await;
                self.cluster.nodes[node].resume();
                self.ended(fault);
            }
            Fault::KillRedis => {
                self.began(fault, Damage::None);
                self.cluster.redis.kill();
                self.wait(100, 4_000).await;
                self.cluster.redis.up().await?;
                self.ended(fault);
            }
            Fault::EmptyRedis => {
                self.began(fault, Damage::Wiped);
                self.cluster.redis.kill();
                self.cluster.redis.wipe()?;
                self.wait(100, 2_000).await;
                self.cluster.redis.up().await?;
                self.ended(fault);
            }
            Fault::FlushAll => {
                self.began(fault, Damage::Wiped);
                self.cluster.redis.command(&["FLUSHALL"]).await;
                self.ended(fault);
            }
            Fault::StopRedis | Fault::StopRedisLong => {
                self.began(fault, Damage::None);
                self.cluster.redis.stop();
                let (least_ms, most_ms) = match fault {
                    Fault::StopRedisLong => (18_000, 22_000),
                    _ if self.rng.random_range(0..3) == 0 => (8_000, 18_000),
                    _ => (1_000, 8_000),
                };
                self.wait(least_ms, most_ms).await;
                self.cluster.redis.resume();
                self.ended(fault);
            }
            Fault::SentinelFailover
            | Fault::SentinelKill
            | Fault::PauseMaster
            | Fault::SentinelMinority
            | Fault::SentinelAllDown => self.inject_at_sentinels(fault).await?,
            Fault::ShardFailover
            | Fault::ShardKill
            | Fault::ShardPause
            | Fault::ShardReshard
            | Fault::ShardStuck
            | Fault::ShardsDown
            | Fault::ShardBroadcast => self.inject_at_shards(fault).await?,
            Fault::StaleReplica => self.stale_replica().await?,
            Fault::RedisCut => self.between_redis(fault, Mode::Cut, 500, 8_000).await,
            Fault::RedisStall => self.between_redis(fault, Mode::Stall, 1_000, 10_000).await,
            Fault::RedisDelay => {
                self.between_redis(fault, Mode::Delay(Duration::from_millis(50)), 5_000, 8_000).await;
            }
            Fault::RedisSlow => self.between_redis(fault, Mode::Slow(40_000), 5_000, 8_000).await,
            Fault::RedisSlice => self.between_redis(fault, Mode::Slice, 5_000, 8_000).await,
            Fault::HalfOpenPubsub => {
                let node = self.some_node();
                self.began(fault, Damage::None);
                self.cluster.to_redis[node].set(Mode::StallSubscriptions);
                self.ended(fault);
                self.wait(15_000, 18_000).await;
                self.cluster.to_redis[node].set(Mode::Pass);
            }
            Fault::ClientCut => self.between_clients(fault, Mode::Cut, 500, 5_000).await,
            Fault::ClientStall => self.between_clients(fault, Mode::Stall, 2_000, 12_000).await,
            Fault::ClientDelay => {
                self.between_clients(fault, Mode::Delay(Duration::from_millis(75)), 5_000, 8_000).await;
            }
            Fault::ClientSlow => self.between_clients(fault, Mode::Slow(20_000), 5_000, 8_000).await,
            Fault::ClientSlice => self.between_clients(fault, Mode::Slice, 5_000, 8_000).await,
            Fault::RedisReset | Fault::ClientReset => {
                for _ in 0..8 {
                    let node = self.some_node();
                    self.began(fault, Damage::None);
                    if fault == Fault::RedisReset {
                        self.cluster.to_redis[node].cut_once();
                    } else {
                        self.cluster.to_nodes[node].cut_once();
                    }
                    self.ended(fault);
                    self.wait(50, 800).await;
                }
            }
            Fault::KillPubsub => {
                for _ in 0..8 {
                    self.began(fault, Damage::None);
                    self.cluster.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
                    self.ended(fault);
                    self.wait(50, 800).await;
                }
            }
            Fault::OutOfMemory => {
                self.began(fault, Damage::None);
                self.cluster.redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
                self.wait(2_000, 6_000).await;
                self.cluster.redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
                self.ended(fault);
            }
            Fault::DiskFull | Fault::DiskFullAlways => {
                self.began(fault, Damage::None);
                let left = self.rng.random_range(0..2_000);
                self.cluster.redis.fill_disk(left)?;
                self.wait(2_000, 8_000).await;
                let ended = !self.cluster.redis.running();
                if ended != (fault == Fault::DiskFullAlways) {
                    return Err(std::io::Error::other(format!("with a full disk, Redis ended: {ended}")));
                }
                if ended {
                    self.cluster.redis.up().await?;
                } else {
                    self.cluster.redis.free_disk()?;
                }
                self.ended(fault);
            }
            Fault::ReconnectAll | Fault::Storm => {
                self.began(fault, Damage::None);
                self.reconnect.send_modify(|count| *count += 1);
                self.ended(fault);
            }
        }
        Ok(())
    }

    async fn restart(&mut self, nodes: &[usize]) -> std::io::Result<()> {
        for node in nodes {
            self.cluster.nodes[*node].up()?;
        }
        for node in nodes {
            self.cluster.nodes[*node].ready().await?;
            if let Some(holds) = self.cluster.nodes[*node].holds(false).await {
                self.recorder.record(holds);
            }
        }
        Ok(())
    }

    /// Sets a mode between Redis and one node or, one time in three, all nodes.
    async fn between_redis(&mut self, fault: Fault, mode: Mode, least_ms: u64, most_ms: u64) {
        let (one, all) = (self.some_node(), self.rng.random_range(0..3) == 0);
        self.began(fault, Damage::None);
        let hit = |node: usize| all || node == one;
        let count = self.cluster.nodes.len();
        (0..count).filter(|node| hit(*node)).for_each(|node| self.cluster.to_redis[node].set(mode));
        self.wait(least_ms, most_ms).await;
        (0..count).filter(|node| hit(*node)).for_each(|node| self.cluster.to_redis[node].set(Mode::Pass));
        self.ended(fault);
    }

    async fn between_clients(&mut self, fault: Fault, mode: Mode, least_ms: u64, most_ms: u64) {
        let node = self.some_node();
        self.began(fault, Damage::None);
        self.cluster.to_nodes[node].set(mode);
        self.wait(least_ms, most_ms).await;
        self.cluster.to_nodes[node].set(Mode::Pass);
        self.ended(fault);
    }

    /// A replica loses the connection to its master, the master continues for a while and dies, and the replica replaces it: the
    /// epochs are the same, and the last messages are gone.
    async fn stale_replica(&mut self) -> std::io::Result<()> {
        let replica = self.cluster.another_redis().await?;
        let (host, port) = (self.cluster.redis.address.ip().to_string(), self.cluster.redis.address.port());
        replica.command(&["REPLICAOF", &host, &port.to_string()]).await;
        let mut polls = 0;
        while !is_in_sync(replica.command(&["INFO", "replication"]).await) {
            polls += 1;
            if polls > 200 {
                return Err(std::io::Error::other("the replica did not synchronise"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.wait(500, 1_500).await;
        // Messages that were acknowledged just before the disconnection may be missing at the replica too.
        let since = self.recorder.now().saturating_sub(200_000);
        self.began(Fault::StaleReplica, Damage::RolledBack { since });
        replica.command(&["REPLICAOF", "NO", "ONE"]).await;
        self.wait(1_000, 4_000).await;
        let mut master = std::mem::replace(&mut self.cluster.redis, replica);
        master.kill();
        for proxy in &self.cluster.to_redis {
            proxy.point_at(self.cluster.redis.address);
        }
        self.ended(Fault::StaleReplica);
        Ok(())
    }
}

fn is_in_sync(info: Option<redis::Value>) -> bool {
    match info {
        Some(redis::Value::BulkString(text)) => {
            String::from_utf8_lossy(&text).contains("master_link_status:up")
        }
        Some(redis::Value::VerbatimString { text, .. }) => text.contains("master_link_status:up"),
        _ => false,
    }
}
