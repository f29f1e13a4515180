//! Real nodes in this process around one embedded store, and what they show. Owns them; ends them when dropped. Used by the tests
//! with real nodes.

use std::net::SocketAddr;
use std::time::Duration;

use chatnode::backend::Embedded;
use chatnode::config::Config;
use chatnode::server::{Server, ShutdownKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The key of the server API, where a test sets one.
pub const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A node.
pub struct Node {
    pub address: SocketAddr,
    drain: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Node {
    /// A node without a rate limit, with these other settings.
    pub async fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_all(1, adjust).await.remove(0)
    }

    /// Several that share a store.
    pub async fn start_all(count: usize, adjust: impl FnOnce(&mut Config)) -> Vec<Self> {
        let mut config = Config { port: 0, ..Config::default() };
        config.limits.messages_per_second = 0;
        config.drain.delay = Duration::ZERO;
        config.drain.spread = Duration::ZERO;
        adjust(&mut config);
        let store = Embedded::new(&config);
        let mut nodes = Vec::new();
        for _ in 0..count {
            let server = Server::bind_in(config.clone(), &store).await.unwrap();
            let address = server.address();
            let (drain, told) = oneshot::channel();
            let stop = async move {
                // A node that is dropped is ended, not drained.
                if told.await.is_err() {
                    std::future::pending::<()>().await;
                }
                ShutdownKind::Restarting
            };
            let running = tokio::spawn(async move { server.run(stop).await.unwrap() });
            nodes.push(Self { address, drain: Some(drain), running });
        }
        nodes
    }

    /// Starts to drain.
    pub fn drain(&mut self) {
        self.drain.take().unwrap().send(()).unwrap();
    }
}

/// Whether any room has a message, by the server API of a node.
pub async fn has_messages(node: SocketAddr) -> bool {
    let rooms = get(node, "/api/v1/rooms").await;
    let Some((_, rest)) = rooms.split_once("\"room\":\"") else { return false };
    let room = rest.split('"').next().unwrap();
    get(node, &format!("/api/v1/rooms/{room}/messages")).await.contains("message_id")
}

async fn get(node: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(node).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {node}\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Shows the metrics of a node with so many seats; each time a second of CPU and a MiB more.
pub async fn metrics_server(seats: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut looks = 0_u64;
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1_024];
            // A probe opens and closes.
            if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                looks += 1;
                let body = format!(
                    "process_cpu_seconds_total {looks}\nprocess_resident_memory_bytes {}\nchat_connections 0\nchat_connections_limit {seats}\n",
                    looks << 20
                );
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                // The program may be gone.
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            }
        }
    });
    address
}
