//! What each frame means to the model. Owns which part of the model each event, answer and error concerns; the parts own their
//! rules. Called by the session with every frame.

use std::time::{Duration, Instant};

use chatnode_protocol::events::{self, ChatMessage, ReadUpTo};
use chatnode_protocol::requests::{Auth, AuthAck, Edit, Enter, EnterAck, GroupChat, History};
use chatnode_protocol::{
    Ack, AnyEvent, ErrorBody, ErrorCode, Extras, GapReason, RequestId, RoomMarker, RoomName, ServerMessage,
    Topic, UserName, Word,
};

use super::{Effect, Line, Model};
use crate::event::{Event, Message};
use crate::outbox::{Refusal, can_pass};
use crate::pending::Asked;
use crate::publish::Payload;
use crate::reactions::Reactions;
use crate::reason::ClosedReason;
use crate::requests;
use crate::resume_point::gap;
use crate::retraction::Retraction;
use crate::sending::{Receipt, SendError, StopReason};
use crate::text::harmless;

impl Model {
    /// A frame came.
    pub fn receive(&mut self, text: &str, now: Instant) {
        match ServerMessage::decode(text) {
            Ok(ServerMessage::Ack(ack)) => self.acknowledged(ack, now),
            Ok(ServerMessage::Error { id, mut body }) => {
                body.message = harmless(&body.message);
                match id {
                    Some(id) => self.refused(&id, body, now),
                    None => {
                        let ErrorBody { code, message, .. } = body;
                        self.show(None, Line::Event(Event::NodeError { code, message }));
                    }
                }
            }
            Ok(ServerMessage::Event(event)) => self.happened(event, now),
            // A newer node may send more than this version knows.
            Ok(ServerMessage::Unknown { .. }) | Err(_) => {}
        }
        self.tick(now);
    }

    fn happened(&mut self, event: AnyEvent, now: Instant) {
        match event {
            AnyEvent::GroupChat(message) | AnyEvent::PrivateChat(message) => self.message(message),
            AnyEvent::Enter(events::Enter { sender_username: user, room }) => self.presence(room, user, true),
            AnyEvent::Leave(events::Leave { sender_username: user, room }) => {
                self.presence(room, user, false);
            }
            AnyEvent::Gap(gap) => match gap.room {
                Some(room) => self.show(Some(Topic::Room(room)), Line::Gap(gap.reason)),
                None => self.private_gap(gap.reason),
            },
            AnyEvent::Typing(events::Typing { sender_username: user, topic }) if user != self.me => {
                let topic = match topic {
                    Topic::Room(_) => topic,
                    Topic::User(_) => Topic::User(user.clone()),
                };
                if let Some(conversation) = self.conversations.find(&topic) {
                    conversation.attention.start_typing(user.clone(), now);
                }
                self.effect(Effect::Report(Event::Typing { topic, user }));
            }
            AnyEvent::Typing(_) => {}
            AnyEvent::Read(read) => self.read(read),
            AnyEvent::TokenExpiring(events::TokenExpiring { expires_at }) => {
                self.effect(Effect::Report(Event::TokenExpiring { expires_at }));
            }
            AnyEvent::Edit(edit) => self.edited(edit),
            AnyEvent::Retract(retract) => self.retracted(retract),
            AnyEvent::React(react) => self.reacted(react),
            AnyEvent::Tombstone(tombstone) => {
                let topic = self.topic_as_seen(tombstone.topic.clone(), &tombstone.sender_username);
                self.passed(&topic, tombstone.position());
            }
            AnyEvent::Room(room) => self.room_changed(room),
            AnyEvent::Moderation(moderation) => self.moderated(moderation),
            AnyEvent::Invitation(invitation) => self.invited(invitation),
            AnyEvent::Removed(removed) => self.removed(removed),
            AnyEvent::Block(block) => self.blocked(block),
        }
    }

    /// This user has read a conversation on another device, or another user has read their conversation with this one.
    fn read(&mut self, events::Read { sender_username: reader, up_to, set }: events::Read) {
        let report = match up_to {
            ReadUpTo::User { target_username: peer, message_id } => {
                let is_mine = reader == self.me;
                if is_mine {
                    self.read_elsewhere(&peer, message_id, set);
                } else if let Some(other) = self.conversations.find(&Topic::User(reader.clone())) {
                    other.attention.peer_has_read(message_id);
                }
                Event::ReadPrivate { reader, peer, message_id }
            }
            ReadUpTo::Room { room, marker: RoomMarker { epoch, seq } } => {
                let is_read =
                    |message: &Message| message.position.epoch == epoch && message.position.seq <= seq;
                if let Some(conversation) = self.conversations.find(&Topic::Room(room.clone())) {
                    conversation.read_elsewhere(&self.me, is_read, set);
                }
                Event::ReadRoom { room, epoch, seq }
            }
        };
        self.effect(Effect::Report(report));
    }

    fn presence(&mut self, room: RoomName, user: UserName, is_present: bool) {
        let Some(conversation) = self.conversations.find(&Topic::Room(room.clone())) else { return };
        conversation.set_present(&user, is_present);
        self.pending.set_present(&room, &user, is_present);
        let event = if is_present { Event::Entered { room, user } } else { Event::Left { room, user } };
        self.effect(Effect::Report(event));
    }

    fn message(&mut self, message: ChatMessage) {
        // It is in the log, whatever became of the answer. Ids are a user's own: another's may look the same.
        if message.sender_username == self.me
            && let Some(id) = message.client_id.clone()
            && self.outbox.stored(&id)
        {
            let ChatMessage { message_id, epoch, seq, sent_at, .. } = message;
            let receipt = Receipt { message_id, epoch, seq, sent_at, duplicate: false };
            self.effect(Effect::Stored(id, receipt));
        }
        let mut message = self.as_seen(message);
        let position = message.position;
        let topic = message.topic.clone();
        let is_new = match topic {
            // Nothing comes after the answer to a `Leave`, but messages may come before it.
            Topic::Room(_) => self.conversations.find(&topic).is_some_and(|room| room.receive(&mut message)),
            Topic::User(_) => {
                self.private_log.move_to(message.position);
                if self.conversations.keeps_history() {
                    self.private_log.revise(&mut message);
                    self.conversations.find_or_add(topic.clone()).receive(&mut message)
                } else {
                    self.private_log.is_new(&message.id())
                }
            }
        };
        let is_private = matches!(topic, Topic::User(_));
        if is_new {
            self.show(Some(topic.clone()), Line::Message(message));
            self.apply_read_marker(&topic);
        }
        // A program has its messages only once it has taken their events.
        if is_private && self.conversations.keeps_history() {
            self.effect(Effect::HandedOn(position));
        }
    }

    /// A message as this user sees it.
    pub fn as_seen(&self, message: ChatMessage) -> Message {
        let position = message.position();
        let ChatMessage { sender_username: sender, topic, content, client_id, sent_at, .. } = message;
        let ChatMessage { version, edited_at, retracted, moderated, moderator, .. } = message;
        let ChatMessage { reactions, changes_seq, .. } = message;
        let ChatMessage { reply_to, thread, mentions, attachments, data, .. } = message;
        let extras = Extras { reply_to, thread, mentions, attachments, data };
        let topic = self.topic_as_seen(topic, &sender);
        let own_id = client_id.filter(|id| sender == self.me && self.outbox.is_own(id));
        let mut reactions = Reactions::counted(reactions);
        if let Some(seq) = changes_seq {
            reactions.counted_up_to(position.epoch, seq);
        }
        let retraction = retracted.then_some(Retraction { reason: None, is_moderated: moderated, moderator });
        Message {
            topic,
            sender,
            content,
            sent_at,
            position,
            own_id,
            version,
            edited_at,
            retraction,
            reactions,
            extras,
        }
    }

    /// The messages with all users are in one log: those of any user may be missing.
    fn private_gap(&mut self, reason: Word<GapReason>) {
        let users = self.conversations.users();
        if users.is_empty() {
            return self.show(None, Line::Gap(reason));
        }
        for user in users {
            self.show(Some(user), Line::Gap(reason.clone()));
        }
    }

    fn acknowledged(&mut self, ack: Ack, now: Instant) {
        if let Some(publish) = self.outbox.find(&ack.id) {
            let stored = match publish.payload {
                // All changes have the same answer.
                Payload::Change { .. } => {
                    ack.read::<Edit>().map(|stored| Effect::Changed(ack.id.clone(), stored.into()))
                }
                Payload::Message(_) => {
                    ack.read::<GroupChat>().map(|stored| Effect::Stored(ack.id.clone(), stored.into()))
                }
            };
            if let Ok(stored) = stored {
                self.outbox.stored(&ack.id);
                self.effect(stored);
            }
            return;
        }
        match self.pending.take(&ack.id) {
            Some(Asked::Auth { resumed }) => match ack.read::<Auth>() {
                Ok(answer) => self.signed_in(answer, resumed, now),
                Err(_) => self.effect(Effect::Stop(ClosedReason::Unreadable)),
            },
            Some(Asked::Enter { room, resumed }) => match ack.read::<Enter>() {
                Ok(answer) => self.entered(room, resumed, answer),
                Err(_) => self.effect(Effect::Stop(ClosedReason::Unreadable)),
            },
            Some(Asked::History { topic, wanted, later }) => self.history_came(topic, wanted, later, &ack),
            Some(Asked::Members { topic, names }) => self.members_came(topic, names, &ack),
            Some(Asked::Markers) => self.markers_came(&ack),
            Some(Asked::Newest(topic)) => {
                let newest =
                    ack.read::<History>().ok().and_then(|page| Some(page.messages.last()?.message_id));
                if let Some(room) = self.conversations.find(&topic) {
                    room.expects(newest);
                }
            }
            Some(Asked::Rights { from, request }) => self.rights_granted(from, request, &ack, now),
            Some(Asked::Program) => self.effect(Effect::Answer(ack.id.clone(), Ok(ack))),
            Some(Asked::Leave) | None => {}
        }
    }

    fn signed_in(&mut self, answer: AuthAck, resumed: bool, now: Instant) {
        let joined = &answer.joined;
        self.outbox.set_dedupe(Duration::from_millis(joined.dedupe_ms));
        self.private_log.signed_in(joined, resumed);
        self.private_log.tell_again(now);
        if let Some(reason) = gap(joined) {
            self.private_gap(reason);
        }
        self.connection.signed_in(joined.features.clone(), joined.idle_timeout_ms);
        self.read_in_auth(&answer);
        self.look_back();
    }

    /// How long the node lets the client be silent, if it says so.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.connection.idle_timeout()
    }

    fn entered(&mut self, name: RoomName, resumed: bool, answer: EnterAck) {
        let EnterAck { joined, rights, .. } = answer;
        let topic = Topic::Room(name.clone());
        let Some(room) = self.conversations.find(&topic) else { return };
        room.entered(&joined, resumed);
        room.own_rights.answered(rights);
        if let Some(reason) = gap(&joined) {
            self.show(Some(topic.clone()), Line::Gap(reason));
        }
        if !resumed && self.history > 0 && self.connection.has::<History>() {
            let newest = requests::history(&self.me, topic.clone(), None, 1);
            self.ask(&newest, Asked::Newest(topic));
        }
        if self.conversations.keeps_history() {
            self.load_members(name.clone());
        }
        self.effect(Effect::Joined(name));
    }

    fn refused(&mut self, id: &RequestId, error: ErrorBody, now: Instant) {
        let ErrorBody { code, message, retry_after_ms, .. } = error.clone();
        match self.pending.take(id) {
            None => self.publish_refused(id, error, now),
            Some(Asked::Auth { .. }) if can_pass(&error) => self.effect(Effect::Restart(error)),
            Some(Asked::Auth { .. }) => self.effect(Effect::Stop(ClosedReason::Refused { code, message })),
            Some(Asked::Enter { room, .. }) => {
                let topic = Topic::Room(room.clone());
                let Some(conversation) = self.conversations.find(&topic) else { return };
                if can_pass(&error) {
                    if conversation.postpone(now, retry_after_ms.map(Duration::from_millis)) {
                        let delayed = Event::JoinDelayed { room, code, message };
                        self.show(Some(topic), Line::Event(delayed));
                    }
                    return;
                }
                conversation.refused();
                self.failed += 1;
                let refused = Event::JoinRefused { room, code, message };
                self.show(Some(topic.clone()), Line::Event(refused));
                self.fail_all(&topic, &StopReason::RoomRefused);
            }
            Some(Asked::History { topic, later, .. }) => {
                self.show_history(&topic, later, true);
                self.show(Some(topic), Line::Event(Event::NodeError { code, message }));
            }
            Some(Asked::Members { topic, .. }) => {
                self.show(Some(topic), Line::Event(Event::NodeError { code, message }));
            }
            Some(Asked::Rights { from, request }) => self.rights_refused(from, &request, &message),
            Some(Asked::Program) => self.effect(Effect::Answer(id.clone(), Err(error))),
            Some(Asked::Leave | Asked::Newest(_) | Asked::Markers) => {}
        }
    }

    fn publish_refused(&mut self, id: &RequestId, error: ErrorBody, now: Instant) {
        let ErrorBody { code, message, .. } = error.clone();
        if code.known() == Some(ErrorCode::Unauthorized) {
            return self.effect(Effect::Stop(ClosedReason::Refused { code, message }));
        }
        let topic = self.outbox.find(id).map(|publish| publish.topic.clone());
        match self.outbox.refused(id, &error, now) {
            Some(Refusal::Final(publish)) => return self.fail(publish, SendError::refused(error)),
            Some(Refusal::First(topic)) => {
                let delayed = Event::SendDelayed { topic: topic.clone(), code, message };
                self.show(Some(topic), Line::Event(delayed));
            }
            None => {}
        }
        if error.code.known() == Some(ErrorCode::NotInRoom) {
            // An operator removed the connection from the room: a message is reason enough to enter it again.
            if let Some(room) = topic.and_then(|topic| self.conversations.find(&topic)) {
                room.removed();
            }
        }
    }
}
