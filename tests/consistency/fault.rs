//! The faults: their names, and the workload and settings that each needs. Causes none of them, which the injector does. Used by
//! the run and by the commands.

use std::time::Duration;

use clap::ValueEnum;

use crate::history::{Event, History};
use crate::process::Fsync;
use crate::run_context::Sizes;
use crate::sentinel_set::MASTER;

/// The length of each log if trimming is the fault.
const KEPT_WHERE_TRIMMED: usize = 20;

/// The dedupe window if one has to end in a fault. Longer than a client needs to repeat a publish.
pub const STUCK_WINDOW: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Fault {
    /// No fault, only clients that disconnect and reconnect
    None,
    /// kill -9 of one node, which is restarted later
    KillNode,
    /// kill -9 of all nodes at once
    KillAllNodes,
    /// SIGTERM to one node after the other
    RollingTerm,
    /// A node is stopped for longer than its lease, and then continued
    StopNode,
    /// kill -9 of Redis, and a restart with its data on disk
    KillRedis,
    /// Redis is restarted without its data
    EmptyRedis,
    /// FLUSHALL while the nodes are running
    FlushAll,
    /// Redis is stopped for 1 to 8 seconds, one time in three for up to 18
    StopRedis,
    /// Redis is stopped for longer than every lease
    StopRedisLong,
    /// A replica without the last messages replaces the master
    StaleReplica,
    /// Nodes have no connection to Redis
    RedisCut,
    /// Connections between nodes and Redis are reset repeatedly
    RedisReset,
    /// Connections between nodes and Redis stay open but pass nothing
    RedisStall,
    /// The subscriptions of one node stay open but deliver nothing
    HalfOpenPubsub,
    /// Redis answers 100 ms later
    RedisDelay,
    /// 40 KB/s between nodes and Redis
    RedisSlow,
    /// All data between nodes and Redis comes in small pieces
    RedisSlice,
    /// Clients have no connection to one node
    ClientCut,
    /// Connections between clients and nodes are reset repeatedly
    ClientReset,
    /// Connections between clients and one node stay open but pass nothing
    ClientStall,
    /// Answers to clients come 150 ms later
    ClientDelay,
    /// 20 KB/s for each client
    ClientSlow,
    /// All data between clients and nodes comes in small pieces
    ClientSlice,
    /// CLIENT KILL TYPE pubsub, repeatedly
    KillPubsub,
    /// Redis has no free memory
    OutOfMemory,
    /// The disk of Redis is full; Redis writes to it once a second
    DiskFull,
    /// The disk of Redis is full; Redis writes each message to it, and so ends and is restarted
    DiskFullAlways,
    /// All clients disconnect and reconnect at once
    ReconnectAll,
    /// 2,000 clients disconnect and reconnect at once
    Storm,
    /// Clients resume from forged positions
    Forged,
    /// Clients read nothing in a room with much traffic
    NeverReader,
    /// The logs are short, and clients stay away for long
    Trimmed,
    /// A Sentinel replaces the master, which runs
    SentinelFailover,
    /// kill -9 of the master; an Ack needs a replica
    SentinelKill,
    /// The master stands still until its successor is promoted, and continues
    PauseMaster,
    /// One Sentinel and the old master are on the nodes' side of a cut network
    SentinelMinority,
    /// All Sentinels are down
    SentinelAllDown,
    /// A replica of a Redis Cluster takes over as planned
    ShardFailover,
    /// kill -9 of a master of a Redis Cluster; an Ack needs a replica
    ShardKill,
    /// A master of a Redis Cluster stands still until its replica is promoted, and continues
    ShardPause,
    /// The slots of all rooms move to other masters
    ShardReshard,
    /// The slots of all rooms stay halfway on their way to other masters while a dedupe window ends
    ShardStuck,
    /// Two of three masters of a Redis Cluster stand still
    ShardsDown,
    /// Planned failovers and moving slots, with messages that every server gets
    ShardBroadcast,
    /// A random choice of all faults that need not lose data
    Mix,
    /// The same, but every second fault makes Redis lose data
    MixLossy,
}

impl Fault {
    pub fn name(self) -> String {
        self.to_possible_value().expect("every fault has a name").get_name().to_owned()
    }

    /// The fault of a history; none if the history does not name it.
    pub fn of(history: &History) -> Option<Self> {
        history.lines.iter().find_map(|line| match &line.event {
            Event::Run { fault } => Self::from_str(fault, false).ok(),
            _ => None,
        })
    }

    /// Faults that end Redis need `always`, because data that `everysec` loses would be no finding.
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

    /// The workload with the changes for this fault.
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

    /// The node settings for this fault.
    pub fn environment(self) -> Vec<(String, String)> {
        let sentinels = |more: &[(&str, &str)]| {
            let all = [("CHAT_REDIS__SENTINEL_MASTER", MASTER)].into_iter().chain(more.iter().copied());
            all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        };
        match self {
            Self::SentinelKill | Self::SentinelMinority => {
                sentinels(&[("CHAT_REDIS__MIN_REPLICAS_ACKED", "1")])
            }
            fault if fault.is_of_sentinels() => sentinels(&[]),
            Self::ShardKill => vec![("CHAT_REDIS__MIN_REPLICAS_ACKED".into(), "1".into())],
            Self::ShardStuck => {
                vec![("CHAT_HISTORY__DEDUPE_WINDOW".into(), format!("{}s", STUCK_WINDOW.as_secs()))]
            }
            Self::ShardBroadcast => vec![("CHAT_REDIS__CLUSTER_PUBSUB".into(), "broadcast".into())],
            Self::Trimmed => vec![("CHAT_HISTORY__MAX_MESSAGES".into(), KEPT_WHERE_TRIMMED.to_string())],
            // 2,000 clients that each announce themselves to 200 others would measure the clients, not the nodes.
            Self::Storm => vec![("CHAT_ROOMS__QUIET_ABOVE".into(), "50".into())],
            _ => Vec::new(),
        }
    }

    /// Whether Redis has replicas and Sentinels.
    pub fn is_of_sentinels(self) -> bool {
        matches!(
            self,
            Self::SentinelFailover
                | Self::SentinelKill
                | Self::PauseMaster
                | Self::SentinelMinority
                | Self::SentinelAllDown
        )
    }

    /// Whether Redis is a cluster.
    pub fn is_of_shards(self) -> bool {
        matches!(
            self,
            Self::ShardFailover
                | Self::ShardKill
                | Self::ShardPause
                | Self::ShardReshard
                | Self::ShardStuck
                | Self::ShardsDown
                | Self::ShardBroadcast
        )
    }

    /// How many of a thousand members stay away until the end after they lost their connection. Only these leave ghosts.
    pub fn stay_away_permille(self, usual: u32) -> u32 {
        match self {
            Self::KillNode | Self::StopNode => 400,
            Self::KillAllNodes => 150,
            _ => usual,
        }
    }

    /// The quiet time after the last fault, if it has to be longer than after the others. The bound for ghosts expires only if
    /// no fault is injected for longer than it, and then a client has to ask for the members.
    pub fn calm_at_end(self) -> Duration {
        match self {
            Self::KillNode | Self::StopNode | Self::KillAllNodes => Duration::from_secs(40),
            _ => Duration::ZERO,
        }
    }

    /// The faults that make Redis lose data.
    pub const LOSSY: [Self; 3] = [Self::EmptyRedis, Self::FlushAll, Self::StaleReplica];

    /// The length of each log; none: longer than any run.
    pub fn keeps(self) -> Option<usize> {
        (self == Self::Trimmed).then_some(KEPT_WHERE_TRIMMED)
    }

    /// The faults that `Mix` chooses from.
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
        // In a mix, Redis writes each message to the disk.
        Self::DiskFullAlways,
        Self::ReconnectAll,
    ];

    /// Whether the injector has to cause it.
    pub fn injects(self) -> bool {
        !matches!(self, Self::None | Self::Forged | Self::NeverReader | Self::Trimmed)
    }
}
