//! The frames of a node. Owns their bytes; what an event or an `Ack` says is defined by its type, and when it is sent is
//! the node's business. The body of a chat message is encoded once in the whole cluster, by the node that its sender is
//! on; everything after that splices those bytes.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::error::ErrorBody;
use super::events::Event;
use super::extras::Extras;
use super::frame;
use super::id::{Epoch, MessageId, RequestId};
use super::name::{RoomName, UserName};
use super::position::MAX_SEQ;
use super::requests::Request;
use super::stored::{members, split_kind};
use super::topic::Topic;

#[derive(Serialize)]
struct Envelope<'a, B> {
    message_type: &'static str,
    message_body: &'a B,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RequestId>,
}

/// The JSON text of one frame. Serialising these types to memory can't fail: no maps with keys that aren't strings.
fn json<B: Serialize>(message_type: &'static str, message_body: &B, id: Option<&RequestId>) -> Vec<u8> {
    let envelope = Envelope { message_type, message_body, id };
    serde_json::to_vec(&envelope).expect("a frame's types have string keys only")
}

/// The `Ack` of one request, as a finished frame.
pub fn ack<R: Request>(id: &RequestId, body: &R::Ack) -> Bytes {
    frame::text(&json("Ack", body, Some(id)))
}

/// An `Error`, as a finished frame.
pub fn error(id: Option<&RequestId>, body: &ErrorBody) -> Bytes {
    frame::text(&json("Error", body, id))
}

/// An event, as a finished frame.
pub fn event<E: Event>(event: &E) -> Bytes {
    frame::text(&event_json(event))
}

/// The JSON of an event that goes through the broker: the frame is finished by each node that delivers it.
pub fn event_json<E: Event>(event: &E) -> Bytes {
    json(E::KIND, event, None).into()
}

/// The stored part of a chat message: the members of its JSON object without the braces and without `epoch` and
/// `seq`, which are known only once it is stored. Opaque to the backend.
#[derive(Serialize)]
pub struct ChatBody<'a> {
    /// Who says it.
    pub sender_username: &'a UserName,
    /// For a private message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_username: Option<&'a UserName>,
    /// What is said.
    pub content: &'a str,
    /// For a message to a room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a RoomName>,
    /// Its id.
    pub message_id: MessageId,
    /// The publish's `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// Unix ms.
    pub sent_at: u64,
    /// What it says beside its text.
    #[serde(flatten)]
    pub extras: &'a Extras,
}

impl ChatBody<'_> {
    /// Encodes the stored part.
    pub fn encode(&self) -> Bytes {
        members("", self, self.content.len() + 512)
    }
}

/// What a message leaves free in its frame, for what a page or an error puts around it.
pub const SPARE_BYTES: usize = 2_048;

/// The most that the frame of an `Ack` has around its list, such as the messages of a page: names, numbers, and an `id`
/// of 64 characters, each of which JSON may escape as six.
pub const ACK_BYTES: usize = 1_024;

/// The most that a page of history has around one of its messages.
pub const PAGE_MESSAGE_BYTES: usize = 64;

/// The payload of a message's frame, in bytes, with this stored part and the largest `seq`.
pub fn chat_bytes(topic: &Topic, stored: &[u8]) -> usize {
    // Every epoch has 16 digits.
    let epoch = "0000000000000000";
    let (kind, members) = split_kind(stored);
    let head: usize = head(topic, kind).iter().map(|part| part.len()).sum();
    head + members.len() + chat_tail(epoch, MAX_SEQ).len()
}

/// A string without control characters as JSON, with its quotes, in bytes.
pub fn string_bytes(text: &str) -> usize {
    2 + text.len() + text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
}

/// What stands before the members of an entry.
fn head<'a>(topic: &Topic, kind: &'a str) -> [&'a [u8]; 3] {
    let kind = match (kind, topic) {
        ("", Topic::Room(_)) => "GroupChat",
        ("", Topic::User(_)) => "PrivateChat",
        (kind, _) => kind,
    };
    [br#"{"message_type":""#, kind.as_bytes(), br#"","message_body":{"#]
}

fn chat_tail(epoch: impl std::fmt::Display, seq: u64) -> String {
    format!(r#","epoch":"{epoch}","seq":{seq}}}}}"#)
}

/// Appends the finished frame of one message stored in the topic's log: one copy of the body per node, none per member.
pub fn put_chat(buffer: &mut BytesMut, topic: &Topic, stored: &[u8], epoch: Epoch, seq: u64) {
    let (kind, members) = split_kind(stored);
    let [start, kind, middle] = head(topic, kind);
    frame::put_text(buffer, &[start, kind, middle, members, chat_tail(epoch, seq).as_bytes()]);
}

/// The JSON object of a page of history: stored messages with their places, oldest first. Written by hand, since the
/// stored bodies are spliced in as they are.
pub fn history(messages: &[(u64, Bytes)], epoch: Epoch, more: bool) -> Vec<u8> {
    let stored_bytes: usize = messages.iter().map(|(_, stored)| stored.len() + PAGE_MESSAGE_BYTES).sum();
    let mut json = Vec::with_capacity(stored_bytes + 64);
    json.extend_from_slice(br#"{"messages":["#);
    for (i, (seq, stored)) in messages.iter().enumerate() {
        json.extend_from_slice(if i == 0 { b"{" } else { b",{" });
        json.extend_from_slice(stored);
        json.extend_from_slice(format!(r#","epoch":"{epoch}","seq":{seq}}}"#).as_bytes());
    }
    json.extend_from_slice(format!(r#"],"epoch":"{epoch}","more":{more}}}"#).as_bytes());
    json
}

/// The `Ack` of `History`, as a finished frame around what [`history`] made.
pub fn history_ack(id: &RequestId, history: &[u8]) -> Bytes {
    let id = serde_json::to_vec(id.as_str()).expect("a string is always JSON");
    let mut buffer = BytesMut::new();
    let head: &[u8] = br#"{"message_type":"Ack","message_body":"#;
    frame::put_text(&mut buffer, &[head, history, br#","id":"#, &id, b"}"]);
    buffer.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;
    use crate::events::ChatMessage;
    use crate::requests::{History, HistoryAck};

    /// Messages whose content JSON has to escape, to a room and to a user, with and without an `id`.
    fn messages() -> Vec<ChatMessage> {
        let topics = [
            Topic::Room(RoomName::parse("ops \"1\"").unwrap()),
            Topic::User(UserName::parse("bob\\").unwrap()),
        ];
        let mut messages = Vec::new();
        for (seq, content) in ["hi", "a \"b\"\n\u{1}", "日本 👩\u{200d}💻", "}{", "x"].into_iter().enumerate()
        {
            for topic in &topics {
                let position = Position {
                    epoch: Epoch::generate(),
                    seq: seq as u64 + 7,
                    message_id: MessageId::generate(),
                };
                let sender = UserName::parse("alice").unwrap();
                let content = content.repeat(1 + seq * 40);
                let message = ChatMessage::text(sender.clone(), topic.clone(), content, position, 5);
                let client_id = (seq % 2 == 0).then(|| RequestId::parse("c\t1").unwrap());
                let mentions = if seq == 3 { vec![sender] } else { Vec::new() };
                messages.push(ChatMessage { client_id, mentions, ..message });
            }
        }
        messages
    }

    fn stored(message: &ChatMessage) -> Bytes {
        let body = ChatBody {
            sender_username: &message.sender_username,
            target_username: message.topic.user(),
            content: &message.content,
            room: message.topic.room(),
            message_id: message.message_id,
            client_id: message.client_id.as_ref().map(RequestId::as_str),
            sent_at: message.sent_at,
            extras: &Extras { mentions: message.mentions.clone(), ..Extras::default() },
        };
        body.encode()
    }

    #[test]
    fn a_spliced_frame_says_what_its_type_says() {
        for message in messages() {
            let mut spliced = BytesMut::new();
            put_chat(&mut spliced, &message.topic, &stored(&message), message.epoch, message.seq);
            let kind = if message.topic.room().is_some() { "GroupChat" } else { "PrivateChat" };
            let typed = json(kind, &message, None);
            let header = spliced.len() - typed.len();
            let (spliced, typed) = (&spliced[header..], &typed[..]);
            let value = |json| serde_json::from_slice::<serde_json::Value>(json).unwrap();
            assert_eq!(value(spliced), value(typed));
            assert_eq!(
                serde_json::from_value::<ChatMessage>(value(spliced)["message_body"].clone()).unwrap(),
                message
            );
        }
    }

    #[test]
    fn sizes_are_those_of_the_json() {
        for message in messages() {
            let (stored, mut frame) = (stored(&message), BytesMut::new());
            put_chat(&mut frame, &message.topic, &stored, message.epoch, MAX_SEQ);
            let payload = vec![b'x'; chat_bytes(&message.topic, &stored)];
            assert_eq!(frame.len(), frame::text(&payload).len());
            let page =
                |count: usize| history(&vec![(MAX_SEQ, stored.clone()); count], message.epoch, false).len();
            assert!(page(2) - page(1) <= stored.len() + PAGE_MESSAGE_BYTES);
        }
        let longest = RequestId::parse(&"\u{1}".repeat(64)).unwrap();
        let ack = history_ack(&longest, &history(&[], Epoch::generate(), false));
        assert!(ack.len() <= ACK_BYTES / 2, "{}", ack.len());
        for name in ["bob", "\"b\\o/b\"", "日本", "👩\u{200d}💻"] {
            assert_eq!(string_bytes(name), serde_json::to_string(name).unwrap().len());
        }
    }

    #[test]
    fn a_spliced_page_says_what_its_type_says() {
        let epoch = Epoch::generate();
        let messages: Vec<ChatMessage> =
            messages().into_iter().map(|message| ChatMessage { epoch, ..message }).collect();
        let spliced: Vec<(u64, Bytes)> =
            messages.iter().map(|message| (message.seq, stored(message))).collect();
        for count in [0, 1, spliced.len()] {
            let typed = HistoryAck { messages: messages[..count].to_vec(), epoch, more: count == 1 };
            let page = history(&spliced[..count], epoch, typed.more);
            assert_eq!(serde_json::from_slice::<HistoryAck>(&page).unwrap(), typed);
            let id = RequestId::parse("\"1\"").unwrap();
            let value = |frame: &[u8]| -> serde_json::Value {
                let header = if frame[1] < 126 { 2 } else { 4 };
                serde_json::from_slice(&frame[header..]).unwrap()
            };
            assert_eq!(value(&history_ack(&id, &page)), value(&ack::<History>(&id, &typed)));
        }
    }

    #[test]
    fn a_stored_body_takes_no_more_memory_than_it_fills() {
        let user = UserName::parse("alice").unwrap();
        // The second is twice as long in JSON.
        for content in ["x".repeat(16_000), "\"".repeat(16_000), "hi".into()] {
            let body = ChatBody {
                sender_username: &user,
                target_username: Some(&user),
                content: &content,
                room: None,
                message_id: MessageId::generate(),
                client_id: None,
                sent_at: 5,
                extras: &Extras::default(),
            };
            let stored = BytesMut::from(body.encode());
            assert!(
                stored.len() > content.len() && stored.capacity() <= stored.len() + 16,
                "{}",
                stored.capacity()
            );
        }
    }
}
