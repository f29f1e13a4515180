//! What the model has to do by itself when its time comes. Owns entering rooms, sending the next message and giving up;
//! what the answers mean is not decided here. Called by the session, and by the model after every change.

use std::time::Instant;

use serde_json::json;

use crate::conversation::{Conversation, Membership, is_open};
use crate::model::{Asked, Connection, Effect, Model};
use crate::outbox::{Publish, Refusal};
use crate::wire::{self, Fault, Target};

impl Model {
    /// Does what is due: enters rooms, sends the next message, gives up what was tried for too long.
    pub fn tick(&mut self, now: Instant) {
        while let Some((publish, why)) = self.outbox.give_up(now) {
            self.fail(&publish, &why);
        }
        if !self.is_live() {
            return;
        }
        for index in 0..self.conversations.len() {
            self.enter(index, now);
        }
        while let Some(Publish { id, to, content, .. }) =
            self.outbox.next(now, |target| is_open(&self.conversations, target))
        {
            let mut body = to.body();
            body["content"] = json!(content);
            let kind = if matches!(to, Target::Room(_)) { "GroupChat" } else { "PrivateChat" };
            let (frame, id) = (wire::request(kind, &self.me, body, id), id.clone());
            if frame.len() <= wire::MAX_FRAME_BYTES {
                self.effect(Effect::Send(frame));
                continue;
            }
            let fault = Fault::too_long();
            if let Some(Refusal::Final(publish)) = self.outbox.refused(&id, &fault, now) {
                self.fail(&publish, &fault.message);
            }
        }
    }

    fn enter(&mut self, index: usize, now: Instant) {
        let conversation = &mut self.conversations[index];
        let due = matches!(conversation.membership, Membership::Out(at) if at.is_none_or(|at| at <= now));
        if !due || !matches!(conversation.target, Target::Room(_)) {
            return;
        }
        conversation.membership = Membership::Entering;
        let room = conversation.target.clone();
        let mut body = room.body();
        let resumed = conversation.place.is_some();
        match &conversation.place {
            Some(since) => body["since"] = json!(since),
            None => body["history"] = json!(self.history),
        }
        self.ask("Enter", body, Asked::Enter { room, resumed });
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.unsettled() == 0
    }

    /// How much is still to be done: messages on their way, rooms that were never entered, and history that was asked for.
    /// Where something has failed, no room is waited for that can't be entered yet.
    pub fn unsettled(&self) -> usize {
        let is_due = |each: &&Conversation| {
            let is_new = each.place.is_none()
                && each.membership != Membership::Refused
                && matches!(each.target, Target::Room(_));
            each.is_behind() || (is_new && !(each.is_late && self.failed > 0))
        };
        let is_history = |asked: &&Asked| matches!(asked, Asked::History(_) | Asked::Newest(_));
        let history = self.asked.values().filter(is_history).count();
        let rooms = self.conversations.iter().filter(is_due).count();
        self.outbox.len() + rooms + history + usize::from(self.came_at.is_none())
    }

    /// Whether there is nowhere left to say anything.
    pub fn is_shut_out(&self) -> bool {
        let mut all = self.conversations.iter();
        !self.conversations.is_empty() && all.all(|each| each.membership == Membership::Refused)
    }

    /// When [`Model::tick`] has something to do again.
    pub fn wake(&self, now: Instant) -> Option<Instant> {
        let live = self.connection == Connection::Live;
        let rooms = self.conversations.iter().filter_map(|conversation| match conversation.membership {
            Membership::Out(at) if live => at,
            _ => None,
        });
        rooms.chain(self.outbox.wake(now)).min()
    }
}
