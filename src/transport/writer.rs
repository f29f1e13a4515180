//! The writing half of a connection. Owns the wait for a socket that is full, and its timeout; what fits the socket at once
//! is written by whoever queues it. Run by the connection, in parallel with its read loop.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, timeout_at};

use super::tls_session::TlsSession;
use crate::chat::{Close, Outbox, Socket, Work};

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

/// The write half of a socket, shared with its outbox.
struct WriteHalf {
    half: OwnedWriteHalf,
    tls: Option<Arc<TlsSession>>,
    /// The next write asks the kernel, even if the runtime has not heard from it that there is room.
    insists: AtomicBool,
}

impl WriteHalf {
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.insists.swap(false, Ordering::Relaxed) {
            let socket: &TcpStream = self.half.as_ref();
            return SockRef::from(socket).send_vectored(slices);
        }
        self.half.try_write_vectored(slices)
    }

    /// Nothing follows.
    fn end(&self) -> io::Result<()> {
        if let Some(tls) = &self.tls {
            tls.end(|slices| self.send(slices));
        }
        let socket: &TcpStream = self.half.as_ref();
        SockRef::from(socket).shutdown(std::net::Shutdown::Write)
    }
}

impl Socket for WriteHalf {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.tls {
            Some(tls) => tls.encrypt(slices),
            None => self.send(slices),
        }
    }

    fn try_send(&self, has_progress: &mut bool) -> io::Result<()> {
        match &self.tls {
            Some(tls) => tls.send(|slices| self.send(slices), has_progress),
            None => Ok(()),
        }
    }
}

/// The write loop of a connection.
pub(super) struct Writer {
    socket: Arc<WriteHalf>,
    outbox: Arc<Outbox>,
    timeout: Duration,
    /// When a full socket counts as stuck; set while it is full.
    stuck_at: Option<Instant>,
}

impl Writer {
    /// From now on, the outbox is written to the socket.
    pub(super) fn new(
        socket: OwnedWriteHalf,
        tls: Option<Arc<TlsSession>>,
        outbox: Arc<Outbox>,
        timeout: Duration,
    ) -> Self {
        let socket = Arc::new(WriteHalf { half: socket, tls, insists: AtomicBool::new(false) });
        outbox.attach(socket.clone());
        Self { socket, outbox, timeout, stuck_at: None }
    }

    /// Writes the queue until the connection should be closed. Cancel safe: what is not written stays in the queue.
    pub(super) async fn run(&mut self) -> Ended {
        self.stuck_at = None;
        let mut has_insisted = false;
        loop {
            match self.outbox.work().await {
                Work::Close(close) => return Ended::Closing(close),
                Work::Lost => return Ended::Lost,
                // Each byte that was written is progress, and restarts the timeout.
                Work::Wait { has_progress } => {
                    if has_progress {
                        self.stuck_at = None;
                    }
                    let stuck_at = *self.stuck_at.get_or_insert_with(|| {
                        has_insisted = false;
                        Instant::now() + self.timeout
                    });
                    // Boxed: every connection has the state of this loop, and few sockets are ever full.
                    match Box::pin(timeout_at(stuck_at, self.socket.half.writable())).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return Ended::Lost,
                        Err(_) if has_insisted => return Ended::Stuck,
                        // The kernel tells of room once a third of its buffer is free. Who has accepted less is slow, but
                        // not stuck: there is room for some bytes.
                        Err(_) => {
                            has_insisted = true;
                            self.socket.insists.store(true, Ordering::Relaxed);
                        }
                    }
                    self.outbox.socket_has_room();
                }
            }
        }
    }

    /// Drops what is queued, except the rest of a partly written frame.
    pub(super) fn drop_pending(&mut self) {
        self.outbox.drop_unwritten();
    }

    /// Writes what is queued and `last`, then shuts down the writing side of the socket. The outbox has to be closing.
    pub(super) async fn finish(&mut self, last: Option<Bytes>) -> Result<(), Ended> {
        if let Some(last) = last {
            self.outbox.reply(last);
        }
        match self.run().await {
            Ended::Closing(_) => {}
            ended => return Err(ended),
        }
        self.socket.end().map_err(|_| Ended::Lost)
    }
}
