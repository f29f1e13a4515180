//! Requests other than messages. Owns when they are sent, and whether the node knows them; what the answers mean is not decided
//! here. Called by the model, and by the connection task for programs.

use chatnode_protocol::requests::{Before, History, Members, Read, ReadUpTo, Typing};
use chatnode_protocol::{
    ClientMessage, MAX_MEMBERS, Position, Request, RequestId, RoomName, Topic, UserName,
};

use crate::asked::{Asked, new_id};
use crate::conversation::{Conversation, Line};
use crate::model::{Effect, Model};

/// The request for a page of messages older than this position.
pub(crate) fn history(me: &UserName, topic: Topic, before: Option<Position>, limit: u32) -> History {
    let before = before.map(|position| Before { epoch: Some(position.epoch), seq: position.seq });
    History { sender_username: me.clone(), topic: Some(topic), before, limit }
}

/// The request for a page of the members of a room, after this name.
pub(crate) fn members(me: &UserName, room: RoomName, after: Option<UserName>) -> Members {
    Members { sender_username: me.clone(), room: Some(room), after, limit: MAX_MEMBERS }
}

/// A typing notice.
pub(crate) fn typing(me: &UserName, topic: Topic) -> Typing {
    Typing { sender_username: me.clone(), topic: Some(topic) }
}

/// A read marker at this message of a room or a conversation.
pub(crate) fn read(me: &UserName, topic: Topic, position: &Position) -> Read {
    let up_to = match topic {
        Topic::Room(room) => ReadUpTo::Room { room: Some(room), seq: position.seq },
        Topic::User(target_username) => ReadUpTo::User { target_username, message_id: position.message_id },
    };
    Read { sender_username: me.clone(), up_to }
}

impl Model {
    pub(crate) fn ask<R: Request>(&mut self, request: &R, asked: Asked) {
        let id = new_id();
        let frame = ClientMessage::encode(request, Some(&id), None);
        self.ask_with(id, frame, asked);
    }

    /// Sends the finished frame of a request with this id.
    pub(crate) fn ask_with(&mut self, id: RequestId, frame: String, asked: Asked) {
        self.effect(Effect::Send(frame));
        self.asked.insert(id, asked);
    }

    /// Sends a request without an id, which the node does not answer.
    pub(crate) fn tell<R: Request>(&mut self, request: &R) {
        self.effect(Effect::Send(ClientMessage::encode(request, None, None)));
    }

    /// Asks for the old messages with the user on show. (A room is entered with its history.)
    pub(crate) fn look_back(&mut self) {
        let is_blank = |each: &Conversation| !each.is_room() && each.lines.is_empty();
        if self.history > 0 && self.current().is_some_and(is_blank) {
            self.ask_history(self.history);
        }
    }

    /// Asks for the members of the room on show.
    pub fn ask_members(&mut self) {
        match self.current().map(|conversation| conversation.topic.clone()) {
            Some(Topic::Room(_)) if !self.has::<Members>() => {
                self.show(None, Line::Note("this node has no lists of members".into()));
            }
            Some(room @ Topic::Room(_)) => self.load_members(&room),
            Some(Topic::User(_)) => self.show(None, Line::Note("only a room has members".into())),
            None => {}
        }
    }

    pub(crate) fn load_members(&mut self, topic: &Topic) {
        if let Topic::Room(room) = topic
            && self.is_open(topic)
            && self.has::<Members>()
        {
            let members = members(&self.me, room.clone(), None);
            self.ask(&members, Asked::Members(topic.clone()));
        }
    }

    /// Asks for messages older than those of the conversation on show.
    pub fn ask_history(&mut self, limit: u32) {
        let Some(conversation) = self.current() else { return };
        let topic = conversation.topic.clone();
        let is_asked = |asked: &Asked| matches!(asked, Asked::History(of) if *of == topic);
        let can_ask = conversation.more && self.is_open(&topic) && self.has::<History>();
        if !can_ask || self.asked.values().any(is_asked) {
            return;
        }
        let history =
            history(&self.me, topic.clone(), conversation.oldest().map(|oldest| oldest.position), limit);
        self.ask(&history, Asked::History(topic));
    }

    /// Whether the node knows a request.
    pub(crate) fn has<R: Request>(&self) -> bool {
        self.features.has_request::<R>()
    }
}
