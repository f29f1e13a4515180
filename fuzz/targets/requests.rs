//! What a client may send: bytes through the WebSocket codec as a node reads them, and texts through the decoder.
//!
//! Holds: how the bytes were cut on the way changes nothing; the codec's answers are no larger than what it was sent; what was
//! decoded is within the limits and the same when written out and decoded again; what was refused is answered by one
//! small frame that repeats no token.
#![no_main]

use std::collections::HashMap;
use std::io::{self, Read, Write};

use chatnode::protocol::requests::{
    MAX_MARKERS, MAX_REACTION_BYTES, MAX_REASON_BYTES, MAX_ROOMS, MAX_UNREAD_ROOMS, ReadUpTo,
};
use chatnode::protocol::{
    AnyRequest, ClientMessage, ErrorBody, ErrorCode, MAX_ATTACHMENTS, MAX_DATA_BYTES, MAX_HISTORY, MAX_MEMBERS,
    MAX_MENTIONS, MAX_SEQ, MAX_SLOW_MODE_MS, MAX_TOPIC_BYTES, Rejected, encode,
};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use serde_json::{Value, json};
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
            let again = written_out(&message, token.as_deref());
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
            let body = ErrorBody { code: code.into(), message, retry_after_ms: None, outcome: None, current: None };
            let frame = encode::error(id.as_ref(), &body);
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

fn check(request: &AnyRequest) {
    let is_number = |seq: u64| seq <= MAX_SEQ;
    match request {
        AnyRequest::Enter(enter) => {
            assert!(enter.history.is_none_or(|history| history <= MAX_HISTORY));
            assert!(enter.since.is_none_or(|since| is_number(since.seq)));
        }
        AnyRequest::Auth(auth) => assert!(auth.since.is_none_or(|since| is_number(since.seq))),
        AnyRequest::GroupChat(chat) => {
            assert!((1..=MAX_CONTENT).contains(&chat.content.len()));
            assert!(chat.mentions.len() <= MAX_MENTIONS && chat.attachments.len() <= MAX_ATTACHMENTS);
            assert!(chat.data.as_ref().is_none_or(|data| data.get().len() <= MAX_DATA_BYTES));
        }
        AnyRequest::PrivateChat(chat) => assert!((1..=MAX_CONTENT).contains(&chat.content.len())),
        AnyRequest::History(history) => {
            assert!((1..=MAX_HISTORY).contains(&history.limit));
            assert!(history.before.is_none_or(|before| is_number(before.seq)));
        }
        AnyRequest::Members(members) => assert!((1..=MAX_MEMBERS).contains(&members.limit)),
        AnyRequest::Read(read) => match &read.up_to {
            ReadUpTo::Room { seq, .. } => assert!(is_number(*seq)),
            ReadUpTo::User { message_id, .. } => assert!(message_id.is_time_ordered()),
        },
        AnyRequest::Rooms(rooms) => assert!((1..=MAX_ROOMS).contains(&rooms.limit)),
        AnyRequest::Unread(unread) => {
            assert!(unread.rooms.as_ref().is_none_or(|rooms| rooms.len() <= MAX_UNREAD_ROOMS));
        }
        AnyRequest::Room(room) => {
            assert!(room.topic.as_ref().is_none_or(|topic| topic.len() <= MAX_TOPIC_BYTES));
            assert!(room.slow_mode_ms.is_none_or(|slow| slow <= MAX_SLOW_MODE_MS));
        }
        AnyRequest::Moderate(moderate) => {
            assert!(moderate.reason.as_ref().is_none_or(|reason| (1..=MAX_REASON_BYTES).contains(&reason.len())));
        }
        AnyRequest::Markers(markers) => assert!((1..=MAX_MARKERS).contains(&markers.limit)),
        AnyRequest::Edit(edit) => assert!((1..=MAX_CONTENT).contains(&edit.content.len())),
        AnyRequest::Retract(retract) => {
            assert!(retract.reason.as_ref().is_none_or(|reason| (1..=MAX_REASON_BYTES).contains(&reason.len())));
        }
        AnyRequest::React(react) => assert!((1..=MAX_REACTION_BYTES).contains(&react.reaction.len())),
        AnyRequest::Leave(_) | AnyRequest::Typing(_) | AnyRequest::Ping(_) => {}
    }
    assert!((1..=5).contains(&request.cost()));
    assert!(request.sender().is_some() || matches!(request, AnyRequest::Ping(_)));
}

/// The request as a client would have written it.
fn written_out(message: &ClientMessage, token: Option<&str>) -> String {
    let ClientMessage { id, request, .. } = message;
    json!({ "message_type": request.kind(), "message_body": request, "token": token, "id": id }).to_string()
}
