//! Places in a log. Owns the proof that a client carries (`epoch`, `seq`, `message_id`); does not judge it, which
//! is `chat`'s business. Used by backend, chat and clients.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::id::{Epoch, MessageId};
use super::number;
use super::object::Object;

/// The largest `seq` that JavaScript and Lua both count exactly.
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// A place in a log: just after the message `seq`, which is `message_id` ([`MessageId::NONE`] at `seq` 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Position {
    /// Which log.
    pub epoch: Epoch,
    /// How many messages the log had had.
    pub seq: u64,
    /// The message at `seq`: the proof that the log still is the one that was read.
    pub message_id: MessageId,
}

impl Position {
    /// Before the first message of a log.
    pub fn start(epoch: Epoch) -> Self {
        Self { epoch, seq: 0, message_id: MessageId::NONE }
    }
}

/// How far a user has read in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoomMarker {
    /// The log that `seq` belongs to.
    pub epoch: Epoch,
    /// The user has read everything up to here.
    pub seq: u64,
}

/// A position as a client claims it. A text that can't be an id of this protocol is kept as `None`: it is well-formed
/// JSON that can never be proved, so the node answers with `recovered: false`, not with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The claimed epoch.
    pub epoch: Option<Epoch>,
    /// The claimed `seq`.
    pub seq: u64,
    /// The claimed message at `seq`; `Some(NONE)` where the client sent the empty string.
    pub message_id: Option<MessageId>,
}

impl Since {
    /// Before every message of any log: what a client claims to have received that has taken no message yet.
    pub const NOTHING: Self = Self { epoch: None, seq: 0, message_id: Some(MessageId::NONE) };

    /// The position, if it can be one.
    pub fn position(&self) -> Option<Position> {
        Some(Position { epoch: self.epoch?, seq: self.seq, message_id: self.message_id? })
    }
}

impl From<Position> for Since {
    fn from(position: Position) -> Self {
        Self { epoch: Some(position.epoch), seq: position.seq, message_id: Some(position.message_id) }
    }
}

/// What stands for an id that can't be one.
pub(crate) const NO_ID: &str = "unknown";

impl Serialize for Since {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let epoch = self.epoch.map_or_else(|| NO_ID.to_owned(), |epoch| epoch.to_string());
        let message_id = self.message_id.map_or_else(|| NO_ID.to_owned(), |id| id.to_string());
        Claim { epoch, seq: self.seq, message_id: Some(message_id) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Since {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(Claim { epoch, seq, message_id }) = Object::deserialize(deserializer)?;
        if seq > 0 && message_id.is_none() {
            return Err(serde::de::Error::custom(
                "`message_id` is missing: it proves that the log is the one you read",
            ));
        }
        Ok(Self { epoch: epoch.parse().ok(), seq, message_id: message_id.unwrap_or_default().parse().ok() })
    }
}

/// A position that the client has: the last message that it received.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Claim {
    /// Which log.
    epoch: String,
    /// The number of the last message that the client has.
    #[serde(deserialize_with = "seq")]
    #[cfg_attr(feature = "schema", schemars(range(max = MAX_SEQ)))]
    seq: u64,
    /// The id of that message. May be left out only where `seq` is 0.
    #[serde(default)]
    message_id: Option<String>,
}

/// Reads a `seq`.
pub(crate) fn seq<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    number::read(deserializer, 0, MAX_SEQ)
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Since {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Since".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Claim::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_json_and_an_invalid_id_is_an_error() {
        let epoch = Epoch::generate();
        for position in
            [Position::start(epoch), Position { epoch, seq: 7, message_id: MessageId::generate() }]
        {
            let json = serde_json::to_string(&position).unwrap();
            assert_eq!(serde_json::from_str::<Position>(&json).unwrap(), position, "{json}");
            let claim = Since::from(position);
            assert_eq!(serde_json::from_str::<Since>(&json).unwrap(), claim, "{json}");
            assert_eq!(serde_json::to_string(&claim).unwrap(), json);
        }
        for invalid in [
            r#"{"epoch":"x","seq":1,"message_id":""}"#,
            r#"{"epoch":"0123456789abcdef","seq":1,"message_id":"x"}"#,
        ] {
            assert!(serde_json::from_str::<Position>(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn an_id_that_can_not_be_proved_stays_one() {
        let claim: Since = serde_json::from_str(r#"{"epoch":"x","seq":1,"message_id":"y"}"#).unwrap();
        assert_eq!(claim, Since { epoch: None, seq: 1, message_id: None });
        let again = serde_json::to_string(&claim).unwrap();
        assert_eq!(serde_json::from_str::<Since>(&again).unwrap(), claim);
    }
}
