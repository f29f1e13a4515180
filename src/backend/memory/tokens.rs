//! Tokens and markers in memory. Owns both maps; called through the traits. What has expired goes when a map doubles; a
//! user's read markers are bounded as in Redis, and those of all users together as well.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use indexmap::IndexMap;

use crate::backend::{
    BackendError, MAX_READ_MARKERS, Markers, TokenHash, TokenLookup, TokenRecord, Tokens, unix_ms,
};
use crate::protocol::server_message::RoomMarker;
use crate::protocol::{MessageId, Position, RoomName, UserName};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All tokens.
#[derive(Default)]
pub(super) struct MemoryTokens {
    records: Mutex<HashMap<TokenHash, TokenRecord>>,
}

#[async_trait]
impl Tokens for MemoryTokens {
    async fn insert(&self, hash: TokenHash, record: &TokenRecord) -> Result<(), BackendError> {
        let mut records = lock(&self.records);
        if records.len() == records.capacity() {
            records.retain(|_, record| record.is_current());
        }
        records.insert(hash, record.clone());
        Ok(())
    }

    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<TokenLookup>, BackendError> {
        let records = lock(&self.records);
        let current = |hash| records.get(hash).filter(|record| record.is_current()).cloned();
        Ok(hashes.iter().map(|hash| Ok(current(hash))).collect())
    }

    async fn remove(&self, hash: TokenHash) -> Result<bool, BackendError> {
        Ok(lock(&self.records).remove(&hash).is_some_and(|record| record.is_current()))
    }

    async fn remove_all(&self, user: &UserName) -> Result<(), BackendError> {
        lock(&self.records).retain(|_, record| record.user != *user);
        Ok(())
    }
}

/// After their last use, as in Redis.
const MARKS_TTL_MS: u64 = 30 * 86_400_000;

/// Of all users together: at about 150 bytes each, 30 MB. Above, those go that were used longest ago: their user is sent
/// its private messages once more, and has read less than it had.
const MAX_MARKS: usize = 200_000;

#[derive(Default)]
struct Marks {
    used_at: u64,
    cursor: Option<Position>,
    /// In the order in which they moved: the first is the one to forget.
    rooms: IndexMap<RoomName, RoomMarker>,
    peers: IndexMap<UserName, MessageId>,
}

impl Marks {
    /// How many there are; a user without any counts as well.
    fn count(&self) -> usize {
        1 + self.rooms.len() + self.peers.len()
    }
}

/// Markers by user, and how many there may have become since they were counted.
struct Users {
    marks: HashMap<UserName, Marks>,
    max: usize,
    most: usize,
    /// When the ones that have ended go again.
    prune_at: usize,
}

impl Default for Users {
    fn default() -> Self {
        Self { marks: HashMap::new(), max: MAX_MARKS, most: 0, prune_at: 0 }
    }
}

impl Users {
    /// A user's, if there are any: looking at them is a use.
    fn of(&mut self, user: &UserName, now: u64) -> Option<&mut Marks> {
        let marks = self.marks.get_mut(user)?;
        marks.used_at = now;
        Some(marks)
    }

    /// A user's, to be changed.
    fn entry(&mut self, user: &UserName, now: u64) -> &mut Marks {
        self.most += 1;
        if self.most > self.prune_at {
            self.prune(now);
        }
        let marks = self.marks.entry(user.clone()).or_default();
        marks.used_at = now;
        marks
    }

    fn prune(&mut self, now: u64) {
        self.marks.retain(|_, marks| now.saturating_sub(marks.used_at) < MARKS_TTL_MS);
        let mut count: usize = self.marks.values().map(Marks::count).sum();
        // An eighth at once, or every further one would look at all of them.
        let eighth = self.max / 8;
        if count > 7 * eighth {
            let mut by_use: Vec<_> =
                self.marks.iter().map(|(user, marks)| (marks.used_at, marks.count(), user.clone())).collect();
            by_use.sort_by_key(|(used_at, ..)| *used_at);
            for (_, marks, user) in by_use {
                if count <= 6 * eighth {
                    break;
                }
                self.marks.remove(&user);
                count -= marks;
            }
        }
        self.most = count;
        self.prune_at = (count * 2).max(1_024).min(self.max);
    }
}

/// All users' markers.
#[derive(Default)]
pub(super) struct MemoryMarkers {
    users: Mutex<Users>,
}

#[async_trait]
impl Markers for MemoryMarkers {
    async fn cursor(&self, user: &UserName) -> Result<Option<Position>, BackendError> {
        Ok(lock(&self.users).of(user, unix_ms()).and_then(|marks| marks.cursor))
    }

    async fn advance_cursor(&self, user: &UserName, position: Position) -> Result<(), BackendError> {
        let mut users = lock(&self.users);
        let cursor = &mut users.entry(user, unix_ms()).cursor;
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
        Ok(lock(&self.users).of(user, unix_ms()).and_then(|marks| marks.rooms.get(room)).copied())
    }

    async fn mark_room(
        &self,
        user: &UserName,
        room: &RoomName,
        marker: RoomMarker,
    ) -> Result<bool, BackendError> {
        let mut users = lock(&self.users);
        let rooms = &mut users.entry(user, unix_ms()).rooms;
        if rooms.get(room).is_some_and(|old| old.epoch == marker.epoch && old.seq >= marker.seq) {
            return Ok(false);
        }
        move_to_end(rooms, room, marker);
        Ok(true)
    }

    async fn private_markers(&self, user: &UserName) -> Result<Vec<(UserName, MessageId)>, BackendError> {
        let mut users = lock(&self.users);
        let Some(marks) = users.of(user, unix_ms()) else { return Ok(Vec::new()) };
        Ok(marks.peers.iter().map(|(peer, id)| (peer.clone(), *id)).collect())
    }

    async fn mark_private(
        &self,
        user: &UserName,
        peer: &UserName,
        id: MessageId,
    ) -> Result<bool, BackendError> {
        let mut users = lock(&self.users);
        let peers = &mut users.entry(user, unix_ms()).peers;
        if peers.get(peer).is_some_and(|old| *old >= id) {
            return Ok(false);
        }
        move_to_end(peers, peer, id);
        Ok(true)
    }
}

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
    fn markers_end_a_month_after_their_last_use() {
        let mut users = Users::default();
        for i in 0..3_000 {
            users.entry(&user(&format!("early {i}")), 1);
        }
        assert!(users.of(&user("early 7"), MARKS_TTL_MS / 2).is_some());
        for i in 0..10_000 {
            users.entry(&user(&format!("late {i}")), MARKS_TTL_MS + 1);
        }
        assert_eq!(users.marks.len(), 10_001);
        assert!(users.of(&user("early 7"), MARKS_TTL_MS + 1).is_some());
    }

    #[test]
    fn markers_of_ever_new_users_are_bounded_and_the_ones_in_use_stay() {
        let mut users = Users { max: 2_000, ..Users::default() };
        for i in 0..10_000 {
            users.entry(&user("busy"), i);
            users.entry(&user(&i.to_string()), i);
            let count: usize = users.marks.values().map(Marks::count).sum();
            assert!(count <= 2_000, "{count}");
        }
        assert!(users.marks.len() > 1_000);
        assert!(users.of(&user("busy"), 0).is_some());
    }
}
