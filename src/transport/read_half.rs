//! The reading half of a WebSocket connection, with or without TLS. Owns the wait for bytes; the TLS itself is shared with the writing
//! half. Used by the codec's socket, and by the connection when it waits for the end.

use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::consume_budget;

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
        // The plain socket does it by itself: a client that sends without pause must not keep a thread of the runtime.
        ready!(pin!(consume_budget()).poll(cx));
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::tls_session::tests::pair;
    use super::*;

    #[tokio::test]
    async fn reader_with_tls_gives_way_to_other_tasks() {
        const BYTES: usize = 1_000;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (read, _write) = listener.accept().await.unwrap().0.into_split();
        let (session, mut client) = pair();
        let mut half = ReadHalf::new(read, Some(Arc::new(session)));
        client.writer().write_all(&[7; BYTES]).unwrap();
        let mut record = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut record).unwrap();
        }
        socket.write_all(&record).await.unwrap();
        let (mut total, mut most) = (0, 0);
        while total < BYTES {
            let count = poll_fn(|cx| {
                let mut count = 0;
                loop {
                    let mut byte = [0];
                    match Pin::new(&mut half).poll_read(cx, &mut ReadBuf::new(&mut byte)) {
                        Poll::Ready(read) => {
                            read.unwrap();
                            assert_eq!(byte, [7]);
                            count += 1;
                        }
                        Poll::Pending if count == 0 => return Poll::Pending,
                        Poll::Pending => return Poll::Ready(count),
                    }
                    if total + count == BYTES {
                        return Poll::Ready(count);
                    }
                }
            })
            .await;
            total += count;
            most = most.max(count);
        }
        assert!(most < BYTES / 2, "{most} reads without a break");
    }
}
