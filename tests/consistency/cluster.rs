//! The cluster under test: Redis, nodes, and a proxy on every connection between them and to the clients. Owns how they are
//! connected and the order in which they start; does not cause faults. Built by the run.

use std::path::{Path, PathBuf};

use crate::process::{Fsync, Node, NodeSettings, RedisServer};
use crate::proxy::Proxy;

pub struct Cluster {
    pub redis: RedisServer,
    /// The proxy from each node to Redis.
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
        fsync: Fsync,
        settings: &NodeSettings,
    ) -> std::io::Result<Self> {
        let redis = RedisServer::start(dir.join("redis-0"), fsync).await?;
        let mut cluster = Self {
            redis,
            to_redis: Vec::new(),
            to_nodes: Vec::new(),
            nodes: Vec::new(),
            dir: dir.to_owned(),
            fsync,
            servers: 1,
        };
        for number in 0..nodes {
            let to_redis = Proxy::start(cluster.redis.address).await?;
            let node = Node::new(number, to_redis.address, settings.clone(), dir);
            cluster.to_nodes.push(Proxy::start(node.address).await?);
            cluster.to_redis.push(to_redis);
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
