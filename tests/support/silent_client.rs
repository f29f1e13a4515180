//! A client that reads its messages and answers no ping, so that the node never gets a confirmation. Owns one connection over a
//! plain TCP socket. Used in tests of private messages and in the simulation.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::PATIENCE;

/// Binds a connection to the user, reads without answering until the node closes it, and returns the received frames.
pub async fn read_silently(address: SocketAddr, name: &str) -> Vec<Value> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let request = json!({ "message_type": "Auth", "message_body": { "sender_username": name } }).to_string();
    // Masked with zeros.
    let mut frame = vec![0x81, 0x80 | u8::try_from(request.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(request.as_bytes());
    socket.write_all(&frame).await.unwrap();
    let mut bytes = Vec::new();
    let reading = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    reading.expect("the node did not close a connection that answers no ping").unwrap();
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    texts(&bytes[head..])
}

/// The text frames among the frames of a server, which have no masks.
pub fn texts(mut bytes: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => panic!("frames of this length are not expected"),
            length => (usize::from(*length), rest),
        };
        if first & 0x0f == 1 {
            found.push(serde_json::from_slice(&rest[..length]).unwrap());
        }
        bytes = &rest[length..];
    }
    found
}
