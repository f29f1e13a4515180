//! The reading half of a WebSocket connection, with or without TLS. Owns the wait for bytes; the TLS itself is shared with the writing
//! half. Used by the codec's socket, and by the connection when it waits for the end.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::tls_session::TlsSession;

/// Where a connection reads from.
pub(super) struct ReadHalf {
    socket: OwnedReadHalf,
    tls: Option<Arc<TlsSession>>,
}

impl ReadHalf {
    pub(super) fn new(socket: OwnedReadHalf, tls: Option<Arc<TlsSession>>) -> Self {
        Self { socket, tls }
    }

    /// Whether there may be something to read. Otherwise the task is woken when there is.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.tls {
            Some(tls) if tls.has_plain_bytes() => Poll::Ready(Ok(())),
            _ => self.socket.as_ref().poll_read_ready(cx),
        }
    }

    /// Received bytes from which nothing can be read yet.
    pub(super) fn unfinished(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.unfinished())
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, tls } = &mut *self;
        let Some(tls) = tls else { return Pin::new(socket).poll_read(cx, buf) };
        loop {
            match tls.read(buf.initialize_unfilled(), Received(socket)) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(socket.as_ref().poll_read_ready(cx))?;
        }
    }
}

/// What the socket has received.
struct Received<'a>(&'a OwnedReadHalf);

impl Read for Received<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}
