//! Nodes in this process around one store, embedded or a real Redis, so that the same test runs on each. Owns the nodes and the
//! store; also has plain HTTP requests to nodes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chatnode::backend::{Backend, Embedded};
use chatnode::config::Config;
use chatnode::server::{Server, ShutdownKind};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{Client, PATIENCE};
use super::listener::Listener;
use super::proxy::Proxy;
use super::redis_cluster::{RedisCluster, TIMEOUT};
use super::redis_server::RedisServer;

/// The store of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Embedded,
    Redis,
}

/// Nodes that share a store.
pub struct Cluster {
    pub nodes: Vec<TestNode>,
    pub store: Store,
    config: Config,
}

/// The store that the nodes share.
pub enum Store {
    Embedded(Embedded),
    Redis(RedisServer),
    RedisCluster(RedisCluster),
}

/// One node. Dropping it ends it without a drain, like the end of a process.
pub struct TestNode {
    pub address: SocketAddr,
    /// The address for operators.
    pub operators: SocketAddr,
    drain: CancellationToken,
    running: Option<JoinHandle<()>>,
}

impl Drop for TestNode {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

impl TestNode {
    /// Starts to drain, and returns at once.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Drains and waits until the node has stopped.
    pub async fn stop(&mut self) {
        self.drain.cancel();
        if let Some(running) = self.running.take() {
            tokio::time::timeout(Duration::from_secs(60), running)
                .await
                .expect("the drain did not end in time")
                .unwrap();
        }
    }
}

/// The settings of a node in tests: any free port, no delay for balancers, no rate limit, and the host name of
/// [`super::raw::RawSocket`].
pub fn settings() -> Config {
    let mut config = Config { port: 0, ..Config::default() };
    config.server.allowed_hosts = vec!["chat.example.com".into()];
    config.drain.delay = Duration::ZERO;
    config.drain.spread = Duration::ZERO;
    config.limits.messages_per_second = 0;
    config
}

impl Cluster {
    /// `nodes` nodes with [`settings`].
    pub async fn start(kind: Kind, nodes: usize) -> Self {
        Self::start_with(kind, nodes, |_| {}).await
    }

    /// The same, with other settings.
    pub async fn start_with(kind: Kind, nodes: usize, adjust: impl FnOnce(&mut Config)) -> Self {
        match kind {
            Kind::Embedded => {
                let mut config = settings();
                adjust(&mut config);
                let store = Store::Embedded(Embedded::new(&config));
                Self { nodes: Vec::new(), store, config }.with_nodes(nodes).await
            }
            Kind::Redis => Self::start_on(RedisServer::start(), nodes, adjust).await,
        }
    }

    /// Nodes on this Redis.
    pub async fn start_on(redis: RedisServer, nodes: usize, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = settings();
        adjust(&mut config);
        config.redis.url = Some(redis.url().into());
        Self { nodes: Vec::new(), store: Store::Redis(redis), config }.with_nodes(nodes).await
    }

    /// Nodes on this Redis Cluster.
    pub async fn start_on_cluster(redis: RedisCluster, nodes: usize) -> Self {
        let mut config = settings();
        config.redis.url = Some(redis.url().into());
        config.redis.timeout = TIMEOUT;
        config.limits.request_timeout = 3 * TIMEOUT;
        Self { nodes: Vec::new(), store: Store::RedisCluster(redis), config }.with_nodes(nodes).await
    }

    /// From now on new nodes have these settings.
    pub fn adjust(&mut self, adjust: impl FnOnce(&mut Config)) {
        adjust(&mut self.config);
    }

    async fn with_nodes(mut self, nodes: usize) -> Self {
        for _ in 0..nodes {
            self.add_node().await;
        }
        self
    }

    /// From now on new nodes connect to Redis through a proxy.
    pub async fn put_proxy(&mut self) -> Proxy {
        let proxy = Proxy::start(self.redis_server().port()).await;
        self.config.redis.url = Some(proxy.url().into());
        proxy
    }

    /// The store, as a further node uses it.
    pub async fn backend(&self) -> Backend {
        let listener = Listener::new();
        match &self.store {
            Store::Embedded(store) => store.join(&self.config, listener),
            Store::Redis(_) | Store::RedisCluster(_) => {
                let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
                chatnode::backend::connect(&self.config, listener, &tasks, stop).await.unwrap().0
            }
        }
    }

    /// Adds a node, and waits until it is ready.
    pub async fn add_node(&mut self) -> SocketAddr {
        let address = self.add_unready_node().await;
        let operators = self.nodes[self.nodes.len() - 1].operators;
        until("the node is ready", async || get(operators, "/readyz").await.0 == 200).await;
        address
    }

    /// Adds a node without waiting for its store.
    pub async fn add_unready_node(&mut self) -> SocketAddr {
        let config = self.config.clone();
        let server = match &self.store {
            Store::Embedded(store) => Server::bind_in(config, store).await,
            Store::Redis(_) | Store::RedisCluster(_) => Server::bind(config).await,
        }
        .unwrap();
        let address = server.address();
        let operators = server.internal_address().unwrap_or(address);
        let drain = CancellationToken::new();
        let stop = drain.clone();
        let told = async move {
            stop.cancelled().await;
            ShutdownKind::Restarting
        };
        let running = tokio::spawn(async move { server.run(told).await.unwrap() });
        self.nodes.push(TestNode { address, operators, drain, running: Some(running) });
        address
    }

    pub fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    /// The Redis server, to be changed.
    pub fn redis(&mut self) -> &mut RedisServer {
        match &mut self.store {
            Store::Redis(redis) => redis,
            Store::Embedded(_) | Store::RedisCluster(_) => panic!("this test needs one Redis"),
        }
    }

    /// The Redis server, to be read.
    pub fn redis_server(&self) -> &RedisServer {
        match &self.store {
            Store::Redis(redis) => redis,
            Store::Embedded(_) | Store::RedisCluster(_) => panic!("this test needs one Redis"),
        }
    }

    /// Connects a client to a node, and enters a room.
    pub async fn enter(&self, node: usize, name: &str, room: &str) -> Client {
        Client::enter(self.address(node), name, room).await
    }

    /// Connects a client to a node without a request.
    pub async fn connect(&self, node: usize, name: &str) -> Client {
        Client::connect(self.address(node), name).await
    }
}

/// Polls a condition until it holds; fails after [`PATIENCE`].
pub async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One HTTP request on a new connection: status and body.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    http(address, "GET", path, &[], "").await
}

/// One value of a node's metrics page, by its name with the labels.
pub async fn metric(address: SocketAddr, name: &str) -> f64 {
    let (_, page) = get(address, "/metrics").await;
    let found = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

/// One HTTP request on a new connection: status and body.
pub async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let answer = raw(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, body.to_owned())
}

/// Sends bytes and reads until the node closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let exchange = async {
        let mut socket = tokio::net::TcpStream::connect(address).await?;
        socket.write_all(bytes).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(PATIENCE, exchange).await.expect("no HTTP answer in time").unwrap_or_default()
}

/// Makes a test for each store: `on_each_store! { async fn name(kind) { … } }`.
#[macro_export]
macro_rules! on_each_store {
    ($($(#[$doc:meta])* async fn $name:ident($kind:ident) $story:block)+) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[$doc])*
            async fn story($kind: $crate::support::cluster::Kind) $story

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                story($crate::support::cluster::Kind::Embedded).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis() {
                story($crate::support::cluster::Kind::Redis).await;
            }
        }
    )+};
}
