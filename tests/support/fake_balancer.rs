//! A balancer for several nodes that can interrupt its connections. Owns the connections; of their contents it recognises only
//! the upgrade request of the page. Used in tests of clients that reconnect.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Forwards until it is dropped.
pub struct FakeBalancer {
    pub address: SocketAddr,
    shared: Arc<BalancerState>,
    accepting: JoinHandle<()>,
}

struct BalancerState {
    nodes: Mutex<Vec<SocketAddr>>,
    is_shut: AtomicBool,
    is_away: AtomicBool,
    is_mute: AtomicBool,
    turned_away: AtomicUsize,
    forwarded: AtomicUsize,
    /// Added to each WebSocket's upgrade request.
    token: Mutex<Option<String>>,
    /// Increases to end all connections that are open then.
    cut: watch::Sender<u64>,
}

impl Drop for FakeBalancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FakeBalancer {
    /// New connections go to the first of these nodes that answers.
    pub async fn start(nodes: Vec<SocketAddr>) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), nodes).await
    }

    /// The same, at this address.
    pub async fn start_at(address: SocketAddr, nodes: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(BalancerState {
            nodes: Mutex::new(nodes),
            is_shut: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            is_mute: AtomicBool::new(false),
            turned_away: AtomicUsize::new(0),
            forwarded: AtomicUsize::new(0),
            token: Mutex::new(None),
            cut: watch::Sender::new(0),
        });
        let to_forward = shared.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(forward(client, to_forward.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, accepting }
    }

    /// From now on new connections go to this node first.
    pub fn prefer(&self, node: SocketAddr) {
        let mut nodes = self.shared.nodes.lock().unwrap();
        nodes.sort_by_key(|each| *each != node);
    }

    /// Ends every connection without a close frame.
    pub fn cut(&self) {
        self.shared.is_mute.store(false, Ordering::Release);
        self.shared.cut.send_modify(|cut| *cut += 1);
    }

    /// From now until the next cut the nodes receive everything, but clients receive no answer.
    pub fn mute(&self) {
        self.shared.is_mute.store(true, Ordering::Release);
    }

    /// Ends every connection, and refuses WebSockets until [`FakeBalancer::open`]; files are still served.
    pub fn shut(&self) {
        self.shared.is_shut.store(true, Ordering::Release);
        self.cut();
    }

    /// The same, and files are not served either.
    pub fn go_away(&self) {
        self.shared.is_away.store(true, Ordering::Release);
        self.shut();
    }

    pub fn open(&self) {
        self.shared.is_away.store(false, Ordering::Release);
        self.shared.is_shut.store(false, Ordering::Release);
    }

    /// From now on WebSockets come with this token.
    pub fn authorize(&self, token: &str) {
        *self.shared.token.lock().unwrap() = Some(token.to_owned());
    }

    /// The number of connections that were forwarded to a node.
    pub fn forwarded(&self) -> usize {
        self.shared.forwarded.load(Ordering::Acquire)
    }

    /// The number of refused WebSockets.
    pub fn turned_away(&self) -> usize {
        self.shared.turned_away.load(Ordering::Acquire)
    }
}

async fn forward(mut client: TcpStream, shared: Arc<BalancerState>) {
    let mut cut = shared.cut.subscribe();
    let pass = async {
        // A browser sends its request in one piece.
        let mut start = [0; 7];
        let count = client.peek(&mut start).await.unwrap_or(0);
        let is_websocket = start[..count] == *b"GET /ws";
        if is_websocket && shared.is_shut.load(Ordering::Acquire) {
            shared.turned_away.fetch_add(1, Ordering::AcqRel);
            return;
        }
        if shared.is_away.load(Ordering::Acquire) {
            return;
        }
        let nodes = shared.nodes.lock().unwrap().clone();
        for node in nodes {
            let Ok(mut server) = TcpStream::connect(node).await else { continue };
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            shared.forwarded.fetch_add(1, Ordering::AcqRel);
            let token = shared.token.lock().unwrap().clone();
            if let Some(token) = token.filter(|_| is_websocket) {
                // Behind the first line, which the client has sent whole.
                let mut line = Vec::new();
                while !line.ends_with(b"\r\n") {
                    line.push(client.read_u8().await.unwrap());
                }
                line.extend(format!("Authorization: Bearer {token}\r\n").bytes());
                server.write_all(&line).await.unwrap();
            }
            let ((mut from_client, mut to_client), (mut from_node, mut to_node)) =
                (client.split(), server.split());
            let answers = async {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(count @ 1..) = from_node.read(&mut buffer).await {
                    let is_lost = shared.is_mute.load(Ordering::Acquire);
                    if !is_lost && to_client.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            };
            // Either side may end the connection at any moment.
            tokio::select! {
                () = answers => {}
                _ended = tokio::io::copy(&mut from_client, &mut to_node) => {}
            }
            return;
        }
    };
    tokio::select! {
        () = pass => {}
        _ = cut.changed() => {}
    }
}
