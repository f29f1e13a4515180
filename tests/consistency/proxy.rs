//! A TCP proxy that causes network faults. Owns one listening port and its connections; understands no protocol, but recognises
//! subscriptions. Used between nodes and Redis, and between clients and nodes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How a proxy treats its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Closes all open connections, and new ones at once.
    Cut,
    /// Holds all bytes back without closing a connection. They continue afterwards, as with TCP.
    Stall,
    /// The same, but only for subscribing connections that were open when the mode was set: they become half-open.
    StallSubscriptions,
    /// Delays all bytes by this time.
    Delay(Duration),
    /// Passes at most so many bytes per second in each direction of each connection.
    Slow(u32),
    /// Passes bytes in small pieces, of which the first are single bytes.
    Slice,
}

/// A set of those who connect, one bit each.
pub type Sources = u8;

/// The bit of everybody without an address of its own. The others connect from 127.0.2.N, which is bit N.
pub const NODES: Sources = 1;

fn source_of(peer: SocketAddr) -> Sources {
    match peer {
        SocketAddr::V4(peer) if peer.ip().octets()[..3] == [127, 0, 2] => NODES << peer.ip().octets()[3],
        _ => NODES,
    }
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Who has no connection.
    blocked: Sources,
    mode: Mode,
    since: Instant,
    target: SocketAddr,
    /// Increases when all open connections have to close.
    generation: u64,
}

pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

impl Proxy {
    pub async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = State { blocked: 0, mode: Mode::Pass, since: Instant::now(), target, generation: 0 };
        let state = Arc::new(watch::Sender::new(state));
        tokio::spawn(accept(listener, state.clone()));
        Ok(Self { address, state })
    }

    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.since = Instant::now();
            state.generation += u64::from(mode == Mode::Cut);
        });
    }

    /// Closes the connections of these, and serves no new ones.
    pub fn block(&self, sources: Sources) {
        self.state.send_modify(|state| state.blocked = sources);
    }

    /// Closes all open connections; new ones are served.
    pub fn cut_once(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Forwards to another server from now on.
    pub fn point_at(&self, target: SocketAddr) {
        self.state.send_modify(|state| {
            state.target = target;
            state.generation += 1;
        });
    }
}

async fn accept(listener: TcpListener, state: Arc<watch::Sender<State>>) {
    loop {
        let Ok((client, peer)) = listener.accept().await else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let state = state.subscribe();
        let (source, now) = (source_of(peer), *state.borrow());
        if now.mode != Mode::Cut && now.blocked & source == 0 {
            tokio::spawn(serve(client, source, state));
        }
    }
}

async fn serve(client: TcpStream, source: Sources, state: watch::Receiver<State>) {
    let State { target, generation, .. } = *state.borrow();
    let Ok(server) = TcpStream::connect(target).await else { return };
    for stream in [&client, &server] {
        if stream.set_nodelay(true).is_err() {
            return;
        }
    }
    let link =
        Arc::new(Link { generation, source, born: Instant::now(), subscribes: AtomicBool::new(false) });
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::spawn(copy(from_client, to_server, state.clone(), link.clone(), true));
    copy(from_server, to_client, state, link, false).await;
}

struct Link {
    generation: u64,
    source: Sources,
    born: Instant,
    subscribes: AtomicBool,
}

/// Forwards one direction of one connection until either end closes it or it is cut.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    link: Arc<Link>,
    upstream: bool,
) {
    let cut = {
        let (mut state, generation, source) = (state.clone(), link.generation, link.source);
        async move {
            // An error means that the proxy was dropped, which ends its connections.
            let _ =
                state.wait_for(|state| state.generation != generation || state.blocked & source != 0).await;
        }
    };
    let passing = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
            let came = Instant::now();
            let chunk = &buffer[..read];
            if upstream && holds(chunk, b"SUBSCRIBE") {
                link.subscribes.store(true, Ordering::Relaxed);
            }
            if state.wait_for(|state| !link.stalled(state)).await.is_err() {
                return;
            }
            let mode = state.borrow().mode;
            if forward(&mut to, chunk, mode, came).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = cut => {}
        () = passing => {}
    }
}

impl Link {
    fn stalled(&self, state: &State) -> bool {
        match state.mode {
            Mode::Stall => true,
            Mode::StallSubscriptions => self.born < state.since && self.subscribes.load(Ordering::Relaxed),
            _ => false,
        }
    }
}

async fn forward(to: &mut OwnedWriteHalf, chunk: &[u8], mode: Mode, came: Instant) -> std::io::Result<()> {
    match mode {
        Mode::Pass | Mode::Stall | Mode::StallSubscriptions | Mode::Cut => to.write_all(chunk).await,
        Mode::Delay(delay) => {
            tokio::time::sleep_until(came + delay).await;
            to.write_all(chunk).await
        }
        Mode::Slow(bytes_per_second) => {
            let piece = (bytes_per_second as usize / 20).max(1);
            for piece in chunk.chunks(piece) {
                sleep(Duration::from_secs(1).mul_f64(piece.len() as f64 / f64::from(bytes_per_second))).await;
                to.write_all(piece).await?;
            }
            Ok(())
        }
        Mode::Slice => {
            // Single bytes only at the beginning, where lengths and heads are: one system call per byte for everything would
            // measure only system calls. Without the pause the reader would get the bytes together.
            let single = chunk.len().min(8);
            for byte in chunk[..single].chunks(1) {
                to.write_all(byte).await?;
                sleep(Duration::from_millis(1)).await;
            }
            for piece in chunk[single..].chunks(chunk.len() / 6 + 1) {
                to.write_all(piece).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }
}

/// Whether the bytes contain the word, in upper or lower case.
fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    /// A server that sends all bytes back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream, text: &[u8]) -> Option<Duration> {
        let start = Instant::now();
        stream.write_all(text).await.ok()?;
        let mut back = vec![0; text.len()];
        timeout(Duration::from_secs(2), stream.read_exact(&mut back)).await.ok()?.ok()?;
        assert_eq!(back, text);
        Some(start.elapsed())
    }

    #[tokio::test]
    async fn proxy_slices_delays_and_slows_without_changing_a_byte() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        for mode in [Mode::Pass, Mode::Slice] {
            proxy.set(mode);
            assert!(say(&mut stream, &[b'x'; 3_000]).await.is_some(), "{mode:?}");
        }
        proxy.set(Mode::Delay(Duration::from_millis(40)));
        assert!(say(&mut stream, b"late").await.unwrap() >= Duration::from_millis(80));
        proxy.set(Mode::Slow(1_000));
        assert!(say(&mut stream, &[b'x'; 100]).await.unwrap() >= Duration::from_millis(90));
    }

    #[tokio::test]
    async fn stall_delays_bytes_and_loses_none() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut stream, b"one").await.is_some());
        proxy.set(Mode::Stall);
        assert!(say(&mut stream, b"two").await.is_none());
        proxy.set(Mode::Pass);
        let mut back = [0; 3];
        timeout(Duration::from_secs(2), stream.read_exact(&mut back)).await.unwrap().unwrap();
        assert_eq!(&back, b"two");
    }

    #[tokio::test]
    async fn cut_closes_open_and_new_connections() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut stream, b"one").await.is_some());
        proxy.set(Mode::Cut);
        assert!(say(&mut stream, b"two").await.is_none());
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut stream, b"three").await.is_none());
        proxy.set(Mode::Pass);
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut stream, b"four").await.is_some());
    }

    #[tokio::test]
    async fn block_concerns_only_its_sources() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.2.3:0".parse().unwrap()).unwrap();
        let mut third = socket.connect(proxy.address).await.unwrap();
        let mut node = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut third, b"one").await.is_some() && say(&mut node, b"one").await.is_some());
        proxy.block(NODES << 3);
        assert!(say(&mut third, b"two").await.is_none() && say(&mut node, b"two").await.is_some());
        proxy.block(NODES);
        assert!(say(&mut node, b"three").await.is_none());
    }

    #[tokio::test]
    async fn half_open_affects_only_existing_subscriptions() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut commands = TcpStream::connect(proxy.address).await.unwrap();
        let mut subscriptions = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut commands, b"get").await.is_some());
        assert!(say(&mut subscriptions, b"subscribe a").await.is_some());
        proxy.set(Mode::StallSubscriptions);
        assert!(say(&mut commands, b"get").await.is_some());
        assert!(say(&mut subscriptions, b"subscribe b").await.is_none());
        let mut later = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut later, b"subscribe c").await.is_some());
    }

    #[tokio::test]
    async fn proxy_can_change_its_target() {
        let proxy = Proxy::start("127.0.0.1:9".parse().unwrap()).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut stream, b"one").await.is_none());
        proxy.point_at(echo().await);
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert!(say(&mut stream, b"two").await.is_some());
    }
}
