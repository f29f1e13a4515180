//! The rights of rooms in Redis, as nodes read them. Owns the text form of what is kept of a user; what rights allow is decided by
//! `rights.lua`. Called by the broker.

use redis::Cmd;

use super::broker::RedisBroker;
use super::codec;
use super::error::ConnectionRole;
use super::script::{CLAIM_ROOM, RIGHTS_OF};
use super::server::Lane;
use crate::backend::{BackendError, RoomClaim, RoomUsers, UserRights, UserState};
use crate::protocol::{RoomKind, RoomName, Topic, UserName, WordSet};

impl RedisBroker {
    /// What a user is in a room. One round trip.
    pub(super) async fn rights_of(
        &self,
        room: &RoomName,
        user: &UserName,
    ) -> Result<Option<UserRights>, BackendError> {
        let log = self.keys.log(&Topic::Room(room.clone()));
        let [rights, _] = log.rights();
        let keys = [log.meta(), rights];
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&keys).arg(user.as_str());
        };
        type Reply = Option<(String, u64, String, String, String, u64, String)>;
        let reply: Reply = self.router.script((Lane::Short, &keys[0]), &RIGHTS_OF, keys.len(), fill).await?;
        let Some((epoch, seq, message_id, kind, topic, slow_mode_ms, user)) = reply else { return Ok(None) };
        let rights = || {
            let as_of = codec::position(&epoch, seq, &message_id)?;
            let topic = (!topic.is_empty()).then_some(topic);
            Some(UserRights {
                as_of,
                kind: RoomKind::of(&kind)?,
                topic,
                slow_mode_ms,
                user: parse_user(&user)?,
            })
        };
        rights().map(Some).ok_or_else(|| ConnectionRole::Pool.malformed_reply())
    }

    /// Notes that a user makes a room; with 0, that it does not after all. One round trip.
    pub(super) async fn claim(
        &self,
        user: &UserName,
        room: &RoomName,
        most: usize,
    ) -> Result<RoomClaim, BackendError> {
        let key = self.keys.made_rooms(user);
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&key).arg(room.as_str()).arg(most);
        };
        let reply: u8 = self.router.script((Lane::Short, &key), &CLAIM_ROOM, 1, fill).await?;
        Ok(match reply {
            1 => RoomClaim::Known,
            2 => RoomClaim::New,
            _ => RoomClaim::TooMany,
        })
    }

    /// The users of a log. One round trip, whose reply has at most some hundred KiB.
    pub(super) async fn users_of(&self, log: &Topic) -> Result<Option<RoomUsers>, BackendError> {
        let [key, _] = self.keys.log(log).rights();
        let mut read = redis::cmd("HGETALL");
        read.arg(&key);
        let fields: Vec<(String, String)> = self.router.command((Lane::Long, &key), &read).await?;
        parse_room(fields).ok_or_else(|| ConnectionRole::Pool.malformed_reply())
    }
}

/// Reads the hash of the rights of a room; an empty one is none.
fn parse_room(fields: Vec<(String, String)>) -> Option<Option<RoomUsers>> {
    let (mut kind, mut topic, mut slow_mode_ms, mut users) = (None, None, 0, Vec::new());
    for (field, value) in fields {
        match field.as_str() {
            "k" => kind = Some(RoomKind::of(&value)?),
            "t" => topic = Some(value).filter(|topic| !topic.is_empty()),
            "s" => slow_mode_ms = value.parse().ok()?,
            _ => {
                if let Some(name) = field.strip_prefix('u') {
                    users.push((UserName::parse(name).ok()?, parse_user(&value)?));
                }
            }
        }
    }
    users.sort_by(|(one, _): &(UserName, UserState), (other, _)| one.as_str().cmp(other.as_str()));
    Some(kind.map(|kind| RoomUsers { kind, topic, slow_mode_ms, users }))
}

/// Reads what is kept of a user: the letter of the role, and when ban and mute end.
fn parse_user(text: &str) -> Option<UserState> {
    let mut words = text.split(' ');
    let role = match words.next()? {
        "-" => None,
        letter => Some(codec::role(letter)?),
    };
    let (banned_until, muted_until) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(UserState { role, banned_until, muted_until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Role;

    #[test]
    fn user_that_no_node_wrote_is_an_error() {
        let state = UserState { role: Some(Role::Moderator), banned_until: 0, muted_until: 7 };
        assert_eq!(parse_user("m 0 7"), Some(state));
        for text in ["", "m", "m 0", "z 0 0", "m x 0", "m 0 -1"] {
            assert_eq!(parse_user(text), None, "{text}");
        }
    }
}
