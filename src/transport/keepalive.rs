//! Detection of dead peers. Owns the times of pings and the limit for silence, and waits for the session's limit too; sends
//! nothing itself. Used by the connection's read loop.

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
    /// Close the connection: no data arrived in time after the ping that asked for it.
    Dead,
    /// No request came until the time at which the user no longer counts as present.
    Away,
}

/// The keepalive state of one connection.
pub(super) struct Keepalive {
    interval: Duration,
    pong_timeout: Duration,
    /// When the last frame arrived.
    heard: Instant,
    /// The silence after which the node asks: the interval and up to a fifth more, so that connections opened at the same
    /// time don't ping at the same time. Never less: clients are told how long they may be silent.
    patience: Duration,
    /// When the peer counts as dead. Set by the ping that ends the silence, cleared by any frame.
    dead_at: Option<Instant>,
    /// When a ping has to prove that a message arrived.
    proof_at: Option<Instant>,
    /// Until when the node waits for the pong of its last ping. Until then, no other ping has to prove anything.
    answer_by: Option<Instant>,
    pings: u64,
}

impl Keepalive {
    pub(super) fn new(settings: &Server) -> Self {
        let mut keepalive = Self {
            interval: settings.ping_interval,
            pong_timeout: settings.pong_timeout,
            heard: Instant::now(),
            patience: settings.ping_interval,
            dead_at: None,
            proof_at: None,
            answer_by: None,
            pings: 0,
        };
        keepalive.draw_patience();
        keepalive
    }

    fn draw_patience(&mut self) {
        self.patience = self.interval.mul_f64(rand::random_range(1.0..1.2));
    }

    /// Records that a frame arrived.
    pub(super) fn frame_arrived(&mut self, now: Instant) {
        self.heard = now;
        self.dead_at = None;
    }

    /// Records that a pong arrived, whatever it proves.
    pub(super) fn pong_arrived(&mut self) {
        self.answer_by = None;
    }

    /// When the next ping has to prove a message, if one has to.
    fn proof_due(&self) -> Option<Instant> {
        let proof_at = self.proof_at?;
        Some(self.answer_by.map_or(proof_at, |answer_by| proof_at.max(answer_by)))
    }

    /// Waits for the next thing to do. The user is away at `away_at`. Cancel safe.
    pub(super) async fn due(&mut self, outbox: &Outbox, away_at: Option<Instant>) -> Due {
        loop {
            let silent_at = self.dead_at.unwrap_or(self.heard + self.patience);
            let deadlines = [self.proof_due(), away_at].into_iter().flatten();
            let at = deadlines.fold(silent_at, Instant::min);
            tokio::select! {
                () = sleep_until(at) => {}
                () = outbox.ping_wanted() => {
                    self.proof_at = Some(Instant::now() + PROOF_DELAY);
                    continue;
                }
            }
            let now = Instant::now();
            if self.dead_at.is_some_and(|dead_at| dead_at <= now) {
                return Due::Dead;
            }
            if away_at.is_some_and(|away_at| away_at <= now) {
                return Due::Away;
            }
            // A ping that only proves a message asks for no sign of life: a client may answer none, and send requests instead.
            if self.dead_at.is_none() && self.heard + self.patience <= now {
                self.dead_at = Some(now + self.pong_timeout);
            }
            self.draw_patience();
            self.proof_at = None;
            self.answer_by = Some(now + self.pong_timeout);
            self.pings += 1;
            outbox.ping_sent();
            return Due::Ping(self.pings);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;
    use crate::protocol::ConnectionId;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    struct Peer {
        keepalive: Keepalive,
        outbox: Outbox,
        start: Instant,
    }

    impl Peer {
        fn new() -> Self {
            let settings = Server {
                ping_interval: INTERVAL,
                pong_timeout: TIMEOUT,
                ..crate::config::Config::default().server
            };
            let outbox = Outbox::new(ConnectionId::generate(), 1 << 10, Arc::default());
            Self { keepalive: Keepalive::new(&settings), outbox, start: Instant::now() }
        }

        /// What is due next, and the seconds since the start at that time.
        async fn next(&mut self) -> (Due, f64) {
            let due = self.keepalive.due(&self.outbox, None).await;
            (due, self.start.elapsed().as_secs_f64())
        }

        /// What is due until this moment.
        async fn until(&mut self, at: Duration) -> Vec<Due> {
            let mut found = Vec::new();
            let until = self.start + at;
            while let Ok(due) = tokio::time::timeout_at(until, self.keepalive.due(&self.outbox, None)).await {
                found.push(due);
            }
            found
        }

        fn frame(&mut self) {
            self.keepalive.frame_arrived(Instant::now());
        }

        fn pong(&mut self) {
            self.frame();
            self.keepalive.pong_arrived();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_peer_is_pinged_once_and_then_dead() {
        for _ in 0..20 {
            let mut peer = Peer::new();
            let (ping, at) = peer.next().await;
            assert_eq!(ping, Due::Ping(1));
            assert!((25.0..30.1).contains(&at), "{at}");
            let (dead, then) = peer.next().await;
            assert_eq!(dead, Due::Dead);
            assert!((then - at - 10.0).abs() < 0.1, "{then}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_the_last_frame() {
        let mut peer = Peer::new();
        for seconds in (20..=200).step_by(20) {
            assert_eq!(peer.until(Duration::from_secs(seconds)).await, [], "{seconds}");
            peer.frame();
        }
        // Half of what clients are told, with a peer that answers no ping.
        let told = (INTERVAL + TIMEOUT) / 2;
        for turn in 0..10 {
            let until = Duration::from_secs(200) + told * turn;
            assert_eq!(peer.until(until).await, [], "{turn}");
            peer.frame();
        }
        let last = peer.start.elapsed().as_secs_f64();
        let ((ping, at), (dead, _)) = (peer.next().await, peer.next().await);
        assert_eq!((ping, dead), (Due::Ping(1), Due::Dead));
        assert!((25.0..30.1).contains(&(at - last)), "{at}");
    }

    #[tokio::test(start_paused = true)]
    async fn peer_that_answers_is_pinged_again_after_the_same_silence() {
        let mut peer = Peer::new();
        let mut last = 0.0;
        for turn in 1..10 {
            let (ping, at) = peer.next().await;
            assert_eq!(ping, Due::Ping(turn));
            assert!((25.0..30.1).contains(&(at - last)), "{at}");
            tokio::time::advance(SECOND * 9).await;
            peer.pong();
            last = at + 9.0;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ping_that_proves_a_message_starts_no_deadline() {
        let mut peer = Peer::new();
        peer.outbox.want_ping();
        let (ping, at) = peer.next().await;
        assert_eq!(ping, Due::Ping(1));
        assert!((1.0..1.1).contains(&at), "{at}");
        // Nothing answers it: the next ping is the one for the silence, and its deadline is the first.
        assert_eq!(peer.until(SECOND * 24).await, []);
        let ((ping, at), (dead, _)) = (peer.next().await, peer.next().await);
        assert_eq!((ping, dead), (Due::Ping(2), Due::Dead));
        assert!((25.0..30.1).contains(&at), "{at}");
    }

    #[tokio::test(start_paused = true)]
    async fn proof_waits_for_the_pong_and_not_for_ever() {
        let mut peer = Peer::new();
        peer.outbox.want_ping();
        assert_eq!(peer.next().await.0, Due::Ping(1));
        peer.outbox.want_ping();
        // The first ping is given up 10 s after it was sent.
        let (ping, at) = peer.next().await;
        assert_eq!(ping, Due::Ping(2));
        assert!((11.0..11.1).contains(&at), "{at}");
        peer.outbox.want_ping();
        assert_eq!(peer.until(SECOND * 15).await, []);
        peer.pong();
        let (ping, at) = peer.next().await;
        assert_eq!(ping, Due::Ping(3));
        assert!((15.0..15.1).contains(&at), "{at}");
        assert!(peer.outbox.ping_wanted().now_or_never().is_none());
    }
}
