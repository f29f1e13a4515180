//! What goes wrong: each fault by its name, how it begins, how it heals, and what it excuses. Owns the injection; the
//! schedule is the run's. A window in the history is as short as the guarantees allow: a killed node's clients have
//! others to go to, so that nothing is excused by its absence.

use std::time::Duration;

use clap::ValueEnum;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::history::{Damage, Event, History, Recorder};
use crate::process::Fsync;
use crate::proxy::Mode;
use crate::stage::Sizes;

/// What a log holds where trimming is the fault.
const KEPT_WHERE_TRIMMED: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Fault {
    /// Nothing but clients that come and go.
    None,
    /// kill -9 of one node, which comes back later.
    KillNode,
    /// kill -9 of all nodes at once.
    KillAllNodes,
    /// SIGTERM to one node after the other.
    RollingTerm,
    /// A node stopped for longer than its lease, and woken.
    StopNode,
    /// kill -9 of Redis, and a restart with its log on disk.
    KillRedis,
    /// Redis restarted with nothing.
    EmptyRedis,
    /// FLUSHALL under running nodes.
    FlushAll,
    /// Redis stopped for 1 to 8 seconds, one time in three for up to 18.
    StopRedis,
    /// Redis stopped for longer than every lease.
    StopRedisLong,
    /// A replica that has fallen behind takes over.
    StaleReplica,
    /// Nodes cut off from Redis.
    RedisCut,
    /// Connections between nodes and Redis reset, again and again.
    RedisReset,
    /// A black hole between nodes and Redis.
    RedisStall,
    /// The subscriptions of one node look alive and bring nothing.
    HalfOpenPubsub,
    /// Redis 100 ms away.
    RedisDelay,
    /// 40 KB/s to Redis.
    RedisSlow,
    /// Everything to and from Redis in pieces.
    RedisSlice,
    /// Clients cut off from a node.
    ClientCut,
    /// Connections between clients and nodes reset, again and again.
    ClientReset,
    /// A black hole between clients and a node.
    ClientStall,
    /// Clients 150 ms away.
    ClientDelay,
    /// 20 KB/s for each client.
    ClientSlow,
    /// Everything to and from clients in pieces.
    ClientSlice,
    /// CLIENT KILL TYPE pubsub, again and again.
    KillPubsub,
    /// Redis out of memory.
    OutOfMemory,
    /// No room on the disk of a Redis that writes to it once a second.
    DiskFull,
    /// The same where each write has to be on the disk, so that Redis ends and is started again.
    DiskFullAlways,
    /// All clients drop and come back at once.
    ReconnectAll,
    /// The same with 2,000 clients.
    Storm,
    /// Clients that come with positions that can't be proved.
    Forged,
    /// Clients that read nothing, in a room with much traffic.
    NeverReader,
    /// A log that holds little, and clients that stay away for long.
    Trimmed,
    /// A random choice of all that need not lose anything.
    Mix,
    /// The same, and every other time one in which Redis loses something.
    MixLossy,
}

impl Fault {
    pub fn name(self) -> String {
        self.to_possible_value().expect("no fault is hidden").get_name().to_owned()
    }

    /// The one that a history is of; none where it does not say so.
    pub fn of(history: &History) -> Option<Self> {
        history.lines.iter().find_map(|line| match &line.event {
            Event::Run { fault } => Self::from_str(fault, false).ok(),
            _ => None,
        })
    }

    /// What `everysec` may lose is no finding: faults that end Redis need `always`.
    pub fn fsync(self) -> Fsync {
        match self {
            Self::KillRedis
            | Self::Mix
            | Self::MixLossy
            | Self::StaleReplica
            | Self::EmptyRedis
            | Self::DiskFullAlways => Fsync::Always,
            _ => Fsync::EverySecond,
        }
    }

    /// What it changes in the workload.
    pub fn sizes(self, sizes: Sizes) -> Sizes {
        match self {
            Self::Forged => Sizes { forged_permille: 800, churn: Duration::from_secs(8), ..sizes },
            Self::Trimmed => Sizes { churn: Duration::from_secs(5), ..sizes },
            Self::NeverReader => Sizes { never_readers: 6, ..sizes },
            Self::Storm => {
                Sizes { members: 1_960, rate: 40.0, churn: Duration::from_secs(1_000), ..Sizes::FULL }
            }
            _ => sizes,
        }
    }

    /// What it changes in the nodes' settings.
    pub fn environment(self) -> Vec<(String, String)> {
        match self {
            Self::Trimmed => vec![("CHAT_HISTORY__MAX_MESSAGES".into(), KEPT_WHERE_TRIMMED.to_string())],
            // 2,000 who tell 200 each that they are back: the clients would be measured, not the nodes.
            Self::Storm => vec![("CHAT_ROOMS__QUIET_ABOVE".into(), "50".into())],
            _ => Vec::new(),
        }
    }

    /// How many of a thousand members stay away until the end after they lost their connection: ghosts are of those.
    pub fn fickle_permille(self, usual: u32) -> u32 {
        match self {
            Self::KillNode | Self::StopNode => 400,
            Self::KillAllNodes => 150,
            _ => usual,
        }
    }

    /// The calm after the last injection, if that has to be longer than the others: the bound for ghosts runs out only
    /// where nothing is injected for longer than it, and somebody has to ask then.
    pub fn calm_at_end(self) -> Duration {
        match self {
            Self::KillNode | Self::StopNode | Self::KillAllNodes => Duration::from_secs(40),
            _ => Duration::ZERO,
        }
    }

    /// What takes away what Redis had.
    const LOSSY: [Self; 3] = [Self::EmptyRedis, Self::FlushAll, Self::StaleReplica];

    /// How many messages a log then holds; none: more than a run has.
    pub fn keeps(self) -> Option<usize> {
        (self == Self::Trimmed).then_some(KEPT_WHERE_TRIMMED)
    }

    /// Of what `Mix` is made.
    const LOSSLESS: [Self; 24] = [
        Self::KillNode,
        Self::KillAllNodes,
        Self::RollingTerm,
        Self::StopNode,
        Self::KillRedis,
        Self::StopRedis,
        Self::StopRedisLong,
        Self::RedisCut,
        Self::RedisReset,
        Self::RedisStall,
        Self::HalfOpenPubsub,
        Self::RedisDelay,
        Self::RedisSlow,
        Self::RedisSlice,
        Self::ClientCut,
        Self::ClientReset,
        Self::ClientStall,
        Self::ClientDelay,
        Self::ClientSlow,
        Self::ClientSlice,
        Self::KillPubsub,
        Self::OutOfMemory,
        // Of a mix, whose Redis has each write on the disk.
        Self::DiskFullAlways,
        Self::ReconnectAll,
    ];

    /// Whether there is anything to inject.
    pub fn injects(self) -> bool {
        !matches!(self, Self::None | Self::Forged | Self::NeverReader | Self::Trimmed)
    }
}

/// What an injection works on.
pub struct Injector<'a> {
    pub cluster: &'a mut Cluster,
    pub recorder: &'a Recorder,
    pub kick: &'a watch::Sender<u64>,
    pub rng: SmallRng,
}

impl Injector<'_> {
    fn began(&self, fault: Fault, damage: Damage) {
        self.recorder.record(Event::FaultBegan { name: fault.name(), damage });
    }

    fn ended(&self, fault: Fault) {
        self.recorder.record(Event::FaultEnded { name: fault.name() });
    }

    async fn wait(&mut self, least_ms: u64, most_ms: u64) {
        sleep(Duration::from_millis(self.rng.random_range(least_ms..=most_ms))).await;
    }

    fn some_node(&mut self) -> usize {
        self.rng.random_range(0..self.cluster.nodes.len())
    }

    /// One fault, from beginning to end; returns when it has healed.
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
                        return Err(std::io::Error::other(format!("node {node} did not drain")));
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
                self.cluster.redis.forget()?;
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
                    return Err(std::io::Error::other(format!("on a full disk, Redis ended: {ended}")));
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
                self.kick.send_modify(|count| *count += 1);
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

    /// One node's way to Redis, or, one time in three, everybody's.
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

    /// A replica is cut off from its master, the master serves on for a while and dies, and the replica takes its
    /// place: the same epochs, and the last messages gone.
    async fn stale_replica(&mut self) -> std::io::Result<()> {
        let replica = self.cluster.another_redis().await?;
        let (host, port) = (self.cluster.redis.address.ip().to_string(), self.cluster.redis.address.port());
        replica.command(&["REPLICAOF", &host, &port.to_string()]).await;
        let mut polls = 0;
        while !in_step(replica.command(&["INFO", "replication"]).await) {
            polls += 1;
            if polls > 200 {
                return Err(std::io::Error::other("the replica does not catch up"));
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.wait(500, 1_500).await;
        // What was acknowledged a moment before the cut may not have reached the replica either.
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

fn in_step(info: Option<redis::Value>) -> bool {
    match info {
        Some(redis::Value::BulkString(text)) => {
            String::from_utf8_lossy(&text).contains("master_link_status:up")
        }
        Some(redis::Value::VerbatimString { text, .. }) => text.contains("master_link_status:up"),
        _ => false,
    }
}
