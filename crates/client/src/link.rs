//! The connection that comes back. Owns the socket, its deadlines and the pauses between tries; knows no rooms and no
//! positions. Called by the session.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::{Sink, Stream};
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
use crate::text::harmless;
use crate::tls;

/// For a connection to stand, and for a ping to be answered.
const DEADLINE: Duration = Duration::from_secs(10);

/// A connection that was silent for so long is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(20);

/// Full jitter: the first try within this, later ones up to a ceiling that doubles from it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The least wait of later tries.
const LEAST_WAIT: Duration = Duration::from_millis(500);

/// The ceiling of the ceiling.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// No node asks for more: who does is not to be believed.
const MOST_WAIT: Duration = Duration::from_secs(300);

/// More than the largest frame of a node, a page of history.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum Event {
    Opened,
    Frame(String),
    /// Gone; the next try comes `until` then.
    Lost {
        why: String,
        until: Instant,
    },
    /// There is no use in trying again.
    Refused(String),
}

/// The connection, and what is to be sent over it. What is queued is lost with the connection: who queued it hears of the
/// loss and knows what to say again.
pub(crate) struct Link {
    request: ClientRequestBuilder,
    connector: Connector,
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
    /// When the silence becomes too long, or the ping's answer.
    deadline: Instant,
    pinged: bool,
}

impl Link {
    /// Connects as soon as [`Link::next`] is called, over TLS where the address says so.
    pub(crate) fn new(address: Address) -> Self {
        let connector = address.tls.map_or(Connector::Plain, Connector::Rustls);
        Self {
            request: address.request,
            connector,
            phase: Phase::Waiting(Instant::now()),
            tries: 0,
            outgoing: VecDeque::new(),
        }
    }

    /// Queues a frame. How many can be queued is the model's to bound: it has one publish per conversation in flight.
    pub(crate) fn send(&mut self, frame: String) {
        if matches!(self.phase, Phase::Open(_)) {
            self.outgoing.push_back(Message::text(frame));
        }
    }

    /// The node took us in: the next loss is a new one.
    pub(crate) fn settled(&mut self) {
        self.tries = 0;
    }

    /// Gives the connection up and tries again, after this time where one is given.
    pub(crate) fn restart(&mut self, wait: Option<Duration>) -> Event {
        self.lost("the node can't serve us now", wait)
    }

    /// Waits for the next event and moves the bytes meanwhile. Cancel safe: all state is in the link.
    pub(crate) async fn next(&mut self) -> Event {
        loop {
            match &mut self.phase {
                Phase::Refused => std::future::pending().await,
                Phase::Waiting(until) => {
                    sleep_until(*until).await;
                    self.phase =
                        Phase::Connecting(connect(self.request.clone(), self.connector.clone()).boxed());
                }
                Phase::Connecting(connecting) => match connecting.await {
                    Ok(socket) => {
                        let deadline = Instant::now() + SILENCE;
                        self.phase = Phase::Open(Box::new(Open { socket, deadline, pinged: false }));
                        return Event::Opened;
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
                                return self.lost("the node does not answer", None);
                            }
                            open.pinged = true;
                            open.deadline = Instant::now() + DEADLINE;
                            outgoing.push_back(Message::Ping(Bytes::new()));
                            continue;
                        }
                    };
                    open.pinged = false;
                    open.deadline = Instant::now() + SILENCE;
                    match message {
                        Some(Ok(Message::Text(text))) => return Event::Frame(text.as_str().to_owned()),
                        Some(Ok(Message::Close(frame))) => return self.closed(frame),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return self.lost(&error.to_string(), None),
                        None => return self.lost("the connection was lost", None),
                    }
                }
            }
        }
    }

    /// Says goodbye, so that others see at once that we are gone.
    pub(crate) async fn close(mut self) {
        if let Phase::Open(open) = &mut self.phase {
            let goodbye = open.socket.close(None);
            // Who does not take it within a second finds out by itself.
            let _taken = timeout(Duration::from_secs(1), goodbye).await;
        }
    }

    fn closed(&mut self, frame: Option<CloseFrame>) -> Event {
        let Some(CloseFrame { code, reason }) = frame else {
            return self.lost("the node closed the connection", None);
        };
        let code = u16::from(code);
        let final_word = match code {
            4001 => Some("the token was revoked or has expired: get a new one"),
            4003 => Some("removed by an administrator"),
            _ => None,
        };
        if let Some(why) = final_word {
            return self.refuse(why.into());
        }
        // Our own fault: more haste would not make it better.
        if matches!(code, 1002 | 1003 | 1007 | 1008 | 1009) {
            self.tries = self.tries.max(4);
        }
        let wait = reason.split("retry_after_ms=").nth(1).and_then(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok().map(Duration::from_millis)
        });
        let why = match code {
            1001 | 1012 => "the node is restarting".into(),
            1013 => "the node is full".into(),
            4002 => "we read too slowly".into(),
            _ => format!("the node closed the connection: {code} {}", harmless(&reason)),
        };
        self.lost(&why, wait)
    }

    fn not_connected(&mut self, error: &Error) -> Event {
        let Error::Http(response) = error else {
            let why = match error {
                Error::Io(error) => match tls::explain(error) {
                    Some(why) => format!("can't connect: {why}"),
                    None => format!("can't connect: {error}"),
                },
                other => format!("can't connect: {other}"),
            };
            return self.lost(&why, None);
        };
        match response.status() {
            StatusCode::UNAUTHORIZED => self.refuse("the node does not accept the token".into()),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                self.lost(&format!("the node answers {status}"), retry_after(response))
            }
            status => self.refuse(format!("no chat there: the answer is {status}")),
        }
    }

    fn refuse(&mut self, why: String) -> Event {
        self.phase = Phase::Refused;
        Event::Refused(why)
    }

    fn lost(&mut self, why: &str, wait: Option<Duration>) -> Event {
        self.outgoing.clear();
        let wait = wait.map(|wait| wait.min(MOST_WAIT));
        let until = Instant::now() + wait.unwrap_or_else(|| pause(self.tries));
        self.tries += 1;
        self.phase = Phase::Waiting(until);
        Event::Lost { why: why.to_owned(), until }
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

async fn connect(request: ClientRequestBuilder, connector: Connector) -> Result<Socket, Error> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES));
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    let (socket, _) = timeout(DEADLINE, connecting)
        .await
        .map_err(|_| Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer")))??;
    Ok(socket)
}

/// Full jitter.
fn pause(tries: u32) -> Duration {
    let ceiling = FIRST_WAIT.saturating_mul(1 << tries.min(10)).min(LONGEST_WAIT);
    let floor = if tries == 0 { Duration::ZERO } else { LEAST_WAIT };
    rand::rng().random_range(floor..ceiling)
}

/// The seconds of `Retry-After`.
fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_full_jitter_between_their_bounds() {
        for tries in 0..40 {
            for _ in 0..20 {
                let pause = pause(tries);
                let least = if tries == 0 { Duration::ZERO } else { LEAST_WAIT };
                let most =
                    [1, 2, 4, 8, 16].get(tries as usize).map_or(LONGEST_WAIT, |s| Duration::from_secs(*s));
                assert!(least <= pause && pause < most, "{tries}: {pause:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_close_says_when_to_come_again_and_whether() {
        let close = |code: u16, reason: &str| {
            let frame = CloseFrame { code: code.into(), reason: reason.into() };
            Link::new(Address::parse("ws://127.0.0.1:9/").unwrap()).closed(Some(frame))
        };
        let Event::Lost { until, .. } = close(1012, "retry_after_ms=5000") else { panic!() };
        let wait = until - Instant::now();
        assert!(wait > Duration::from_secs(4) && wait <= Duration::from_secs(5), "{wait:?}");
        assert!(matches!(close(4004, "idle"), Event::Lost { .. }));
        assert!(matches!(close(4001, ""), Event::Refused(why) if why.contains("token")));
        assert!(matches!(close(4003, ""), Event::Refused(why) if why.contains("administrator")));
    }
}
