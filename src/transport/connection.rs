//! One WebSocket connection from upgrade to goodbye. Owns the order of its end: leave everything, write what is queued,
//! close frame, wait for the peer. One task per connection: read loop, write loop and refill loop side by side.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use metrics::{counter, gauge};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::codec_io::CodecIo;
use super::keepalive::{Due, Keepalive};
use super::writer::{Ended, Writer};
use crate::chat::{Close, Flow, Node, Outbox, RequestError, Session};
use crate::metrics as names;
use crate::protocol::{CloseReason, ErrorCode, frame};

/// Measured: 6.5 KiB per idle connection with this, 137 KiB with the library's default.
const READ_BUFFER_BYTES: usize = 2_048;
/// What a client is told that has to come back later.
const SLOW_RETRY_MS: u64 = 1_000;
/// How long the peer may take for its half of the close.
const LINGER: Duration = Duration::from_secs(2);

/// How a connection came to its end.
struct End {
    close: Close,
    /// The peer said goodbye first, and was answered.
    is_answered: bool,
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        Self { close: reason.into(), is_answered: false }
    }
}

/// Serves a connection whose upgrade is done; `early` is what the client sent behind its request.
pub(super) async fn serve(node: Arc<Node>, socket: TcpStream, early: Bytes, session: Box<Session>) {
    gauge!(names::CONNECTIONS).increment(1.0);
    let outbox = session.outbox().clone();
    let limits = &node.config().limits;
    let (read, write) = socket.into_split();
    let mut writer = Writer::new(write, outbox.clone(), limits.write_timeout);
    let codec_io = CodecIo::new(read, outbox.clone());
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(limits.max_frame_bytes)
        .max_message_size(Some(limits.max_frame_bytes))
        .max_frame_size(Some(limits.max_frame_bytes));
    let mut socket = if early.is_empty() {
        WebSocketStream::from_raw_socket(codec_io, Role::Server, Some(config)).await
    } else {
        WebSocketStream::from_partially_read(codec_io, early.to_vec(), Role::Server, Some(config)).await
    };
    let mut reader =
        Reader { keepalive: Keepalive::new(&node.config().server), session, opened: Instant::now() };
    // Pinned where it stands: handed over by value it would be part of every connection's task twice.
    let end = {
        // Pinned where it stands: handed over by value it would be part of every connection's task twice.
        let life = pin!(async {
            tokio::select! {
                end = reader.run(&mut socket, &outbox) => end,
                ended = write_on(&mut writer) => match ended {
                    Ended::Closing(close) => close.into(),
                    Ended::Stuck => Close { reason: CloseReason::Slow, retry_after_ms: Some(SLOW_RETRY_MS) }.into(),
                    Ended::Lost => CloseReason::Lost.into(),
                },
                () = node.serve_lagging(&outbox) => CloseReason::InternalError.into(),
            }
        });
        end_of(life).await
    };
    // Out of every topic before the queue is flushed, or it might never end.
    let seat = reader.session.end();
    let reason = end.close.reason;
    counter!(names::CONNECTIONS_CLOSED, "reason" => reason.as_str()).increment(1);
    if reason == CloseReason::Slow {
        counter!(names::SLOW_CONSUMER_DISCONNECTS).increment(1);
    }
    tracing::debug!(reason = reason.as_str(), "closing");
    close(&mut writer, &outbox, socket.into_inner().into_read_half(), end, limits.write_timeout).await;
    drop(seat);
    gauge!(names::CONNECTIONS).decrement(1.0);
}

/// A bug costs the connection that met it, which is told so and leaves like any other, and nobody else.
async fn end_of(life: Pin<&mut impl Future<Output = End>>) -> End {
    // Nothing of what a panic left half done is used again: the session ends, and the writer owes whole blocks.
    let ended = AssertUnwindSafe(life).catch_unwind().await;
    ended.unwrap_or_else(|_| CloseReason::InternalError.into())
}

/// Writes until the connection ends. In a drain the reader decides when: a request in hand is carried out, and its
/// answer written, first.
async fn write_on(writer: &mut Writer) -> Ended {
    match writer.run().await {
        Ended::Closing(close) if close.reason.is_drain() => std::future::pending().await,
        ended => ended,
    }
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self { close, is_answered: false }
    }
}

/// Writes what is queued, says goodbye, and reads on until the peer has too: a socket that is closed with bytes unread is
/// reset, and the reset can overtake the close frame.
async fn close(
    writer: &mut Writer,
    outbox: &Outbox,
    mut read: OwnedReadHalf,
    end: End,
    flush_timeout: Duration,
) {
    let Close { reason, retry_after_ms } = end.close;
    if reason == CloseReason::Lost {
        return;
    }
    let text = match retry_after_ms {
        Some(ms) => format!("retry_after_ms={ms}"),
        None => reason.as_str().to_owned(),
    };
    let goodbye = (!end.is_answered).then(|| frame::close(reason.code(), &text));
    outbox.close(end.close);
    // Who may not hear any more, and who does not listen, gets no more than the rest of what is half sent.
    let is_cut = matches!(reason, CloseReason::Slow | CloseReason::TokenRevoked | CloseReason::Removed);
    let flushed = if is_cut {
        writer.drop_what_is_owed();
        timeout(LINGER, writer.finish(goodbye)).await.is_ok_and(|finished| finished.is_ok())
    } else {
        // The whole of it within one timeout: a client that takes a byte at a time can't hold its place.
        let flush =
            async { matches!(writer.run().await, Ended::Closing(_)) && writer.finish(goodbye).await.is_ok() };
        timeout(flush_timeout, flush).await.unwrap_or(false)
    };
    if flushed {
        let mut scrap = vec![0; 1_024];
        let drain = async { while matches!(read.read(&mut scrap).await, Ok(count) if count > 0) {} };
        // Past the deadline the peer has had its chance.
        let _ = timeout(LINGER, drain).await;
    }
}

struct Reader {
    keepalive: Keepalive,
    session: Box<Session>,
    opened: Instant,
}

impl Reader {
    async fn run(&mut self, socket: &mut WebSocketStream<CodecIo>, outbox: &Outbox) -> End {
        let auth_deadline = self.opened + self.session.auth_deadline();
        loop {
            let received = tokio::select! {
                biased;
                close = outbox.closing() => return close.into(),
                () = tokio::time::sleep_until(auth_deadline), if !self.session.is_authenticated() => {
                    return CloseReason::NotAuthenticated.into();
                }
                received = next(socket, outbox) => received,
                due = self.keepalive.due(outbox) => {
                    match due {
                        Due::Ping(payload) => {
                            self.session.ping_queued(payload);
                            outbox.reply(frame::ping(payload));
                        }
                        // Its pongs wait unread while it is slow to take what is sent: the writer judges that.
                        Due::Dead if outbox.is_full() => self.keepalive.heard(),
                        Due::Dead => return CloseReason::Idle.into(),
                    }
                    continue;
                }
            };
            self.keepalive.heard();
            match received {
                Some(Ok(Message::Text(text))) => {
                    // Boxed: a request's state would otherwise be part of every idle connection, 2 KiB each.
                    if let Flow::Close(reason) = Box::pin(self.session.handle(&text)).await {
                        return reason.into();
                    }
                }
                Some(Ok(Message::Ping(_))) => self.session.charge(1).await,
                Some(Ok(Message::Pong(payload))) => {
                    self.session.charge(1).await;
                    self.session.pong(&payload);
                }
                Some(Ok(Message::Close(_))) => {
                    // Queues the codec's answer; its result only says that the connection is closed.
                    let _ = socket.flush().await;
                    return End { close: CloseReason::Normal.into(), is_answered: true };
                }
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                    let error = RequestError::new(
                        ErrorCode::UnsupportedFrame,
                        "send JSON in text frames, not binary ones",
                    );
                    self.session.reject(None, &error);
                    return CloseReason::BinaryFrame.into();
                }
                Some(Err(error)) => return self.fail(error).into(),
                None => return CloseReason::Lost.into(),
            }
        }
    }

    fn fail(&mut self, error: Error) -> CloseReason {
        match error {
            Error::Capacity(_) => {
                let error =
                    RequestError::new(ErrorCode::MessageTooLarge, "the frame is larger than this node takes");
                self.session.reject(None, &error);
                CloseReason::TooLarge
            }
            Error::Utf8(_) => CloseReason::BadUtf8,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseReason::Lost,
            Error::Protocol(_) => CloseReason::ProtocolError,
            _ => CloseReason::Lost,
        }
    }
}

/// The next frame, once the answers to those before it have room. Safe to drop at any point.
async fn next(socket: &mut WebSocketStream<CodecIo>, outbox: &Outbox) -> Option<Result<Message, Error>> {
    outbox.has_room().await;
    socket.next().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_connection_with_a_reason() {
        let end = end_of(pin!(async { panic!("on purpose") })).await;
        assert_eq!(end.close.reason, CloseReason::InternalError);
        assert!(!end.is_answered, "the client is still to be told");
    }
}
