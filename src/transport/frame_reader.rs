//! The frames that a client sends. Owns the codec and its buffer, which exist only while there is something to read, or the
//! client sends often: most connections are idle most of the time. Used by the connection's read loop.

use std::io::ErrorKind;
use std::task::{Context, Poll, Waker};

use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::codec_io::CodecIo;
use super::read_half::ReadHalf;

/// Enough for most requests; the codec takes more for a longer one.
const READ_BUFFER_BYTES: usize = 2_048;

/// A client that has sent so many messages, with no quiet time between them, keeps its codec for the next one: a publish
/// costs less without a new buffer.
const OFTEN: u8 = 4;

/// Reads the frames of one socket.
pub(super) struct FrameReader {
    pub(super) io: CodecIo,
    /// There from the first byte of a message to its end, and as long as more bytes are there to read. No buffer outlives a
    /// large message: the codec itself never makes its buffer smaller.
    codec: Option<Box<WebSocketContext>>,
    /// Messages since the last quiet time, up to [`OFTEN`].
    messages: u8,
    /// The codec's buffer has grown.
    has_grown: bool,
    /// The codec may hold another message that it has read already.
    holds_more: bool,
    max_frame_bytes: usize,
}

impl FrameReader {
    pub(super) fn new(io: CodecIo, max_frame_bytes: usize) -> Self {
        Self { io, codec: None, messages: 0, has_grown: false, holds_more: false, max_frame_bytes }
    }

    /// The client has sent nothing for a while.
    pub(super) fn rest(&mut self) {
        self.messages = 0;
        self.release();
    }

    /// Drops the codec, if nothing is in its buffer.
    fn release(&mut self) {
        if !self.holds_more && self.io.is_between_messages() {
            self.codec = None;
            self.has_grown = false;
        }
    }

    /// The next message or control frame, or an error; `None` at the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if self.codec.is_none() && self.io.poll_readable(cx).is_pending() {
            return Poll::Pending;
        }
        let max_frame_bytes = self.max_frame_bytes;
        let codec = self.codec.get_or_insert_with(|| Box::new(codec(max_frame_bytes)));
        match codec.read(&mut self.io.attempt(cx)) {
            Ok(message) => {
                self.messages = (self.messages + 1).min(OFTEN);
                self.has_grown |= message.len() > READ_BUFFER_BYTES / 2;
                self.holds_more = true;
                Poll::Ready(Some(Ok(message)))
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                // Its answers are queued, and it holds no whole message.
                self.holds_more = false;
                if self.messages < OFTEN || self.has_grown {
                    self.release();
                }
                Poll::Pending
            }
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    /// The socket alone. The codec goes, and with it the bytes of an unfinished message.
    pub(super) fn into_read_half(self) -> ReadHalf {
        self.io.into_read_half()
    }

    /// Queues the codec's answer to a close frame.
    pub(super) fn answer_close(&mut self) {
        if let Some(codec) = &mut self.codec {
            // The result only reports that the connection is closed. Nothing is read, so nothing has to be woken.
            let _ = codec.flush(&mut self.io.attempt(&mut Context::from_waker(Waker::noop())));
        }
    }
}

/// A codec that reads frames of at most this size.
fn codec(max_frame_bytes: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(max_frame_bytes)
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes));
    WebSocketContext::new(Role::Server, Some(config))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::chat::Outbox;
    use crate::protocol::ConnectionId;
    use crate::transport::unfinished::{Unfinished, UnfinishedBudget};

    async fn connected(early: &'static [u8]) -> (TcpStream, FrameReader) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (read, _) = listener.accept().await.unwrap().0.into_split();
        let outbox = Arc::new(Outbox::new(ConnectionId::generate(), 1 << 20, Arc::default()));
        let budget = UnfinishedBudget::new(1 << 20);
        let unfinished = Unfinished::new(budget, outbox.clone(), Ipv4Addr::LOCALHOST.into());
        let read = ReadHalf::new(read, None);
        let io = CodecIo::new(read, Bytes::from_static(early), outbox, unfinished);
        (client, FrameReader::new(io, 1 << 20))
    }

    /// A frame of a client, masked with zeros.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        match payload.len() {
            length @ 0..126 => [&[first, 0x80 | length as u8, 0, 0, 0, 0], payload].concat(),
            length => {
                let [high, low] = (length as u16).to_be_bytes();
                [&[first, 0xfe, high, low, 0, 0, 0, 0], payload].concat()
            }
        }
    }

    #[tokio::test]
    async fn codec_lives_from_the_first_byte_of_a_message_to_its_last() {
        let (mut client, mut reader) = connected(b"").await;
        let frames = [
            frame(0x81, b"one"),
            frame(0x89, b"ping"),
            frame(0x01, b"tw"),
            frame(0x8a, b"pong"),
            frame(0x80, b"o"),
        ];
        let mut messages = Vec::new();
        for byte in frames.concat() {
            client.write_all(&[byte]).await.unwrap();
            poll_fn(|cx| {
                while let Poll::Ready(message) = reader.poll_next(cx) {
                    messages.push(message.unwrap().unwrap());
                }
                // Fragments are paid by the connection.
                reader.io.take_cost();
                if reader.io.take_read() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let is_kept = messages.len() == usize::from(OFTEN);
            assert_eq!(reader.codec.is_none(), reader.io.is_between_messages() && !is_kept);
        }
        reader.rest();
        assert!(reader.codec.is_none());
        let expected = [
            Message::text("one"),
            Message::Ping("ping".into()),
            Message::Pong("pong".into()),
            Message::text("two"),
        ];
        assert_eq!(messages, expected);
    }

    #[tokio::test]
    async fn client_that_sends_often_keeps_its_codec_until_a_quiet_time() {
        let (mut client, mut reader) = connected(b"").await;
        let read = async |client: &mut TcpStream, reader: &mut FrameReader, payloads: &[&[u8]]| {
            let frames: Vec<u8> = payloads.iter().flat_map(|payload| frame(0x81, payload)).collect();
            client.write_all(&frames).await.unwrap();
            let mut left = payloads.iter();
            poll_fn(|cx| {
                while let Poll::Ready(message) = reader.poll_next(cx) {
                    let text = str::from_utf8(left.next().unwrap()).unwrap();
                    assert_eq!(message.unwrap().unwrap(), Message::text(text));
                    // A quiet time says nothing of messages that are read already.
                    if left.len() > 0 {
                        reader.rest();
                    }
                }
                if left.len() == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        };
        for message in 1..=OFTEN {
            read(&mut client, &mut reader, &[b"again"]).await;
            assert_eq!(reader.codec.is_some(), message == OFTEN, "{message}");
        }
        reader.rest();
        assert!(reader.codec.is_none());
        read(&mut client, &mut reader, &[b"many", b"at", b"once", b"here"]).await;
        reader.messages = OFTEN;
        read(&mut client, &mut reader, &[b"small"]).await;
        assert!(reader.codec.is_some());
        let long = [b'x'; 3 * READ_BUFFER_BYTES];
        read(&mut client, &mut reader, &[&long]).await;
        assert!(reader.codec.is_none(), "its buffer would stay large");
    }

    #[tokio::test]
    async fn bytes_behind_the_upgrade_come_first() {
        let (mut client, mut reader) = connected(b"\x81\x83\0\0\0\0one\x81\x83\0").await;
        client.write_all(b"\0\0\0two").await.unwrap();
        for text in ["one", "two"] {
            let message = poll_fn(|cx| reader.poll_next(cx)).await.unwrap().unwrap();
            assert_eq!(message, Message::text(text));
        }
        drop(client);
        assert!(!matches!(poll_fn(|cx| reader.poll_next(cx)).await, Some(Ok(_))));
    }
}
