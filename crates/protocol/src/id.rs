//! The ids of the wire: a message's, a log's epoch, a request's, a connection's. Owns their text forms; does not
//! decide where they are unique. Used by every layer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::text;

/// The most characters in a client's own name for a request.
pub const MAX_REQUEST_ID_CHARS: usize = 64;

/// A message's id: a UUIDv7. The ids of one log sort in the order of its `seq`: where the node's clock is behind, the
/// store raises the time of the id ([`MessageId::after`]). The nil id stands for "no message" and is written as the
/// empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MessageId(Uuid);

/// The bits of a message's id after its time, with those of the version and the variant.
const RANDOM_BITS: u32 = 80;

/// The bits that are all set in the id of a message that is traced: its last six digits are `ffffff`.
const TRACED: u128 = 0xff_ffff;

impl MessageId {
    /// What stands before a log's first message.
    pub const NONE: Self = Self(Uuid::nil());

    /// A new id, later than those that this process made before.
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// It may be a message's: every one is a UUIDv7.
    pub fn is_time_ordered(&self) -> bool {
        self.0.get_version_num() == 7
    }

    /// This id, with its time raised if it does not sort after `last`. The random part stays, so it is as unique as before.
    #[must_use]
    pub fn after(self, last: Self) -> Self {
        if self > last {
            return self;
        }
        let random = self.random_part();
        let at = |time: u128| Self(Uuid::from_u128(time << RANDOM_BITS | random));
        let time = last.0.as_u128() >> RANDOM_BITS;
        if at(time) > last { at(time) } else { at(time + 1) }
    }

    /// This id with the mark of a message that is traced: every node that the message passes sees it, and the stores keep it as any id.
    /// What is left of the random part, 50 bits, keeps it unique within its millisecond.
    #[must_use]
    pub fn traced(self) -> Self {
        Self(Uuid::from_u128(self.0.as_u128() | TRACED))
    }

    /// It has the mark of [`MessageId::traced`]. One in 16 million others has it by chance.
    pub fn is_traced(&self) -> bool {
        self.0.as_u128() & TRACED == TRACED
    }

    /// The random part, which stays as it is if the store raises the time.
    pub fn random_part(&self) -> u128 {
        self.0.as_u128() & ((1 << RANDOM_BITS) - 1)
    }

    /// True for [`MessageId::NONE`].
    pub fn is_none(&self) -> bool {
        self.0.is_nil()
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self::NONE) } else { Uuid::try_parse(text).map(Self) }
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { Ok(()) } else { self.0.hyphenated().fmt(f) }
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_none() {
            return serializer.serialize_str("");
        }
        serializer.serialize_str(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| text.parse().map_err(|_| "must be the UUID of a message, or empty");
        text::read(deserializer, parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for MessageId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MessageId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})?$",
            "description": "A UUIDv7; empty where there is no message.",
        })
    }
}

/// A log's epoch: random, new whenever the log starts afresh. Sixteen lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// A new random epoch.
    pub fn generate() -> Self {
        Self(rand::random())
    }
}

/// The text is not an epoch that a node of this protocol ever made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an epoch: 16 lower-case hexadecimal digits are expected")]
pub struct NotAnEpoch;

impl FromStr for Epoch {
    type Err = NotAnEpoch;

    fn from_str(text: &str) -> Result<Self, NotAnEpoch> {
        let digits = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !digits {
            return Err(NotAnEpoch);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAnEpoch)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, str::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Epoch {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Epoch".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9a-f]{16}$",
            "description": "Random, and new whenever the log starts afresh.",
        })
    }
}

/// The client's own name for a request: 1–64 characters, otherwise free.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// What an invalid one does not keep to.
    pub const RULE: &str = "must have 1 to 64 characters";

    /// None if the text is empty or longer than [`MAX_REQUEST_ID_CHARS`] characters.
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && text.chars().count() <= MAX_REQUEST_ID_CHARS).then(|| Self(text.into()))
    }

    /// The text as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::read(deserializer, |text| Self::parse(text).ok_or(Self::RULE))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RequestId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RequestId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_REQUEST_ID_CHARS })
    }
}

/// One connection, unique in the cluster: what a node puts on an event so that its origin is not told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// A new random id.
    pub fn generate() -> Self {
        Self(rand::random())
    }
}

impl FromStr for ConnectionId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_survives_its_text_form_and_garbage_is_none() {
        let epoch = Epoch::generate();
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        for garbage in ["", "0", "zzzzzzzzzzzzzzzz", "0123456789ABCDEF", "+123456789abcdef", "日本日本日1"]
        {
            assert_eq!(garbage.parse::<Epoch>(), Err(NotAnEpoch), "{garbage}");
        }
    }

    #[test]
    fn an_id_of_a_slow_clock_is_raised_above_the_last_one() {
        let id = |text: &str| text.parse::<MessageId>().unwrap();
        let slow = id("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10");
        for (last, raised) in [
            ("", "0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10"),
            ("0193a1c2-7d3d-7fff-9a53-2f1f0f6a9b10", "0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10"),
            ("0193a1c2-7d3f-7000-9a53-2f1f0f6a9b10", "0193a1c2-7d3f-7c51-9a53-2f1f0f6a9b10"),
            ("0193a1c2-7d3f-7c51-9a53-2f1f0f6a9b10", "0193a1c2-7d40-7c51-9a53-2f1f0f6a9b10"),
            ("0193a1c2-ffff-7fff-9a53-2f1f0f6a9b10", "0193a1c3-0000-7c51-9a53-2f1f0f6a9b10"),
        ] {
            assert_eq!(slow.after(id(last)), id(raised), "{last}");
        }
    }

    #[test]
    fn a_traced_id_stays_so_when_its_time_is_raised() {
        let traced = MessageId::generate().traced();
        assert!(traced.is_traced() && traced.is_time_ordered(), "{traced}");
        assert!(traced.to_string().ends_with("ffffff"), "{traced}");
        let raised = traced.after("ffffffff-ffff-7000-8000-000000000000".parse().unwrap());
        assert_ne!(raised, traced);
        assert_eq!((raised.is_traced(), raised.random_part()), (true, traced.random_part()));
        assert!(!MessageId::NONE.is_traced());
    }

    #[test]
    fn the_empty_message_id_is_no_message() {
        assert_eq!("".parse::<MessageId>().unwrap(), MessageId::NONE);
        assert_eq!(MessageId::NONE.to_string(), "");
        let id = MessageId::generate();
        assert_eq!(id.to_string().parse::<MessageId>().unwrap(), id);
    }
}
