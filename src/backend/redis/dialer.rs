//! Streams to a server. Owns how a socket is opened: TCP, TLS or a socket in the file system, and when the system gives up on
//! one. Does not speak the protocol of Redis. Called by the connector.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::tls::Tls;
use crate::config::RedisAddress;

/// An idle connection is checked by the system after this time, and after each further interval: Redis and what is in between
/// may forget a connection that says nothing.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long sent data may stay without an acknowledgement of the other machine.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// A stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens streams to one address.
#[derive(Clone)]
pub(super) struct Dialer {
    address: RedisAddress,
    /// For all addresses of the same store.
    tls: Option<Arc<Tls>>,
}

impl Dialer {
    /// Streams to this address, with TLS if `tls` is set.
    pub(super) fn new(address: RedisAddress, tls: Option<Arc<Tls>>) -> Self {
        Self { address, tls }
    }

    /// Streams to another address of the same store.
    pub(super) fn at(&self, address: RedisAddress) -> Self {
        Self { address, tls: self.tls.clone() }
    }

    /// Opens a stream. Has no deadline.
    ///
    /// # Errors
    /// The text says what to do where TLS is the reason.
    pub(super) async fn dial(&self) -> io::Result<Box<dyn Stream>> {
        match &self.address {
            RedisAddress::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            RedisAddress::Tcp { host, port, .. } => {
                let stream = connect(host, *port).await?;
                match &self.tls {
                    Some(tls) => Ok(Box::new(tls.start(host, stream).await?)),
                    None => Ok(Box::new(stream)),
                }
            }
        }
    }

    /// The address.
    pub(super) fn redis_address(&self) -> &RedisAddress {
        &self.address
    }

    /// Whether streams have TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// What went wrong and what to do, if TLS is the reason of this error.
    pub(super) fn explain(&self, error: &(dyn std::error::Error + 'static)) -> Option<String> {
        self.tls.as_ref()?.explain(error)
    }

    /// Lets the next stream use files that have changed, after a stream failed.
    pub(super) async fn refresh(&self) {
        if let Some(tls) = &self.tls {
            tls.refresh().await;
        }
    }
}

impl std::fmt::Display for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// Connects to the first address of the host that answers.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::other("the host has no address"));
    }
    let attempts = addresses.into_iter().map(|address| Box::pin(TcpStream::connect(address)));
    let (stream, _others) = select_ok(attempts).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(stream)
}
