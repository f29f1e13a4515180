//! Opens connections: TCP, TLS, and the upgrade to a WebSocket. Owns the handshake, and what a failure means for people; does
//! not retry. Called by connections.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::link::{Link, Socket};
use crate::secret::Secret;
use crate::target::Target;

/// The most bytes of the answer to an upgrade.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// The system gave no connection.
    #[error("{}", explain(.0))]
    Io(#[from] io::Error),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server refused the upgrade.
    #[error("the server refused the upgrade with {status}{}", .why.as_ref().map_or_else(String::new, |why| format!(": {why}")))]
    Refused { status: u16, why: Option<String>, retry_after: Option<Duration> },
    /// It is no server of WebSockets.
    #[error("the answer to the upgrade is invalid: {0}")]
    Invalid(&'static str),
}

/// What the usual errors of a machine under load mean.
fn explain(error: &io::Error) -> String {
    const NO_ADDRESS: io::ErrorKind = io::ErrorKind::AddrNotAvailable;
    match error.raw_os_error() {
        // EMFILE and ENFILE, on every Unix.
        Some(23 | 24) => "this machine has no more open files: raise `ulimit -n`".to_owned(),
        _ if error.kind() == NO_ADDRESS => {
            "this machine has no free port to that address: name several --source addresses, or several --url"
                .to_owned()
        }
        _ => format!("can't connect: {error}"),
    }
}

/// Opens a WebSocket. Bytes behind the answer belong to it.
pub(crate) async fn dial(
    target: &Target,
    source: Option<IpAddr>,
    token: Option<&Secret>,
    mask: [u8; 4],
) -> Result<Link, DialError> {
    let socket = if target.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    let stream = socket.connect(target.address).await?;
    let mut socket = match &target.tls {
        None => Socket::Plain(stream),
        Some((config, name)) => {
            let connector = TlsConnector::from(std::sync::Arc::clone(config));
            let stream = connector.connect(name.clone(), stream).await;
            Socket::Tls(Box::new(stream.map_err(|error| {
                DialError::Tls(chatnode_client::tls::explain(&error).unwrap_or_else(|| error.to_string()))
            })?))
        }
    };
    let key = generate_key();
    let authorization =
        token.map_or_else(String::new, |token| format!("Authorization: Bearer {}\r\n", token.reveal()));
    let (path, host) = (&target.place.path, target.place.authority());
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{authorization}\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    socket.flush().await?;
    let mut head = Vec::with_capacity(512);
    loop {
        if socket.read_buf(&mut head).await? == 0 {
            return Err(DialError::Invalid("the connection ended before it"));
        }
        if let Some(length) = accepted(&head, &key)? {
            return Ok(Link::new(socket, mask, head.split_off(length)));
        }
        if head.len() > MAX_HEAD_BYTES {
            return Err(DialError::Invalid("it is too long"));
        }
    }
}

/// The length of the answer if the server accepts the upgrade; none if the answer is not whole yet.
fn accepted(head: &[u8], key: &str) -> Result<Option<usize>, DialError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(head) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(DialError::Invalid("it is no HTTP")),
    };
    let header = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    match response.code {
        Some(101) if header("sec-websocket-accept") == Some(&derive_accept_key(key.as_bytes())) => {
            Ok(Some(length))
        }
        Some(101) => Err(DialError::Invalid("it has the wrong key")),
        status => {
            let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
            let why = match (status, header("x-chat-refused")) {
                (Some(503), Some("full")) => {
                    Some("the node is full: raise max_connections, or name more nodes")
                }
                (Some(429), _) => Some(
                    "too many connections from this address (limits.max_connections_per_address), or the node has just closed three of them: see the other reasons",
                ),
                (Some(401), _) => {
                    Some("the token is not valid, or there is none: see --token-file and --admin-key-file")
                }
                (Some(421), _) => Some("it does not know this host name: server.allowed_hosts"),
                (Some(503), _) => Some("the node can't take connections now"),
                _ => None,
            };
            Err(DialError::Refused {
                status: status.unwrap_or(0),
                why: why.map(str::to_owned),
                retry_after: retry_after.map(Duration::from_secs),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_the_upgrade_are_judged() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nrest";
        assert_eq!(accepted(good, key).unwrap(), Some(good.len() - 4));
        assert_eq!(accepted(&good[..60], key).unwrap(), None);
        let says = |answer: &str| accepted(answer.as_bytes(), key).unwrap_err().to_string();
        assert!(
            says("HTTP/1.1 503 x\r\nX-Chat-Refused: full\r\nRetry-After: 2\r\n\r\n")
                .contains("max_connections")
        );
        assert!(says("HTTP/1.1 401 x\r\n\r\n").contains("--token-file"));
        assert!(says("HTTP/1.1 404 x\r\n\r\n").ends_with("with 404"));
        assert!(says("HTTP/1.1 101 x\r\n\r\n").contains("wrong key"));
        assert!(says("SSH-2.0-x\r\n\r\n").contains("no HTTP"));
    }
}
