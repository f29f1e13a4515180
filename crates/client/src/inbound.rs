//! What each frame means to the model. Owns the rules of positions: which frame moves which; does not send by itself.
//! Called by the session with every frame.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use crate::conversation::{Line, Membership};
use crate::model::{Asked, Connection, Effect, Model};
use crate::outbox::Refusal;
use crate::text::harmless;
use crate::wire::{Fault, Frame, Message, Place, Target};
use chatnode_protocol::UserName;

/// Between two tries to enter where the node names no time.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// The body of the `Ack` of `Auth` and `Enter`.
#[derive(Deserialize)]
struct Joined {
    #[serde(flatten)]
    place: Place,
    dedupe_ms: u64,
    #[serde(default)]
    recovered: Option<bool>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    next_seq: Option<u64>,
    #[serde(default)]
    already: bool,
}

impl Joined {
    /// What is to be said of a place that could not be proved.
    fn gap(&self) -> Option<Line> {
        (self.recovered == Some(false)).then(|| Line::gap(self.reason.as_deref().unwrap_or_default()))
    }

    /// The place, where ours could not be proved and no message follows that would bring another: the same gap would be
    /// told again each time.
    fn fresh_place(&self) -> Option<Place> {
        let is_last =
            self.recovered == Some(false) && self.next_seq.is_some_and(|next| next > self.place.seq);
        is_last.then(|| self.place.clone())
    }
}

impl Model {
    /// A frame came.
    pub fn receive(&mut self, text: &str, now: Instant) {
        match Frame::read(text) {
            Some(Frame::Ack { id, body }) if !self.outbox.stored(&id) => self.acknowledged(&id, body),
            Some(Frame::Error { id: Some(id), fault }) => self.refused(&id, &fault, now),
            Some(Frame::Error { id: None, fault }) => {
                self.show(None, Line::Note(format!("the node says: {}", harmless(&fault.message))));
            }
            Some(Frame::Message(message)) => self.message(&message),
            Some(Frame::Presence { room, user, present }) => {
                let Some(room) = self.find(&Target::Room(room)) else { return self.tick(now) };
                if !present {
                    room.attention.stops(&user);
                }
                if let Some(members) = &mut room.members {
                    if present {
                        members.insert(user)
                    } else {
                        members.remove(&user)
                    };
                }
            }
            Some(Frame::Gap { room: Some(room), reason }) => {
                self.show(Some(Target::Room(room)), Line::gap(&reason));
            }
            Some(Frame::Gap { room: None, reason }) => self.private_gap(&Line::gap(&reason)),
            Some(Frame::Typing { room, user }) if user != self.me => {
                let target = room.map_or_else(|| Target::User(user.clone()), Target::Room);
                if let Some(conversation) = self.find(&target) {
                    conversation.attention.types(user, now);
                }
            }
            Some(Frame::Read { user, target, message_id }) => self.read_in_private(user, target, message_id),
            Some(Frame::RoomRead { room, epoch, seq }) => {
                self.read_elsewhere(&Target::Room(room), |place| place.epoch == epoch && place.seq <= seq);
            }
            Some(Frame::Ack { .. } | Frame::Typing { .. }) | None => {}
        }
        self.tick(now);
    }

    fn message(&mut self, message: &Message) {
        let Some(target) = message.conversation(&self.me) else { return };
        // It is in the log, whatever became of the answer. Ids are a user's own: another's may look the same.
        let is_mine = message.from == self.me;
        let own = message.client_id.clone();
        let own = own.filter(|id| is_mine && (self.outbox.stored(id) || self.outbox.is_own(id)));
        let conversation = match &target {
            Target::User(_) => {
                self.private = Some(message.place.clone());
                if !self.keep_history {
                    if self.seen_private.insert(&message.place.message_id) {
                        self.show(Some(target), Line::said(message, own));
                    }
                    return;
                }
                let index = self.find_or_add(target.clone());
                &mut self.conversations[index]
            }
            // Nothing follows the answer to a `Leave`, but something may come before it.
            Target::Room(_) => match self.find(&target) {
                Some(room) => {
                    room.place = Some(message.place.clone());
                    room
                }
                None => return,
            },
        };
        conversation.attention.stops(&message.from);
        if conversation.is_new(message) {
            self.show(Some(target), Line::said(message, own));
        }
    }

    /// One log holds the messages with everybody: what is missing may be anybody's.
    fn private_gap(&mut self, line: &Line) {
        let persons = self.conversations.iter().map(|conversation| conversation.target.clone());
        let persons: Vec<Target> = persons.filter(|target| matches!(target, Target::User(_))).collect();
        if persons.is_empty() {
            self.show(None, line.clone());
        }
        for person in persons {
            self.show(Some(person), line.clone());
        }
    }

    fn acknowledged(&mut self, id: &str, mut body: Value) {
        let Some(asked) = self.asked.remove(id) else { return };
        match asked {
            Asked::Auth { resumed } => {
                let Ok(joined) = serde_json::from_value::<Joined>(body) else {
                    return self.effect(Effect::Stop("the node's answer makes no sense".into()));
                };
                self.outbox.set_dedupe(Duration::from_millis(joined.dedupe_ms));
                if let Some(gap) = joined.gap() {
                    self.private_gap(&gap);
                }
                self.private = joined.fresh_place().or(self.private.take());
                self.connection = Connection::Live;
                if !resumed {
                    self.came_at = Some(joined.place);
                }
                self.look_back();
            }
            Asked::Enter { room, resumed } => self.entered(&room, resumed, body),
            Asked::History(target) => self.history_came(&target, body),
            Asked::Members(target) => {
                let members = serde_json::from_value::<Vec<UserName>>(body["members"].clone());
                let count = body["count"].as_u64().unwrap_or_default();
                let (Ok(members), Some(room)) = (members, self.find(&target)) else { return };
                let names: Vec<&str> = members.iter().map(UserName::as_str).collect();
                let line = Line::Note(format!("{count} in {target}: {}", names.join(", ")));
                let asked_for = room.members.is_some();
                room.members = Some(members.into_iter().collect());
                if asked_for {
                    self.show(Some(target), line);
                }
            }
            Asked::Newest(target) => {
                let newest = serde_json::from_value::<Vec<Message>>(body["messages"].take());
                let newest =
                    newest.ok().and_then(|messages| messages.last().map(|m| m.place.message_id.clone()));
                if let Some(room) = self.find(&target) {
                    room.expects(newest);
                }
            }
            Asked::Leave => {}
        }
    }

    fn entered(&mut self, target: &Target, resumed: bool, body: Value) {
        let Some(room) = self.find(target) else { return };
        let Ok(joined) = serde_json::from_value::<Joined>(body) else {
            return self.effect(Effect::Stop("the node's answer makes no sense".into()));
        };
        room.membership = Membership::In;
        room.is_late = false;
        if !resumed && !joined.already {
            room.place = Some(joined.place.clone());
        }
        room.place = joined.fresh_place().or(room.place.take());
        if let Some(gap) = joined.gap() {
            self.show(Some(target.clone()), gap);
        }
        if !resumed && self.history > 0 {
            let mut body = target.body();
            body["limit"] = 1.into();
            self.ask("History", body, Asked::Newest(target.clone()));
        }
        if self.keep_history {
            self.load_members(target);
        }
    }

    fn history_came(&mut self, target: &Target, mut body: Value) {
        let messages = serde_json::from_value::<Vec<Message>>(body["messages"].take());
        let (Ok(messages), me) = (messages, self.me.clone()) else { return };
        let own = |m: &Message| m.client_id.clone().filter(|id| m.from == me && self.outbox.is_own(id));
        let own: Vec<Option<String>> = messages.iter().map(own).collect();
        let Some(conversation) = self.find(target) else { return };
        conversation.more = body["more"].as_bool().unwrap_or_default();
        let lines: Vec<Line> = messages
            .iter()
            .zip(own)
            .filter(|(message, _)| conversation.is_new(message))
            .map(|(message, own)| Line::said(message, own))
            .collect();
        conversation.prepend(lines.clone());
        for line in lines {
            self.effect(Effect::Show(Some(target.clone()), line));
        }
    }

    fn refused(&mut self, id: &str, fault: &Fault, now: Instant) {
        let what = harmless(&fault.message);
        let Some(asked) = self.asked.remove(id) else { return self.publish_refused(id, fault, now) };
        match asked {
            Asked::Auth { .. } if fault.passes() => {
                self.effect(Effect::Restart(fault.retry_after_ms.map(Duration::from_millis)));
            }
            Asked::Auth { .. } => self.effect(Effect::Stop(format!("the node refuses us: {what}"))),
            Asked::Enter { room, .. } => {
                let Some(conversation) = self.find(&room) else { return };
                if fault.passes() {
                    let wait = fault.retry_after_ms.map_or(TRY_AGAIN, Duration::from_millis);
                    conversation.membership = Membership::Out(Some(now + wait));
                    if !std::mem::replace(&mut conversation.is_late, true) {
                        let note = format!("can't enter {room} yet, trying on: {what}");
                        self.show(Some(room), Line::Note(note));
                    }
                    return;
                }
                conversation.membership = Membership::Refused;
                self.failed += 1;
                self.show(Some(room.clone()), Line::Note(format!("can't enter {room}: {what}")));
                self.fail_all(&room, "the room can't be entered");
            }
            Asked::History(target) | Asked::Members(target) => {
                self.show(Some(target), Line::Note(format!("the node says: {what}")));
            }
            Asked::Leave | Asked::Newest(_) => {}
        }
    }

    fn publish_refused(&mut self, id: &str, fault: &Fault, now: Instant) {
        if fault.code == "unauthorized" {
            return self.effect(Effect::Stop(format!("the node refuses us: {}", harmless(&fault.message))));
        }
        let target = self.outbox.target(id).cloned();
        match self.outbox.refused(id, fault, now) {
            Some(Refusal::Final(publish)) => return self.fail(&publish, &fault.message),
            Some(Refusal::FirstOf(target)) => {
                let note = format!("not stored yet, trying on: {}", harmless(&fault.message));
                self.show(Some(target), Line::Note(note));
            }
            None => {}
        }
        if fault.code == "not_in_room" {
            // An operator took us out: a message is reason enough to go in again.
            if let Some(room) = target.and_then(|target| self.find(&target)) {
                room.membership = Membership::Out(None);
            }
        }
    }
}
