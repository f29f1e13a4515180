//! A connection that is opened again whenever it is lost. Owns the socket, its deadlines and the pauses between attempts;
//! knows no rooms and no positions. Called by the session.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chatnode_protocol::{CloseReason, ErrorBody, ErrorCode, retry_after};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{Sink, SinkExt, Stream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::header::RETRY_AFTER;
use tokio_tungstenite::tungstenite::http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::address::{Address, BearerToken};
use crate::back_off::BackOff;
use crate::reason::{ClosedReason, LostReason};
use crate::silence::Silence;
use crate::text::harmless;
use crate::tls;

/// The time in which the node must answer a ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// After this time without a frame from the node, the client sends a ping.
const PING_AFTER: Duration = Duration::from_secs(20);

/// The highest ceiling of the pauses between attempts.
const MAX_PAUSE: Duration = Duration::from_secs(20);

/// A connection on which the user was signed in for this time is a good one: the next pauses may be short. A fault that ends
/// each connection soon after the sign-in must not bring the client back every second.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// So many attempts were in vain, as far as the next pause is concerned, if the fault may be this client's.
const TRIES_IN_DOUBT: u32 = 3;

/// The same if the fault is certainly this client's.
const TRIES_AT_FAULT: u32 = 4;

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
    token: Option<BearerToken>,
    connector: Connector,
    connect_timeout: Duration,
    phase: Phase,
    back_off: BackOff,
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
    silence: Silence,
    /// When the user was signed in on this connection.
    signed_in: Option<Instant>,
}

impl Link {
    /// Connects as soon as [`Link::next`] is called, over TLS if the address says so.
    pub(crate) fn new(address: Address) -> Self {
        let connector = address.tls.map_or(Connector::Plain, Connector::Rustls);
        Self {
            request: address.request,
            token: address.token,
            connector,
            connect_timeout: address.connect_timeout,
            phase: Phase::Waiting(Instant::now()),
            back_off: BackOff::default(),
            outgoing: VecDeque::new(),
        }
    }

    /// Shows this token at the next handshakes.
    pub(crate) fn set_token(&mut self, token: BearerToken) {
        self.token = Some(token);
    }

    /// Queues a frame. The model bounds how many there are: it has one message of each topic in flight.
    pub(crate) fn send(&mut self, frame: String) {
        if matches!(self.phase, Phase::Open(_)) {
            self.outgoing.push_back(Message::text(frame));
        }
    }

    /// The user is signed in. Once this has lasted for some time, the pauses begin again with the shortest.
    pub(crate) fn settled(&mut self) {
        if let Phase::Open(open) = &mut self.phase {
            open.signed_in.get_or_insert_with(Instant::now);
        }
    }

    /// The node closes a connection on which it hears nothing for this time, if it says so.
    pub(crate) fn set_idle_timeout(&mut self, timeout: Option<Duration>) {
        if let Phase::Open(open) = &mut self.phase {
            open.silence.limit(timeout);
        }
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
                    let request = self.request.clone();
                    let request = match &self.token {
                        Some(token) => token.add_to(request),
                        None => request,
                    };
                    let connecting = connect(request, self.connector.clone(), self.connect_timeout);
                    self.phase = Phase::Connecting(connecting.boxed());
                }
                Phase::Connecting(connecting) => match connecting.await {
                    Ok(socket) => {
                        let deadline = Instant::now() + PING_AFTER;
                        let silence = Silence::new();
                        let open = Open { socket, deadline, pinged: false, silence, signed_in: None };
                        self.phase = Phase::Open(Box::new(open));
                        return Happened::Opened;
                    }
                    Err(error) => return self.not_connected(&error),
                },
                Phase::Open(open) => {
                    let (outgoing, deadline) = (&mut self.outgoing, open.deadline);
                    let silent_until = open.silence.until();
                    let message = tokio::select! {
                        biased;
                        message = std::future::poll_fn(|cx| open.poll(cx, outgoing)) => message,
                        () = sleep_until(silent_until) => {
                            open.ping(outgoing);
                            continue;
                        }
                        () = sleep_until(deadline) => {
                            if open.pinged {
                                return self.lost(LostReason::NoAnswer, None);
                            }
                            open.pinged = true;
                            open.deadline = Instant::now() + PONG_TIMEOUT;
                            open.ping(outgoing);
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

    /// Writes what is queued, and pings, without reading. Never ends. While a client does not read, it answers no ping of the
    /// node, which would take it for dead. Cancel safe.
    pub(crate) async fn speak(&mut self) {
        while let Phase::Open(open) = &mut self.phase {
            let (outgoing, silent_until) = (&mut self.outgoing, open.silence.until());
            tokio::select! {
                biased;
                // Whoever reads next learns of it.
                _error = std::future::poll_fn(|cx| open.poll_write(cx, outgoing)) => break,
                () = sleep_until(silent_until) => open.ping(outgoing),
            }
        }
        std::future::pending().await
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
        let pause = retry_after(&text);
        let was_signed_in = matches!(&self.phase, Phase::Open(open) if open.signed_in.is_some());
        let tries = match code {
            // Whatever the code is: the node expects the client back.
            _ if pause.is_some() => 0,
            4001 => return self.refuse(ClosedReason::TokenRevoked),
            4003 => return self.refuse(ClosedReason::Removed),
            // Also how balancers and libraries report a lost connection, and codes that they do not know.
            1000 | 1002 if was_signed_in => TRIES_IN_DOUBT,
            1002 | 1003 | 1007 | 1008 | 1009 => TRIES_AT_FAULT,
            _ => 0,
        };
        let text = harmless(&text);
        let reason = reason.map_or(LostReason::ClosedWith { code, text }, LostReason::Closed);
        self.lost_after(reason, pause, tries)
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
            // A node says why: the user is banned from the server, or the origin is not allowed.
            StatusCode::FORBIDDEN if response.body().as_ref().is_some_and(|why| !why.is_empty()) => {
                let why = response.body().as_deref().unwrap_or_default();
                let message = harmless(String::from_utf8_lossy(why).trim());
                self.refuse(ClosedReason::Refused { code: ErrorCode::Forbidden.into(), message })
            }
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
        self.lost_after(reason, pause, 0)
    }

    /// The pause is at least as long as after so many attempts.
    fn lost_after(&mut self, reason: LostReason, pause: Option<Duration>, tries: u32) -> Happened {
        if let Phase::Open(open) = &self.phase
            && open.signed_in.is_some_and(|since| since.elapsed() >= STABLE_AFTER)
        {
            self.back_off.reset();
        }
        self.back_off.slow_down(tries);
        self.outgoing.clear();
        let until = Instant::now() + self.back_off.next(pause, MAX_PAUSE);
        self.phase = Phase::Waiting(until);
        Happened::Lost { reason, until }
    }
}

impl Open {
    /// Queues a ping: the node hears the client, and has to answer.
    fn ping(&mut self, outgoing: &mut VecDeque<Message>) {
        outgoing.push_back(Message::Ping(Bytes::new()));
        self.silence.ends();
    }

    /// Writes what can be written. Ready only with an error.
    fn poll_write(&mut self, cx: &mut Context<'_>, outgoing: &mut VecDeque<Message>) -> Poll<Error> {
        let mut socket = std::pin::Pin::new(&mut self.socket);
        while !outgoing.is_empty() {
            match socket.as_mut().poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => break,
            }
            if let Some(message) = outgoing.pop_front()
                && let Err(error) = socket.as_mut().start_send(message)
            {
                return Poll::Ready(error);
            }
            self.silence.ends();
        }
        match socket.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what can be written, then reads one message.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &mut VecDeque<Message>,
    ) -> Poll<Option<Result<Message, Error>>> {
        // A close frame may be there to read although writing fails; it tells more.
        let failed = self.poll_write(cx, outgoing);
        let message = std::pin::Pin::new(&mut self.socket).poll_next(cx);
        match (message, failed) {
            (Poll::Pending, Poll::Ready(error)) => Poll::Ready(Some(Err(error))),
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

/// The seconds of `Retry-After`.
fn retry_after_seconds<T>(response: &Response<T>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests;
