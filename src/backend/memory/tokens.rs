//! Tokens and markers in memory. Owns both maps; called through the traits. Tokens that have expired go when the map
//! doubles; a user's read markers are bounded as in Redis.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use indexmap::IndexMap;

use crate::backend::{BackendError, LookedUp, MAX_READ_MARKERS, Markers, TokenHash, TokenRecord, Tokens};
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

    async fn look_up(&self, hashes: &[TokenHash]) -> Result<Vec<LookedUp>, BackendError> {
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

#[derive(Default)]
struct Marks {
    cursor: Option<Position>,
    /// In the order in which they moved: the first is the one to forget.
    rooms: IndexMap<RoomName, RoomMarker>,
    peers: IndexMap<UserName, MessageId>,
}

/// All users' markers.
#[derive(Default)]
pub(super) struct MemoryMarkers {
    users: Mutex<HashMap<UserName, Marks>>,
}

#[async_trait]
impl Markers for MemoryMarkers {
    async fn cursor(&self, user: &UserName) -> Result<Option<Position>, BackendError> {
        Ok(lock(&self.users).get(user).and_then(|marks| marks.cursor))
    }

    async fn advance_cursor(&self, user: &UserName, position: Position) -> Result<(), BackendError> {
        let mut users = lock(&self.users);
        let cursor = &mut users.entry(user.clone()).or_default().cursor;
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
        Ok(lock(&self.users).get(user).and_then(|marks| marks.rooms.get(room)).copied())
    }

    async fn mark_room(
        &self,
        user: &UserName,
        room: &RoomName,
        marker: RoomMarker,
    ) -> Result<bool, BackendError> {
        let mut users = lock(&self.users);
        let rooms = &mut users.entry(user.clone()).or_default().rooms;
        if rooms.get(room).is_some_and(|old| old.epoch == marker.epoch && old.seq >= marker.seq) {
            return Ok(false);
        }
        move_to_end(rooms, room, marker);
        Ok(true)
    }

    async fn private_markers(&self, user: &UserName) -> Result<Vec<(UserName, MessageId)>, BackendError> {
        let users = lock(&self.users);
        let Some(marks) = users.get(user) else { return Ok(Vec::new()) };
        Ok(marks.peers.iter().map(|(peer, id)| (peer.clone(), *id)).collect())
    }

    async fn mark_private(
        &self,
        user: &UserName,
        peer: &UserName,
        id: MessageId,
    ) -> Result<bool, BackendError> {
        let mut users = lock(&self.users);
        let peers = &mut users.entry(user.clone()).or_default().peers;
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
