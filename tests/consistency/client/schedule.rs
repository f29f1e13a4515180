//! The times at which a client acts: postponed requests, publishes that its role makes due, and requests without an answer.
//! Owns when; what is sent is in `requests`. Called in the loop of the connection.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Asked, Client, IN_FLIGHT, Later, Leaving, PING, Pending, SILENCE, Session, UNANSWERED};
use crate::history::{Event, Kind, Topic};
use crate::run_context::Phase;
use crate::wire::Wire;

impl Client {
    /// The time of the next action.
    pub(super) fn due(&self, session: &Session) -> Instant {
        let mut due = session.ping.min(session.received + SILENCE);
        let phase = self.context.phase();
        if phase == Phase::Publish {
            due = due.min(session.irregular);
            if self.may_publish(session) {
                due = self.next.iter().copied().fold(due, Instant::min);
            }
        }
        if self.role.observes.is_some() && phase == Phase::Publish {
            due = due.min(session.members);
        }
        if self.may_publish(session) {
            due = self.pending.iter().map(|pending| pending.due).fold(due, Instant::min);
        }
        session.later.iter().map(|(at, _)| *at).fold(due, Instant::min)
    }

    /// Publishes wait until all rooms are joined, so that those with an unknown outcome are repeated first and in order.
    pub(super) fn may_publish(&self, session: &Session) -> bool {
        let entered = |room: &u16| session.joined.contains(&Topic::Room(*room));
        let unanswered =
            session.asked.values().filter(|(asked, _)| matches!(asked, Asked::Publish { .. })).count();
        unanswered < IN_FLIGHT && self.role.rooms.iter().all(entered)
    }

    /// Takes the actions that are due. Returns why the connection ends, if it does.
    pub(super) async fn act(&mut self, wire: &mut Wire, session: &mut Session) -> Option<Leaving> {
        let now = Instant::now();
        let lost = || Some(Leaving::Lost(1006, Duration::ZERO));
        let (client, conn) = (self.role.client, session.conn);
        let mut unanswered = false;
        for (id, (_, since)) in session.asked.iter().filter(|(_, (_, since))| *since + UNANSWERED < now) {
            let waited = u64::try_from((now - *since).as_micros()).unwrap_or(u64::MAX);
            let asked = self.context.recorder.now().saturating_sub(waited);
            self.record(Event::Unanswered { client, conn, asked, id: id.clone() });
            unanswered = true;
        }
        if session.received + SILENCE <= now || unanswered {
            return lost();
        }
        if session.ping <= now {
            session.ping = now + PING;
            if !wire.ping().await {
                return lost();
            }
        }
        if let Some(at) = session.later.iter().position(|(at, _)| *at <= now) {
            let sent = match session.later.swap_remove(at).1 {
                Later::Join(topic, resume, history) => self.join(wire, session, topic, resume, history).await,
                Later::Leave(topic) => self.leave(wire, session, topic).await,
                Later::Page(room) => self.page(wire, session, room).await,
                Later::Members { room, asked, users, after } => {
                    self.members(wire, session, Asked::Members { room, asked, users }, Some(after)).await
                }
            };
            if !sent {
                return lost();
            }
        }
        if self.may_publish(session)
            && let Some(at) = self.pending.iter().position(|pending| pending.due <= now)
            && let Some(pending) = self.pending.remove(at)
            && !self.publish(wire, session, pending, None).await
        {
            return lost();
        }
        if self.context.phase() != Phase::Publish {
            return None;
        }
        for at in 0..self.next.len() {
            if self.next[at] <= now && self.may_publish(session) {
                let (room, pause) = self.role.publishes[at];
                // A Poisson process, independent of the answers: a slow node does not reduce the load.
                self.next[at] = now + pause.mul_f64(-self.rng.random_range(0.0001f64..1.0).ln());
                let private = !self.role.peers.is_empty()
                    && self.rng.random_range(0..1000) < self.context.sizes.private_permille;
                let topic = if private {
                    Topic::Inbox(self.role.peers[self.rng.random_range(0..self.role.peers.len())])
                } else {
                    Topic::Room(room)
                };
                let id = Uuid::from_u128(self.rng.random());
                let pending = Pending { id, topic, kind: Kind::Message, due: now, is_stored: false };
                let impersonation = self.role.impersonates.filter(|_| self.rng.random_range(0..20) == 0);
                if !self.publish(wire, session, pending, impersonation).await {
                    return lost();
                }
            }
        }
        if self.role.observes.is_some() && session.members <= now {
            session.members = now + Duration::from_millis(500);
            let room = self.role.rooms[self.rng.random_range(0..self.role.rooms.len())];
            let asked = Asked::Members { room, asked: self.context.recorder.now(), users: Vec::new() };
            // Few rooms, so that each is read often.
            let room = self.role.rooms[self.rng.random_range(0..self.role.rooms.len().min(3))];
            if !self.members(wire, session, asked, None).await || !self.page(wire, session, room).await {
                return lost();
            }
        }
        if session.irregular <= now {
            session.irregular = now + self.until_irregular();
            if self.role.churns {
                return self.act_irregularly(wire, session).await;
            }
        }
        None
    }
}
