//! Detection of dead peers. Owns the times of pings and the limit for silence; sends nothing itself. Used by the
//! connection's read loop.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::chat::Outbox;
use crate::config::Server;

/// How soon a private message is followed by a ping, whose pong proves that the message was received.
const PROOF_DELAY: Duration = Duration::from_secs(1);

/// The next thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a ping with this payload.
    Ping(u64),
    /// Close the connection: no data arrived in time after the last ping.
    Dead,
}

/// The keepalive state of one connection.
pub(super) struct Keepalive {
    interval: Duration,
    pong_timeout: Duration,
    next_ping: Instant,
    /// Set by a ping, cleared by any frame from the peer.
    answer_by: Option<Instant>,
    pings: u64,
}

impl Keepalive {
    /// The first ping is spread over the interval, so that connections opened at the same time don't ping at the same
    /// time.
    pub(super) fn new(settings: &Server) -> Self {
        let first = settings.ping_interval.mul_f64(rand::random_range(0.5..1.0));
        Self {
            interval: settings.ping_interval,
            pong_timeout: settings.pong_timeout,
            next_ping: Instant::now() + first,
            answer_by: None,
            pings: 0,
        }
    }

    /// Records that a frame arrived.
    pub(super) fn frame_arrived(&mut self) {
        self.answer_by = None;
    }

    /// Waits for the next thing to do. Cancel safe.
    pub(super) async fn due(&mut self, outbox: &Outbox) -> Due {
        loop {
            let at = self.answer_by.map_or(self.next_ping, |answer_by| answer_by.min(self.next_ping));
            tokio::select! {
                () = sleep_until(at) => {}
                () = outbox.ping_wanted() => {
                    self.next_ping = self.next_ping.min(Instant::now() + PROOF_DELAY);
                    continue;
                }
            }
            if self.answer_by.is_some_and(|answer_by| answer_by <= Instant::now()) {
                return Due::Dead;
            }
            self.next_ping = Instant::now() + self.interval.mul_f64(rand::random_range(0.8..1.2));
            self.answer_by.get_or_insert(Instant::now() + self.pong_timeout);
            self.pings += 1;
            return Due::Ping(self.pings);
        }
    }
}
