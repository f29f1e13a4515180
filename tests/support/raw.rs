//! A client without a WebSocket library: it can send any bytes, and read as slowly as a test needs. Owns one TCP connection. Used
//! in tests of the handshake and of close codes.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::PATIENCE;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// A TCP connection to a node.
pub struct RawSocket {
    stream: TcpStream,
}

/// The head of an HTTP answer.
pub struct Head {
    pub status: u16,
    pub text: String,
}

impl Head {
    /// The value of a header; panics if it is missing.
    pub fn header(&self, name: &str) -> &str {
        let has_name = |line: &&str| line.split(':').next().is_some_and(|n| n.eq_ignore_ascii_case(name));
        let line = self.text.lines().find(has_name).unwrap_or_else(|| panic!("no {name} in {}", self.text));
        line.split_once(':').unwrap().1.trim()
    }
}

impl RawSocket {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap() }
    }

    /// Connects from this address of the machine.
    pub async fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self { stream: socket.connect(address).await.unwrap() }
    }

    /// Connects with a small receive buffer, so that unread data stays at the node.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        Self { stream: socket.connect(address).await.unwrap() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .expect("the node did not read in time")
            .unwrap();
    }

    /// An upgrade request for `/` with more headers (`name: value`, each with its line end).
    pub fn upgrade_request(headers: &str) -> String {
        format!(
            "GET / HTTP/1.1\r\nHost: chat.example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )
    }

    /// Upgrades; panics if the node refuses.
    pub async fn upgrade(&mut self) {
        self.send(Self::upgrade_request("").as_bytes()).await;
        assert_eq!(self.head().await.status, 101);
    }

    /// Sends one frame, masked with zeros, which is a valid mask.
    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) {
        self.send(&frame(opcode, payload)).await;
    }

    /// Reads the head of an HTTP answer, and no byte after it.
    pub async fn head(&mut self) -> Head {
        self.head_or_end().await.expect("the node closed without an answer")
    }

    /// The same; none if the connection ends instead.
    pub async fn head_or_end(&mut self) -> Option<Head> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, self.stream.read_u8()).await.expect("no answer in time") {
                Ok(byte) => head.push(byte),
                Err(_) if head.is_empty() => return None,
                Err(error) => panic!("incomplete answer: {error}; {}", String::from_utf8_lossy(&head)),
            }
        }
        let text = String::from_utf8(head).unwrap();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Some(Head { status, text })
    }

    /// Reads so many bytes, such as the body of an HTTP answer.
    pub async fn read_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(PATIENCE, self.stream.read_exact(&mut bytes)).await.expect("no bytes in time").unwrap();
        bytes
    }

    /// Reads one frame: opcode and payload; none if the connection ends.
    pub async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let reading = async {
            let first = self.stream.read_u8().await.ok()?;
            let length = match self.stream.read_u8().await.ok()? {
                126 => self.stream.read_u16().await.ok()?.into(),
                127 => self.stream.read_u64().await.ok()?,
                short => short.into(),
            };
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((first & 0x0f, payload))
        };
        timeout(PATIENCE, reading).await.expect("no frame in time")
    }

    /// Reads until a close frame comes, and returns its code and reason; none if the connection ends without one.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            let (opcode, payload) = self.read_frame().await?;
            if opcode == CLOSE {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                return Some((code, String::from_utf8(payload[2..].to_vec()).unwrap()));
            }
        }
    }

    /// Reads until the node closes the connection, and returns the bytes.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // An error is a reset, which is an end as well.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest))
            .await
            .expect("the node did not close in time");
        rest
    }

    /// Sends as much as fits at once. False if the node has closed the connection, which this notices without reading.
    pub fn try_send(&self, bytes: &[u8]) -> bool {
        self.stream.try_write(bytes).map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |_| true)
    }

    /// Ends its direction of the connection.
    pub async fn shut(&mut self) {
        self.stream.shutdown().await.unwrap();
    }
}

/// The bytes of one frame of a client, masked with zeros.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = fragment(opcode, payload);
    bytes[0] |= 0x80;
    bytes
}

/// The same for a frame that is not the last one of its message.
pub fn fragment(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}
