//! What a program learns from its client. Owns the shapes of events and messages; decides nothing. Made by the model and by
//! the connection task, read by programs.

use std::time::Duration;

use chatnode_protocol::events::RemovedBy;
use chatnode_protocol::{
    Action, Epoch, ErrorCode, Extras, GapReason, MessageId, Position, RequestId, Role, RoomKind, RoomName,
    Topic, UserName, Word,
};

use crate::change::Change;
use crate::reactions::Reactions;
use crate::reason::{ClosedReason, LostReason};
use crate::retraction::Retraction;
use crate::sending::SendError;
use crate::text::{harmless, quote};

/// Something that a program should know. Its text is one line in plain English.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The client is connected and signed in.
    #[non_exhaustive]
    Connected {},
    /// The connection is lost. The client reconnects by itself: you need not do anything.
    #[non_exhaustive]
    Disconnected {
        /// Why.
        reason: LostReason,
        /// The time until the next attempt.
        retry_in: Duration,
    },
    /// A message. Each message comes once, in the order of its log.
    Message(Message),
    /// The author of a message replaced its text. It may be a message that this client never received.
    #[non_exhaustive]
    Edited {
        /// The room, or the other user of the conversation.
        topic: Topic,
        /// The author.
        sender: UserName,
        /// The message.
        message_id: MessageId,
        /// The edit: a newer one has a higher id.
        version: MessageId,
        /// The new text, exactly as it was sent. It can be hostile.
        content: String,
        /// The id under which this client sent the change, as [`Sending::id`](crate::Sending::id) returned it.
        own_id: Option<RequestId>,
    },
    /// A message was taken back. Remove your copies of its text.
    #[non_exhaustive]
    Retracted {
        /// The room, or the other user of the conversation.
        topic: Topic,
        /// The author. An administrator may have taken it back.
        sender: UserName,
        /// The message.
        message_id: MessageId,
        /// Who did it and why.
        retraction: Retraction,
        /// The id under which this client sent the change.
        own_id: Option<RequestId>,
    },
    /// A user added a reaction to a message, or took it away.
    #[non_exhaustive]
    Reacted {
        /// The room, or the other user of the conversation.
        topic: Topic,
        /// Whose reaction.
        sender: UserName,
        /// The message.
        message_id: MessageId,
        /// The reaction, exactly as it was sent. It can be hostile.
        reaction: String,
        /// True if it was added.
        on: bool,
        /// The id under which this client sent the change.
        own_id: Option<RequestId>,
    },
    /// Messages may be missing between the last message of this topic and the next.
    #[non_exhaustive]
    Gap {
        /// The room. `None` stands for the private messages of the user, with all other users.
        topic: Option<Topic>,
        /// Why the node can't prove that nothing is missing.
        reason: Word<GapReason>,
    },
    /// The client no longer tries to send a message. The future that [`Client::send`](crate::Client::send) returned resolves
    /// with the same error.
    #[non_exhaustive]
    NotSent {
        /// The id of the message, as [`Sending::id`](crate::Sending::id) returned it.
        id: RequestId,
        /// The room or the user that it was for.
        topic: Topic,
        /// Its content.
        content: String,
        /// What it said beside its text.
        extras: Extras,
        /// Why, and whether the message may have been stored.
        error: SendError,
    },
    /// The client no longer tries to change a message. The future that [`Client::change`](crate::Client::change) returned resolves
    /// with the same error.
    #[non_exhaustive]
    NotChanged {
        /// The id of the change, as [`Sending::id`](crate::Sending::id) returned it.
        id: RequestId,
        /// The room, or the other user of the conversation.
        topic: Topic,
        /// The message.
        message_id: MessageId,
        /// What was asked for.
        change: Change,
        /// Why, and whether the change may have been stored.
        error: SendError,
    },
    /// The node can't store a message now. The client tries again, and reports this once for each message.
    #[non_exhaustive]
    SendDelayed {
        /// The room or the user that the message is for.
        topic: Topic,
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// The node can't let the client into a room now. The client tries again, and reports this once.
    #[non_exhaustive]
    JoinDelayed {
        /// The room.
        room: RoomName,
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// The node does not let the client into a room. The client does not try again until you call
    /// [`Client::join`](crate::Client::join) again.
    #[non_exhaustive]
    JoinRefused {
        /// The room.
        room: RoomName,
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// The node reports an error that belongs to no request, such as the rate limit.
    #[non_exhaustive]
    NodeError {
        /// What went wrong, for programs.
        code: Word<ErrorCode>,
        /// What went wrong, for people.
        message: String,
    },
    /// A user entered a room.
    #[non_exhaustive]
    Entered {
        /// The room.
        room: RoomName,
        /// The user.
        user: UserName,
    },
    /// A user left a room: with their last connection, if they have several.
    #[non_exhaustive]
    Left {
        /// The room.
        room: RoomName,
        /// The user.
        user: UserName,
    },
    /// A user is typing.
    #[non_exhaustive]
    Typing {
        /// The room, or the user if they are typing to you.
        topic: Topic,
        /// The user.
        user: UserName,
    },
    /// The user of this client has read a room up to this point, on another device.
    #[non_exhaustive]
    ReadRoom {
        /// The room.
        room: RoomName,
        /// The log that `seq` belongs to.
        epoch: Epoch,
        /// The number of the last message that was read.
        seq: u64,
    },
    /// A private conversation was read up to a message: by the other user, or by the user of this client on another device.
    #[non_exhaustive]
    ReadPrivate {
        /// The user who has read.
        reader: UserName,
        /// The other user of the conversation.
        peer: UserName,
        /// The last message that was read. All older ones were read too; the ids of a conversation sort in its order.
        message_id: MessageId,
    },
    /// A room with rights was made or changed.
    #[non_exhaustive]
    RoomChanged {
        /// The room.
        room: RoomName,
        /// Who did it. `None`: an administrator.
        by: Option<UserName>,
        /// Who may enter and write now, if that was changed.
        kind: Option<Word<RoomKind>>,
        /// The new topic, if that was changed. It can be hostile.
        topic: Option<String>,
        /// The new slow mode in milliseconds, if that was changed; 0: there is none.
        slow_mode_ms: Option<u64>,
    },
    /// Something was done to a user of a room.
    #[non_exhaustive]
    Moderated {
        /// The room.
        room: RoomName,
        /// Who did it. `None`: an administrator.
        by: Option<UserName>,
        /// What was done.
        action: Word<Action>,
        /// To whom.
        user: UserName,
        /// The new role, if the action gave one.
        role: Option<Word<Role>>,
        /// When a ban or a mute ends, in milliseconds since 1970. `None`: a moderator ends it.
        until: Option<u64>,
        /// Why. It can be hostile.
        reason: Option<String>,
    },
    /// The user of this client is invited to a room: [`Client::join`](crate::Client::join) accepts.
    #[non_exhaustive]
    Invited {
        /// The room.
        room: RoomName,
        /// Who did it. `None`: an administrator.
        by: Option<UserName>,
        /// Why. It can be hostile.
        reason: Option<String>,
    },
    /// The user of this client has blocked another user, or has ended that, on this device or on another one.
    #[non_exhaustive]
    Blocked {
        /// The other user.
        user: UserName,
        /// True if it is blocked now.
        on: bool,
    },
    /// The client is no longer in a room. It does not enter again until you call [`Client::join`](crate::Client::join).
    #[non_exhaustive]
    Removed {
        /// The room.
        room: RoomName,
        /// Why: after `kick`, the client may enter again at once.
        action: Word<RemovedBy>,
        /// When a ban ends, in milliseconds since 1970.
        until: Option<u64>,
        /// Why, for people. It can be hostile.
        reason: Option<String>,
    },
    /// The token of this client ends soon, and the connection with it: give the client a new one with
    /// [`Client::set_token`](crate::Client::set_token). This comes once for each token, a minute before.
    #[non_exhaustive]
    TokenExpiring {
        /// When, in milliseconds since 1970 by the clock of the node.
        expires_at: u64,
    },
    /// The client has ended and does not reconnect. This is the last event.
    #[non_exhaustive]
    Closed {
        /// Why.
        reason: ClosedReason,
    },
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The room, or the other user of a private conversation.
    pub topic: Topic,
    /// The user who sent the message.
    pub sender: UserName,
    /// The text, exactly as it was sent. It can be hostile: escape it for the place where you show it.
    pub content: String,
    /// The time at which the message was stored, in milliseconds since 1970.
    pub sent_at: u64,
    /// The position of the message in its log. A private message has a position in the log of each of the two users; this is
    /// the one in the log of this user.
    pub position: Position,
    /// The id under which this client sent the message, as [`Sending::id`](crate::Sending::id) returned it. `None` if
    /// somebody else sent it, or another client of this user.
    pub own_id: Option<RequestId>,
    /// The last edit, if the text was replaced.
    pub version: Option<MessageId>,
    /// When the text was last replaced, in milliseconds since 1970.
    pub edited_at: Option<u64>,
    /// It was taken back: the text is empty, and the other fields too.
    pub retraction: Option<Retraction>,
    /// The reactions to it.
    pub reactions: Reactions,
    /// What it says beside its text. `reply_to` is the message that it answers.
    pub extras: Extras,
}

impl Message {
    /// The id of the message. It is unique, and the ids of a log sort by `seq`.
    pub fn id(&self) -> MessageId {
        self.position.message_id
    }

    /// Whether it was taken back.
    pub fn is_retracted(&self) -> bool {
        self.retraction.is_some()
    }

    /// The content on one line, without control characters, escape sequences and marks that change the direction of text:
    /// safe for a terminal or a log.
    pub fn plain(&self) -> String {
        harmless(&self.content)
    }

    /// The sender and the beginning of the content, on one line and as safe as [`Message::plain`].
    pub fn quote(&self) -> String {
        let text = if self.is_retracted() { "(deleted)".into() } else { quote(&self.content) };
        format!("{}: {text}", harmless(self.sender.as_str()))
    }
}
