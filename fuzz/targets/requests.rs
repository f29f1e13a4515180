//! What a client may send: bytes through the WebSocket codec as a node reads them, and texts through the decoder.
//!
//! Holds: how the bytes were cut on the way changes nothing; the codec's answers are no larger than what it was sent; what was
//! decoded is within the limits and the same when written out and decoded again; what was refused is answered by one
//! small frame that repeats no token.
#![no_main]

use std::collections::HashMap;
use std::io::{self, Read, Write};

use chatnode::protocol::server_message::{self, ErrorBody};
use chatnode::protocol::{
    Before, ClientMessage, ErrorCode, MAX_HISTORY, MAX_MEMBERS, MAX_SEQ, ReadTarget, Rejected, Request,
    Since, Topic,
};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

/// Small, so that the fuzzer reaches the limits.
const MAX_CONTENT: usize = 256;
const MAX_FRAME: usize = 6 * MAX_CONTENT + 512;
/// More than any refusal says: the longest lists the request types.
const MAX_REFUSAL: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((&mode, rest)) = data.split_first() else { return };
    match mode {
        // A text, as it would come out of a frame.
        b'{' => decode(&String::from_utf8_lossy(data)),
        // A text, put into frames by a client that cuts it somewhere.
        b'0'..=b'9' => {
            let Ok(text) = std::str::from_utf8(rest) else { return };
            if text.len() > MAX_FRAME {
                return;
            }
            let cut = usize::from(mode - b'0') * text.len() / 10;
            let mut bytes = Vec::new();
            put_masked(&mut bytes, 0x01, &text.as_bytes()[..cut], mode);
            put_masked(&mut bytes, 0x80, &text.as_bytes()[cut..], !mode);
            let conversation = converse(&bytes, bytes.len());
            assert_eq!(conversation.texts, [text]);
            decode(text);
        }
        // Whatever the peer sends.
        _ => {
            let slice = usize::from(mode % 16) + 1;
            let sliced = converse(rest, slice);
            let whole = converse(rest, rest.len());
            assert_eq!(sliced, whole);
            whole.texts.iter().for_each(|text| decode(text));
        }
    }
});

/// What came of a connection.
#[derive(Debug, PartialEq)]
struct Conversation {
    texts: Vec<String>,
    others: usize,
    end: String,
}

/// Reads bytes as a node does, so many at a time, until the connection ends.
fn converse(bytes: &[u8], slice: usize) -> Conversation {
    let config = WebSocketConfig::default()
        .read_buffer_size(2_048)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_FRAME)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME));
    let wire = Wire { unread: bytes, slice: slice.max(1), written: 0 };
    let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config));
    let mut conversation = Conversation { texts: Vec::new(), others: 0, end: String::new() };
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                assert!(text.len() <= MAX_FRAME);
                conversation.texts.push(text.as_str().to_owned());
            }
            Ok(_) => conversation.others += 1,
            Err(error) => {
                conversation.end = error.to_string();
                break;
            }
        }
        // A frame has two bytes at the least.
        assert!(conversation.texts.len() + conversation.others <= bytes.len() / 2);
    }
    // Pongs repeat what was sent, and one frame says goodbye.
    assert!(socket.get_ref().written <= bytes.len() + 127, "{} bytes answered", socket.get_ref().written);
    conversation
}

struct Wire<'a> {
    unread: &'a [u8],
    slice: usize,
    written: usize,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.slice.min(buffer.len());
        self.unread.read(&mut buffer[..count])
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn put_masked(into: &mut Vec<u8>, first: u8, payload: &[u8], mask: u8) {
    into.push(first);
    match payload.len() {
        0..=125 => into.push(0x80 | payload.len() as u8),
        length => {
            into.push(0x80 | 126);
            into.extend((length as u16).to_be_bytes());
        }
    }
    into.extend([mask; 4]);
    into.extend(payload.iter().map(|byte| byte ^ mask));
}

fn decode(text: &str) {
    let token = token(text);
    match ClientMessage::decode(text, MAX_CONTENT) {
        Ok(message) => {
            check(&message.request);
            if let Some(id) = &message.id {
                assert!((1..=64).contains(&id.as_str().chars().count()));
            }
            let again = encode(&message, token.as_deref());
            assert_eq!(
                ClientMessage::decode(&again, MAX_CONTENT).as_ref(),
                Ok(&message),
                "written out as {again}"
            );
            if let Some(other) = with_another_token(text, token.as_deref()) {
                let other = ClientMessage::decode(&other, MAX_CONTENT).unwrap();
                assert_eq!(
                    format!("{other:?}"),
                    format!("{message:?}"),
                    "what is logged depends on the token"
                );
            }
        }
        Err(rejected) => {
            if let Some(other) = with_another_token(text, token.as_deref()) {
                let other = ClientMessage::decode(&other, MAX_CONTENT);
                assert_eq!(other, Err(rejected.clone()), "what is answered depends on the token");
            }
            let Rejected { id, code, message } = rejected;
            assert!(!message.is_empty() && message.len() <= MAX_REFUSAL, "{message}");
            assert!(matches!(
                code,
                ErrorCode::InvalidJson
                    | ErrorCode::InvalidMessage
                    | ErrorCode::UnknownType
                    | ErrorCode::MessageTooLarge
            ));
            let body = ErrorBody { code, message, retry_after_ms: None, outcome: None };
            let frame = server_message::error(id.as_ref(), &body);
            let payload = if frame[1] < 126 { &frame[2..] } else { &frame[4..] };
            let answer: Value = serde_json::from_slice(payload).unwrap();
            assert_eq!(answer["id"].as_str(), id.as_ref().map(|id| id.as_str()));
        }
    }
}

/// Read as the decoder does: of what it ignores, only the syntax counts.
fn token(text: &str) -> Option<String> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    serde_json::from_str(fields.get("token")?.get()).ok()
}

/// The text with another token of the same length, where the token stands in it but once and as it is.
fn with_another_token(text: &str, token: Option<&str>) -> Option<String> {
    let token =
        token.filter(|token| token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))?;
    let quoted = format!("\"{token}\"");
    let is_once = text.matches(&quoted).count() == 1 && text.matches("token").count() == 1;
    (is_once && token != "token")
        .then(|| text.replacen(&quoted, &format!("\"{}\"", "x".repeat(token.len())), 1))
}

fn check(request: &Request) {
    let is_number = |seq: u64| seq <= MAX_SEQ;
    match request {
        Request::Enter { history, since, .. } => {
            assert!(history.is_none_or(|history| history <= MAX_HISTORY));
            assert!(since.is_none_or(|since| is_number(since.seq)));
        }
        Request::Auth { since, .. } => assert!(since.is_none_or(|since| is_number(since.seq))),
        Request::GroupChat { content, .. } | Request::PrivateChat { content, .. } => {
            assert!((1..=MAX_CONTENT).contains(&content.len()));
        }
        Request::History { limit, before, .. } => {
            assert!((1..=MAX_HISTORY).contains(limit));
            assert!(before.is_none_or(|before| is_number(before.seq)));
        }
        Request::Members { limit, .. } => assert!((1..=MAX_MEMBERS).contains(limit)),
        Request::Read { target: ReadTarget::Room(_, seq), .. } => assert!(is_number(*seq)),
        Request::Read { target: ReadTarget::User(_, id), .. } => assert!(id.is_time_ordered()),
        Request::Leave { .. } | Request::Typing { .. } | Request::Ping { .. } => {}
    }
    assert!((1..=5).contains(&request.cost()));
    assert!(request.sender().is_some() || matches!(request, Request::Ping { .. }));
}

/// The request as a client would have written it.
fn encode(message: &ClientMessage, token: Option<&str>) -> String {
    let mut body = Map::new();
    let mut put = |field: &str, value: Value| {
        if !value.is_null() {
            body.insert(field.into(), value);
        }
    };
    put("sender_username", json!(message.request.sender()));
    let kind = match &message.request {
        Request::Enter { room, since, history, .. } => {
            put("room", json!(room));
            put("since", since.map_or(Value::Null, position));
            put("history", json!(history));
            "Enter"
        }
        Request::Leave { room, .. } => {
            put("room", json!(room));
            "Leave"
        }
        Request::GroupChat { room, content, .. } => {
            put("room", json!(room));
            put("content", json!(content));
            "GroupChat"
        }
        Request::PrivateChat { target, content, .. } => {
            put("target_username", json!(target));
            put("content", json!(content));
            "PrivateChat"
        }
        Request::Auth { since, .. } => {
            put("since", since.map_or(Value::Null, position));
            "Auth"
        }
        Request::Typing { topic, .. } => {
            let (field, value) = end(topic.as_ref());
            put(field, value);
            "Typing"
        }
        Request::History { topic, before, limit, .. } => {
            let (field, value) = end(topic.as_ref());
            put(field, value);
            if let Some(Before { epoch, seq }) = before {
                put("before", json!(seq));
                put("epoch", epoch.map_or(json!("no epoch"), |epoch| json!(epoch)));
            }
            put("limit", json!(limit));
            "History"
        }
        Request::Members { room, after, limit, .. } => {
            put("room", json!(room));
            put("after", json!(after));
            put("limit", json!(limit));
            "Members"
        }
        Request::Read { target: ReadTarget::Room(room, seq), .. } => {
            put("room", json!(room));
            put("seq", json!(seq));
            "Read"
        }
        Request::Read { target: ReadTarget::User(peer, id), .. } => {
            put("target_username", json!(peer));
            put("message_id", json!(id));
            "Read"
        }
        Request::Ping { .. } => "Ping",
    };
    let id = message.id.as_ref().map(|id| id.as_str());
    json!({ "message_type": kind, "message_body": body, "token": token, "id": id }).to_string()
}

fn end(topic: Option<&Topic>) -> (&'static str, Value) {
    match topic {
        None => ("room", Value::Null),
        Some(Topic::Room(room)) => ("room", json!(room)),
        Some(Topic::User(user)) => ("target_username", json!(user)),
    }
}

fn position(since: Since) -> Value {
    json!({
        "epoch": since.epoch.map_or(json!("no epoch"), |epoch| json!(epoch)),
        "seq": since.seq,
        "message_id": since.message_id.map_or(json!("no id"), |id| json!(id)),
    })
}
