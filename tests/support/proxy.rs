//! A TCP proxy between nodes and Redis that loses what it is told to lose. Knows the bytes that pass, no protocol.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::client::PATIENCE;

/// Forwards until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Faults {
    /// A connection over which this goes to the server gets no bytes back from then on.
    mute_after: Mutex<Option<Vec<u8>>>,
    muted: AtomicUsize,
    hold: Mutex<Option<Hold>>,
    /// Counts up: connections that have subscribed before it moved pass nothing on any more, in either direction.
    freeze: watch::Sender<u64>,
}

/// A request that is to wait.
struct Hold {
    pattern: Vec<u8>,
    reached: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

/// A request on its way; dropped, it goes on.
pub struct Held {
    reached: oneshot::Receiver<()>,
    _release: oneshot::Sender<()>,
}

impl Held {
    /// Returns once the request has come to the proxy.
    pub async fn reached(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.reached).await.expect("the request does not come").unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(Faults::default());
        let shared = faults.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(forward(client, target, shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, faults, accepting }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The next connection over which these bytes go to Redis hears nothing any more: what it asked for is done, and
    /// nobody knows.
    pub fn lose_the_answer_to(&self, bytes: &str) {
        *self.faults.mute_after.lock().unwrap() = Some(bytes.as_bytes().to_vec());
    }

    /// The next request with these bytes waits until what this returns is dropped.
    pub fn hold(&self, bytes: &str) -> Held {
        let ((reached, has_reached), (release, released)) = (oneshot::channel(), oneshot::channel());
        *self.faults.hold.lock().unwrap() = Some(Hold { pattern: bytes.into(), reached, released });
        Held { reached: has_reached, _release: release }
    }

    /// How many connections have been muted.
    pub fn answers_lost(&self) -> usize {
        self.faults.muted.load(Ordering::Acquire)
    }

    /// Every connection that has subscribed to something looks alive from now on, and passes nothing.
    pub fn freeze_subscriptions(&self) {
        self.faults.freeze.send_modify(|freeze| *freeze += 1);
    }
}

async fn forward(client: TcpStream, target: u16, faults: Arc<Faults>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (is_mute, is_subscribed) = (AtomicBool::new(false), AtomicBool::new(false));
    let requests = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
            let bytes = &buffer[..count];
            if contains(bytes, b"SUBSCRIBE") {
                is_subscribed.store(true, Ordering::Release);
            }
            if faults.mute_after.lock().unwrap().take_if(|pattern| contains(bytes, pattern)).is_some() {
                is_mute.store(true, Ordering::Release);
                faults.muted.fetch_add(1, Ordering::AcqRel);
            }
            let held = faults.hold.lock().unwrap().take_if(|hold| contains(bytes, &hold.pattern));
            if let Some(hold) = held {
                let _ = hold.reached.send(());
                // Released by being dropped, which is an error to whoever waits.
                let _ = hold.released.await;
            }
            if to_server.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    let replies = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            if !is_mute.load(Ordering::Acquire) && to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    let frozen = async {
        let mut freeze = faults.freeze.subscribe();
        loop {
            if freeze.changed().await.is_err() || is_subscribed.load(Ordering::Acquire) {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => return,
        () = replies => return,
        () = frozen => {}
    }
    // Both sockets stay open until the proxy ends.
    std::future::pending().await
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}
