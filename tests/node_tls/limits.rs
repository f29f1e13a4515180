//! What clients with TLS can use: places for handshakes, and memory for records that are not complete.

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConnection;

use super::certificates::{Certificates, localhost};
use super::tunnel::Tunnel;
use crate::support::client::{Client, PATIENCE};
use crate::support::cluster::until;
use chatnode::config::Config;
use chatnode::server::{Server, ShutdownKind};

/// Silent handshakes hold as many places as there are, and go for a client that speaks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_handshakes_give_way_to_clients() {
    let certificates = Certificates::new();
    let mut config = Config { port: 0, ..Config::default() };
    certificates.settings(&mut config);
    config.internal.port = None;
    config.server.handshake_timeout = Duration::from_secs(600);
    let server = Server::bind(config).await.unwrap().with_http_sockets(8, 8);
    let address = server.address();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(server.run(async { stopped.await.unwrap_or(ShutdownKind::GoingAway) }));
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let tunnel = Tunnel::to(address, &certificates).await;
    let begun = Instant::now();
    let mut alice = Client::enter(tunnel.address, "alice", "ops").await;
    alice.say("ops", "there is room").await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    drop(alice);
    stop.send(ShutdownKind::GoingAway).unwrap();
    timeout(PATIENCE, running).await.unwrap().unwrap().unwrap();
}

/// The library keeps a record until it is complete: such bytes count as those of messages do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn record_that_stays_open_is_closed_with_4013() {
    let certificates = Certificates::new();
    let cluster = certificates
        .cluster(1, |config| {
            config.limits.max_content_bytes = 1;
            config.limits.max_frame_bytes = 4_102;
            config.limits.max_unfinished_bytes = 4_102;
        })
        .await;
    let mut socket = TcpStream::connect(cluster.address(0)).await.unwrap();
    let mut tls = ClientConnection::new(certificates.client(), localhost()).unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    tls.writer().write_all(upgrade.as_bytes()).unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        exchange(&mut tls, &mut socket, &mut received).await;
    }
    // A text frame of 8,000 bytes in one record, of which half is sent.
    let mut frame = vec![0x81, 0xfe, 0x1f, 0x40, 0, 0, 0, 0];
    frame.resize(8_008, b'x');
    tls.writer().write_all(&frame).unwrap();
    let mut record = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut record).unwrap();
    }
    assert!(record.len() > 8_000);
    socket.write_all(&record[..6_000]).await.unwrap();
    received.clear();
    // A close frame with its code.
    while received.len() < 4 {
        exchange(&mut tls, &mut socket, &mut received).await;
    }
    assert_eq!((received[0], u16::from_be_bytes([received[2], received[3]])), (0x88, 4013));
    // Not by the gauge of connections: the nodes of all tests here share one page of metrics.
    until("the connection is gone", async || {
        let sent = socket.try_write(b"x");
        sent.is_err_and(|error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset))
    })
    .await;
}

/// Sends what TLS wants to send, and reads what came.
async fn exchange(tls: &mut ClientConnection, socket: &mut TcpStream, received: &mut Vec<u8>) {
    let mut sent = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut sent).unwrap();
    }
    socket.write_all(&sent).await.unwrap();
    let mut buffer = [0; 4_096];
    let count = timeout(PATIENCE, socket.read(&mut buffer)).await.expect("the node is silent").unwrap();
    assert!(count > 0, "the node closed the socket");
    let mut bytes = &buffer[..count];
    while !bytes.is_empty() {
        tls.read_tls(&mut bytes).unwrap();
        tls.process_new_packets().unwrap();
        // An error means that nothing is there now.
        let _ = std::io::Read::read_to_end(&mut tls.reader(), received);
    }
}
