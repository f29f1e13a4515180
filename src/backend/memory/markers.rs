//! Cursors and read markers in memory. Owns the markers of all users and their bounds: per user as in Redis, and in total.
//! Called by `chat` through [`Markers`].

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use indexmap::IndexMap;

use super::lock::lock;
use crate::backend::{BackendError, MAX_READ_MARKERS, Markers, Move, steady_ms};
use crate::protocol::{MessageId, Position, RoomMarker, RoomName, UserName};

/// Time until markers expire, from their last use. The same as in Redis.
const TTL_MS: u64 = 30 * 86_400_000;

/// Maximum of markers of all users: at about 150 bytes each, 30 MB. Above it, the markers that were unused for longest
/// are deleted. Their user receives private messages again, and read messages count as unread.
const MAX_MARKERS: usize = 200_000;

#[derive(Default)]
struct UserMarkers {
    used_at: u64,
    cursor: Option<Position>,
    /// In the order of their last move: the first marker is the next to delete.
    rooms: IndexMap<RoomName, RoomMarker>,
    peers: IndexMap<UserName, MessageId>,
}

impl UserMarkers {
    /// Size of this entry: the user itself counts as one marker.
    fn count(&self) -> usize {
        1 + self.rooms.len() + self.peers.len()
    }
}

/// Markers by user, with an upper bound of their number.
struct MarkersByUser {
    users: HashMap<UserName, UserMarkers>,
    max: usize,
    /// Upper bound: the number at the last `prune`, plus one for each change since then.
    upper_bound: usize,
    /// Upper bound at which the next `prune` runs.
    prune_at: usize,
}

impl Default for MarkersByUser {
    fn default() -> Self {
        Self { users: HashMap::new(), max: MAX_MARKERS, upper_bound: 0, prune_at: 0 }
    }
}

impl MarkersByUser {
    /// Returns the markers of a user, if there are any. Reading counts as a use.
    fn get(&mut self, user: &UserName, now: u64) -> Option<&mut UserMarkers> {
        let marks = self.users.get_mut(user)?;
        marks.used_at = now;
        Some(marks)
    }

    /// Returns the markers of a user for a change.
    fn entry(&mut self, user: &UserName, now: u64) -> &mut UserMarkers {
        self.upper_bound += 1;
        if self.upper_bound > self.prune_at {
            self.prune(now);
        }
        let marks = self.users.entry(user.clone()).or_default();
        marks.used_at = now;
        marks
    }

    fn prune(&mut self, now: u64) {
        self.users.retain(|_, marks| now.saturating_sub(marks.used_at) < TTL_MS);
        let mut count: usize = self.users.values().map(UserMarkers::count).sum();
        // An eighth at once. Otherwise every further change would scan all users.
        let eighth = self.max / 8;
        if count > 7 * eighth {
            let mut by_use: Vec<_> =
                self.users.iter().map(|(user, marks)| (marks.used_at, marks.count(), user.clone())).collect();
            by_use.sort_by_key(|(used_at, ..)| *used_at);
            for (_, marks, user) in by_use {
                if count <= 6 * eighth {
                    break;
                }
                self.users.remove(&user);
                count -= marks;
            }
        }
        self.upper_bound = count;
        self.prune_at = (count * 2).max(1_024).min(self.max);
    }
}

/// Markers of all users.
#[derive(Default)]
pub(super) struct MemoryMarkers {
    users: Mutex<MarkersByUser>,
}

#[async_trait]
impl Markers for MemoryMarkers {
    async fn cursor(&self, user: &UserName) -> Result<Option<Position>, BackendError> {
        Ok(lock(&self.users).get(user, steady_ms()).and_then(|marks| marks.cursor))
    }

    async fn advance_cursor(&self, user: &UserName, position: Position) -> Result<(), BackendError> {
        let mut users = lock(&self.users);
        let cursor = &mut users.entry(user, steady_ms()).cursor;
        if cursor.is_none_or(|old| old.epoch != position.epoch || old.seq < position.seq) {
            *cursor = Some(position);
        }
        Ok(())
    }

    async fn room_marker(
        &self,
        user: &UserName,
        room: &RoomName,
    ) -> Result<Option<RoomMarker>, BackendError> {
        Ok(lock(&self.users).get(user, steady_ms()).and_then(|marks| marks.rooms.get(room)).copied())
    }

    async fn mark_room(
        &self,
        user: &UserName,
        room: &RoomName,
        marker: RoomMarker,
        to: Move,
    ) -> Result<bool, BackendError> {
        let mut users = lock(&self.users);
        let rooms = &mut users.entry(user, steady_ms()).rooms;
        let is_back = |old: &RoomMarker| old.epoch == marker.epoch && old.seq > marker.seq;
        if rooms.get(room).is_some_and(|old| *old == marker || (to == Move::Forward && is_back(old))) {
            return Ok(false);
        }
        move_to_end(rooms, room, marker);
        Ok(true)
    }

    async fn private_markers(&self, user: &UserName) -> Result<Vec<(UserName, MessageId)>, BackendError> {
        let mut users = lock(&self.users);
        let Some(marks) = users.get(user, steady_ms()) else { return Ok(Vec::new()) };
        Ok(marks.peers.iter().rev().map(|(peer, id)| (peer.clone(), *id)).collect())
    }

    async fn mark_private(
        &self,
        user: &UserName,
        peer: &UserName,
        id: MessageId,
        to: Move,
    ) -> Result<bool, BackendError> {
        let mut users = lock(&self.users);
        let peers = &mut users.entry(user, steady_ms()).peers;
        if peers.get(peer).is_some_and(|old| *old == id || (to == Move::Forward && *old > id)) {
            return Ok(false);
        }
        move_to_end(peers, peer, id);
        Ok(true)
    }
}

/// Sets a marker as the one that moved last. Above the bound, deletes the one that moved longest ago.
fn move_to_end<K: Clone + Eq + std::hash::Hash, V>(markers: &mut IndexMap<K, V>, key: &K, value: V) {
    markers.shift_remove(key);
    markers.insert(key.clone(), value);
    if markers.len() > MAX_READ_MARKERS {
        markers.shift_remove_index(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        UserName::parse(name).unwrap()
    }

    #[test]
    fn markers_expire_30_days_after_their_last_use() {
        let mut users = MarkersByUser::default();
        for i in 0..3_000 {
            users.entry(&user(&format!("early {i}")), 1);
        }
        assert!(users.get(&user("early 7"), TTL_MS / 2).is_some());
        for i in 0..10_000 {
            users.entry(&user(&format!("late {i}")), TTL_MS + 1);
        }
        assert_eq!(users.users.len(), 10_001);
        assert!(users.get(&user("early 7"), TTL_MS + 1).is_some());
    }

    #[test]
    fn markers_of_many_users_stay_bounded_and_used_ones_remain() {
        let mut users = MarkersByUser { max: 2_000, ..MarkersByUser::default() };
        for i in 0..10_000 {
            users.entry(&user("busy"), i);
            users.entry(&user(&i.to_string()), i);
            let count: usize = users.users.values().map(UserMarkers::count).sum();
            assert!(count <= 2_000, "{count}");
        }
        assert!(users.users.len() > 1_000);
        assert!(users.get(&user("busy"), 0).is_some());
    }
}
