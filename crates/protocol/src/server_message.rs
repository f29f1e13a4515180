//! What the server says. Owns the JSON of every frame to a client; does not decide when one is sent. Encoded by
//! `chat`; the body of a chat message is encoded once in the whole cluster, by the node that its sender is on.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::code::ErrorCode;
use super::frame;
use super::id::{Epoch, MessageId, RequestId};
use super::name::{RoomName, UserName};
use super::position::Position;
use super::topic::Topic;

/// What follows a failed publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing was or will be stored.
    Refused,
    /// It may have been stored: repeat with the same `id`.
    Unknown,
}

/// Why continuity can't be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The log no longer holds what follows the position.
    Trimmed,
    /// The log started afresh.
    Epoch,
    /// The log lost its end, and may have other messages there now.
    Rollback,
    /// More was missed than is replayed.
    TooMany,
}

impl GapReason {
    /// The word on the wire, and the metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Epoch => "epoch",
            Self::Rollback => "rollback",
            Self::TooMany => "too_many",
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a, B> {
    message_type: &'static str,
    message_body: B,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

/// The JSON text of one frame. Serialising these types to memory can't fail: no maps with keys that aren't strings.
fn json<B: Serialize>(message_type: &'static str, message_body: B, id: Option<&RequestId>) -> Vec<u8> {
    let envelope = Envelope { message_type, message_body, id: id.map(RequestId::as_str) };
    serde_json::to_vec(&envelope).expect("a frame's types have string keys only")
}

/// The `Ack` of one request, as a finished frame.
pub fn ack<B: Serialize>(id: &RequestId, body: B) -> Bytes {
    frame::text(&json("Ack", body, Some(id)))
}

/// The body of an `Ack` that has nothing to add.
#[derive(Serialize)]
pub struct Done {}

/// The body of the `Ack` of `Ping`.
#[derive(Serialize)]
pub struct PingAck<'a> {
    /// Whose the connection's token is, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_username: Option<&'a UserName>,
}

/// The body of an `Error`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorBody {
    /// One word of the protocol's table.
    #[serde(serialize_with = "code")]
    pub code: ErrorCode,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// When to try again, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// For a publish that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

fn code<S: serde::Serializer>(code: &ErrorCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.as_str())
}

/// An `Error`, as a finished frame.
pub fn error(id: Option<&RequestId>, body: &ErrorBody) -> Bytes {
    frame::text(&json("Error", body, id))
}

/// The body of the `Ack` of `Enter` and `Auth`.
#[derive(Debug, Serialize)]
pub struct JoinAck<'a, R> {
    /// For `Enter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<&'a RoomName>,
    /// The newest message at this moment.
    #[serde(flatten)]
    pub position: Position,
    /// The user's read markers: of the room, or of its private conversations.
    pub read: R,
    /// How long a repeated publish is recognised, ms.
    pub dedupe_ms: u64,
    /// Whether all after `since` follows; only where `since` was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<GapReason>,
    /// The first `seq` that follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_seq: Option<u64>,
    /// The room had been entered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub already: Option<bool>,
}

/// How far a user has read in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoomMarker {
    /// The log that `seq` belongs to.
    pub epoch: Epoch,
    /// All up to here is read.
    pub seq: u64,
}

/// The body of the `Ack` of `Leave`.
#[derive(Serialize)]
pub struct LeaveAck<'a> {
    /// The room that was left.
    pub room: &'a RoomName,
}

/// The body of the `Ack` of a publish.
#[derive(Serialize)]
pub struct PublishAck {
    /// The message's id.
    pub message_id: MessageId,
    /// The log's epoch; of a private message the sender's own log.
    pub epoch: Epoch,
    /// Its place there.
    pub seq: u64,
    /// Unix ms.
    pub sent_at: u64,
    /// A publish with this `id` had been stored before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}

/// The body of the `Ack` of `Members`.
#[derive(Serialize)]
pub struct MembersAck<'a> {
    /// The room.
    pub room: &'a RoomName,
    /// One page of names, sorted by their bytes.
    pub members: &'a [UserName],
    /// All of them, cluster-wide.
    pub count: u64,
    /// Another page follows.
    pub more: bool,
}

/// A `Gap`, as a finished frame. `room` is none for the private log.
pub fn gap(room: Option<&RoomName>, reason: GapReason, epoch: Epoch, next_seq: u64) -> Bytes {
    #[derive(Serialize)]
    struct Gap<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a RoomName>,
        reason: GapReason,
        epoch: Epoch,
        next_seq: u64,
    }
    frame::text(&json("Gap", Gap { room, reason, epoch, next_seq }, None))
}

#[derive(Serialize)]
struct Event<'a> {
    sender_username: &'a UserName,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a RoomName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_username: Option<&'a UserName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
}

impl<'a> Event<'a> {
    fn of(sender_username: &'a UserName) -> Self {
        Self { sender_username, room: None, target_username: None, epoch: None, seq: None, message_id: None }
    }
}

/// The JSON of an `Enter` event (not a frame yet: it goes through the broker).
pub fn entered(room: &RoomName, user: &UserName) -> Bytes {
    json("Enter", Event { room: Some(room), ..Event::of(user) }, None).into()
}

/// The JSON of a `Leave` event.
pub fn left(room: &RoomName, user: &UserName) -> Bytes {
    json("Leave", Event { room: Some(room), ..Event::of(user) }, None).into()
}

/// The JSON of a `Typing` event in a room.
pub fn typing_in_room(sender: &UserName, room: &RoomName) -> Bytes {
    json("Typing", Event { room: Some(room), ..Event::of(sender) }, None).into()
}

/// The JSON of a `Typing` event to a user.
pub fn typing_to_user(sender: &UserName, target: &UserName) -> Bytes {
    json("Typing", Event { target_username: Some(target), ..Event::of(sender) }, None).into()
}

/// The JSON of a `Read` event for a room.
pub fn read_room(sender: &UserName, room: &RoomName, marker: RoomMarker) -> Bytes {
    let event =
        Event { room: Some(room), epoch: Some(marker.epoch), seq: Some(marker.seq), ..Event::of(sender) };
    json("Read", event, None).into()
}

/// The JSON of a `Read` event for a private conversation.
pub fn read_private(sender: &UserName, target: &UserName, message_id: MessageId) -> Bytes {
    let event = Event { target_username: Some(target), message_id: Some(message_id), ..Event::of(sender) };
    json("Read", event, None).into()
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
}

impl ChatBody<'_> {
    /// Encodes the stored part.
    pub fn encode(&self) -> Bytes {
        // It is kept for long: left to double as it grows, it would be up to twice as large as what it says.
        let mut json = Vec::with_capacity(self.content.len() + 512);
        serde_json::to_writer(&mut json, self).expect("a chat body's types have string keys only");
        json.pop();
        json.shrink_to_fit();
        Bytes::from(json).slice(1..)
    }
}

/// Appends the finished frame of one message stored in the topic's log: one copy of the body per node, none per member.
pub fn put_chat(buffer: &mut BytesMut, topic: &Topic, stored: &[u8], epoch: Epoch, seq: u64) {
    let head: &[u8] = match topic {
        Topic::Room(_) => br#"{"message_type":"GroupChat","message_body":{"#,
        Topic::User(_) => br#"{"message_type":"PrivateChat","message_body":{"#,
    };
    let tail = format!(r#","epoch":"{epoch}","seq":{seq}}}}}"#);
    frame::put_text(buffer, &[head, stored, tail.as_bytes()]);
}

/// The JSON object of a page of history: stored messages with their places, oldest first. Written by hand, since the
/// stored bodies are spliced in as they are.
pub fn history(messages: &[(u64, Bytes)], epoch: Epoch, more: bool) -> Vec<u8> {
    let stored_bytes: usize = messages.iter().map(|(_, stored)| stored.len() + 64).sum();
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

    #[test]
    fn a_stored_body_takes_no_more_room_than_it_fills() {
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
            };
            let stored = BytesMut::from(body.encode());
            assert!(
                stored.len() > content.len() && stored.capacity() <= stored.len() + 16,
                "{}",
                stored.capacity()
            );
        }
    }

    #[test]
    fn a_stored_body_becomes_one_frame_with_its_place() {
        let user = UserName::parse("alice").unwrap();
        let room = RoomName::parse("ops").unwrap();
        let stored = ChatBody {
            sender_username: &user,
            target_username: None,
            content: "a \"b\"\n",
            room: Some(&room),
            message_id: MessageId::generate(),
            client_id: Some("c1"),
            sent_at: 5,
        }
        .encode();
        let epoch = Epoch::generate();
        let mut buffer = BytesMut::new();
        put_chat(&mut buffer, &Topic::Room(room.clone()), &stored, epoch, 7);
        let json: serde_json::Value = serde_json::from_slice(&buffer[4..]).unwrap();
        assert_eq!(json["message_type"], "GroupChat");
        assert_eq!(json["message_body"]["content"], "a \"b\"\n");
        assert_eq!(json["message_body"]["seq"], 7);
        assert_eq!(json["message_body"]["epoch"], epoch.to_string());
        let page: serde_json::Value =
            serde_json::from_slice(&history(&[(1, stored.clone()), (2, stored)], epoch, true)).unwrap();
        assert_eq!(page["messages"][1]["seq"], 2);
    }
}
