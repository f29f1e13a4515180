//! Lists that come in pages, since a frame has a limit. Owns that a list counts only once it is complete: the members of a
//! room, the old messages that were asked for, and how far the user has read with each peer. Part of the model.

use std::collections::BTreeSet;

use chatnode_protocol::requests::{AuthAck, History, Markers, Members};
use chatnode_protocol::{Ack, MessageId, Position, RoomName, Topic, UserName};

use super::{Effect, Line, Model};
use crate::event::Message;
use crate::pending::Asked;
use crate::requests;

impl Model {
    /// Asks for the members of a room.
    pub(super) fn load_members(&mut self, room: RoomName) {
        let topic = Topic::Room(room.clone());
        if self.is_open(&topic) && self.connection.has::<Members>() {
            self.ask(
                &requests::members(&self.me, room, None),
                Asked::Members { topic, names: BTreeSet::new() },
            );
        }
    }

    pub(super) fn members_came(&mut self, topic: Topic, mut names: BTreeSet<UserName>, ack: &Ack) {
        let Ok(page) = ack.read::<Members>() else { return };
        let last = page.members.last().cloned();
        names.extend(page.members);
        if let (true, Some(last), Topic::Room(room)) = (page.more, last, &topic) {
            let next = requests::members(&self.me, room.clone(), Some(last));
            return self.ask(&next, Asked::Members { topic, names });
        }
        let Some(room) = self.conversations.find(&topic) else { return };
        let shown: Vec<&str> = names.iter().map(UserName::as_str).collect();
        let line = Line::Note(format!("{} in {topic}: {}", page.count, shown.join(", ")));
        // The first list is for the screen alone: nobody asked for it.
        let was_asked_for = room.members.replace(names).is_some();
        if was_asked_for {
            self.show(Some(topic), line);
        }
    }

    /// A page of old messages came. If fewer came than were asked for, and there are more, asks for the rest: `later` are
    /// those that came before.
    pub(super) fn history_came(&mut self, topic: Topic, wanted: u32, later: Vec<Message>, ack: &Ack) {
        let Ok(page) = ack.read::<History>() else { return self.show_history(&topic, later, true) };
        // The node has read the log after every position that it sent before.
        let read_up_to = match &topic {
            Topic::Room(_) => self.conversations.find(&topic).and_then(|room| room.newest_known()),
            Topic::User(_) => self.private_log.newest_known(),
        };
        let as_read = |message| {
            let mut message = self.as_seen(message);
            if let Some(Position { epoch, seq, .. }) = read_up_to {
                message.reactions.counted_up_to(epoch, seq);
            }
            message
        };
        let mut messages: Vec<Message> = page.messages.into_iter().map(as_read).collect();
        let wanted = wanted.saturating_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
        let oldest = messages.first().map(|message| message.position);
        messages.extend(later);
        if page.more && wanted > 0 && oldest.is_some() {
            let older = requests::history(&self.me, topic.clone(), oldest, wanted);
            return self.ask(&older, Asked::History { topic, wanted, later: messages });
        }
        self.show_history(&topic, messages, page.more);
    }

    /// Shows old messages, with whether there are more.
    pub(super) fn show_history(&mut self, topic: &Topic, messages: Vec<Message>, more: bool) {
        let Some(conversation) = self.conversations.find(topic) else { return };
        for line in conversation.receive_page(messages, more) {
            self.effect(Effect::Show(Some(topic.clone()), line));
        }
    }

    /// The answer to `Auth` says how far the user has read with some peers. Asks for the others, if there are more.
    pub(super) fn read_in_auth(&mut self, answer: &AuthAck) {
        if !self.conversations.keeps_history() {
            return;
        }
        self.read_markers.extend(answer.read.iter().map(|(peer, id)| (peer.clone(), *id)));
        if answer.read_more && self.connection.has::<Markers>() {
            self.ask(&requests::markers(&self.me, None), Asked::Markers);
        }
        self.apply_read_markers();
    }

    /// A page of read markers came.
    pub(super) fn markers_came(&mut self, ack: &Ack) {
        let Ok(page) = ack.read::<Markers>() else { return };
        let last = page.markers.last().map(|marker| marker.target_username.clone());
        self.read_markers
            .extend(page.markers.into_iter().map(|marker| (marker.target_username, marker.message_id)));
        if page.more && last.is_some() {
            self.ask(&requests::markers(&self.me, last), Asked::Markers);
        }
        self.apply_read_markers();
    }

    /// The user has read with a peer on another device, up to this message.
    pub(super) fn read_elsewhere(&mut self, peer: &UserName, message_id: MessageId, set: bool) {
        if self.conversations.keeps_history() {
            let marker = self.read_markers.entry(peer.clone()).or_default();
            *marker = if set { message_id } else { message_id.max(*marker) };
            self.apply_marker(&Topic::User(peer.clone()), set);
        }
    }

    /// Messages that the user has read on another device do not count as unread.
    fn apply_read_markers(&mut self) {
        for topic in self.conversations.users() {
            self.apply_read_marker(&topic);
        }
    }

    /// The same for one conversation, after a message came.
    pub(super) fn apply_read_marker(&mut self, topic: &Topic) {
        self.apply_marker(topic, false);
    }

    fn apply_marker(&mut self, topic: &Topic, set: bool) {
        let Some(read) = topic.user().and_then(|peer| self.read_markers.get(peer)).copied() else { return };
        if let Some(conversation) = self.conversations.find(topic) {
            conversation.read_elsewhere(&self.me, |message| message.id() <= read, set);
        }
    }
}
