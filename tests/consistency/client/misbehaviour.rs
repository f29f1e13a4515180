//! Irregular actions of clients: disconnect, reconnect, leave a room, join it twice, forge a position. Owns which action is
//! taken, from the client's seed; the schedule decides when.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Client, Later, Leaving, Session};
use crate::history::{Position, Topic};
use crate::wire::Wire;

impl Client {
    pub(super) async fn act_irregularly(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
    ) -> Option<Leaving> {
        let away = Duration::from_millis(self.rng.random_range(100..3_000));
        let room = Topic::Room(self.role.rooms[self.rng.random_range(0..self.role.rooms.len())]);
        if self.rng.random_range(0..1000) < self.context.sizes.forged_permille {
            let inbox = Topic::Inbox(self.role.user);
            let private = self.role.keeps_inbox && self.rng.random_range(0..3) == 0;
            self.forge(if private { inbox } else { room });
            return Some(Leaving::Drop(Duration::from_millis(100)));
        }
        match self.rng.random_range(0..7) {
            0 | 1 => return Some(Leaving::Drop(away)),
            2 => return Some(Leaving::Close(away)),
            3 => {
                let (resume, history) = (self.rng.random_bool(0.5), self.rng.random_range(0..20));
                session.later.push((Instant::now() + away, Later::Join(room, resume, history)));
                session.later.push((Instant::now(), Later::Leave(room)));
            }
            // Joins again while it is a member. Only messages that were not sent on this connection may come again.
            4 | 5 => {
                let inbox = Topic::Inbox(self.role.user);
                let private = self.role.keeps_inbox && self.rng.random_range(0..3) == 0;
                let topic = if private { inbox } else { room };
                if session.joined.contains(&topic) && !self.join_late(wire, session, topic).await {
                    return Some(Leaving::Lost(1006, Duration::ZERO));
                }
            }
            _ => return Some(Leaving::Drop(Duration::from_millis(1))),
        }
        None
    }

    /// Sends a position to the log of a topic that it has joined: mostly a recent one.
    async fn join_late(&mut self, wire: &mut Wire, session: &mut Session, topic: Topic) -> bool {
        let recent = self.positions.get(&topic).copied();
        let since = match self.rng.random_range(0..8) {
            0 => None,
            1 => {
                self.forge(topic);
                recent.and_then(|recent| self.positions.insert(topic, recent))
            }
            2..5 => self.earlier.get(&topic).copied(),
            _ => recent,
        };
        self.join_from(wire, session, topic, since, 0).await
    }

    /// Replaces a position with one that can't be proved: another epoch, a position beyond the log, an earlier position with
    /// the id of another message, another id, or random values.
    pub(super) fn forge(&mut self, topic: Topic) {
        let Some(position) = self.positions.get_mut(&topic) else { return };
        match self.rng.random_range(0..5) {
            0 => position.epoch = self.rng.random(),
            1 => position.seq += 1_000_000,
            2 => position.seq = position.seq.saturating_sub(1),
            3 => {
                let (epoch, seq) = (self.rng.random(), self.rng.random_range(0..1 << 53));
                *position = Position { epoch, seq, message_id: Uuid::from_u128(self.rng.random()) };
            }
            _ => position.message_id = Uuid::from_u128(self.rng.random()),
        }
        if position.seq == 0 {
            position.message_id = Uuid::from_u128(self.rng.random());
        }
    }
}
