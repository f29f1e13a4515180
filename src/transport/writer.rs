//! The writing half of a connection. Owns what was taken from the queue and is not yet on the wire; sends all that is
//! queued in one system call where the socket takes it. Driven by the connection, beside its read loop.

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

/// Blocks handed to the kernel in one call.
const MAX_SLICES: usize = 64;

/// Why writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything is written, and the connection is to be closed.
    Closing(Close),
    /// The peer took nothing for the whole timeout.
    Stuck,
    /// The connection is gone.
    Lost,
}

/// The write half with what it still owes.
pub(super) struct Writer {
    socket: OwnedWriteHalf,
    outbox: Arc<Outbox>,
    /// Bounded by the outbox, which counts a block until it is written.
    taken: VecDeque<Bytes>,
    timeout: Duration,
}

impl Writer {
    pub(super) fn new(socket: OwnedWriteHalf, outbox: Arc<Outbox>, timeout: Duration) -> Self {
        Self { socket, outbox, taken: VecDeque::new(), timeout }
    }

    /// Writes what is queued until the connection is to be closed. May be dropped and called again: what was taken
    /// stays.
    pub(super) async fn run(&mut self) -> Ended {
        loop {
            if self.taken.is_empty()
                && let Work::Close(close) = self.outbox.work(&mut self.taken).await
            {
                return Ended::Closing(close);
            }
            if let Err(ended) = self.write_some().await {
                return ended;
            }
        }
    }

    async fn write_some(&mut self) -> Result<(), Ended> {
        // One call per turn: each one that takes anything is progress, and starts the timeout afresh. The slices live for
        // the call only: kept over the wait they would be a kilobyte of every idle connection.
        let (socket, taken) = (&mut self.socket, &self.taken);
        let write = poll_fn(|cx| {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = taken.len().min(MAX_SLICES);
            for (slice, block) in slices.iter_mut().zip(taken) {
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
        while let Some(block) = self.taken.front_mut() {
            if written < block.len() {
                block.advance(written);
                break;
            }
            written -= block.len();
            self.taken.pop_front();
        }
        Ok(())
    }

    /// Drops what is owed but for the rest of a block that is partly written, which nothing may interrupt.
    pub(super) fn drop_what_is_owed(&mut self) {
        self.taken.truncate(1);
    }

    /// Writes what is owed and `last`, then says that nothing more comes.
    pub(super) async fn finish(&mut self, last: Option<Bytes>) -> Result<(), Ended> {
        self.taken.extend(last);
        while !self.taken.is_empty() {
            self.write_some().await?;
        }
        self.socket.shutdown().await.map_err(|_| Ended::Lost)
    }
}
