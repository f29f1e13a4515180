//! What goes wrong: each fault by its name, and what it asks of the run. The injector makes it happen; the schedule is the
//! run's.

use std::time::Duration;

use clap::ValueEnum;

use crate::history::{Event, History};
use crate::process::Fsync;
use crate::run_context::Sizes;

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
    pub const LOSSY: [Self; 3] = [Self::EmptyRedis, Self::FlushAll, Self::StaleReplica];

    /// How many messages a log then holds; none: more than a run has.
    pub fn keeps(self) -> Option<usize> {
        (self == Self::Trimmed).then_some(KEPT_WHERE_TRIMMED)
    }

    /// Of what `Mix` is made.
    pub const LOSSLESS: [Self; 24] = [
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
