//! The socket that the WebSocket codec uses. Redirects the codec's output (pongs, answers to a close) to the
//! connection's queue, so that the connection has only one writer, and frames never mix. Used by the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use crate::chat::Outbox;

/// Reads from the socket, writes to the outbox. The codec only writes answers to frames that it reads, at most 127
/// bytes each, and reading waits for space in the outbox: so the queue stays bounded.
pub(super) struct CodecIo {
    read: OwnedReadHalf,
    outbox: Arc<Outbox>,
}

impl CodecIo {
    pub(super) fn new(read: OwnedReadHalf, outbox: Arc<Outbox>) -> Self {
        Self { read, outbox }
    }

    pub(super) fn into_read_half(self) -> OwnedReadHalf {
        self.read
    }
}

impl AsyncRead for CodecIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
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
