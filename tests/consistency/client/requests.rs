//! The requests of a client. Owns their bodies, and records each one before it is sent. Called by the other parts of the
//! client.

use rand::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Asked, Client, Pending, Session};
use crate::entry::{content, fields_beside};
use crate::history::{Event, Kind, Position, Topic};
use crate::wire::{Wire, request, room_name, since, user_name};

impl Client {
    pub(super) async fn ask(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        kind: &str,
        body: Value,
        asked: Asked,
    ) -> bool {
        let id = match &asked {
            Asked::Publish { pending, .. } => pending.id.to_string(),
            _ => format!("q{}", self.context.recorder.number()),
        };
        let mut frame = request(kind, &id, &body);
        // Half of the clients say what they have. For the others their pongs do.
        if self.role.client.is_multiple_of(2) {
            let taken = self.positions.get(&Topic::Inbox(self.role.user)).copied();
            frame["received"] = taken.map_or_else(|| json!({ "epoch": "", "seq": 0 }), since);
        }
        session.asked.insert(id, (asked, Instant::now()));
        wire.send(&frame).await
    }

    pub(super) async fn join(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        topic: Topic,
        resume: bool,
        history: u32,
    ) -> bool {
        let position = self.positions.get(&topic).copied().filter(|_| resume);
        session.retries.insert(topic, resume);
        self.join_from(wire, session, topic, position, history).await
    }

    pub(super) async fn join_from(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        topic: Topic,
        position: Option<Position>,
        history: u32,
    ) -> bool {
        // One join per topic at a time, so that its answer is not mistaken for the answer to another.
        if session.asked.values().any(|(asked, _)| matches!(asked, Asked::Join(other) if *other == topic)) {
            return true;
        }
        let (client, conn) = (self.role.client, session.conn);
        let mut body = json!({ "sender_username": user_name(self.role.user) });
        if let Some(position) = position {
            body["since"] = since(position);
        }
        if history > 0 {
            body["history"] = history.into();
        }
        session.replaying.remove(&topic);
        self.record(Event::Join { client, conn, topic, since: position, history });
        let kind = match topic {
            Topic::Room(room) => {
                body["room"] = room_name(room).into();
                "Enter"
            }
            Topic::Inbox(_) => "Auth",
        };
        self.ask(wire, session, kind, body, Asked::Join(topic)).await
    }

    pub(super) async fn leave(&mut self, wire: &mut Wire, session: &mut Session, topic: Topic) -> bool {
        let Topic::Room(room) = topic else { return true };
        if !session.joined.remove(&topic) {
            return true;
        }
        self.record(Event::Leave { client: self.role.client, conn: session.conn, topic });
        let body = json!({ "sender_username": user_name(self.role.user), "room": room_name(room) });
        self.ask(wire, session, "Leave", body, Asked::Leave(topic)).await
    }

    /// Asks for a page of members, after a name; not while the client is outside the room.
    pub(super) async fn members(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        asked: Asked,
        after: Option<String>,
    ) -> bool {
        let Asked::Members { room, .. } = asked else { return true };
        if !session.joined.contains(&Topic::Room(room)) {
            return true;
        }
        let body = json!({
            "sender_username": user_name(self.role.user),
            "room": room_name(room),
            "after": after,
            "limit": 1000,
        });
        self.ask(wire, session, "Members", body, asked).await
    }

    /// Asks for the newest messages of a room; not while the client is outside the room.
    pub(super) async fn page(&mut self, wire: &mut Wire, session: &mut Session, room: u16) -> bool {
        if !session.joined.contains(&Topic::Room(room)) {
            return true;
        }
        let body =
            json!({ "sender_username": user_name(self.role.user), "room": room_name(room), "limit": 100 });
        let asked = self.context.recorder.now();
        self.ask(wire, session, "History", body, Asked::Page { room, asked }).await
    }

    pub(super) async fn publish(
        &mut self,
        wire: &mut Wire,
        session: &mut Session,
        pending: Pending,
        impersonation: Option<u16>,
    ) -> bool {
        if session.asked.contains_key(&pending.id.to_string()) {
            return true;
        }
        let (op, id, topic) = (self.context.recorder.number(), pending.id, pending.topic);
        let sender = impersonation.unwrap_or(self.role.user);
        let padding = if self.role.padding > 0 { self.role.padding } else { self.rng.random_range(0..200) };
        let mut body = json!({ "sender_username": user_name(sender) });
        match topic {
            Topic::Room(room) => body["room"] = room_name(room).into(),
            Topic::Inbox(target) => body["target_username"] = user_name(target).into(),
        }
        if let Kind::Message | Kind::Edit { .. } = pending.kind {
            body["content"] = content(id, padding).into();
        }
        let name = match pending.kind {
            Kind::Message => {
                let (reply_to, mention) = fields_beside(id);
                body["reply_to"] = json!(reply_to);
                body["mentions"] = mention.into_iter().map(user_name).collect();
                if matches!(topic, Topic::Room(_)) { "GroupChat" } else { "PrivateChat" }
            }
            Kind::Edit { target } => {
                body["message_id"] = json!(target);
                "Edit"
            }
            Kind::Retract { target } => {
                body["message_id"] = json!(target);
                "Retract"
            }
            Kind::React { target, on } => {
                (body["message_id"], body["reaction"], body["on"]) = (json!(target), "+1".into(), on.into());
                "React"
            }
            Kind::Tombstone | Kind::ErasedEdit => unreachable!("no client sends one"),
        };
        let (client, conn) = (self.role.client, session.conn);
        let kind = pending.kind;
        self.record(Event::Publish { op, client, conn, topic, id, sender, kind });
        self.ask(
            wire,
            session,
            name,
            body,
            Asked::Publish { op, pending, impersonation: impersonation.is_some() },
        )
        .await
    }
}
