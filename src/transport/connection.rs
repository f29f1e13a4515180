//! One WebSocket connection from the upgrade to its end. Owns the order of the end: leave all topics, write the queue,
//! send the close frame, wait for the peer. One task per connection runs the read loop, the write loop and the replay
//! loop.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
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
use super::unfinished::{self, Unfinished};
use super::writer::{Ended, Writer};
use crate::chat::{Close, Flow, Node, Outbox, RequestError, Session};
use crate::metrics as names;
use crate::protocol::{CloseReason, ErrorCode, frame};

/// Measured: 6.5 KiB per idle connection with this size, 137 KiB with the library's default.
const READ_BUFFER_BYTES: usize = 2_048;
/// How much later to look again at a message that the node could not read.
const PAUSE: Duration = Duration::from_secs(5);
/// When a client that was closed as too slow may reconnect.
const SLOW_RETRY_MS: u64 = 1_000;
/// How long the peer may take to answer the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a connection ended.
struct End {
    close: Close,
    /// The peer sent the first close frame, and the answer is queued.
    is_answered: bool,
}

impl From<CloseReason> for End {
    fn from(reason: CloseReason) -> Self {
        Self { close: reason.into(), is_answered: false }
    }
}

/// Serves a connection after its upgrade; `early` contains the bytes that the client sent directly after its request.
pub(super) async fn serve(
    node: Arc<Node>,
    socket: TcpStream,
    early: Bytes,
    session: Box<Session>,
    unfinished: Unfinished,
) {
    gauge!(names::CONNECTIONS).increment(1.0);
    let outbox = session.outbox().clone();
    let limits = &node.config().limits;
    let (read, write) = socket.into_split();
    let mut writer = Writer::new(write, outbox.clone(), limits.write_timeout);
    let codec_io = CodecIo::new(read, early, outbox.clone(), unfinished);
    let mut socket = Some(codec(codec_io, limits.max_frame_bytes).await);
    let mut reader = Reader {
        keepalive: Keepalive::new(&node.config().server),
        session,
        opened: Instant::now(),
        max_frame_bytes: limits.max_frame_bytes,
    };
    let end = {
        // Pinned in place: passed by value, the future would be twice in the task of every connection.
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
    // The session leaves every topic before the flush, or the queue might never become empty.
    let guard = reader.session.end();
    let reason = end.close.reason;
    counter!(names::CONNECTIONS_CLOSED, "reason" => reason.as_str()).increment(1);
    if reason == CloseReason::Slow {
        counter!(names::SLOW_CONSUMER_DISCONNECTS).increment(1);
    }
    tracing::debug!(reason = reason.as_str(), "closing");
    // The codec's buffer, and the bytes of an unfinished message with it, go before the flush.
    if let Some(socket) = socket {
        let read = socket.into_inner().into_read_half();
        close(&mut writer, &outbox, read, end, limits.write_timeout).await;
    }
    drop(guard);
    gauge!(names::CONNECTIONS).decrement(1.0);
}

/// The codec that reads frames from this socket.
async fn codec(socket: CodecIo, max_frame_bytes: usize) -> WebSocketStream<CodecIo> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(max_frame_bytes)
        .max_message_size(Some(max_frame_bytes))
        .max_frame_size(Some(max_frame_bytes));
    WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await
}

/// A panic ends only the connection in which it happened: with a close code, and with the usual order of the end.
async fn end_of(life: Pin<&mut impl Future<Output = End>>) -> End {
    // No state that the panic left inconsistent is used again: the session ends, and the writer holds whole blocks.
    let ended = AssertUnwindSafe(life).catch_unwind().await;
    ended.unwrap_or_else(|_| CloseReason::InternalError.into())
}

/// Writes until the connection ends. In a drain the reader decides when: it first finishes the current request and
/// writes its answer.
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

/// Writes the queue and the close frame, then reads until the peer closes too: closing a socket with unread bytes
/// resets it, and the reset can overtake the close frame.
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
    let close_frame = (!end.is_answered).then(|| frame::close(reason.code(), &reason.text(retry_after_ms)));
    outbox.close(end.close);
    // A client without permission and a client that does not read get only the rest of a partly sent block.
    let is_cut = matches!(reason, CloseReason::Slow | CloseReason::TokenRevoked | CloseReason::Removed);
    let flushed = if is_cut {
        writer.drop_pending();
        timeout(CLOSE_TIMEOUT, writer.finish(close_frame)).await.is_ok_and(|finished| finished.is_ok())
    } else {
        // One timeout for the whole flush: a client that accepts a byte at a time can't keep its connection.
        let flush = async {
            matches!(writer.run().await, Ended::Closing(_)) && writer.finish(close_frame).await.is_ok()
        };
        timeout(flush_timeout, flush).await.unwrap_or(false)
    };
    if flushed {
        let mut scratch = vec![0; 1_024];
        let drain = async { while matches!(read.read(&mut scratch).await, Ok(count) if count > 0) {} };
        // After the deadline, the socket is closed in any case.
        let _ = timeout(CLOSE_TIMEOUT, drain).await;
    }
}

struct Reader {
    keepalive: Keepalive,
    session: Box<Session>,
    opened: Instant,
    max_frame_bytes: usize,
}

impl Reader {
    /// `slot` is empty only while this replaces the codec.
    async fn run(&mut self, slot: &mut Option<WebSocketStream<CodecIo>>, outbox: &Outbox) -> End {
        let auth_deadline = self.opened + self.session.auth_deadline();
        let mut waits_since = Instant::now();
        loop {
            let Some(socket) = slot else { return CloseReason::InternalError.into() };
            let unfinished = &mut socket.get_mut().unfinished;
            if self.session.user().is_some() {
                unfinished.bind();
            }
            let now = Instant::now();
            unfinished.paused(now - waits_since);
            let message_deadline = unfinished.deadline();
            let received = tokio::select! {
                biased;
                close = outbox.closing() => return close.into(),
                () = tokio::time::sleep_until(auth_deadline), if !self.session.is_authenticated() => {
                    return CloseReason::NotAuthenticated.into();
                }
                () = until(message_deadline) => {
                    waits_since = Instant::now();
                    let unfinished = &mut socket.get_mut().unfinished;
                    // While the outbox is full, nothing is read: the write timeout decides then.
                    if outbox.is_full() {
                        unfinished.paused(PAUSE);
                    } else if unfinished.deadline().is_some_and(|deadline| deadline <= waits_since) {
                        return unfinished::close().into();
                    }
                    continue;
                }
                received = next(socket, outbox, message_deadline.is_some()) => received,
                due = self.keepalive.due(outbox) => {
                    waits_since = Instant::now();
                    match due {
                        Due::Ping(payload) => {
                            self.session.ping_queued(payload);
                            outbox.reply(frame::ping(payload));
                        }
                        // While the outbox is full, nothing is read, pongs included: the write timeout decides then.
                        Due::Dead if outbox.is_full() => self.keepalive.frame_arrived(),
                        // A pong can't come in the middle of a long frame; the deadline of the message decides then.
                        Due::Dead if socket.get_mut().take_read() => self.keepalive.frame_arrived(),
                        Due::Dead => return CloseReason::Idle.into(),
                    }
                    continue;
                }
            };
            waits_since = Instant::now();
            self.keepalive.frame_arrived();
            let cost = socket.get_mut().take_cost();
            if cost > 0 {
                self.session.charge(cost).await;
            }
            let received = match received {
                Received::Frame(received) => received,
                Received::Part => continue,
                Received::Emptied => {
                    let mut read = slot.take().map(WebSocketStream::into_inner);
                    if let Some(mut read) = read.take() {
                        read.shrunk();
                        *slot = Some(codec(read, self.max_frame_bytes).await);
                    }
                    continue;
                }
            };
            match received {
                Some(Ok(Message::Text(text))) => {
                    // Boxed: otherwise the state of a request would add 2 KiB to every idle connection.
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
                    // Queues the codec's answer; the result only reports that the connection is closed.
                    let _ = socket.flush().await;
                    return End { close: CloseReason::Normal.into(), is_answered: true };
                }
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                    let error = RequestError::new(
                        ErrorCode::UnsupportedFrame,
                        "binary frames are not supported: send JSON in text frames",
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
                let error = RequestError::new(
                    ErrorCode::MessageTooLarge,
                    "the frame is larger than this node accepts",
                );
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

/// Waits for a time; for ever if there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What the read loop receives.
enum Received {
    /// A whole message, a control frame, an error, or the end.
    Frame(Option<Result<Message, Error>>),
    /// A part of a message: it has a deadline from now on, or fragments that the connection has to pay.
    Part,
    /// The codec has used a large buffer, which is empty now.
    Emptied,
}

/// The next frame, read when the outbox has space for the answers to earlier ones. Cancel safe.
async fn next(socket: &mut WebSocketStream<CodecIo>, outbox: &Outbox, has_deadline: bool) -> Received {
    outbox.has_room().await;
    poll_fn(|cx| match socket.poll_next_unpin(cx) {
        Poll::Ready(frame) => Poll::Ready(Received::Frame(frame)),
        Poll::Pending if socket.get_ref().is_oversized() => Poll::Ready(Received::Emptied),
        Poll::Pending if socket.get_ref().owes() => Poll::Ready(Received::Part),
        Poll::Pending if !has_deadline && socket.get_ref().unfinished.deadline().is_some() => {
            Poll::Ready(Received::Part)
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_ends_the_connection_with_a_reason() {
        let end = end_of(pin!(async { panic!("on purpose") })).await;
        assert_eq!(end.close.reason, CloseReason::InternalError);
        assert!(!end.is_answered, "the close frame is still to be sent");
    }
}
