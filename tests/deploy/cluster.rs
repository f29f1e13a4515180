//! A Redis and some nodes. Owns their processes. Each node has its own address (127.0.0.2, .3, …) and the same two ports, as on
//! separate machines. The tests start, stop and kill them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::dns::Dns;
use crate::http;
use crate::process::{Process, free_ports, project, until};

/// Longer than a node takes to start or Redis to answer, on a busy machine.
const START: Duration = Duration::from_secs(20);

/// Longer than `drain.timeout`, as every file of `deploy/` allows a node.
const DRAIN: Duration = Duration::from_secs(45);

pub struct Cluster {
    /// The port of every node for clients.
    pub port: u16,
    /// The port of every node for operators.
    pub internal_port: u16,
    /// Resolves the name of the nodes.
    pub dns: Dns,
    settings: Vec<(&'static str, &'static str)>,
    redis_port: u16,
    nodes: Vec<Option<Process>>,
    redis: Process,
    folder: TempDir,
}

impl Cluster {
    /// Starts Redis with the file of the project, and so many nodes; returns when they are ready.
    pub async fn start(nodes: usize, settings: &[(&'static str, &'static str)]) -> Self {
        // In memory if possible, because these tests should not wait for a busy disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let [port, internal_port, redis_port] = free_ports();
        let redis = Process::start(
            "redis",
            folder.path(),
            Command::new("redis-server")
                .arg(project("deploy/redis/redis.conf"))
                .args(["--bind", "127.0.0.1", "--port", &redis_port.to_string(), "--dir"])
                .arg(folder.path()),
        );
        let mut cluster = Self {
            port,
            internal_port,
            dns: Dns::serve(),
            settings: settings.to_vec(),
            redis_port,
            nodes: Vec::new(),
            redis,
            folder,
        };
        for node in 0..nodes {
            cluster.launch(node);
        }
        for node in 0..nodes {
            cluster.ready(node).await;
        }
        cluster
    }

    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn address(node: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(node).unwrap())
    }

    /// Starts a new or a stopped node, and waits until it is ready.
    pub async fn start_node(&mut self, node: usize) {
        self.launch(node);
        self.ready(node).await;
    }

    /// Sends SIGTERM and waits for the end of the drain, which has to succeed.
    pub async fn stop_node(&mut self, node: usize) {
        let mut process = self.nodes[node].take().unwrap();
        process.signal("TERM");
        let status = process.ended(DRAIN).await;
        assert!(status.success(), "a drained node exits with 0, not {status}: {}", process.log());
        self.dns.remove(Self::address(node));
    }

    /// SIGKILL.
    pub async fn kill_node(&mut self, node: usize) {
        let mut process = self.nodes[node].take().unwrap();
        process.signal("KILL");
        process.ended(START).await;
        self.dns.remove(Self::address(node));
    }

    /// SIGKILL to Redis, which does not come back.
    pub async fn kill_redis(&mut self) {
        self.redis.signal("KILL");
        self.redis.ended(START).await;
    }

    /// Whether a node accepts new clients.
    pub async fn is_ready(&self, node: usize) -> bool {
        http::get(self.operators(node), "/readyz").await.is_some_and(|(status, _)| status == 200)
    }

    /// The metrics page of a node.
    pub async fn metrics(&self, node: usize) -> String {
        let (status, body) = http::get(self.operators(node), "/metrics").await.unwrap();
        assert_eq!(status, 200);
        body
    }

    /// One value of it, by its exact name and labels.
    pub async fn metric(&self, node: usize, sample: &str) -> f64 {
        let metrics = self.metrics(node).await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in\n{metrics}")).parse().unwrap()
    }

    /// The same value of every running node.
    pub async fn metric_of_all(&self, sample: &str) -> Vec<f64> {
        let mut all = Vec::new();
        for node in (0..self.size()).filter(|node| self.nodes[*node].is_some()) {
            all.push(self.metric(node, sample).await);
        }
        all
    }

    /// Open connections, by node.
    pub async fn connections(&self) -> Vec<f64> {
        self.metric_of_all("chat_connections").await
    }

    pub fn operators(&self, node: usize) -> SocketAddr {
        (Self::address(node), self.internal_port).into()
    }

    fn launch(&mut self, node: usize) {
        let host = Self::address(node).to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatnode"));
        command
            .env("CHAT_HOST", &host)
            .env("CHAT_PORT", self.port.to_string())
            .env("CHAT_INTERNAL__HOST", &host)
            .env("CHAT_INTERNAL__PORT", self.internal_port.to_string())
            .env("CHAT_NODE__NAME", format!("node-{node}"))
            .env("CHAT_REDIS__URL", format!("redis://127.0.0.1:{}", self.redis_port))
            // Balancers connect from this network, clients from 127.1.0.0/16.
            .env("CHAT_SERVER__TRUSTED_PROXIES", "127.0.0.0/24")
            .envs(self.settings.iter().copied())
            .current_dir(self.folder.path());
        let process = Process::start(&format!("node-{node}"), self.folder.path(), &mut command);
        if node == self.nodes.len() {
            self.nodes.push(None);
        }
        self.nodes[node] = Some(process);
    }

    async fn ready(&self, node: usize) {
        let at = self.operators(node);
        until(&format!("node {node} is ready"), START, || async move {
            http::get(at, "/readyz").await.filter(|(status, _)| *status == 200)
        })
        .await;
        self.dns.add(Self::address(node));
    }
}
