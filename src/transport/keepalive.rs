//! Whether the other end still lives. Owns when to ping and when silence is too long; queues nothing itself. Asked by the
//! connection's read loop.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::chat::Outbox;
use crate::config::Server;

/// A ping that proves a private message soon after it was queued.
const PROOF_DELAY: Duration = Duration::from_secs(1);

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping with this payload.
    Ping(u64),
    /// Nothing came in time after the last ping.
    Dead,
}

/// One connection's silence.
pub(super) struct Keepalive {
    interval: Duration,
    pong_timeout: Duration,
    next_ping: Instant,
    /// Set by a ping, cleared by whatever comes.
    answer_by: Option<Instant>,
    pings: u64,
}

impl Keepalive {
    /// Spread over the interval, so that connections made at once don't ping at once.
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

    /// A frame came.
    pub(super) fn heard(&mut self) {
        self.answer_by = None;
    }

    /// Waits for the next thing to do. Safe to drop at any point.
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
