//! What a room with rights is to be. Owns the settings that a request gives; decides nothing. Made by programs and by the terminal client, sent
//! by the handle of a client and by the model.

use std::time::Duration;

use chatnode_protocol::requests::Room;
use chatnode_protocol::{RoomKind, RoomName, UserName};

/// What a room with rights is to be, for [`Client::make_room`](crate::Client::make_room) and
/// [`Client::change_room`](crate::Client::change_room). What is not said stays as it is.
///
/// ```
/// # use std::time::Duration;
/// use chatnode_client::RoomSettings;
///
/// let calm = RoomSettings::new().topic("on call").slow_mode(Duration::from_secs(30));
/// # let _ = calm;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomSettings {
    kind: Option<RoomKind>,
    topic: Option<String>,
    slow_mode_ms: Option<u64>,
}

impl RoomSettings {
    /// Says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who may enter and write. Only an owner changes it.
    #[must_use]
    pub fn kind(mut self, kind: RoomKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// What the room is about, at most 256 bytes; empty to take that away.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// How long a user without the role of a moderator has to wait between two messages: whole milliseconds, at most a day; zero to end that.
    #[must_use]
    pub fn slow_mode(mut self, pause: Duration) -> Self {
        self.slow_mode_ms = Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// The request for it.
    pub(crate) fn request(self, me: &UserName, room: RoomName) -> Room {
        let Self { kind, topic, slow_mode_ms } = self;
        Room { sender_username: me.clone(), room, kind, topic, slow_mode_ms }
    }
}
