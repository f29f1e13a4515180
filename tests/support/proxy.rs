//! A TCP proxy between nodes and Redis that can lose answers, hold requests and lead to another server. Compares bytes and understands no protocol. Used
//! in tests of faults.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
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
    /// The port that new connections lead to.
    target: AtomicU16,
    /// A connection that sends these bytes to the server gets no bytes back from then on.
    mute_after: Mutex<Option<Vec<u8>>>,
    muted: AtomicUsize,
    hold: Mutex<Option<Hold>>,
    hold_answer: Mutex<Option<Hold>>,
    /// Increases to freeze all connections that have subscribed by then, in both directions.
    freeze: watch::Sender<u64>,
}

/// A request, or an answer, to hold back.
struct Hold {
    pattern: Vec<u8>,
    reached: oneshot::Sender<()>,
    released: oneshot::Receiver<()>,
}

/// What is held back; it continues when this is dropped.
pub struct Held {
    reached: oneshot::Receiver<()>,
    _release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until it has reached the proxy.
    pub async fn reached(&mut self) {
        tokio::time::timeout(PATIENCE, &mut self.reached)
            .await
            .expect("what is to be held did not come in time")
            .unwrap();
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
        let faults = Arc::new(Faults { target: target.into(), ..Faults::default() });
        let shared = faults.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(forward(client, shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, faults, accepting }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The next connection that sends these bytes to Redis gets no answer any more: Redis executes the request, but the node does
    /// not know.
    pub fn lose_the_answer_to(&self, bytes: &str) {
        *self.faults.mute_after.lock().unwrap() = Some(bytes.as_bytes().to_vec());
    }

    /// Holds the next request with these bytes back until the returned value is dropped.
    pub fn hold(&self, bytes: &str) -> Held {
        hold(&self.faults.hold, bytes)
    }

    /// The same for the next answer with these bytes: Redis has executed its request.
    pub fn hold_answer(&self, bytes: &str) -> Held {
        hold(&self.faults.hold_answer, bytes)
    }

    /// From now on new connections lead to this port. The others stay where they are.
    pub fn switch_to(&self, target: u16) {
        self.faults.target.store(target, Ordering::Release);
    }

    /// The number of connections that get no answers.
    pub fn answers_lost(&self) -> usize {
        self.faults.muted.load(Ordering::Acquire)
    }

    /// From now on every connection that has subscribed stays open but passes nothing.
    pub fn freeze_subscriptions(&self) {
        self.faults.freeze.send_modify(|freeze| *freeze += 1);
    }
}

async fn forward(client: TcpStream, faults: Arc<Faults>) {
    let target = faults.target.load(Ordering::Acquire);
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
            pass_hold(&faults.hold, bytes).await;
            if to_server.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    let replies = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            pass_hold(&faults.hold_answer, &buffer[..count]).await;
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

fn hold(held: &Mutex<Option<Hold>>, bytes: &str) -> Held {
    let ((reached, has_reached), (release, released)) = (oneshot::channel(), oneshot::channel());
    *held.lock().unwrap() = Some(Hold { pattern: bytes.into(), reached, released });
    Held { reached: has_reached, _release: release }
}

/// Waits if these bytes are to be held.
async fn pass_hold(held: &Mutex<Option<Hold>>, bytes: &[u8]) {
    let hold = held.lock().unwrap().take_if(|hold| contains(bytes, &hold.pattern));
    if let Some(hold) = hold {
        let _ = hold.reached.send(());
        // An error means that it was dropped, which releases the bytes.
        let _ = hold.released.await;
    }
}

fn contains(bytes: &[u8], pattern: &[u8]) -> bool {
    bytes.windows(pattern.len()).any(|window| window == pattern)
}
