//! The socket that the WebSocket codec uses. Follows the frames that the codec reads, and redirects the codec's output
//! (pongs, answers to a close) to the connection's queue, so that the connection has only one writer, and frames never
//! mix. Used by the frame reader.

use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};

use super::frame_scanner::FrameScanner;
use super::read_half::ReadHalf;
use super::unfinished::Unfinished;
use crate::chat::Outbox;

/// Reads from the socket, writes to the outbox. The codec only writes answers to frames that it reads, at most 127
/// bytes each, and reading waits for space in the outbox: so the queue stays bounded.
pub(super) struct CodecIo {
    read: ReadHalf,
    /// What the client sent directly after its request; read before the socket.
    early: Bytes,
    outbox: Arc<Outbox>,
    scanner: FrameScanner,
    /// The message that is open.
    pub(super) unfinished: Unfinished,
    /// What the fragments read so far cost. Nothing more is read until it is taken.
    cost: u32,
    /// Something was read since the connection last asked.
    has_read: bool,
}

impl CodecIo {
    pub(super) fn new(read: ReadHalf, early: Bytes, outbox: Arc<Outbox>, unfinished: Unfinished) -> Self {
        Self { read, early, outbox, scanner: FrameScanner::default(), unfinished, cost: 0, has_read: false }
    }

    pub(super) fn into_read_half(self) -> ReadHalf {
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

    /// Whether all that was read ended with a whole message or control frame.
    pub(super) fn is_between_messages(&self) -> bool {
        self.scanner.open().is_none()
    }

    /// Whether there may be something to read. Otherwise the task is woken when there is.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() { self.read.poll_ready(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Lets the codec try to read, once.
    pub(super) fn attempt<'a, 'w>(&'a mut self, cx: &'a mut Context<'w>) -> Attempt<'a, 'w> {
        Attempt { io: self, cx }
    }

    /// Whether anything arrived since the last call, parts of frames included.
    pub(super) fn take_read(&mut self) -> bool {
        std::mem::take(&mut self.has_read)
    }

    /// Tells the budget what is received and not complete: of a message, and of a record of TLS.
    fn count_unfinished(&mut self) {
        let open = self.scanner.open();
        let bytes = open.unwrap_or(0) + self.read.unfinished();
        self.unfinished.update((open.is_some() || bytes > 0).then_some(bytes));
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

/// The socket while the codec tries to read: if there is nothing, the task is woken when there is.
pub(super) struct Attempt<'a, 'w> {
    io: &'a mut CodecIo,
    cx: &'a mut Context<'w>,
}

impl Read for Attempt<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let io = &mut *self.io;
        // The connection sees the cost as soon as the codec stops, takes it, and tries again: no waker is needed.
        if io.cost > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut buffer = ReadBuf::new(buffer);
        let Poll::Ready(read) = io.poll_some(self.cx, &mut buffer) else {
            io.count_unfinished();
            return Err(ErrorKind::WouldBlock.into());
        };
        let bytes = buffer.filled();
        io.scanner.feed(bytes);
        io.cost = io.scanner.take_cost();
        io.has_read |= !bytes.is_empty();
        io.count_unfinished();
        read.map(|()| bytes.len())
    }
}

impl Write for Attempt<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.io.outbox.reply(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
