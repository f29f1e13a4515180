//! A socket with a timeout for writes. Owns the timer of a write that makes no progress, and below TLS what is known of the records
//! that arrive; knows nothing of HTTP. The listener serves HTTP over it, and an upgrade takes the plain socket out again.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::record_scanner::RecordScanner;

/// A write that makes no progress for `limit` fails with `TimedOut`. Reads have no limit here: HTTP has its own.
pub(super) struct WriteTimeout {
    socket: TcpStream,
    limit: Duration,
    /// Ends when the current write has made no progress for too long.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Below TLS.
    scanner: Option<RecordScanner>,
}

impl WriteTimeout {
    pub(super) fn new(socket: TcpStream, limit: Duration) -> Self {
        Self { socket, limit, stalled: None, scanner: None }
    }

    /// The same below TLS.
    pub(super) fn with_scanner(socket: TcpStream, limit: Duration) -> Self {
        Self { scanner: Some(RecordScanner::default()), ..Self::new(socket, limit) }
    }

    pub(super) fn into_inner(self) -> (TcpStream, Option<RecordScanner>) {
        (self.socket, self.scanner)
    }

    fn check(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WriteTimeout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if let Some(scanner) = &mut self.scanner {
            scanner.feed(&buf.filled()[before..]);
        }
        read
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.check(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.check(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    // A TCP socket has nothing to flush, and its shutdown does not wait.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
