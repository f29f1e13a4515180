//! What the settings say about rooms. Owns the default room, and which rooms are read-only for users; membership is the
//! session's. Made by `server` before a port is open, asked by requests.

use std::collections::HashSet;

use super::error::RequestError;
use crate::config;
use crate::protocol::{ErrorCode, RoomName};

/// The rules for rooms of one node.
pub struct RoomRules {
    default: RoomName,
    /// Mostly empty, and then a look-up costs no hash.
    read_only: HashSet<RoomName>,
}

impl RoomRules {
    /// Reads the rooms' names.
    ///
    /// # Errors
    /// An invalid name, with its setting.
    pub fn new(rooms: &config::Rooms) -> Result<Self, String> {
        let parse = |setting: &str, name: &String| {
            RoomName::parse(name).map_err(|error| format!("{setting} {name:?} {error}"))
        };
        let default = parse("rooms.default", &rooms.default)?;
        let read_only =
            rooms.read_only.iter().map(|name| parse("rooms.read_only", name)).collect::<Result<_, _>>()?;
        Ok(Self { default, read_only })
    }

    /// The room of an `Enter` without a room.
    pub(super) fn default(&self) -> &RoomName {
        &self.default
    }

    /// Whether a user may publish there; the server API always may.
    pub(super) fn check_may_speak(&self, room: &RoomName) -> Result<(), RequestError> {
        if self.read_only.contains(room) {
            let message = format!("room {:?} is read-only for users", room.as_str());
            return Err(RequestError::new(ErrorCode::Forbidden, message));
        }
        Ok(())
    }
}
