//! The handling of received frames: each frame is recorded and updates the state of the client. Owns no timing. Called in the
//! loop of the connection.

use std::time::Duration;

use rand::Rng;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Asked, Client, Later, Leaving, Pending, Session};
use crate::entry::shown;
use crate::history::{Event, Kind, Position, Topic, Verdict};
use crate::run_context::Phase;
use crate::wire::{Frame, epoch, position, room_number, user_number, verdict};

/// How many of a thousand messages of its own a client changes, and to how many of others it reacts.
const CHANGES: u32 = 200;
const REACTS: u32 = 2;

impl Client {
    /// Changes a message of a room in the next two seconds.
    fn change_soon(&mut self, topic: Topic, kind: Kind) {
        if matches!(topic, Topic::Room(_)) && self.context.phase() == Phase::Publish {
            let (id, soon) =
                (Uuid::from_u128(self.rng.random()), Duration::from_millis(self.rng.random_range(0..2_000)));
            self.pending.push_back(Pending { id, topic, kind, due: Instant::now() + soon, is_stored: false });
        }
    }

    /// Changes a message that it wrote, or goes on changing one. One change of a message at a time.
    fn change_own(&mut self, topic: Topic, stored: Kind, message_id: Uuid) {
        let target = match stored {
            Kind::Message if self.rng.random_range(0..1_000) < CHANGES => message_id,
            Kind::Edit { target } | Kind::React { target, on: true } if self.rng.random_bool(0.5) => target,
            _ => return,
        };
        let kind = match self.rng.random_range(0..3) {
            0 => Kind::Edit { target },
            1 => Kind::Retract { target },
            _ => Kind::React { target, on: !matches!(stored, Kind::React { .. }) },
        };
        self.change_soon(topic, kind);
    }

    /// Handles one frame. Returns why the connection ends, if it does.
    pub(super) fn receive(&mut self, session: &mut Session, frame: Frame) -> Option<Leaving> {
        let (client, conn) = (self.role.client, session.conn);
        match frame {
            Frame::Chat { topic, at, message_id, sender, id, kind, shown } => {
                self.record(Event::Received { client, conn, topic, at, message_id, sender, id, kind, shown });
                if kind == Kind::Message && self.rng.random_range(0..1_000) < REACTS {
                    self.change_soon(topic, Kind::React { target: message_id, on: true });
                }
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
            // Only the room with rights has these.
            Frame::Rights { .. } | Frame::Removed | Frame::Other => {}
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
                match topic {
                    Topic::Inbox(_) if !already => self.enter_rooms(session),
                    // When everything has arrived.
                    Topic::Room(room)
                        if self.role.observes.is_some() && self.context.phase() == Phase::Resume =>
                    {
                        session.later.push((Instant::now() + Duration::from_secs(2), Later::Page(room)));
                    }
                    _ => {}
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
            Asked::Page { room, asked } => {
                let (epoch, messages) = (body["epoch"].as_str().and_then(epoch), shown(body));
                let (Some(epoch), Some(messages)) = (epoch, messages) else {
                    panic!("an invalid page: {body}")
                };
                self.record(Event::Page { client, conn, room, asked, epoch, messages });
            }
            Asked::Publish { op, .. } if body["unchanged"] == true => {
                self.record(Event::Refused { op, code: "unchanged".to_owned() });
            }
            Asked::Publish { op, mut pending, impersonation } => {
                let position = position(body).expect("the Ack of a publish bears a position");
                let duplicate = body["duplicate"].as_bool().unwrap_or(false);
                let (at, message_id) = (position.place(), position.message_id);
                self.record(Event::Stored { op, at, message_id, duplicate });
                if !duplicate && !impersonation {
                    self.change_own(pending.topic, pending.kind, message_id);
                }
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
            Asked::Members { .. } | Asked::Page { .. } => {}
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
