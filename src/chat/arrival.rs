//! The proof that private messages arrived. Owns what counts as proof on a connection, which of its pings are not answered
//! yet, and how far its user's private log had been sent when each was queued. Used by the session; the transport sends
//! the pings.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::activity::ClientKind;
use crate::protocol::Position;

/// Pings that a client with a slow line may leave unanswered before the proof of arrival waits.
const MAX_AWAITED: usize = 8;

/// What proves that a client has what it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// The pong of a ping that was sent afterwards: the program that answers is the one that reads.
    Pong,
    /// A request after that pong. A browser answers pings by itself, also for a page that it only keeps to show it again.
    Request,
    /// The client says so: it has sent `received`.
    Received,
}

/// What an empty pong says. Some libraries answer each ping with one (lxzan/gws), others send them unasked (RFC 6455, 5.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EmptyPong {
    /// It answers a ping, but the ping before was not answered by exactly one: it may have come by chance.
    Unproven,
    /// It answers a ping as the one before answered its own: it proves what was sent before its ping.
    Proves,
    /// Nothing: the client has sent a pong that no ping asked for, or one with a payload.
    Nothing,
}

/// A ping that is not answered yet.
#[derive(Debug)]
struct Awaited {
    payload: u64,
    /// How far the private log had been sent; none on a connection that is bound to no user.
    sent: Option<Position>,
    /// From then on, only a pong with its payload answers it.
    given_up_at: Instant,
}

/// What a pong means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    Nothing,
    /// Everything up to this position arrived.
    Arrived(Position),
    /// The pong of another ping is needed to know.
    AskAgain,
}

/// What is sent and not proved to have arrived: pings that are not answered yet, at most [`MAX_AWAITED`].
#[derive(Debug)]
pub(super) struct Arrival {
    proof: Proof,
    empty_pong: EmptyPong,
    awaited: VecDeque<Awaited>,
    /// A pong came for this, and no request yet.
    answered: Option<Position>,
}

impl Arrival {
    pub(super) fn new(kind: ClientKind) -> Self {
        let proof = match kind {
            ClientKind::Browser => Proof::Request,
            ClientKind::Program => Proof::Pong,
        };
        Self::proved_by(proof)
    }

    fn proved_by(proof: Proof) -> Self {
        Self { proof, empty_pong: EmptyPong::Unproven, awaited: VecDeque::new(), answered: None }
    }

    /// A ping with this payload is queued, behind the message at `sent` if the connection is bound to a user.
    pub(super) fn ping_queued(&mut self, payload: u64, sent: Option<Position>, given_up_at: Instant) {
        if self.proof == Proof::Received {
            return;
        }
        // A client that answers late answers all the same: of too many only the newest is replaced.
        self.awaited.truncate(MAX_AWAITED - 1);
        self.awaited.push_back(Awaited { payload, sent, given_up_at });
    }

    /// A pong came. It answers the pings before its own too, since a client need not answer each.
    pub(super) fn pong(&mut self, payload: &[u8], now: Instant) -> Answer {
        let answer = if payload.is_empty() { self.empty_pong(now) } else { self.echo(payload) };
        if self.awaited.is_empty() {
            // Its allocation would live as long as the connection.
            self.awaited = VecDeque::new();
        }
        match (answer, self.proof) {
            (Answer::Arrived(sent), Proof::Request) => {
                self.answered = Some(sent);
                Answer::Nothing
            }
            (_, Proof::Received) => Answer::Nothing,
            (answer, _) => answer,
        }
    }

    fn echo(&mut self, payload: &[u8]) -> Answer {
        self.empty_pong = EmptyPong::Nothing;
        let payload = payload.try_into().map(u64::from_be_bytes).ok();
        let Some(index) = self.awaited.iter().position(|ping| Some(ping.payload) == payload) else {
            return Answer::Nothing;
        };
        let mut answered = self.awaited.drain(..=index).filter_map(|ping| ping.sent);
        answered.next_back().map_or(Answer::Nothing, Answer::Arrived)
    }

    fn empty_pong(&mut self, now: Instant) -> Answer {
        if self.empty_pong == EmptyPong::Nothing {
            return Answer::Nothing;
        }
        while self.awaited.front().is_some_and(|ping| ping.given_up_at <= now) {
            self.awaited.pop_front();
            self.empty_pong = EmptyPong::Unproven;
        }
        let Some(ping) = self.awaited.pop_front() else {
            self.empty_pong = EmptyPong::Nothing;
            return Answer::Nothing;
        };
        let says = std::mem::replace(&mut self.empty_pong, EmptyPong::Proves);
        match ping.sent {
            Some(sent) if says == EmptyPong::Proves => Answer::Arrived(sent),
            Some(_) => Answer::AskAgain,
            None => Answer::Nothing,
        }
    }

    /// A request came. Returns what it proves. `says_received`: it has a position, which alone counts from now on.
    pub(super) fn request(&mut self, says_received: bool) -> Option<Position> {
        if says_received && self.proof != Proof::Received {
            *self = Self::proved_by(Proof::Received);
        }
        self.answered.take()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::{Epoch, MessageId};

    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A connection whose n-th ping is queued behind the message with `seq` 10 n.
    struct Pinged {
        arrival: Arrival,
        epoch: Epoch,
        now: Instant,
        pings: u64,
    }

    impl Pinged {
        fn new(kind: ClientKind) -> Self {
            Self { arrival: Arrival::new(kind), epoch: Epoch::generate(), now: Instant::now(), pings: 0 }
        }

        fn with(kind: ClientKind, pings: u64) -> Self {
            let mut pinged = Self::new(kind);
            (0..pings).for_each(|_| pinged.ping());
            pinged
        }

        fn at(&self, ping: u64) -> Position {
            Position { epoch: self.epoch, seq: 10 * ping, message_id: MessageId::NONE }
        }

        fn ping(&mut self) {
            self.pings += 1;
            let sent = self.at(self.pings);
            self.arrival.ping_queued(self.pings, Some(sent), self.now + TIMEOUT);
        }

        fn pong(&mut self, payload: &[u8]) -> Answer {
            self.arrival.pong(payload, self.now)
        }

        /// The pong with the payload of this ping.
        fn echo(&mut self, ping: u64) -> Answer {
            self.pong(&ping.to_be_bytes())
        }

        /// An empty pong after a new ping.
        fn ping_and_empty_pong(&mut self) -> Answer {
            self.ping();
            self.pong(b"")
        }

        fn arrived(&self, ping: u64) -> Answer {
            Answer::Arrived(self.at(ping))
        }
    }

    #[test]
    fn pong_proves_what_was_sent_before_its_ping() {
        let mut pinged = Pinged::with(ClientKind::Program, 3);
        assert_eq!(pinged.pong(b"not ours"), Answer::Nothing);
        assert_eq!(pinged.echo(2), pinged.arrived(2));
        assert_eq!(pinged.echo(1), Answer::Nothing, "the later pong answered it");
        pinged.now += 2 * TIMEOUT;
        assert_eq!(pinged.echo(3), pinged.arrived(3), "however late");
        assert_eq!(pinged.arrival.request(false), None);
    }

    #[test]
    fn pong_proves_nothing_before_the_connection_has_a_user() {
        for payload in [&b""[..], &2_u64.to_be_bytes()] {
            let mut pinged = Pinged::new(ClientKind::Program);
            for ping in 1..=2 {
                pinged.arrival.ping_queued(ping, None, pinged.now + TIMEOUT);
            }
            assert_eq!(pinged.pong(payload), Answer::Nothing);
        }
    }

    #[test]
    fn too_many_unanswered_pings_replace_the_newest() {
        let mut pinged = Pinged::with(ClientKind::Program, 20);
        assert_eq!(pinged.arrival.awaited.len(), MAX_AWAITED);
        assert_eq!(pinged.echo(7), pinged.arrived(7));
        assert_eq!(pinged.echo(20), pinged.arrived(20));
        assert_eq!(pinged.arrival.awaited.capacity(), 0);
    }

    #[test]
    fn empty_pong_proves_from_the_second_ping_on() {
        let mut pinged = Pinged::new(ClientKind::Program);
        assert_eq!(pinged.ping_and_empty_pong(), Answer::AskAgain);
        for ping in 2..10 {
            assert_eq!(pinged.ping_and_empty_pong(), pinged.arrived(ping));
        }
        // Two pings on their way have two answers, in order.
        pinged.ping();
        assert_eq!(pinged.ping_and_empty_pong(), pinged.arrived(10));
        assert_eq!(pinged.pong(b""), pinged.arrived(11));
    }

    #[test]
    fn empty_pong_that_no_ping_asked_for_ends_the_trust() {
        let mut pinged = Pinged::new(ClientKind::Program);
        assert_eq!(pinged.pong(b""), Answer::Nothing, "before the first ping");
        for _ in 0..5 {
            assert_eq!(pinged.ping_and_empty_pong(), Answer::Nothing);
        }
        assert_eq!(pinged.echo(5), pinged.arrived(5), "what has the payload counts");
        for answered in 1..5 {
            let mut pinged = Pinged::new(ClientKind::Program);
            for _ in 0..answered {
                pinged.ping_and_empty_pong();
            }
            assert_eq!(pinged.pong(b""), Answer::Nothing, "a second one after ping {answered}");
            assert_eq!(pinged.ping_and_empty_pong(), Answer::Nothing, "{answered}");
            assert_eq!(pinged.ping_and_empty_pong(), Answer::Nothing, "{answered}");
        }
    }

    #[test]
    fn empty_pong_of_a_client_that_echoes_proves_nothing() {
        for payload in [&2_u64.to_be_bytes()[..], b"x"] {
            let mut pinged = Pinged::new(ClientKind::Program);
            pinged.ping_and_empty_pong();
            pinged.ping();
            pinged.pong(payload);
            for _ in 0..3 {
                assert_eq!(pinged.ping_and_empty_pong(), Answer::Nothing);
            }
        }
    }

    #[test]
    fn empty_pong_proves_nothing_if_the_ping_before_was_given_up() {
        let mut pinged = Pinged::new(ClientKind::Program);
        pinged.ping_and_empty_pong();
        pinged.ping();
        pinged.now += TIMEOUT;
        assert_eq!(pinged.ping_and_empty_pong(), Answer::AskAgain);
        assert_eq!(pinged.ping_and_empty_pong(), pinged.arrived(4));
        // The answer to a ping that was given up is one that no ping asks for.
        pinged.ping();
        pinged.now += TIMEOUT;
        assert_eq!(pinged.pong(b""), Answer::Nothing);
        assert_eq!(pinged.ping_and_empty_pong(), Answer::Nothing);
    }

    /// As .NET sends them; this client answers no ping. What comes within 10 s after a ping may be an answer, but not twice:
    /// the second ping follows 1 s after the first pong.
    #[test]
    fn pongs_every_30_seconds_prove_nothing() {
        for first in 0..30 {
            let mut pinged = Pinged::new(ClientKind::Program);
            pinged.now += Duration::from_secs(first);
            pinged.ping();
            pinged.now += Duration::from_secs(30 - first);
            for _ in 0..5 {
                let answer = pinged.pong(b"");
                assert!(!matches!(answer, Answer::Arrived(_)), "{first}");
                if answer == Answer::AskAgain {
                    pinged.now += Duration::from_secs(1);
                    pinged.ping();
                }
                pinged.now += Duration::from_secs(29);
            }
        }
    }

    #[test]
    fn browser_proves_by_a_request_after_the_pong() {
        let mut pinged = Pinged::with(ClientKind::Browser, 3);
        assert_eq!(pinged.arrival.request(false), None);
        assert_eq!(pinged.echo(2), Answer::Nothing);
        assert_eq!(pinged.arrival.request(false), Some(pinged.at(2)));
        assert_eq!(pinged.arrival.request(false), None, "it is proved already");
    }

    #[test]
    fn position_of_the_client_replaces_all_other_proof() {
        for kind in [ClientKind::Browser, ClientKind::Program] {
            let mut pinged = Pinged::with(kind, 2);
            pinged.echo(1);
            assert_eq!(pinged.arrival.request(true), None);
            assert_eq!(pinged.echo(2), Answer::Nothing);
            pinged.ping();
            assert_eq!(pinged.echo(3), Answer::Nothing);
            assert_eq!(pinged.pong(b""), Answer::Nothing);
            assert_eq!(pinged.arrival.request(false), None);
            assert!(pinged.arrival.awaited.is_empty());
        }
    }
}
