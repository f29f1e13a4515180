//! Members who come and go. Owns the calls that write them for an incarnation, in the order in which a crash in between leaves
//! nothing that is never found; does not decide who is a member. Used by the presence store.

use redis::Cmd;

use super::keys::{Keys, Layout};
use super::router::Router;
use super::script::{ADD, REMOVE};
use super::server::Lane;
use crate::backend::{BackendError, Incarnation};
use crate::protocol::{RoomName, Topic, UserName};

/// Writes members.
pub(super) struct MemberWriter {
    pub(super) router: Router,
    pub(super) keys: Keys,
    /// A room with more members gets no events.
    pub(super) quiet_above: usize,
    /// The command that publishes to the channels of rooms.
    pub(super) publish_command: &'static str,
}

impl MemberWriter {
    fn is_cluster(&self) -> bool {
        self.keys.layout() == Layout::Cluster
    }

    /// Adds users with their events (empty: none) for an incarnation. True if the last one was not in the room before.
    pub(super) async fn add(
        &self,
        own: &Incarnation,
        room: &RoomName,
        users: &[(UserName, Vec<u8>)],
    ) -> Result<bool, BackendError> {
        let channel = self.keys.channel_on_server(&Topic::Room(room.clone()));
        let mut keys = vec![self.keys.members(room), self.keys.holders(room)];
        if self.is_cluster() {
            // First what finds the member after the end of this node: too much there does no harm.
            let held = self.keys.held(own);
            let mut hold = redis::cmd("ZADD");
            hold.arg(&held);
            for (user, _) in users {
                hold.arg(0).arg(held_entry(room, user));
            }
            self.router.command::<()>((Lane::Short, &held), &hold).await?;
        } else {
            keys.extend([self.keys.held(own), self.keys.leases()]);
        }
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&keys).arg(&own.0).arg(room.as_str()).arg(&channel).arg(self.publish_command);
            cmd.arg(self.quiet_above);
            for (user, event) in users {
                cmd.arg(user.as_str()).arg(event);
            }
        };
        let lane = if users.len() == 1 { Lane::Short } else { Lane::Long };
        self.router.script((lane, &keys[0]), &ADD, keys.len(), fill).await
    }

    /// Removes a user. `event` is what the room is told; empty for nothing. True if nobody else holds the user.
    pub(super) async fn remove(
        &self,
        holder: &Incarnation,
        room: &RoomName,
        user: &UserName,
        event: &[u8],
    ) -> Result<bool, BackendError> {
        let channel = self.keys.channel_on_server(&Topic::Room(room.clone()));
        let held = self.keys.held(holder);
        let mut keys = vec![self.keys.members(room), self.keys.holders(room)];
        if !self.is_cluster() {
            keys.push(held.clone());
        }
        let fill = |cmd: &mut Cmd| {
            cmd.arg(&keys).arg(&holder.0).arg(room.as_str()).arg(&channel).arg(self.publish_command);
            cmd.arg(event).arg(self.quiet_above).arg(user.as_str());
        };
        let has_left = self.router.script((Lane::Short, &keys[0]), &REMOVE, keys.len(), fill).await?;
        if self.is_cluster() {
            // If this undoes a newer entry, because it was late, the member is found by who reads the room after the end of this
            // node.
            let mut release = redis::cmd("ZREM");
            release.arg(&held).arg(held_entry(room, user));
            self.router.command::<()>((Lane::Short, &held), &release).await?;
        }
        Ok(has_left)
    }
}

/// What stands for a member in the list of what an incarnation holds.
fn held_entry(room: &RoomName, user: &UserName) -> String {
    format!("{room}\n{user}")
}
