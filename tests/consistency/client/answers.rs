//! The handling of received frames: each frame is recorded and updates the state of the client. Owns no timing. Called in the
//! loop of the connection.

use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use tokio::time::Instant;

use super::{Asked, Client, Later, Leaving, Session};
use crate::history::{Event, Position, Topic, Verdict};
use crate::wire::{Frame, position, room_number, user_number, verdict};

impl Client {
    /// Handles one frame. Returns why the connection ends, if it does.
    pub(super) fn receive(&mut self, session: &mut Session, frame: Frame) -> Option<Leaving> {
        let (client, conn) = (self.role.client, session.conn);
        match frame {
            Frame::Chat { topic, at, message_id, sender, id } => {
                self.record(Event::Received { client, conn, topic, at, message_id, sender, id });
                if session.replaying.get(&topic).is_none_or(|until| at.seq > *until) {
                    let position = Position { epoch: at.epoch, seq: at.seq, message_id };
                    self.positions.insert(topic, position);
                    if self.rng.random_range(0..30) == 0 {
                        self.earlier.insert(topic, position);
                    }
                }
            }
            Frame::Gap { topic, reason, next } => {
                session.replaying.remove(&topic);
                self.record(Event::Gap { client, conn, topic, reason, next });
            }
            Frame::Ack { id, body } => match session.asked.remove(&id) {
                Some((asked, _)) => self.acknowledged(session, asked, &body),
                None => self.record(Event::StrayAnswer { client, conn, id }),
            },
            Frame::Error { id: Some(id), code, outcome, retry_after } => match session.asked.remove(&id) {
                Some((asked, _)) => self.failed(session, asked, code, outcome, retry_after),
                None => self.record(Event::StrayAnswer { client, conn, id }),
            },
            // Concerns the connection and no request: the node delays it.
            Frame::Error { id: None, .. } => {}
            Frame::Other => {}
            Frame::Closed { code, retry_after } => {
                let away = retry_after.unwrap_or_default().min(Duration::from_secs(2));
                return Some(Leaving::Lost(code, away));
            }
        }
        None
    }

    pub(super) fn acknowledged(&mut self, session: &mut Session, asked: Asked, body: &Value) {
        let (client, conn) = (self.role.client, session.conn);
        match asked {
            Asked::Join(topic) => {
                let top = position(body).expect("the Ack of a join bears a position");
                let verdict = verdict(body);
                let already = body["already"].as_bool().unwrap_or(false);
                self.record(Event::Joined { client, conn, topic, top, verdict, already });
                session.joined.insert(topic);
                if matches!(topic, Topic::Inbox(_)) && !already {
                    self.enter_rooms(session);
                }
                match verdict {
                    None if already => {}
                    None => {
                        self.positions.insert(topic, top);
                        session.replaying.insert(topic, top.seq);
                    }
                    Some(Verdict::Not { next_seq, .. }) if next_seq > top.seq => {
                        self.positions.insert(topic, top);
                    }
                    Some(_) => {}
                }
            }
            Asked::Leave(topic) => self.record(Event::Left { client, conn, topic }),
            Asked::Members { room, asked, mut users } => {
                debug_assert_eq!(body["room"].as_str().and_then(room_number), Some(room));
                let names: Vec<&str> =
                    body["members"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                users.extend(names.iter().map(|name| user_number(name).unwrap_or(u16::MAX)));
                // Who takes one page for all members finds the others absent.
                match names.last().filter(|_| body["more"] == true) {
                    Some(last) => {
                        let next = Later::Members { room, asked, users, after: (*last).to_owned() };
                        session.later.push((Instant::now(), next));
                    }
                    None => self.record(Event::Members { room, asked, users }),
                }
            }
            Asked::Publish { op, mut pending, .. } => {
                let position = position(body).expect("the Ack of a publish bears a position");
                let duplicate = body["duplicate"].as_bool().unwrap_or(false);
                let (at, message_id) = (position.place(), position.message_id);
                self.record(Event::Stored { op, at, message_id, duplicate });
                if !pending.is_stored && self.rng.random_range(0..1000) < self.context.sizes.repeat_permille {
                    pending.is_stored = true;
                    pending.due = Instant::now() + Duration::from_millis(self.rng.random_range(0..5_000));
                    self.pending.push_back(pending);
                }
            }
        }
    }

    pub(super) fn failed(
        &mut self,
        session: &mut Session,
        asked: Asked,
        code: String,
        outcome: Option<String>,
        retry_after: Option<Duration>,
    ) {
        // On the same connection. All clients of a node may be told the same time.
        let extra = Duration::from_millis(self.rng.random_range(0..1_000));
        let again = Instant::now() + retry_after.unwrap_or(Duration::from_millis(300)) + extra;
        match asked {
            Asked::Join(topic) => {
                let (client, conn) = (self.role.client, session.conn);
                self.record(Event::JoinFailed { client, conn, topic, code });
                let resume = session.retries.get(&topic).copied().unwrap_or(true);
                session.later.push((again, Later::Join(topic, resume, 0)));
            }
            // The client joins the room again in any case.
            Asked::Leave(_) => {}
            Asked::Members { .. } => {}
            Asked::Publish { op, mut pending, impersonation } => {
                let unknown =
                    code == "internal" || (code == "unavailable" && outcome.as_deref() != Some("refused"));
                self.record(if unknown { Event::Unknown { op } } else { Event::Refused { op, code } });
                // Half of the refused publishes are never repeated: no client may ever receive them.
                if !impersonation && (unknown || self.rng.random_bool(0.5)) {
                    pending.due = again;
                    self.pending.push_back(pending);
                }
            }
        }
    }
}
