//! What the log stores. Owns the bytes of the stored part of a change, how it is told from a message, and what of it nodes read
//! again; how frames are put together is the business of `encode`. Used by nodes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::events::{Edit, Event, React, Retract, Target, Tombstone};
use super::frame;
use super::id::MessageId;
use super::name::{RoomName, UserName};
use super::topic::Topic;

/// The stored part of a change, as a [`ChatBody`](crate::encode::ChatBody) is that of a message. Its kind stands before the members.
#[derive(Serialize)]
pub struct ChangeBody<'a> {
    /// Who changes it.
    pub sender_username: &'a UserName,
    /// For a private message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_username: Option<&'a UserName>,
    /// For a message to a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a RoomName>,
    /// The id of the change.
    pub message_id: MessageId,
    /// What is changed, and how.
    #[serde(flatten)]
    pub change: Change<'a>,
    /// The `id` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// Unix ms. Not of a tombstone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<u64>,
}

/// A change of a message.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Change<'a> {
    /// Its text is replaced.
    Edit {
        /// The message.
        target: Target,
        /// The new text.
        content: &'a str,
    },
    /// It is taken back.
    Retract {
        /// The message.
        target: Target,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        /// Who did it, if not the author.
        #[serde(flatten)]
        moderation: Moderation<'a>,
    },
    /// A reaction is added or taken away.
    React {
        /// The message.
        target: Target,
        /// The reaction.
        reaction: &'a str,
        /// True to add it.
        on: bool,
    },
    /// The entry with this id is erased.
    Tombstone {
        /// Who did it, if not the author.
        #[serde(flatten)]
        moderation: Moderation<'a>,
    },
}

/// Who took a message back.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Moderation<'a> {
    /// An administrator, not the author.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub moderated: bool,
    /// The name that the administrator gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moderator: Option<&'a UserName>,
}

impl Change<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Edit { .. } => Edit::KIND,
            Self::Retract { .. } => Retract::KIND,
            Self::React { .. } => React::KIND,
            Self::Tombstone { .. } => Tombstone::KIND,
        }
    }
}

impl ChangeBody<'_> {
    /// Encodes the stored part.
    pub fn encode(&self) -> Bytes {
        members(self.change.kind(), self, 512)
    }
}

/// What a page of history has in the place of the text of an edited message: members of its JSON object.
#[derive(Serialize)]
pub struct EditedText<'a> {
    /// The new text.
    pub content: &'a str,
    /// When it was edited, in Unix milliseconds.
    pub edited_at: u64,
}

impl EditedText<'_> {
    /// Encodes the members.
    pub fn encode(&self) -> Bytes {
        members("", self, self.content.len() + 64)
    }
}

/// How the stored part of every message of this user begins.
pub fn author(user: &UserName) -> Bytes {
    let name = serde_json::to_string(user).expect("a name is a string");
    format!(r#""sender_username":{name},"#).into()
}

/// How the stored part of every message between two users begins, either way: a line each.
pub fn conversation(one: &UserName, other: &UserName) -> Bytes {
    let [one, other] = [one, other].map(|user| serde_json::to_string(user).expect("a name is a string"));
    let start =
        |sender: &str, target: &str| format!(r#""sender_username":{sender},"target_username":{target},"#);
    format!("{}\n{}", start(&one, &other), start(&other, &one)).into()
}

/// The bytes of the text of a stored message, without what JSON adds. 0 if it can't be read.
pub fn content_bytes(stored: &[u8]) -> usize {
    #[derive(Deserialize)]
    struct Body {
        content: String,
    }
    let json = [b"{", stored, b"}"].concat();
    serde_json::from_slice::<Body>(&json).map_or(0, |body| body.content.len())
}

/// The message that a stored `Retract` takes back, and what stands in its place. `None` for any other entry.
pub fn retracted_message(stored: &[u8]) -> Option<(MessageId, Erased)> {
    #[derive(Deserialize)]
    struct Body {
        sender_username: UserName,
        #[serde(flatten)]
        topic: Topic,
        target: Target,
        #[serde(default)]
        moderated: bool,
        moderator: Option<UserName>,
    }
    let (kind, members) = split_kind(stored);
    if kind != Retract::KIND {
        return None;
    }
    let Body { sender_username, topic, target, moderated, moderator } =
        serde_json::from_slice(&[b"{", members, b"}"].concat()).ok()?;
    Some((target.message_id, Erased { sender_username, topic, moderated, moderator }))
}

/// Who wrote a stored message, and where to; also of one that was erased. `None` for a change, or if it can't be read.
pub fn written(stored: &[u8]) -> Option<(UserName, Topic)> {
    #[derive(Deserialize)]
    struct Body {
        sender_username: UserName,
        #[serde(flatten)]
        topic: Topic,
    }
    let (kind, members) = split_kind(stored);
    if !kind.is_empty() && kind != Tombstone::KIND {
        return None;
    }
    let Body { sender_username, topic } = serde_json::from_slice(&[b"{", members, b"}"].concat()).ok()?;
    Some((sender_username, topic))
}

/// Whose erased entries a tombstone stands for.
#[derive(Debug)]
pub struct Erased {
    sender_username: UserName,
    topic: Topic,
    moderated: bool,
    moderator: Option<UserName>,
}

impl Erased {
    /// The stored part of the tombstone of an entry.
    pub fn of(&self, message_id: MessageId) -> Bytes {
        let moderation = Moderation { moderated: self.moderated, moderator: self.moderator.as_ref() };
        let body = ChangeBody {
            sender_username: &self.sender_username,
            target_username: self.topic.user(),
            room: self.topic.room(),
            message_id,
            change: Change::Tombstone { moderation },
            client_id: None,
            sent_at: None,
        };
        body.encode()
    }
}

/// The message that a finished frame of an `Edit` is about. `None` for any other frame.
pub fn edited_message(frame: &[u8]) -> Option<MessageId> {
    let json = &frame[frame.iter().take(frame::MAX_HEADER_BYTES + 1).position(|byte| *byte == b'{')?..];
    let body = json.strip_prefix(br#"{"message_type":"Edit","message_body":"#)?;
    let body = body.strip_suffix(b"}")?;
    #[derive(Deserialize)]
    struct Body {
        target: Target,
    }
    serde_json::from_slice::<Body>(body).ok().map(|body| body.target.message_id)
}

/// The members of a JSON object, after the kind.
pub(crate) fn members<B: Serialize>(kind: &str, body: &B, capacity: usize) -> Bytes {
    // It is kept for long: left to double as it grows, it would be up to twice as large as what it says.
    let mut json = Vec::with_capacity(capacity);
    serde_json::to_writer(&mut json, body).expect("a stored body's types have string keys only");
    json.pop();
    if kind.is_empty() {
        json.shrink_to_fit();
        return Bytes::from(json).slice(1..);
    }
    [CHANGE, kind.as_bytes(), br#"","#, &json[1..]].concat().into()
}

/// How the stored part of a change begins: its kind follows. To a node that knows no changes, it is a message with a field more.
const CHANGE: &[u8] = br#""change":""#;

/// The kind of a stored entry, empty for a message, and its members.
pub fn split_kind(stored: &[u8]) -> (&str, &[u8]) {
    let split = || {
        let rest = stored.strip_prefix(CHANGE)?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        Some((std::str::from_utf8(&rest[..end]).ok()?, rest[end..].strip_prefix(br#"","#)?))
    };
    split().unwrap_or(("", stored))
}

/// Whether a stored entry is a message, and not a change of one.
pub fn is_message(stored: &[u8]) -> bool {
    !stored.starts_with(CHANGE)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::encode::{ChatBody, chat_bytes, put_chat};
    use crate::{Epoch, Extras};

    #[test]
    fn a_change_is_spliced_and_recognised() {
        let (alice, bob) = (UserName::parse("a\"li,ce").unwrap(), UserName::parse("bob").unwrap());
        let [id, target] = [(); 2].map(|()| MessageId::generate());
        let body = |change| ChangeBody {
            sender_username: &alice,
            target_username: Some(&bob),
            room: None,
            message_id: id,
            change,
            client_id: Some("c1"),
            sent_at: Some(7),
        };
        let target = Target { message_id: target };
        let edit = body(Change::Edit { target, content: "\"target\":" }).encode();
        let moderation = Moderation { moderated: true, moderator: Some(&bob) };
        let retract = body(Change::Retract { target, reason: None, moderation }).encode();
        assert!(!is_message(&edit) && !is_message(&retract));
        let (mut frame, topic, epoch) = (BytesMut::new(), Topic::User(bob.clone()), Epoch::generate());
        put_chat(&mut frame, &topic, &edit, epoch, 9);
        assert_eq!(edited_message(&frame), Some(target.message_id));
        let start = frame.iter().position(|byte| *byte == b'{').unwrap();
        let json: serde_json::Value = serde_json::from_slice(&frame[start..]).unwrap();
        assert_eq!(json["message_type"], "Edit");
        let event: Edit = serde_json::from_value(json["message_body"].clone()).unwrap();
        assert_eq!((event.seq, event.target, event.topic), (9, target, topic.clone()));
        assert_eq!(frame.len(), frame::text(&vec![b'x'; frame.len() - start]).len());
        assert!(frame.len() - start <= chat_bytes(&topic, &edit));

        let (erased_id, erased) = retracted_message(&retract).unwrap();
        assert_eq!(erased_id, target.message_id);
        assert!(retracted_message(&edit).is_none() && edited_message(&retract).is_none());
        let tombstone = erased.of(id);
        assert_eq!(split_kind(&tombstone).0, "Tombstone");
        let end = format!(r#""message_id":"{id}","moderated":true,"moderator":"bob""#);
        assert!(tombstone.ends_with(end.as_bytes()));
        assert_eq!(written(&tombstone), Some((alice.clone(), topic)));
        assert_eq!(written(&retract), None);
        let user = UserName::parse("alice").unwrap();
        let plain = ChatBody {
            sender_username: &user,
            target_username: None,
            content: "x",
            room: None,
            message_id: id,
            client_id: None,
            sent_at: 5,
            extras: &Extras::default(),
        };
        let plain = plain.encode();
        assert!(is_message(&plain) && plain.starts_with(&author(&user)));
        assert!(!plain.starts_with(&author(&UserName::parse("alic").unwrap())));
    }
}
