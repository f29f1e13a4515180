//! Events as one line of plain English each. Owns the sentences, in which nothing hostile is left; the events are in `event`.

use std::fmt;

use chatnode_protocol::events::RemovedBy;
use chatnode_protocol::{Action, GapReason, Topic, UserName, Word};

use crate::event::Event;
use crate::text::{harmless, quote};

/// The text about a gap.
pub(crate) fn describe_gap(reason: &Word<GapReason>) -> String {
    let why = match reason.known() {
        Some(GapReason::Trimmed) => "the log no longer holds them",
        Some(GapReason::Epoch) => "the log was started again",
        Some(GapReason::Rollback) => "the store lost its newest messages",
        Some(GapReason::TooMany) => "there are too many to send again",
        None => &harmless(reason.as_str()),
    };
    format!("messages may be missing here: {why}")
}

/// Who did something.
fn actor(by: Option<&UserName>) -> String {
    by.map_or_else(|| "an administrator".to_owned(), |user| harmless(user.as_str()))
}

/// What was done, in the past tense.
fn verb(action: Action) -> &'static str {
    match action {
        Action::Remove => "removed",
        Action::Kick => "kicked",
        Action::Ban => "banned",
        Action::Unban => "unbanned",
        Action::Mute => "muted",
        Action::Unmute => "unmuted",
        Action::Role => "gave a role to",
        Action::Invite => "invited",
    }
}

fn because(f: &mut fmt::Formatter<'_>, reason: Option<&str>) -> fmt::Result {
    reason.map_or(Ok(()), |reason| write!(f, ": {}", harmless(reason)))
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected {} => f.write_str("connected"),
            Self::Disconnected { reason, retry_in } => {
                write!(f, "{reason}; retrying in {:.1} s", retry_in.as_secs_f64())
            }
            Self::Message(message) => {
                write!(f, "{} {}: {}", message.topic, message.sender, message.plain())
            }
            Self::Edited { topic, sender, content, .. } => {
                write!(f, "{topic} {sender} edited a message: {}", harmless(content))
            }
            Self::Retracted { topic, sender, retraction, .. } => {
                write!(f, "{topic} a message of {sender} was {retraction}")
            }
            Self::Reacted { topic, sender, reaction, on, .. } => {
                let (verb, reaction) = (if *on { "reacted with" } else { "took back" }, harmless(reaction));
                write!(f, "{topic} {sender} {verb} {reaction}")
            }
            Self::Gap { topic, reason } => {
                let text = describe_gap(reason);
                match topic {
                    Some(topic) => write!(f, "{topic}: {text}"),
                    None => write!(f, "private messages: {text}"),
                }
            }
            Self::NotSent { topic, content, error, .. } => {
                write!(f, "not sent to {topic}: {error}: {}", quote(content))
            }
            Self::NotChanged { topic, change, error, .. } => {
                write!(f, "{} in {topic}: {error}", change.undone())
            }
            Self::SendDelayed { message, .. } => write!(f, "not stored yet, retrying: {message}"),
            Self::JoinDelayed { room, message, .. } => {
                write!(f, "can't join #{room} yet, retrying: {message}")
            }
            Self::JoinRefused { room, message, .. } => write!(f, "can't join #{room}: {message}"),
            Self::NodeError { message, .. } => write!(f, "error from the node: {message}"),
            Self::Entered { room, user } => write!(f, "{user} entered #{room}"),
            Self::Left { room, user } => write!(f, "{user} left #{room}"),
            Self::Typing { topic: Topic::Room(room), user } => write!(f, "{user} is typing in #{room}"),
            Self::Typing { user, .. } => write!(f, "{user} is typing"),
            Self::ReadRoom { room, seq, .. } => write!(f, "#{room} was read up to number {seq}"),
            Self::ReadPrivate { reader, peer, .. } => write!(f, "{reader} has read the messages with {peer}"),
            Self::RoomChanged { room, by, kind, topic, slow_mode_ms } => {
                let kind = kind.as_ref().map(|kind| format!("it is {}", harmless(kind.as_str())));
                let topic = topic.as_deref().map(|topic| match topic {
                    "" => "it has no topic".to_owned(),
                    topic => format!("the topic is {}", harmless(topic)),
                });
                let slow = slow_mode_ms.map(|slow| match slow {
                    0 => "no slow mode".to_owned(),
                    slow => format!("each user may write once in {} s", slow.div_ceil(1_000)),
                });
                let changes: Vec<String> = kind.into_iter().chain(slow).chain(topic).collect();
                write!(f, "{} changed #{room}: {}", actor(by.as_ref()), changes.join(", "))
            }
            Self::Moderated { room, by, action, user, role, reason, .. } => {
                let by = actor(by.as_ref());
                match action.known() {
                    Some(Action::Role) if by == user.as_str() => {
                        write!(f, "{user} is a member of #{room} now")
                    }
                    Some(Action::Role) => {
                        let role = role.as_ref().map_or_else(String::new, |role| harmless(role.as_str()));
                        write!(f, "{by} gave {user} the role {role} in #{room}")
                    }
                    Some(Action::Remove) if by == user.as_str() => {
                        write!(f, "{user} gave up the role in #{room}")
                    }
                    Some(action) => write!(f, "{by} {} {user} in #{room}", verb(action)),
                    None => write!(f, "{by} did {} to {user} in #{room}", harmless(action.as_str())),
                }?;
                because(f, reason.as_deref())
            }
            Self::Invited { room, by, reason } => {
                write!(f, "{} invites you to #{room}", actor(by.as_ref()))?;
                because(f, reason.as_deref())
            }
            Self::Blocked { user, on: true } => {
                write!(f, "you block {user}: no private messages of theirs come")
            }
            Self::Blocked { user, on: false } => write!(f, "you no longer block {user}"),
            Self::Removed { room, action, reason, .. } => {
                let why = match action.known() {
                    Some(RemovedBy::Kick) => "you were sent out, and may enter again",
                    Some(RemovedBy::Ban) => "you are banned",
                    Some(RemovedBy::Remove) => "you no longer have a role there",
                    Some(RemovedBy::Private) => "it is private now",
                    None => "you were removed",
                };
                write!(f, "you are no longer in #{room}: {why}")?;
                because(f, reason.as_deref())
            }
            Self::TokenExpiring { .. } => {
                f.write_str("the token expires within a minute: a new one is needed")
            }
            Self::Closed { reason } => write!(f, "closed: {reason}"),
        }
    }
}
