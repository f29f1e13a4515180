//! The cluster under test: Redis, nodes, and a proxy on every connection between them and to the clients. Owns how they are
//! connected and the order in which they start; does not cause faults. Built by the run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::process::{Fsync, Node, NodeSettings, RedisServer};
use crate::proxy::Proxy;
use crate::redis_shards::RedisShards;
use crate::sentinel_set::SentinelSet;

pub struct Cluster {
    pub redis: RedisServer,
    /// Replicas and Sentinels around it, if the fault is one of theirs.
    pub set: Option<SentinelSet>,
    /// The servers of a Redis Cluster, if the fault is one of theirs.
    pub shards: Option<RedisShards>,
    /// The proxy from each node to Redis; none with Sentinels, which have their own, or with a Redis Cluster.
    pub to_redis: Vec<Proxy>,
    /// The proxy from clients to each node.
    pub to_nodes: Vec<Proxy>,
    pub nodes: Vec<Node>,
    pub dir: PathBuf,
    pub fsync: Fsync,
    servers: u32,
}

impl Cluster {
    pub async fn start(
        dir: &Path,
        nodes: usize,
        fault: Fault,
        settings: &NodeSettings,
    ) -> std::io::Result<Self> {
        let fsync = fault.fsync();
        let mut redis = RedisServer::new(dir.join("redis-0"), fsync)?;
        let mut shards = None;
        let set = if fault.is_of_shards() {
            shards = Some(RedisShards::start(dir, fsync).await?);
            None
        } else if fault.is_of_sentinels() {
            Some(SentinelSet::start(&mut redis, dir, fsync, fault == Fault::SentinelMinority).await?)
        } else {
            redis.up().await?;
            None
        };
        let mut cluster = Self {
            redis,
            set,
            shards,
            to_redis: Vec::new(),
            to_nodes: Vec::new(),
            nodes: Vec::new(),
            dir: dir.to_owned(),
            fsync,
            servers: 1,
        };
        for number in 0..nodes {
            let url = match (&cluster.set, &cluster.shards) {
                (Some(set), _) => set.url(),
                (None, Some(shards)) => shards.url(),
                (None, None) => {
                    let to_redis = Proxy::start(cluster.redis.address).await?;
                    let url = format!("redis://{}", to_redis.address);
                    cluster.to_redis.push(to_redis);
                    url
                }
            };
            let node = Node::new(number, url, settings.clone(), dir);
            cluster.to_nodes.push(Proxy::start(node.address).await?);
            cluster.nodes.push(node);
        }
        for node in &mut cluster.nodes {
            node.up()?;
        }
        for node in &mut cluster.nodes {
            node.ready().await?;
        }
        Ok(cluster)
    }

    /// The addresses of the servers that have the logs.
    pub async fn masters(&self) -> std::io::Result<Vec<SocketAddr>> {
        match (&self.set, &self.shards) {
            (Some(set), _) => Ok(vec![set.master_address(&self.redis).await?]),
            (None, Some(shards)) => {
                let masters = shards.masters().await?.into_iter();
                Ok(masters.map(|number| shards.servers()[number].address).collect())
            }
            (None, None) => Ok(vec![self.redis.address]),
        }
    }

    /// Starts another Redis beside the one in use.
    pub async fn another_redis(&mut self) -> std::io::Result<RedisServer> {
        let dir = self.dir.join(format!("redis-{}", self.servers));
        self.servers += 1;
        RedisServer::start(dir, self.fsync).await
    }

    /// The nodes that ended unexpectedly.
    pub fn dead(&mut self) -> Vec<usize> {
        self.nodes.iter_mut().filter_map(|node| (!node.running()).then_some(node.number)).collect()
    }
}
