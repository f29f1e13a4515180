//! What is done to a user of a room with rights. Owns which action has which details; decides nothing. Made by programs and by the terminal
//! client, sent by the handle of a client and by the model.

use chatnode_protocol::requests::Moderate;
use chatnode_protocol::{Action, Role, RoomName, UserName};

/// What is done to a user of a room, for [`Client::moderate`](crate::Client::moderate). Times are milliseconds since 1970, by the clock of
/// the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moderation {
    /// The user may enter, and gets an invitation, also if away. Who joins then is a member.
    Invite,
    /// The user gets this role. [`Role::Invited`] is none that can be given.
    SetRole(Role),
    /// The user loses the role and leaves the room. Each user may do this to itself.
    Remove,
    /// The user leaves the room, keeps the role, and may enter again.
    Kick,
    /// The user loses the role, leaves the room, and may not enter again.
    Ban {
        /// When the ban ends. `None`: a moderator ends it.
        until: Option<u64>,
    },
    /// The ban ends.
    Unban,
    /// The user reads, but may not write, edit or react.
    Mute {
        /// When the mute ends. `None`: a moderator ends it.
        until: Option<u64>,
    },
    /// The mute ends.
    Unmute,
}

impl Moderation {
    /// The word of the protocol.
    pub fn action(self) -> Action {
        match self {
            Self::Invite => Action::Invite,
            Self::SetRole(_) => Action::Role,
            Self::Remove => Action::Remove,
            Self::Kick => Action::Kick,
            Self::Ban { .. } => Action::Ban,
            Self::Unban => Action::Unban,
            Self::Mute { .. } => Action::Mute,
            Self::Unmute => Action::Unmute,
        }
    }

    /// The request for it.
    pub(crate) fn request(
        self,
        me: &UserName,
        room: RoomName,
        target_username: UserName,
        reason: Option<String>,
    ) -> Moderate {
        let (role, until) = match self {
            Self::SetRole(role) => (Some(role), None),
            Self::Ban { until } | Self::Mute { until } => (None, until),
            _ => (None, None),
        };
        let (sender_username, room) = (me.clone(), Some(room));
        Moderate { sender_username, room, action: self.action(), target_username, role, until, reason }
    }
}
