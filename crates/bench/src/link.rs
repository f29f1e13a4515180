//! An open WebSocket: bytes in, text frames out, and back. Owns the socket, what is not yet written, and what is not yet a
//! whole frame; answers pings. Knows no messages. Made by the dialler, driven by a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::frame::{self, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};

/// A TCP connection, with TLS or without.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// How a connection ended, or what broke it.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The server closed it.
    Closed { code: u16, reason: String },
    /// It broke.
    Lost(String),
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    mask: [u8; 4],
    /// Not yet written, from `written` on.
    pub(crate) out: Vec<u8>,
    written: usize,
    /// The start of a frame.
    partial: Vec<u8>,
    /// The start of a message in several frames.
    message: Vec<u8>,
}

impl Link {
    /// `partial` was read behind the answer to the upgrade.
    pub(crate) fn new(socket: Socket, mask: [u8; 4], partial: Vec<u8>) -> Self {
        Self { socket, mask, out: Vec::new(), written: 0, partial, message: Vec::new() }
    }

    /// Writes what waits; ready once nothing waits.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        while self.written < self.out.len() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out[self.written..])) {
                Ok(count) => self.written += count,
                Err(error) => return Poll::Ready(Err(LinkError::Lost(error.to_string()))),
            }
        }
        if self.written > 0 {
            self.out.clear();
            self.written = 0;
        }
        match &mut self.socket {
            // Its writes wait for nothing.
            Socket::Plain(_) => Poll::Ready(Ok(())),
            socket => Pin::new(socket).poll_flush(cx).map_err(|error| LinkError::Lost(error.to_string())),
        }
    }

    /// Reads once into `buffer`, and hands on each whole text message in it. The number of bytes that were read.
    pub(crate) fn poll_read<E: From<LinkError>>(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, E>> {
        let mut read = ReadBuf::new(buffer);
        match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read)) {
            Ok(()) if read.filled().is_empty() => Poll::Ready(Err(LinkError::Lost(
                "the server ended the connection without a close frame".into(),
            )
            .into())),
            Ok(()) => Poll::Ready(Ok(read.filled().len())),
            Err(error) => Poll::Ready(Err(LinkError::Lost(error.to_string()).into())),
        }
    }

    /// Hands on each whole text message in these bytes, which were just read, and keeps the rest.
    pub(crate) fn take<E: From<LinkError>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, &mut each)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let used = self.frames(&whole, &mut each)?;
            whole.drain(..used);
            // An idle connection keeps no buffer.
            self.partial = if whole.is_empty() { Vec::new() } else { whole };
        }
        Ok(())
    }

    fn frames<E: From<LinkError>>(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        loop {
            let frame = match Frame::read(&bytes[used..]) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(used),
                Err(error) => return Err(LinkError::Lost(error.to_string()).into()),
            };
            used += frame.length;
            match frame.opcode {
                TEXT if frame.is_last => each(frame.payload, &mut self.out)?,
                TEXT => self.message = frame.payload.to_vec(),
                CONTINUATION => {
                    self.message.extend_from_slice(frame.payload);
                    if frame.is_last {
                        let message = std::mem::take(&mut self.message);
                        each(&message, &mut self.out)?;
                    }
                }
                PING => frame::put(&mut self.out, PONG, frame.payload, self.mask),
                PONG => {}
                CLOSE => {
                    let (code, reason) = match frame.payload {
                        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
                        _ => (1005, &b""[..]),
                    };
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    return Err(LinkError::Closed { code, reason }.into());
                }
                other => return Err(LinkError::Lost(format!("a frame of kind {other} came")).into()),
            }
        }
    }

    /// Says goodbye, as far as the socket takes it at once. What was not yet read is lost.
    pub(crate) async fn close(mut self) {
        const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();
        if self.written == 0 {
            frame::put(&mut self.out, CLOSE, &NORMAL, self.mask);
        }
        let goodbye = async {
            // The connection ends in any case.
            let _ = std::future::poll_fn(|cx| self.poll_flush(cx)).await;
            let _ = std::future::poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await;
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), goodbye).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    impl From<LinkError> for String {
        fn from(error: LinkError) -> Self {
            format!("{error:?}")
        }
    }

    async fn pair() -> (Link, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Link::new(Socket::Plain(client.unwrap()), [1, 2, 3, 4], Vec::new()), server.unwrap().0)
    }

    #[tokio::test]
    async fn messages_are_whole_however_they_arrive() {
        let (mut link, _server) = pair().await;
        let mut sent = chatnode_protocol::frame::text(b"one").to_vec();
        sent.extend([0x01, 2, b't', b'w', 0x89, 1, b'p', 0x80, 1, b'o']);
        for step in [1, 2, 3, sent.len()] {
            let mut got = Vec::new();
            for part in sent.chunks(step) {
                link.take::<String>(part, |text, _| {
                    got.push(String::from_utf8(text.to_vec()).unwrap());
                    Ok(())
                })
                .unwrap();
            }
            assert_eq!(got, ["one", "two"], "{step}");
            assert_eq!(link.out[..2], [0x8a, 0x81], "the ping is answered");
            link.out.clear();
        }
    }

    #[tokio::test]
    async fn the_end_of_a_connection_says_why() {
        let (mut link, mut server) = pair().await;
        let close = chatnode_protocol::frame::close(4012, "retry_after_ms=5");
        let error = link.take::<String>(&close, |_, _| Ok(())).unwrap_err();
        assert!(error.contains("4012") && error.contains("retry_after_ms=5"), "{error}");
        server.shutdown().await.unwrap();
        let mut buffer = [0; 16];
        let end = std::future::poll_fn(|cx| link.poll_read::<String>(cx, &mut buffer)).await;
        assert!(end.unwrap_err().contains("without a close frame"));
    }
}
