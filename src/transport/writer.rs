//! The writing half of a connection. Owns the blocks that were taken from the queue and are not yet written; sends all
//! of them in one system call if the socket accepts them. Run by the connection, in parallel with its read loop.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::timeout;

use crate::chat::{Close, Outbox, Work};

/// Blocks passed to the kernel in one call.
const MAX_SLICES: usize = 64;

/// Why writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything is written, and the connection should be closed.
    Closing(Close),
    /// The peer accepted no data for the whole timeout.
    Stuck,
    /// The connection is gone.
    Lost,
}

/// The write half of a socket with its pending blocks.
pub(super) struct Writer {
    socket: OwnedWriteHalf,
    outbox: Arc<Outbox>,
    /// Bounded by the outbox, which counts a block until it is written.
    pending: VecDeque<Bytes>,
    timeout: Duration,
}

impl Writer {
    pub(super) fn new(socket: OwnedWriteHalf, outbox: Arc<Outbox>, timeout: Duration) -> Self {
        Self { socket, outbox, pending: VecDeque::new(), timeout }
    }

    /// Writes the queue until the connection should be closed. Cancel safe: the pending blocks stay.
    pub(super) async fn run(&mut self) -> Ended {
        loop {
            if self.pending.is_empty()
                && let Work::Close(close) = self.outbox.work(&mut self.pending).await
            {
                return Ended::Closing(close);
            }
            if let Err(ended) = self.write_some().await {
                return ended;
            }
        }
    }

    async fn write_some(&mut self) -> Result<(), Ended> {
        // Each call that writes at least one byte is progress, and restarts the timeout. The slices exist only during
        // the call: kept during the wait, they would add a kilobyte to every idle connection.
        let (socket, pending) = (&mut self.socket, &self.pending);
        let write = poll_fn(|cx| {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = pending.len().min(MAX_SLICES);
            for (slice, block) in slices.iter_mut().zip(pending) {
                *slice = IoSlice::new(block);
            }
            Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..count])
        });
        let mut written = match timeout(self.timeout, write).await {
            Ok(Ok(written)) if written > 0 => written,
            Ok(_) => return Err(Ended::Lost),
            Err(_) => return Err(Ended::Stuck),
        };
        self.outbox.written(written);
        while let Some(block) = self.pending.front_mut() {
            if written < block.len() {
                block.advance(written);
                break;
            }
            written -= block.len();
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Drops the pending blocks, except a partly written one, which must be completed.
    pub(super) fn drop_pending(&mut self) {
        self.pending.truncate(1);
    }

    /// Writes the pending blocks and `last`, then shuts down the writing side of the socket.
    pub(super) async fn finish(&mut self, last: Option<Bytes>) -> Result<(), Ended> {
        self.pending.extend(last);
        while !self.pending.is_empty() {
            self.write_some().await?;
        }
        self.socket.shutdown().await.map_err(|_| Ended::Lost)
    }
}
