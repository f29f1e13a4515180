//! A client with no library between it and the wire: it sends what bytes it likes, and reads as slowly as it likes.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::PATIENCE;

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;

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
    /// A header's value; panics where it is missing.
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

    /// A socket whose kernel takes in next to nothing that the program has not read.
    pub async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        Self { stream: socket.connect(address).await.unwrap() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the node does not read").unwrap();
    }

    /// A request for an upgrade of `/`, with more headers (`name: value`, each line with its end).
    pub fn upgrade_request(headers: &str) -> String {
        format!(
            "GET / HTTP/1.1\r\nHost: chat.example.com\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )
    }

    /// Upgrades, and panics where the node will not.
    pub async fn upgrade(&mut self) {
        self.send(Self::upgrade_request("").as_bytes()).await;
        assert_eq!(self.head().await.status, 101);
    }

    /// Sends one frame, masked with zeros, which is as good a mask as any.
    pub async fn frame(&mut self, opcode: u8, payload: &[u8]) {
        self.send(&frame(opcode, payload)).await;
    }

    /// Reads the head of an HTTP answer, and not a byte of what follows it.
    pub async fn head(&mut self) -> Head {
        self.head_or_end().await.expect("the node closes instead of an answer")
    }

    /// The same; none where the connection ends instead.
    pub async fn head_or_end(&mut self) -> Option<Head> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, self.stream.read_u8()).await.expect("no answer") {
                Ok(byte) => head.push(byte),
                Err(_) if head.is_empty() => return None,
                Err(error) => panic!("no whole answer: {error}; {}", String::from_utf8_lossy(&head)),
            }
        }
        let text = String::from_utf8(head).unwrap();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Some(Head { status, text })
    }

    /// Reads one frame: opcode and payload; none where the connection ends.
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
        timeout(PATIENCE, reading).await.expect("no frame came")
    }

    /// Reads on until a close frame comes, and returns code and reason; none where the connection just ends.
    pub async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            let (opcode, payload) = self.read_frame().await?;
            if opcode == CLOSE {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                return Some((code, String::from_utf8(payload[2..].to_vec()).unwrap()));
            }
        }
    }

    /// Reads until the node closes the connection; what came.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("the node does not close");
        rest
    }

    /// Sends what fits at once. False: the node has cut the connection, which shows without reading a byte.
    pub fn try_send(&self, bytes: &[u8]) -> bool {
        self.stream.try_write(bytes).map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |_| true)
    }

    /// Says that nothing more comes.
    pub async fn shut(&mut self) {
        self.stream.shutdown().await.unwrap();
    }
}

/// One frame of a client, masked with zeros.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
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
