//! A server that is no node: it sends what a test wants, when the test wants it. Owns one port; each connection belongs to the
//! test.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::driver::Driver;

/// How long a test waits for a client. Many drivers start at once.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a node of an older version waited for the answer to its close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// It listens until it is dropped.
pub struct Peer {
    listener: TcpListener,
}

/// A request, and the connection that it came on.
pub struct Request {
    stream: TcpStream,
    /// Up to the empty line.
    pub head: String,
}

/// An open WebSocket.
pub struct Socket(WebSocketStream<TcpStream>);

impl Peer {
    pub async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next request.
    pub async fn request(&self) -> Request {
        let accepted = timeout(DEADLINE, self.listener.accept()).await.expect("no client came in time");
        let (mut stream, _) = accepted.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Request { stream, head: String::from_utf8(head).unwrap() }
    }

    /// The next WebSocket.
    pub async fn accept(&self) -> Socket {
        self.request().await.upgrade(&[]).await
    }

    /// Lets a driver open a connection.
    pub async fn admit(&self, client: &mut Driver) -> Socket {
        tokio::join!(self.accept(), client.open(self.address())).0
    }
}

impl Request {
    /// A header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Accepts the upgrade, with these bytes directly behind the answer.
    pub async fn upgrade(mut self, early: &[u8]) -> Socket {
        let key = self.header("sec-websocket-key").unwrap_or_else(|| panic!("no key in {}", self.head));
        assert_eq!(BASE64_STANDARD.decode(key).unwrap().len(), 16);
        let accept = derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.stream.write_all(&[head.as_bytes(), early].concat()).await.unwrap();
        Socket(WebSocketStream::from_raw_socket(self.stream, Role::Server, None).await)
    }

    /// Answers with this status.
    pub async fn refuse(mut self, status: &str) {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.stream.write_all(answer.as_bytes()).await.unwrap();
        self.stream.shutdown().await.unwrap();
    }
}

impl Socket {
    /// Sends a frame. The client may have ended the connection.
    pub async fn send(&mut self, frame: Message) -> bool {
        let sent = timeout(DEADLINE, self.0.send(frame)).await;
        sent.expect("the client does not read").is_ok()
    }

    /// Sends a close frame, waits for the answer, and ends the connection. Returns whether the client did either.
    pub async fn close(mut self, code: u16, reason: &str) -> bool {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        assert!(self.send(Message::Close(Some(frame))).await, "the client has ended the connection");
        let answer = async { while self.0.next().await.is_some_and(|frame| frame.is_ok()) {} };
        timeout(CLOSE_TIMEOUT, answer).await.is_ok()
    }

    /// The next frame; none at the end of the connection.
    pub async fn next(&mut self) -> Option<Message> {
        let frame = timeout(DEADLINE, self.0.next()).await.expect("the client sends nothing");
        frame.and_then(Result::ok)
    }
}
