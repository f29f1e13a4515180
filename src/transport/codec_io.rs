//! The socket that the WebSocket codec uses. Follows the frames that the codec reads, and redirects the codec's output
//! (pongs, answers to a close) to the connection's queue, so that the connection has only one writer, and frames never
//! mix. Used by the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::frame_scanner::FrameScanner;
use super::unfinished::Unfinished;
use crate::chat::Outbox;

/// An unfinished message of this size has made the codec's buffer much larger than its first size.
const GROWN_BYTES: u64 = 8 << 10;

/// Reads from the socket, writes to the outbox. The codec only writes answers to frames that it reads, at most 127
/// bytes each, and reading waits for space in the outbox: so the queue stays bounded.
pub(super) struct CodecIo {
    read: OwnedReadHalf,
    /// What the client sent directly after its request; read before the socket.
    early: Bytes,
    outbox: Arc<Outbox>,
    scanner: FrameScanner,
    /// The message that is open.
    pub(super) unfinished: Unfinished,
    /// What the fragments read so far cost. Nothing more is read until it is taken.
    cost: u32,
    /// A message came that made the codec's buffer larger.
    has_grown: bool,
    /// Something was read since the connection last asked.
    has_read: bool,
}

impl CodecIo {
    pub(super) fn new(
        read: OwnedReadHalf,
        early: Bytes,
        outbox: Arc<Outbox>,
        unfinished: Unfinished,
    ) -> Self {
        Self {
            read,
            early,
            outbox,
            scanner: FrameScanner::default(),
            unfinished,
            cost: 0,
            has_grown: false,
            has_read: false,
        }
    }

    pub(super) fn into_read_half(self) -> OwnedReadHalf {
        self.read
    }

    /// Whether the connection has to pay for fragments: nothing is read until it takes the cost.
    pub(super) fn owes(&self) -> bool {
        self.cost > 0
    }

    /// What the connection has to pay for fragments, in requests.
    pub(super) fn take_cost(&mut self) -> u32 {
        std::mem::take(&mut self.cost)
    }

    /// Whether the codec's buffer may be larger than needed, while nothing is in it: the codec has asked for more bytes,
    /// and no frame is open. The codec itself never makes its buffer smaller.
    pub(super) fn is_oversized(&self) -> bool {
        self.has_grown && self.scanner.open().is_none()
    }

    /// A new codec reads from this socket.
    pub(super) fn shrunk(&mut self) {
        self.has_grown = false;
    }

    /// Whether anything arrived since the last call, parts of frames included.
    pub(super) fn take_read(&mut self) -> bool {
        std::mem::take(&mut self.has_read)
    }

    /// Reads at least one byte, unless the peer has ended its direction.
    fn poll_some(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.read).poll_read(cx, buf);
        }
        let count = self.early.len().min(buf.remaining());
        buf.put_slice(&self.early[..count]);
        self.early.advance(count);
        if self.early.is_empty() {
            // Its allocation would live as long as the connection.
            self.early = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for CodecIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The connection sees the cost as soon as the codec stops, takes it, and polls again: no waker is needed.
        if self.cost > 0 {
            return Poll::Pending;
        }
        let start = buf.filled().len();
        let this = &mut *self;
        let read = this.poll_some(cx, buf);
        this.scanner.feed(&buf.filled()[start..]);
        this.cost = this.scanner.take_cost();
        this.has_read |= buf.filled().len() > start;
        let open = this.scanner.open();
        this.has_grown |= open.is_some_and(|bytes| bytes >= GROWN_BYTES);
        this.unfinished.update(open);
        read
    }
}

impl AsyncWrite for CodecIo {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outbox.reply(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
