//! The frames of a client. Owns their envelope, in both directions, and the checks that need nothing but the frame itself;
//! the node knows who is signed in and which rooms exist. Decoded by the session for each text frame, encoded by clients.
//!
//! Decoding borrows: the envelope is read as raw JSON, and the body at once into the struct of its request. What is wrong
//! with a frame is found out by reading it again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ErrorCode;
use super::id::RequestId;
use super::object::{self, Fault};
use super::position::Since;
use super::requests::{AnyRequest, Ping, Request};
use super::token::Token;
use super::trace_parent::TraceParent;

/// One request, decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientMessage {
    /// The client's name for the request; with one, it gets exactly one answer.
    pub id: Option<RequestId>,
    /// The token, as sent. Its `Debug` shows nothing, so that it reaches no log.
    pub token: Option<Token>,
    /// The last private message that the client has taken.
    pub received: Option<Since>,
    /// The span of the client that the request belongs to. An invalid one counts as left out.
    pub traceparent: Option<TraceParent>,
    /// The request.
    pub request: AnyRequest,
}

/// A frame that is not a request, with the id that it bore where one could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The request's id.
    pub id: Option<RequestId>,
    /// `invalid_json`, `invalid_message`, `unknown_type` or `message_too_large`.
    pub code: ErrorCode,
    /// What is wrong and what to do, for people.
    pub message: String,
}

/// How errors name the envelope's position.
const FIELD_RECEIVED: &str = "`received`";

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
    #[serde(borrow)]
    received: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
}

impl ClientMessage {
    /// Decodes one text frame. `max_content_bytes` bounds `content` after JSON decoding.
    ///
    /// # Errors
    /// Says what is wrong with the frame, as the client is to see it.
    pub fn decode(text: &str, max_content_bytes: usize) -> Result<Self, Rejected> {
        let reject = |id| |Fault { code, message }| Rejected { id, code, message };
        let envelope: Envelope<'_> = object::read(text, "the frame").map_err(reject(None))?;
        let id = request_id(envelope.id).map_err(reject(None))?;
        match decode_request(&envelope, max_content_bytes) {
            Ok((token, received, request)) => {
                let traceparent = envelope.traceparent.and_then(traceparent);
                Ok(Self { id, token, received, traceparent, request })
            }
            Err(fault) => Err(reject(id)(fault)),
        }
    }

    /// Encodes one text frame, as a client sends it. `received` is the last private message that the client has taken.
    pub fn encode<R: Request>(
        request: &R,
        id: Option<&RequestId>,
        token: Option<&Token>,
        received: Option<&Since>,
    ) -> String {
        #[derive(Serialize)]
        struct Envelope<'a, R> {
            message_type: &'static str,
            message_body: &'a R,
            #[serde(skip_serializing_if = "Option::is_none")]
            token: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a RequestId>,
            #[serde(skip_serializing_if = "Option::is_none")]
            received: Option<&'a Since>,
        }
        let token = token.map(Token::as_str);
        let envelope = Envelope { message_type: R::KIND, message_body: request, token, id, received };
        serde_json::to_string(&envelope).expect("a request's types have string keys only")
    }
}

fn decode_request(
    envelope: &Envelope<'_>,
    max_content_bytes: usize,
) -> Result<(Option<Token>, Option<Since>, AnyRequest), Fault> {
    let kind = string(envelope.message_type, "message_type")?
        .ok_or_else(|| Fault::invalid("message_type", "is missing"))?;
    let token = string(envelope.token, "token")?.map(Token::new);
    let received = received(envelope.received)?;
    let is_known = AnyRequest::KINDS.contains(&kind.as_ref());
    let body = match envelope.message_body {
        Some(body) => body.get(),
        None if kind == Ping::KIND || !is_known => "{}",
        None => return Err(Fault::invalid("message_body", "is missing")),
    };
    let request = AnyRequest::read(&kind, body).unwrap_or_else(|| Err(unknown(&kind)))?;
    match request.content() {
        Some("") => Err(Fault::invalid("content", "must not be empty")),
        Some(content) if content.len() > max_content_bytes => Err(Fault {
            code: ErrorCode::MessageTooLarge,
            message: format!("`content` has {} bytes; the limit is {max_content_bytes}", content.len()),
        }),
        _ => Ok((token, received, request)),
    }
}

fn unknown(kind: &str) -> Fault {
    let known = AnyRequest::KINDS.join(", ");
    let shown: String = kind.chars().take(32).collect();
    let message = format!("unknown `message_type` {shown:?}: this node knows {known}");
    Fault { code: ErrorCode::UnknownType, message }
}

fn request_id(raw: Option<&RawValue>) -> Result<Option<RequestId>, Fault> {
    let Some(text) = string(raw, "id")? else { return Ok(None) };
    RequestId::parse(&text).map(Some).ok_or_else(|| Fault::invalid("id", RequestId::RULE))
}

fn received(raw: Option<&RawValue>) -> Result<Option<Since>, Fault> {
    raw.map(|raw| object::read(raw.get(), FIELD_RECEIVED)).transpose().map_err(|fault| {
        // A fault inside names its own field first.
        match fault.message.strip_prefix('`').filter(|_| !fault.message.starts_with(FIELD_RECEIVED)) {
            Some(rest) => Fault { message: format!("`received.{rest}"), ..fault },
            None => fault,
        }
    })
}

/// Anything else than a valid text is ignored, as W3C Trace Context asks: it must not make a request fail.
fn traceparent(raw: &RawValue) -> Option<TraceParent> {
    TraceParent::parse(&string(Some(raw), "traceparent").ok()??)
}

/// A field of the envelope that is a string.
fn string<'a>(raw: Option<&'a RawValue>, field: &str) -> Result<Option<Cow<'a, str>>, Fault> {
    let Some(raw) = raw else { return Ok(None) };
    let json = raw.get();
    // Mostly there is no escape in it: then it stands there as it is.
    let read = match serde_json::from_str::<&str>(json) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) => serde_json::from_str::<String>(json).map(Cow::Owned),
    };
    read.map(Some).map_err(|_| Fault::invalid(field, "must be a string"))
}
