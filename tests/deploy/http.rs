//! Plain HTTP requests: to the endpoints for operators, and upgrades of which only the answer counts. Owns one request and its
//! answer. Used to ask nodes, balancers and Prometheus.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// `GET path`: status and body; none without an answer. (With HTTP/1.0, so that the body is not chunked.)
pub async fn get(at: SocketAddr, path: &str) -> Option<(u16, String)> {
    let ask = async {
        let mut stream = TcpStream::connect(at).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await.ok()?
}

/// The head of the answer to `HEAD path`, in lower case, as the chat page asks.
pub async fn head(at: SocketAddr, path: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(at).await?;
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.to_lowercase())
    };
    tokio::time::timeout(Duration::from_secs(15), ask).await.expect("an answer in time").unwrap()
}

/// The answer to an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

/// Asks for a WebSocket from a source address, with a token. The connection ends with the answer.
pub async fn upgrade(source: Ipv4Addr, at: SocketAddr, token: &str) -> Answer {
    let ask = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        let mut stream = BufReader::new(socket.connect(at).await?);
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {at}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
        let lines = || head.lines().filter_map(|line| line.split_once(": "));
        let retry_after = lines().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
        std::io::Result::Ok(Answer {
            status: head.split(' ').nth(1).unwrap_or_else(|| panic!("no status: {head:?}")).parse().unwrap(),
            retry_after: retry_after.map(|(_, seconds)| seconds.parse().unwrap()),
        })
    };
    tokio::time::timeout(Duration::from_secs(15), ask).await.expect("an answer in time").unwrap()
}

/// A new token for a user, from the server API.
pub async fn issue_token(operators: SocketAddr, key: &str, user: &str) -> String {
    let mut stream = TcpStream::connect(operators).await.unwrap();
    let body = format!("{{\"username\": \"{user}\"}}");
    let request = format!(
        "POST /api/v1/tokens HTTP/1.0\r\nHost: {operators}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    body["token"].as_str().unwrap().to_owned()
}

/// Percent-encodes every byte of the value of a query.
pub fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
