//! The frames of a node, as a client reads them. Owns telling answers from events, and the tolerance that lets a client
//! survive a newer node: unknown fields, words and types are no errors. Called by clients for each text frame.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ErrorBody;
use super::events::AnyEvent;
use super::id::RequestId;
use super::requests::Request;

/// One frame of a node, decoded.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "nearly every frame is an event, and none is kept")]
pub enum ServerMessage {
    /// A request was carried out.
    Ack(Ack),
    /// A request was not carried out; or, without an `id`, something else went wrong.
    Error {
        /// The request's id.
        id: Option<RequestId>,
        /// What went wrong.
        body: ErrorBody,
    },
    /// Something happened.
    Event(AnyEvent),
    /// A `message_type` that this version does not know: ignore it.
    Unknown {
        /// The `message_type`.
        kind: String,
    },
}

/// The answer to a request. What its body is, only the request tells.
#[derive(Debug, Clone)]
pub struct Ack {
    /// The request's id.
    pub id: RequestId,
    body: Box<RawValue>,
}

impl Ack {
    /// Reads the body as that of the request that had the id.
    ///
    /// # Errors
    /// Fails if it is another body.
    pub fn read<R: Request>(&self) -> Result<R::Ack, InvalidFrame> {
        serde_json::from_str(self.body.get()).map_err(|error| InvalidFrame::new(R::KIND, error))
    }
}

/// A frame that no node of this protocol sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind} from the server: {why}")]
pub struct InvalidFrame {
    kind: String,
    why: String,
}

impl InvalidFrame {
    fn new(kind: &str, error: serde_json::Error) -> Self {
        Self { kind: kind.to_owned(), why: error.to_string() }
    }
}

impl ServerMessage {
    /// Decodes one text frame.
    ///
    /// # Errors
    /// Fails for a frame that is no JSON object with a `message_type`, or whose body lacks what its type needs.
    pub fn decode(text: &str) -> Result<Self, InvalidFrame> {
        #[derive(Deserialize)]
        struct Envelope {
            message_type: String,
            message_body: Option<Box<RawValue>>,
            id: Option<RequestId>,
        }
        let Envelope { message_type: kind, message_body: body, id } =
            serde_json::from_str(text).map_err(|error| InvalidFrame::new("frame", error))?;
        let json = body.as_deref().map_or("{}", RawValue::get);
        match kind.as_str() {
            "Ack" => match (id, body) {
                (Some(id), Some(body)) => Ok(Self::Ack(Ack { id, body })),
                _ => Err(InvalidFrame { kind, why: "`id` or `message_body` is missing".to_owned() }),
            },
            "Error" => match serde_json::from_str(json) {
                Ok(body) => Ok(Self::Error { id, body }),
                Err(error) => Err(InvalidFrame::new(&kind, error)),
            },
            _ => match AnyEvent::read(&kind, json) {
                Some(Ok(event)) => Ok(Self::Event(event)),
                Some(Err(error)) => Err(InvalidFrame::new(&kind, error)),
                None => Ok(Self::Unknown { kind }),
            },
        }
    }
}
