//! The server API and the health endpoints of the nodes, with plain HTTP and one request per connection. Owns the requests of
//! the harness; chat clients use it only to get their tokens.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::user_name;

pub struct Api {
    /// The internal listeners of the nodes.
    pub nodes: Vec<SocketAddr>,
    pub admin_key: String,
    pub turn: AtomicUsize,
}

impl Api {
    pub fn new(nodes: Vec<SocketAddr>, admin_key: String) -> Self {
        Self { nodes, admin_key, turn: AtomicUsize::new(0) }
    }

    /// Gets a new token from the next node.
    pub async fn issue(&self, user: u16) -> Option<String> {
        let body = json!({ "username": user_name(user) });
        let (status, body) = self.call("POST", "/api/v1/tokens", Some(&body)).await?;
        let body: Value = serde_json::from_str(&body).ok().filter(|_| status == 201)?;
        body["token"].as_str().map(str::to_owned)
    }

    /// Revokes all tokens of a user; true if the node confirmed it.
    pub async fn revoke(&self, user: u16) -> bool {
        let path = format!("/api/v1/users/{}/tokens", user_name(user));
        matches!(self.call("DELETE", &path, None).await, Some((204, _)))
    }

    /// One call of the next node; none if no complete answer comes in time.
    pub async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Option<(u16, String)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        http(self.nodes[turn % self.nodes.len()], method, path, Some(&self.admin_key), body).await
    }
}

/// Sends one request; none if no complete answer comes in time.
pub async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<&Value>,
) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let authorization = bearer.map(|key| format!("Authorization: Bearer {key}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((
            status,
            if head.to_lowercase().contains("transfer-encoding: chunked") {
                unchunk(body)
            } else {
                body.to_owned()
            },
        ))
    };
    timeout(Duration::from_secs(5), exchange).await.ok().flatten()
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// The value of a metric without labels.
pub fn metric(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_matches_the_whole_name() {
        let text = "# HELP chat_ready x\nchat_ready_total 5\nchat_ready 1\n";
        assert_eq!(metric(text, "chat_ready"), Some(1));
        assert_eq!(metric(text, "chat_read"), None);
    }

    #[test]
    fn unchunk_joins_all_chunks() {
        assert_eq!(unchunk("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "abcde");
    }
}
