//! `Moderate`: does something to a user of a room with rights. Owns the request and which of its fields go together; its `Ack` is that of
//! `Room`.

use serde::{Deserialize, Deserializer, Serialize};

#[cfg(feature = "schema")]
use super::retract::MAX_REASON_BYTES;
use super::retract::reason;
use super::{Request, RightsAck};
use crate::name::{RoomName, UserName};
use crate::number;
use crate::rights::{Action, Role};

/// The last time that can be named, Unix ms: the largest number that JSON libraries read exactly.
const MAX_TIME: u64 = (1 << 53) - 1;

/// Does something to a user of a room. The sender needs the role of a moderator or owner, and a higher one than the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ModerateRequest"))]
pub struct Moderate {
    /// The user that asks for it.
    pub sender_username: UserName,
    /// The room; without one, the connection's current room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<RoomName>,
    /// What.
    pub action: Action,
    /// To whom. Each user may `remove` itself.
    pub target_username: UserName,
    /// The new role. Only for the action `role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// When a `ban` or a `mute` ends, in Unix milliseconds. Without it, a moderator has to end it.
    #[serde(default, deserialize_with = "until", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = MAX_TIME)))]
    pub until: Option<u64>,
    /// Why, for people.
    #[serde(default, deserialize_with = "reason", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = MAX_REASON_BYTES)))]
    pub reason: Option<String>,
}

impl Request for Moderate {
    const KIND: &'static str = "Moderate";
    const COST: u32 = 2;
    const FEATURE: Option<&'static str> = Some("moderate");
    type Ack = RightsAck;

    fn sender(&self) -> Option<&UserName> {
        Some(&self.sender_username)
    }
}

/// Checks which fields go with an action.
///
/// # Errors
/// A field is missing, or is there and means nothing.
pub fn check_action(action: Action, role: Option<Role>, until: Option<u64>) -> Result<(), &'static str> {
    match (action, role) {
        (Action::Role, None) => return Err("`role` is missing: owner, moderator or member"),
        (Action::Role, Some(Role::Invited)) => {
            return Err("`role` can't be `invited`: use the action `invite`");
        }
        (Action::Role, Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err("`role` is only for the action `role`"),
    }
    if until.is_some() && !matches!(action, Action::Ban | Action::Mute) {
        return Err("`until` is only for the actions `ban` and `mute`");
    }
    Ok(())
}

/// Reads when something ends.
///
/// # Errors
/// It is no time.
pub fn until<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    number::read_optional(deserializer, 1, MAX_TIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_mean_nothing_are_refused() {
        assert_eq!(check_action(Action::Role, Some(Role::Owner), None), Ok(()));
        assert_eq!(check_action(Action::Ban, None, Some(5)), Ok(()));
        assert!(check_action(Action::Kick, None, Some(5)).is_err());
        assert!(check_action(Action::Kick, Some(Role::Member), None).is_err());
        assert!(check_action(Action::Role, None, None).is_err());
        assert!(check_action(Action::Role, Some(Role::Invited), None).is_err());
    }
}
