//! Places in a log. Owns the proof that a client carries (`epoch`, `seq`, `message_id`); does not judge it, which
//! is `chat`'s business. Used by backend and chat.

use serde::{Deserialize, Serialize};

use super::id::{Epoch, MessageId};

/// The largest `seq` that JavaScript and Lua both count exactly.
pub const MAX_SEQ: u64 = (1 << 53) - 1;

/// A place in a log: just after the message `seq`, which is `message_id` ([`MessageId::NONE`] at `seq` 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// A position as a client claims it. What does not even look like an id of ours is kept as `None`: it is well-formed
/// JSON that can never be proved, so it is answered with `recovered: false`, not with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The claimed epoch.
    pub epoch: Option<Epoch>,
    /// The claimed `seq`.
    pub seq: u64,
    /// The claimed message at `seq`; `Some(NONE)` where the client sent the empty string.
    pub message_id: Option<MessageId>,
}

impl From<Position> for Since {
    fn from(position: Position) -> Self {
        Self { epoch: Some(position.epoch), seq: position.seq, message_id: Some(position.message_id) }
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
        }
        for invalid in [
            r#"{"epoch":"x","seq":1,"message_id":""}"#,
            r#"{"epoch":"0123456789abcdef","seq":1,"message_id":"x"}"#,
        ] {
            assert!(serde_json::from_str::<Position>(invalid).is_err(), "{invalid}");
        }
    }
}
