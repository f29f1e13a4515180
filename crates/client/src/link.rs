//! A connection that is opened again whenever it is lost. Owns the socket, its deadlines and the pauses between attempts;
//! knows no rooms and no positions. Called by the session.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatnode_protocol::{CloseReason, ErrorBody, retry_after};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{Sink, SinkExt, Stream};
use rand::Rng;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::header::RETRY_AFTER;
use tokio_tungstenite::tungstenite::http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::address::Address;
use crate::reason::{ClosedReason, LostReason};
use crate::text::harmless;
use crate::tls;

/// The time in which the node must answer a ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// After this time without a frame, the client sends a ping.
const PING_AFTER: Duration = Duration::from_secs(20);

/// The pauses have full jitter: the first is below this ceiling, which doubles with each attempt.
const FIRST_CEILING: Duration = Duration::from_secs(1);

/// The shortest pause, except before the first attempt.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// The highest ceiling.
const MAX_CEILING: Duration = Duration::from_secs(20);

/// The longest pause that the client accepts from a node. No node asks for more.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// More than the largest frame of a node, which is a page of history.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum Happened {
    Opened,
    Frame(String),
    /// It is lost; the next attempt starts at this time.
    Lost {
        reason: LostReason,
        until: Instant,
    },
    /// Another attempt is of no use.
    Refused(ClosedReason),
}

/// The connection, and the frames to send over it. Queued frames are lost with the connection: the caller learns of the loss
/// and knows what to send again.
pub(crate) struct Link {
    request: ClientRequestBuilder,
    connector: Connector,
    connect_timeout: Duration,
    phase: Phase,
    tries: u32,
    outgoing: VecDeque<Message>,
}

enum Phase {
    Waiting(Instant),
    Connecting(BoxFuture<'static, Result<Socket, Error>>),
    Open(Box<Open>),
    Refused,
}

struct Open {
    socket: Socket,
    /// When to send a ping, or to give up waiting for its answer.
    deadline: Instant,
    pinged: bool,
}

impl Link {
    /// Connects as soon as [`Link::next`] is called, over TLS if the address says so.
    pub(crate) fn new(address: Address) -> Self {
        let connector = address.tls.map_or(Connector::Plain, Connector::Rustls);
        Self {
            request: address.request,
            connector,
            connect_timeout: address.connect_timeout,
            phase: Phase::Waiting(Instant::now()),
            tries: 0,
            outgoing: VecDeque::new(),
        }
    }

    /// Queues a frame. The model bounds how many there are: it has one message of each topic in flight.
    pub(crate) fn send(&mut self, frame: String) {
        if matches!(self.phase, Phase::Open(_)) {
            self.outgoing.push_back(Message::text(frame));
        }
    }

    /// The user is signed in: the pauses begin again with the shortest.
    pub(crate) fn settled(&mut self) {
        self.tries = 0;
    }

    /// Closes the connection, since the node can't sign the user in now.
    pub(crate) fn restart(&mut self, error: ErrorBody) -> Happened {
        let ErrorBody { code, message, retry_after_ms, .. } = error;
        self.lost(LostReason::Unavailable { code, message }, retry_after_ms.map(Duration::from_millis))
    }

    /// Waits for the next event and moves the bytes meanwhile. Cancel safe: all state is in the link.
    pub(crate) async fn next(&mut self) -> Happened {
        loop {
            match &mut self.phase {
                Phase::Refused => std::future::pending().await,
                Phase::Waiting(until) => {
                    sleep_until(*until).await;
                    let connecting =
                        connect(self.request.clone(), self.connector.clone(), self.connect_timeout);
                    self.phase = Phase::Connecting(connecting.boxed());
                }
                Phase::Connecting(connecting) => match connecting.await {
                    Ok(socket) => {
                        let deadline = Instant::now() + PING_AFTER;
                        self.phase = Phase::Open(Box::new(Open { socket, deadline, pinged: false }));
                        return Happened::Opened;
                    }
                    Err(error) => return self.not_connected(&error),
                },
                Phase::Open(open) => {
                    let (outgoing, deadline) = (&mut self.outgoing, open.deadline);
                    let message = tokio::select! {
                        biased;
                        message = std::future::poll_fn(|cx| open.poll(cx, outgoing)) => message,
                        () = sleep_until(deadline) => {
                            if open.pinged {
                                return self.lost(LostReason::NoAnswer, None);
                            }
                            open.pinged = true;
                            open.deadline = Instant::now() + PONG_TIMEOUT;
                            outgoing.push_back(Message::Ping(Bytes::new()));
                            continue;
                        }
                    };
                    open.pinged = false;
                    open.deadline = Instant::now() + PING_AFTER;
                    match message {
                        Some(Ok(Message::Text(text))) => return Happened::Frame(text.as_str().to_owned()),
                        Some(Ok(Message::Close(frame))) => return self.closed(frame),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return self.lost(LostReason::Broken(error.to_string()), None),
                        None => return self.lost(LostReason::Broken("it ended".into()), None),
                    }
                }
            }
        }
    }

    /// Sends the queued frames and a close frame, so that others see at once that the user is gone.
    pub(crate) async fn close(mut self) {
        if let Phase::Open(open) = &mut self.phase {
            let closing = async {
                for message in self.outgoing {
                    open.socket.feed(message).await?;
                }
                open.socket.close(None).await
            };
            // A node that does not take it within a second notices by itself.
            let _taken = timeout(Duration::from_secs(1), closing).await;
        }
    }

    fn closed(&mut self, frame: Option<CloseFrame>) -> Happened {
        let Some(CloseFrame { code, reason: text }) = frame else {
            return self.lost(LostReason::ClosedWith { code: 1005, text: String::new() }, None);
        };
        let code = u16::from(code);
        let reason = CloseReason::from_code(code, &text);
        match reason {
            Some(CloseReason::TokenRevoked) => return self.refuse(ClosedReason::TokenRevoked),
            Some(CloseReason::Removed) => return self.refuse(ClosedReason::Removed),
            _ => {}
        }
        // The fault is this client's: a fast retry would not help.
        if matches!(code, 1002 | 1003 | 1007 | 1008 | 1009) {
            self.tries = self.tries.max(4);
        }
        let text = harmless(&text);
        let pause = retry_after(&text);
        self.lost(reason.map_or(LostReason::ClosedWith { code, text }, LostReason::Closed), pause)
    }

    fn not_connected(&mut self, error: &Error) -> Happened {
        let Error::Http(response) = error else {
            let why = match error {
                Error::Io(error) => tls::explain(error).unwrap_or_else(|| error.to_string()),
                other => other.to_string(),
            };
            return self.lost(LostReason::CantConnect(why), None);
        };
        match response.status() {
            StatusCode::UNAUTHORIZED => self.refuse(ClosedReason::TokenRejected),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                self.lost(LostReason::Status(status.as_u16()), retry_after_seconds(response))
            }
            status => self.refuse(ClosedReason::NotANode { status: status.as_u16() }),
        }
    }

    fn refuse(&mut self, reason: ClosedReason) -> Happened {
        self.phase = Phase::Refused;
        Happened::Refused(reason)
    }

    fn lost(&mut self, reason: LostReason, pause: Option<Duration>) -> Happened {
        self.outgoing.clear();
        let pause = pause.map(|pause| pause.min(MAX_RETRY_AFTER));
        let until = Instant::now() + pause.unwrap_or_else(|| jitter(self.tries));
        self.tries += 1;
        self.phase = Phase::Waiting(until);
        Happened::Lost { reason, until }
    }
}

impl Open {
    /// Writes what can be written, then reads one message.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &mut VecDeque<Message>,
    ) -> Poll<Option<Result<Message, Error>>> {
        let mut socket = std::pin::Pin::new(&mut self.socket);
        while !outgoing.is_empty() {
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => break,
            }
            if let Some(message) = outgoing.pop_front()
                && let Err(error) = socket.as_mut().start_send(message)
            {
                return Poll::Ready(Some(Err(error)));
            }
        }
        // A close frame may be there to read although writing fails; it tells more.
        let flushed = socket.as_mut().poll_flush(cx);
        let message = socket.as_mut().poll_next(cx);
        match (message, flushed) {
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Some(Err(error))),
            (message, _) => Poll::Ready(ready!(message)),
        }
    }
}

async fn connect(
    request: ClientRequestBuilder,
    connector: Connector,
    deadline: Duration,
) -> Result<Socket, Error> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES));
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    let (socket, _) = timeout(deadline, connecting)
        .await
        .map_err(|_| Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer")))??;
    Ok(socket)
}

/// A pause with full jitter.
fn jitter(tries: u32) -> Duration {
    let ceiling = FIRST_CEILING.saturating_mul(1 << tries.min(10)).min(MAX_CEILING);
    let least = if tries == 0 { Duration::ZERO } else { MIN_PAUSE };
    rand::rng().random_range(least..ceiling)
}

/// The seconds of `Retry-After`.
fn retry_after_seconds<T>(response: &Response<T>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_have_full_jitter_between_their_bounds() {
        for tries in 0..40 {
            for _ in 0..20 {
                let pause = jitter(tries);
                let least = if tries == 0 { Duration::ZERO } else { MIN_PAUSE };
                let most =
                    [1, 2, 4, 8, 16].get(tries as usize).map_or(MAX_CEILING, |s| Duration::from_secs(*s));
                assert!(least <= pause && pause < most, "{tries}: {pause:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_close_frame_decides_when_and_whether_to_reconnect() {
        let close = |code: u16, reason: &str| {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            Link::new(Address::parse("ws://127.0.0.1:9/").unwrap()).closed(Some(frame))
        };
        let Happened::Lost { until, reason } = close(1012, "retry_after_ms=5000") else { panic!() };
        let wait = until - Instant::now();
        assert!(wait > Duration::from_secs(4) && wait <= Duration::from_secs(5), "{wait:?}");
        assert_eq!(reason, LostReason::Closed(CloseReason::Restarting));
        assert!(matches!(close(4004, "idle"), Happened::Lost { .. }));
        assert!(matches!(close(4001, ""), Happened::Refused(ClosedReason::TokenRevoked)));
        assert!(matches!(close(4003, ""), Happened::Refused(ClosedReason::Removed)));
    }
}
