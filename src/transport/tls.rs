//! TLS on the port for clients. Owns the certificate that the node shows, the handshake, and the answer to those who speak no TLS.
//! Whether the files have changed, `tls_files` knows. Made by the server, used by the listener.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::write_timeout::WriteTimeout;
use crate::config;
use crate::tls_files::{Change, Identity, Renewed, provider};

/// How often the node looks whether the files have changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The answer to plain HTTP. Browsers show it to people.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 78\r\n\r\n\
this port speaks TLS: use https:// for the page, and wss:// for the WebSocket\n";
/// How much of a plain request is read after the answer, so that the answer is not lost.
const MAX_PLAIN_BYTES: u64 = 64 << 10;

/// The certificate of the node.
pub struct Tls(Renewed<ServerConfig>);

impl Tls {
    /// Reads the files. `None` if the settings name none.
    ///
    /// # Errors
    /// A file can't be used. The text names the setting and the file.
    pub fn new(settings: &config::Tls) -> Result<Option<Arc<Self>>, String> {
        let (Some(cert), Some(key)) = (settings.cert_file.clone(), settings.key_file.clone()) else {
            return Ok(None);
        };
        let files = vec![cert.clone(), key.clone()];
        let renewed = Renewed::new(files, move || load(Identity::read("tls", &cert, &key)?))?;
        Ok(Some(Arc::new(Self(renewed))))
    }

    /// Reads the files again whenever they have changed, until the node stops.
    pub async fn follow_files(self: Arc<Self>, stop: CancellationToken) {
        let mut tick = interval(LOOK_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let tls = self.clone();
            // An error means that the task has panicked or the node ends: the certificate before stays.
            let _ = tokio::task::spawn_blocking(move || tls.refresh()).await;
        }
    }

    /// Reads the files again, if they have changed. Waits for the disk.
    pub fn refresh(&self) {
        match self.0.refresh() {
            Change::None => {}
            Change::Renewed => tracing::info!("read the changed TLS certificate: new connections get it"),
            Change::Broken(error) => {
                tracing::error!(
                    error,
                    "can't use the changed TLS certificate: new connections get the old one"
                );
            }
        }
    }

    /// The handshake of a client.
    ///
    /// # Errors
    /// The client failed, or took too long. Whoever speaks plain HTTP was told.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        write_limit: Duration,
        deadline: Duration,
    ) -> io::Result<TlsStream<WriteTimeout>> {
        let handshake = async {
            let mut first = [0];
            if socket.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
                refuse_plain_http(socket).await?;
                return Err(io::Error::other("the client speaks plain HTTP"));
            }
            let socket = WriteTimeout::with_scanner(socket, write_limit);
            TlsAcceptor::from(self.0.current()).accept(socket).await
        };
        timeout(deadline, handshake).await?
    }
}

async fn refuse_plain_http(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(PLAIN_HTTP).await?;
    socket.shutdown().await?;
    // Closing a socket with unread bytes resets it, and the reset can overtake the answer.
    tokio::io::copy(&mut socket.take(MAX_PLAIN_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

fn load(identity: Identity) -> Result<ServerConfig, String> {
    let failed = |error: &dyn std::fmt::Display| format!("can't set up TLS: {error}");
    // The safe versions are 1.2 and 1.3.
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let mut config = config
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| failed(&error))?;
    // WebSockets are over HTTP/1.1: over HTTP/2, all those of a browser would share one connection.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A client that comes back needs no signature, and the node remembers nothing for it.
    config.ticketer = crypto::ring::Ticketer::new().map_err(|error| failed(&error))?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_to_plain_http_has_its_length() {
        let answer = std::str::from_utf8(PLAIN_HTTP).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
    }
}
