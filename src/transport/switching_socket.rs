//! The socket of an HTTP connection that may become a WebSocket. Owns what its 101 says beyond the node's own headers: nothing.
//! hyper adds `close` to `Connection: upgrade` if the client asked for that, or while the node drains, and some clients accept no
//! other value than `upgrade` (RFC 6455, 4.2.2). The listener serves HTTP over it, and an upgrade takes the plain socket out again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::tls_session::TlsSession;
use super::write_timeout::WriteTimeout;

/// What hyper appends to the value of `Connection`, with the end of the line.
const CLOSE: &[u8] = b", close\r\n";
/// The part of it that is left out.
const LEFT_OUT: usize = CLOSE.len() - 2;

/// Says that the next answer on a connection is a 101, which is the last one.
#[derive(Debug, Default, Clone)]
pub(super) struct Switch(Arc<AtomicBool>);

impl Switch {
    /// To be called before hyper has the answer.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A socket that HTTP is served over.
pub(super) trait HttpSocket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The plain socket, and its TLS.
    fn into_parts(self) -> (TcpStream, Option<TlsSession>);
}

impl HttpSocket for WriteTimeout {
    fn into_parts(self) -> (TcpStream, Option<TlsSession>) {
        (self.into_inner().0, None)
    }
}

impl HttpSocket for TlsStream<WriteTimeout> {
    fn into_parts(self) -> (TcpStream, Option<TlsSession>) {
        let (socket, tls) = self.into_inner();
        let (socket, scanner) = socket.into_inner();
        (socket, Some(TlsSession::new(tls, scanner.unwrap_or_default())))
    }
}

/// A socket that leaves `, close` out of the head of a 101.
pub(super) struct SwitchingSocket<S> {
    socket: S,
    switch: Switch,
}

impl<S: HttpSocket> SwitchingSocket<S> {
    pub(super) fn new(socket: S, switch: Switch) -> Self {
        Self { socket, switch }
    }

    pub(super) fn into_parts(self) -> (TcpStream, Option<TlsSession>) {
        self.socket.into_parts()
    }

    fn is_switching(&self) -> bool {
        self.switch.0.load(Ordering::Relaxed)
    }
}

impl<S: HttpSocket> AsyncRead for SwitchingSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl<S: HttpSocket> AsyncWrite for SwitchingSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let close = self.is_switching().then(|| bytes.windows(CLOSE.len()).position(|part| part == CLOSE));
        match close.flatten() {
            Some(0) => Poll::Ready(Ok(LEFT_OUT)),
            Some(at) => Pin::new(&mut self.socket).poll_write(cx, &bytes[..at]),
            None => Pin::new(&mut self.socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_switching() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, first.map_or(&[], |slice| slice));
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
