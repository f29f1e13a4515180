//! What the user of a chat asked for about the rights of a room, or about blocking a user. Owns how a failure is told; sends nothing. Kept by the pending requests until the
//! answer comes.

use chatnode_protocol::{Action, RoomName, UserName};

use crate::text::harmless;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RightsRequest {
    /// A room, which is opened then.
    Make(RoomName),
    /// A change of a room.
    Change(RoomName),
    /// Something about a user.
    Moderate(Action, UserName),
    /// Blocks a user, or ends that.
    Block(bool, UserName),
}

impl RightsRequest {
    /// That it was not done.
    pub(crate) fn failed(&self, why: &str) -> String {
        let (verb, whom) = match self {
            Self::Make(room) => ("make", format!("#{room}")),
            Self::Change(room) => ("change", format!("#{room}")),
            Self::Moderate(Action::Role, user) => ("change the role of", user.to_string()),
            Self::Moderate(action, user) => (action.as_str(), user.to_string()),
            Self::Block(on, user) => (if *on { "block" } else { "unblock" }, user.to_string()),
        };
        format!("can't {verb} {}: {why}", harmless(&whom))
    }
}
