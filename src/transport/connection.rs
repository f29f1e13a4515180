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
use futures_util::FutureExt;
use metrics::{counter, gauge};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::codec_io::CodecIo;
use super::early_closes::Young;
use super::frame_reader::FrameReader;
use super::keepalive::{Due, Keepalive};
use super::read_half::ReadHalf;
use super::tls_session::TlsSession;
use super::unfinished::{self, Unfinished};
use super::writer::{Ended, Writer};
use crate::chat::{Close, Flow, Node, Outbox, RequestError, Session};
use crate::metrics as names;
use crate::protocol::{CloseReason, ErrorCode, frame};

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
pub(super) fn serve(
    node: Arc<Node>,
    (socket, tls): (TcpStream, Option<TlsSession>),
    early: Bytes,
    session: Box<Session>,
    unfinished: Unfinished,
    young: Young,
) -> impl Future<Output = ()> {
    gauge!(names::CONNECTIONS).increment(1.0);
    let outbox = session.outbox().clone();
    let (read, write) = socket.into_split();
    let tls = tls.map(Arc::new);
    let read = ReadHalf::new(read, tls.clone());
    let writer = Writer::new(write, tls, outbox.clone(), node.config().limits.write_timeout);
    let codec_io = CodecIo::new(read, early, outbox.clone(), unfinished);
    let frames = FrameReader::new(codec_io, node.config().limits.max_frame_bytes);
    let reader = Reader { keepalive: Keepalive::new(&node.config().server), session, opened: Instant::now() };
    // Made here: the arguments of an async function stay in the task of every connection, beside what is made of them.
    Life { node, outbox, writer, frames, reader, young }.run()
}

/// The parts of a connection.
struct Life {
    node: Arc<Node>,
    outbox: Arc<Outbox>,
    writer: Writer,
    frames: FrameReader,
    reader: Reader,
    young: Young,
}

impl Life {
    async fn run(mut self) {
        let end = {
            let Self { node, outbox, writer, frames, reader, .. } = &mut self;
            // Pinned in place: passed by value, the future would be twice in the task of every connection.
            let life = pin!(async {
                tokio::select! {
                    // The write loop comes last: what the others queue goes out in the same poll, with one system call.
                    biased;
                    end = reader.run(frames, outbox) => end,
                    () = node.serve_lagging(outbox) => CloseReason::InternalError.into(),
                    ended = write_on(writer) => match ended {
                        Ended::Closing(close) => close.into(),
                        Ended::Stuck => Close { reason: CloseReason::Slow, retry_after_ms: Some(SLOW_RETRY_MS) }.into(),
                        Ended::Lost => CloseReason::Lost.into(),
                    },
                }
            });
            end_of(life).await
        };
        // The session leaves every topic before the flush, or the queue might never become empty.
        let guard = self.reader.session.end();
        let reason = end.close.reason;
        counter!(names::CONNECTIONS_CLOSED, "reason" => reason.as_str()).increment(1);
        if reason == CloseReason::Slow {
            counter!(names::SLOW_CONSUMER_DISCONNECTS).increment(1);
        }
        tracing::debug!(reason = reason.as_str(), "closing");
        // Before the client sees the close frame, after which it may come back at once.
        self.young.ends(reason);
        // The codec's buffer, and the bytes of an unfinished message with it, go before the flush.
        let read = self.frames.into_read_half();
        let flush_timeout = self.node.config().limits.write_timeout;
        close(&mut self.writer, &self.outbox, read, end, flush_timeout).await;
        drop(guard);
        gauge!(names::CONNECTIONS).decrement(1.0);
    }
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
async fn close(writer: &mut Writer, outbox: &Outbox, mut read: ReadHalf, end: End, flush_timeout: Duration) {
    let Close { reason, retry_after_ms } = end.close;
    if reason == CloseReason::Lost {
        return;
    }
    let close_frame = (!end.is_answered).then(|| frame::close(reason.code(), &reason.text(retry_after_ms)));
    outbox.close(end.close);
    // A client without permission and a client that does not read get only the rest of a partly sent block.
    // A node without a place needs the file of the connection soon.
    let flush_timeout = if reason == CloseReason::Full { CLOSE_TIMEOUT } else { flush_timeout };
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
}

impl Reader {
    async fn run(&mut self, frames: &mut FrameReader, outbox: &Outbox) -> End {
        let auth_deadline = self.opened + self.session.auth_deadline();
        let mut waits_since = Instant::now();
        loop {
            let unfinished = &mut frames.io.unfinished;
            if self.session.user().is_some() {
                unfinished.bind();
            }
            let now = Instant::now();
            unfinished.paused(now - waits_since);
            let message_deadline = unfinished.deadline();
            let received = tokio::select! {
                biased;
                close = outbox.closing() => return close.into(),
                () = outbox.removed() => {
                    waits_since = Instant::now();
                    self.session.leave_removed();
                    continue;
                }
                () = tokio::time::sleep_until(auth_deadline), if !self.session.is_authenticated() => {
                    return CloseReason::NotAuthenticated.into();
                }
                () = until(message_deadline) => {
                    waits_since = Instant::now();
                    let unfinished = &mut frames.io.unfinished;
                    // While the outbox is full, nothing is read: the write timeout decides then.
                    if outbox.is_full() {
                        unfinished.paused(PAUSE);
                    } else if unfinished.deadline().is_some_and(|deadline| deadline <= waits_since) {
                        return unfinished::close().into();
                    }
                    continue;
                }
                received = next(frames, outbox, message_deadline.is_some()) => received,
                due = self.keepalive.due(outbox, self.session.away_at()) => {
                    waits_since = Instant::now();
                    frames.rest();
                    match due {
                        Due::Ping(payload) => {
                            self.session.ping_queued(payload);
                            outbox.reply(frame::ping(payload));
                        }
                        // While the outbox is full, nothing is read, pongs included: the write timeout decides then.
                        Due::Dead if outbox.is_full() => self.keepalive.frame_arrived(waits_since),
                        // A pong can't come in the middle of a long frame; the deadline of the message decides then.
                        Due::Dead if frames.io.take_read() => self.keepalive.frame_arrived(waits_since),
                        Due::Dead => return CloseReason::Idle.into(),
                        // While the outbox is full, nothing is read, requests included.
                        Due::Away if outbox.is_full() || outbox.is_stalled() => self.session.stay_present(),
                        Due::Away => self.session.leave_presence(),
                    }
                    continue;
                }
            };
            waits_since = Instant::now();
            self.keepalive.frame_arrived(waits_since);
            // What came with the frame says nothing of the time after it.
            frames.io.take_read();
            let cost = frames.io.take_cost();
            if cost > 0 {
                self.session.charge(cost).await;
            }
            let received = match received {
                Received::Frame(received) => received,
                Received::Part => continue,
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
                    self.keepalive.pong_arrived();
                    self.session.charge(1).await;
                    self.session.pong(&payload);
                }
                Some(Ok(Message::Close(_))) => {
                    frames.answer_close();
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
}

/// The next frame, read when the outbox has space for the answers to earlier ones. Cancel safe.
async fn next(frames: &mut FrameReader, outbox: &Outbox, has_deadline: bool) -> Received {
    outbox.has_room().await;
    poll_fn(|cx| match frames.poll_next(cx) {
        Poll::Ready(frame) => Poll::Ready(Received::Frame(frame)),
        Poll::Pending if frames.io.owes() => Poll::Ready(Received::Part),
        Poll::Pending if !has_deadline && frames.io.unfinished.deadline().is_some() => {
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
