//! Typing notices and read markers. Owns when the model sends either, and what those of others change; neither is sent again
//! after a lost connection. Called by the terminal with what its user does, and by the model with what arrives.

use std::time::Instant;

use chatnode_protocol::UserName;
use serde_json::json;

use crate::attention::SEND_TYPING_EVERY;
use crate::conversation::{Conversation, Line};
use crate::model::{Connection, Effect, Model};
use crate::wire::{self, Place, Target};

impl Conversation {
    /// The newest message of ours that the other has read. (Ids sort by their time.)
    pub fn read_by_peer(&self, me: &UserName) -> Option<&str> {
        let read = self.attention.peer_read.as_deref()?;
        self.lines.iter().rev().find_map(|line| match line {
            Line::Said { from, place, .. } if from == me && *place.message_id <= *read => {
                Some(place.message_id.as_str())
            }
            _ => None,
        })
    }
}

impl Model {
    /// The person types something in the conversation on show.
    pub fn typing(&mut self, now: Instant) {
        let Some(target) = self.current().map(|conversation| conversation.target.clone()) else { return };
        if !self.is_open(&target) {
            return;
        }
        let told = &mut self.conversations[self.current].attention.told;
        if told.is_none_or(|told| now.saturating_duration_since(told) >= SEND_TYPING_EVERY) {
            *told = Some(now);
            self.effect(Effect::Send(wire::tell("Typing", &self.me, target.body())));
        }
    }

    /// The person looks at the newest of the conversation on show: the other one, and our other devices, may know.
    pub fn looked(&mut self) {
        if self.connection != Connection::Live {
            return;
        }
        let Some(conversation) = self.conversations.get_mut(self.current) else { return };
        let newest = conversation.lines.iter().rev().find_map(|line| match line {
            Line::Said { from, place, .. } if *from != self.me => Some(place),
            _ => None,
        });
        let is_news = |id: &String| conversation.attention.read.as_ref().is_none_or(|read| read < id);
        let Some(newest) = newest.filter(|place| is_news(&place.message_id)).cloned() else { return };
        let mut body = conversation.target.body();
        match conversation.target {
            Target::Room(_) if conversation.is_in() => body["seq"] = json!(newest.seq),
            Target::Room(_) => return,
            Target::User(_) => body["message_id"] = json!(newest.message_id),
        }
        conversation.attention.read = Some(newest.message_id);
        self.effect(Effect::Send(wire::tell("Read", &self.me, body)));
    }

    /// Somebody has read a private conversation: the person at the other end, or we on another device.
    pub(crate) fn read_in_private(&mut self, user: UserName, target: UserName, message_id: String) {
        if user == self.me {
            return self.read_elsewhere(&Target::User(target), |place| place.message_id <= message_id);
        }
        if let Some(person) = self.find(&Target::User(user)) {
            let read = &mut person.attention.peer_read;
            *read = read.take().max(Some(message_id));
        }
    }

    /// We have read a conversation on another device, as far as it says.
    pub(crate) fn read_elsewhere(&mut self, target: &Target, is_read: impl Fn(&Place) -> bool) {
        let me = self.me.clone();
        let Some(conversation) = self.find(target) else { return };
        let newer = conversation.lines.iter().rev().map_while(|line| match line {
            Line::Said { place, .. } if is_read(place) => None,
            Line::Said { from, .. } => Some(usize::from(*from != me)),
            Line::Gap(_) => Some(1),
            Line::NotSent { .. } | Line::Note(_) => Some(0),
        });
        conversation.unread = conversation.unread.min(newer.sum());
    }
}
