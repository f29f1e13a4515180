//! What a client may say. Owns decoding and the checks that need nothing but the frame itself; does not know who is
//! signed in or which rooms exist. Called by the session for each text frame.
//!
//! Decoding borrows: the envelope and the body are read as raw JSON, and only the fields that the request has are
//! turned into values. A `GroupChat` costs one allocation each for room, sender, content and id.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::code::ErrorCode;
use super::id::{Epoch, MAX_REQUEST_ID_CHARS, MessageId, RequestId};
use super::name::{NameError, RoomName, UserName};
use super::position::{MAX_SEQ, Since};
use super::token::Token;
use super::topic::Topic;

/// The most messages that `history` and `limit` of `History` may ask for.
pub const MAX_HISTORY: u32 = 200;

/// The most names that `limit` of `Members` may ask for.
pub const MAX_MEMBERS: u32 = 1_000;

/// One request, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    /// The client's name for the request; with one, it gets exactly one answer.
    pub id: Option<RequestId>,
    /// The token, as sent. Not logged, hence no `Debug` of its own text.
    pub token: Option<Token>,
    /// What is asked.
    pub request: Request,
}

/// What a `Read` marks.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadTarget {
    /// All of a room up to `seq`.
    Room(Option<RoomName>, u64),
    /// All private messages with a peer up to this one.
    User(UserName, MessageId),
}

/// A request's `message_type` and `message_body`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the protocol's tables, under the same names")]
pub enum Request {
    /// Join a room.
    Enter { sender: UserName, room: Option<RoomName>, since: Option<Since>, history: Option<u32> },
    /// Leave a room.
    Leave { sender: UserName, room: Option<RoomName> },
    /// Say something to a room.
    GroupChat { sender: UserName, room: Option<RoomName>, content: String },
    /// Say something to a user.
    PrivateChat { sender: UserName, target: UserName, content: String },
    /// Bind the connection to a user.
    Auth { sender: UserName, since: Option<Since> },
    /// Is typing.
    Typing { sender: UserName, topic: Option<Topic> },
    /// A page of a log, backwards from `before`.
    History { sender: UserName, topic: Option<Topic>, before: Option<Before>, limit: u32 },
    /// Who is in a room.
    Members { sender: UserName, room: Option<RoomName>, after: Option<UserName>, limit: u32 },
    /// Has read.
    Read { sender: UserName, target: ReadTarget },
    /// Is anybody there.
    Ping { sender: Option<UserName> },
}

/// Where a page of history ends, exclusively.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Before {
    /// The log that `seq` belongs to; `None` for what can't be an epoch of ours.
    pub epoch: Option<Epoch>,
    /// The first `seq` that is not wanted.
    pub seq: u64,
}

impl Request {
    /// Who sends it, if it says so: only a `Ping` may leave that out.
    pub fn sender(&self) -> Option<&UserName> {
        match self {
            Self::Enter { sender, .. }
            | Self::Leave { sender, .. }
            | Self::GroupChat { sender, .. }
            | Self::PrivateChat { sender, .. }
            | Self::Auth { sender, .. }
            | Self::Typing { sender, .. }
            | Self::History { sender, .. }
            | Self::Members { sender, .. }
            | Self::Read { sender, .. } => Some(sender),
            Self::Ping { sender } => sender.as_ref(),
        }
    }

    /// What it costs of the connection's rate.
    pub fn cost(&self) -> u32 {
        match self {
            Self::Enter { .. } | Self::History { .. } | Self::Members { .. } => 5,
            _ => 1,
        }
    }
}

/// A frame that is not a request, with the id that it bore where one could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The request's id.
    pub id: Option<RequestId>,
    /// `invalid_json`, `invalid_message`, `unknown_type` or `message_too_large`.
    pub code: ErrorCode,
    /// What is wrong and what to do, for a person.
    pub message: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    message_type: Option<&'a RawValue>,
    #[serde(borrow)]
    message_body: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// Every field that some request has.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    sender_username: Option<&'a RawValue>,
    #[serde(borrow)]
    target_username: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    history: Option<&'a RawValue>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    epoch: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
}

/// What is wrong with a body, before it is known which request it belongs to.
struct Fault {
    code: ErrorCode,
    message: String,
}

fn invalid(field: &str, why: impl std::fmt::Display) -> Fault {
    Fault { code: ErrorCode::InvalidMessage, message: format!("`{field}` {why}") }
}

impl ClientMessage {
    /// Decodes one text frame. `max_content_bytes` bounds `content` after JSON decoding.
    pub fn decode(text: &str, max_content_bytes: usize) -> Result<Self, Rejected> {
        let envelope: Envelope<'_> = object(text, "the frame")
            .map_err(|Fault { code, message }| Rejected { id: None, code, message })?;
        let id = match request_id(envelope.id) {
            Ok(id) => id,
            Err(Fault { code, message }) => return Err(Rejected { id: None, code, message }),
        };
        match decode_request(&envelope, max_content_bytes) {
            Ok((token, request)) => Ok(Self { id, token, request }),
            Err(Fault { code, message }) => Err(Rejected { id, code, message }),
        }
    }
}

/// Reads a JSON object. Checked by its first byte, since serde would take an array for a struct.
fn object<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T, Fault> {
    match serde_json::from_str::<T>(text) {
        Ok(value) if text.trim_start().starts_with('{') => Ok(value),
        Err(error) if !error.is_data() => {
            Err(Fault { code: ErrorCode::InvalidJson, message: format!("{what} is not JSON: {error}") })
        }
        Err(error) if text.trim_start().starts_with('{') => {
            Err(Fault { code: ErrorCode::InvalidMessage, message: format!("{what} can't be read: {error}") })
        }
        _ => Err(Fault { code: ErrorCode::InvalidMessage, message: format!("{what} must be a JSON object") }),
    }
}

fn decode_request(envelope: &Envelope<'_>, max_content: usize) -> Result<(Option<Token>, Request), Fault> {
    let kind: String =
        required(value(envelope.message_type, "message_type", "must be a string")?, "message_type")?;
    let token = value::<String>(envelope.token, "token", "must be a string")?.map(Token::new);
    if !KINDS.contains(&kind.as_str()) {
        let known = KINDS.join(", ");
        let shown: String = kind.chars().take(32).collect();
        return Err(Fault {
            code: ErrorCode::UnknownType,
            message: format!("unknown `message_type` {shown:?}: this node knows {known}"),
        });
    }
    let body: Body<'_> = match envelope.message_body {
        Some(raw) => object(raw.get(), "`message_body`")?,
        None if kind == "Ping" => object("{}", "`message_body`")?,
        None => return Err(invalid("message_body", "is missing")),
    };
    let request = decode_body(&kind, &body, max_content)?;
    Ok((token, request))
}

const KINDS: [&str; 10] =
    ["Enter", "Leave", "GroupChat", "PrivateChat", "Auth", "Typing", "History", "Members", "Read", "Ping"];

fn decode_body(kind: &str, body: &Body<'_>, max_content: usize) -> Result<Request, Fault> {
    let sender = user(body.sender_username, "sender_username")?;
    if kind == "Ping" {
        return Ok(Request::Ping { sender });
    }
    let sender = required(sender, "sender_username")?;
    let room = || room(body.room);
    let target_user = || user(body.target_username, "target_username");
    let topic = || -> Result<Option<Topic>, Fault> {
        match (target_user()?, room()?) {
            (Some(_), Some(_)) => Err(invalid("target_username", "and `room` exclude each other")),
            (Some(target), None) => Ok(Some(Topic::User(target))),
            (None, room) => Ok(room.map(Topic::Room)),
        }
    };
    Ok(match kind {
        "Enter" => Request::Enter {
            room: room()?,
            since: since(body.since)?,
            history: number(body.history, "history", 0, MAX_HISTORY.into())?.map(|n| n as u32),
            sender,
        },
        "Leave" => Request::Leave { room: room()?, sender },
        "GroupChat" => {
            Request::GroupChat { room: room()?, content: content(body.content, max_content)?, sender }
        }
        "PrivateChat" => Request::PrivateChat {
            target: required(target_user()?, "target_username")?,
            content: content(body.content, max_content)?,
            sender,
        },
        "Auth" => Request::Auth { since: since(body.since)?, sender },
        "Typing" => Request::Typing { topic: topic()?, sender },
        "History" => Request::History {
            topic: topic()?,
            before: before(body)?,
            limit: number(body.limit, "limit", 1, MAX_HISTORY.into())?.unwrap_or(50) as u32,
            sender,
        },
        "Members" => Request::Members {
            room: room()?,
            after: user(body.after, "after")?,
            limit: number(body.limit, "limit", 1, MAX_MEMBERS.into())?.unwrap_or(u64::from(MAX_MEMBERS))
                as u32,
            sender,
        },
        // The kinds were checked before the body was read: what is left is Read.
        _ => Request::Read { target: read_target(body, topic()?)?, sender },
    })
}

fn read_target(body: &Body<'_>, topic: Option<Topic>) -> Result<ReadTarget, Fault> {
    let room = match topic {
        Some(Topic::User(peer)) => {
            let text: String =
                required(value(body.message_id, "message_id", "must be a string")?, "message_id")?;
            return match text.parse::<MessageId>() {
                // Markers move forward by time: an id of another kind could stand before or behind all messages for ever.
                Ok(id) if id.is_time_ordered() => Ok(ReadTarget::User(peer, id)),
                _ => Err(invalid("message_id", "must be the UUID of a message")),
            };
        }
        Some(Topic::Room(room)) => Some(room),
        None => None,
    };
    Ok(ReadTarget::Room(room, required(number(body.seq, "seq", 0, MAX_SEQ)?, "seq")?))
}

fn before(body: &Body<'_>) -> Result<Option<Before>, Fault> {
    let Some(seq) = number(body.before, "before", 0, MAX_SEQ)? else { return Ok(None) };
    let epoch: String = required(value(body.epoch, "epoch", "must be a string")?, "epoch")
        .map_err(|_| invalid("epoch", "must be given together with `before`"))?;
    Ok(Some(Before { epoch: epoch.parse().ok(), seq }))
}

fn since(raw: Option<&RawValue>) -> Result<Option<Since>, Fault> {
    #[derive(Deserialize)]
    struct Claim<'a> {
        #[serde(borrow)]
        epoch: Option<&'a RawValue>,
        #[serde(borrow)]
        seq: Option<&'a RawValue>,
        #[serde(borrow)]
        message_id: Option<&'a RawValue>,
    }
    let Some(raw) = raw else { return Ok(None) };
    let claim: Claim<'_> = object(raw.get(), "`since`")?;
    let epoch: String = required(value(claim.epoch, "since.epoch", "must be a string")?, "since.epoch")?;
    let seq = required(number(claim.seq, "since.seq", 0, MAX_SEQ)?, "since.seq")?;
    let id: String = value(claim.message_id, "since.message_id", "must be a string")?.unwrap_or_default();
    if seq > 0 && claim.message_id.is_none() {
        return Err(invalid("since.message_id", "is missing: it proves that the log is the one you read"));
    }
    Ok(Some(Since { epoch: epoch.parse().ok(), seq, message_id: id.parse().ok() }))
}

fn content(raw: Option<&RawValue>, max_bytes: usize) -> Result<String, Fault> {
    let content: String = required(value(raw, "content", "must be a string")?, "content")?;
    if content.is_empty() {
        return Err(invalid("content", "must not be empty"));
    }
    if content.len() > max_bytes {
        return Err(Fault {
            code: ErrorCode::MessageTooLarge,
            message: format!("`content` has {} bytes; {max_bytes} is the most", content.len()),
        });
    }
    Ok(content)
}

fn user(raw: Option<&RawValue>, field: &str) -> Result<Option<UserName>, Fault> {
    name(raw, field, UserName::parse)
}

fn room(raw: Option<&RawValue>) -> Result<Option<RoomName>, Fault> {
    name(raw, "room", RoomName::parse)
}

fn name<N>(
    raw: Option<&RawValue>,
    field: &str,
    parse: fn(&str) -> Result<N, NameError>,
) -> Result<Option<N>, Fault> {
    let text: Option<String> = value(raw, field, "must be a string")?;
    text.map(|text| parse(&text).map_err(|why| invalid(field, why))).transpose()
}

fn number(raw: Option<&RawValue>, field: &str, least: u64, most: u64) -> Result<Option<u64>, Fault> {
    let why = format!("must be a whole number from {least} to {most}");
    match value::<u64>(raw, field, &why)? {
        Some(n) if n < least || n > most => Err(invalid(field, why)),
        n => Ok(n),
    }
}

fn request_id(raw: Option<&RawValue>) -> Result<Option<RequestId>, Fault> {
    let text: Option<String> = value(raw, "id", "must be a string")?;
    text.map(|text| {
        RequestId::parse(&text)
            .ok_or_else(|| invalid("id", format!("must have 1 to {MAX_REQUEST_ID_CHARS} characters")))
    })
    .transpose()
}

/// A field's value; JSON `null` is the same as leaving it out.
fn value<T: DeserializeOwned>(raw: Option<&RawValue>, field: &str, why: &str) -> Result<Option<T>, Fault> {
    match raw {
        None => Ok(None),
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| invalid(field, why)),
    }
}

fn required<T>(value: Option<T>, field: &str) -> Result<T, Fault> {
    value.ok_or_else(|| invalid(field, "is missing"))
}
