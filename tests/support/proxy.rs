//! A TCP proxy that can lose a connection's bytes without losing the connection. Knows only one thing of what it
//! carries: whether a connection subscribes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Runs until its runtime ends.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Connections that carried a SUBSCRIBE when this was raised carry nothing any more.
    swallow_below: AtomicUsize,
    connections: AtomicUsize,
}

impl Proxy {
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<State> = Arc::default();
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], target))).await;
                if let Ok(server) = server {
                    tokio::spawn(carry(client, server, shared.clone()));
                }
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Every subscription connection that there is goes deaf: it stays open, and nothing comes.
    pub fn deafen_subscribers(&self) {
        let below = self.state.connections.load(Ordering::SeqCst) + 1;
        self.state.swallow_below.store(below, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let number = state.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let subscribes = AtomicBool::new(false);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let Ok(read @ 1..) = from_client.read(&mut buffer).await else { return };
            let bytes = &buffer[..read];
            if bytes.windows(11).any(|window| window == b"\r\nSUBSCRIBE") {
                subscribes.store(true, Ordering::SeqCst);
            }
            if to_server.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let Ok(read @ 1..) = from_server.read(&mut buffer).await else { return };
            let deaf =
                subscribes.load(Ordering::SeqCst) && number < state.swallow_below.load(Ordering::SeqCst);
            if !deaf && to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
