//! Read markers that move because a user sends a message: what comes before it has been read. Owns the moves that are not written yet;
//! the store owns the rest. Sessions note them, the node writes them every ten seconds, so that no publish waits for one and a busy
//! user costs one write for many messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use crate::backend::{BackendError, Markers, Move};
use crate::protocol::{Position, RoomMarker, Topic, UserName};

/// The most moves that wait. Further ones are dropped: then own messages count as unread until the user reads or writes again.
const MAX_WAITING: usize = 20_000;

/// Markers that are written at once.
const AT_ONCE: usize = 64;

type Moved = HashMap<(UserName, Topic), Position>;

/// Moves to write: for each user and room or peer, the latest.
pub(super) struct SentMarkers {
    markers: Arc<dyn Markers>,
    moved: Mutex<Moved>,
}

impl SentMarkers {
    pub(super) fn new(markers: Arc<dyn Markers>) -> Self {
        Self { markers, moved: Mutex::default() }
    }

    fn moved(&self) -> MutexGuard<'_, Moved> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a user has sent a message: its place in the room, or in the user's own private log.
    pub(super) fn note(&self, user: &UserName, to: &Topic, position: Position) {
        let mut moved = self.moved();
        let count = moved.len();
        // Copies of names share their text.
        let key = (user.clone(), to.clone());
        match moved.get_mut(&key) {
            Some(old) if old.epoch == position.epoch && old.seq >= position.seq => {}
            Some(old) => *old = position,
            None if count >= MAX_WAITING => {}
            None => drop(moved.insert(key, position)),
        }
    }

    /// The move that waits, if there is one.
    pub(super) fn waiting(&self, user: &UserName, to: &Topic) -> Option<Position> {
        self.moved().get(&(user.clone(), to.clone())).copied()
    }

    /// Forgets the move that waits: the user has moved the marker back.
    pub(super) fn forget(&self, user: &UserName, to: &Topic) {
        self.moved().remove(&(user.clone(), to.clone()));
    }

    /// Writes what has moved, as far as the store takes it.
    pub(super) async fn write(&self) {
        let mut moved: Vec<_> = std::mem::take(&mut *self.moved()).into_iter().collect();
        while !moved.is_empty() {
            let chunk = moved.split_off(moved.len().saturating_sub(AT_ONCE));
            let written =
                join_all(chunk.iter().map(|((user, to), position)| self.mark(user, to, position))).await;
            let failed =
                chunk.into_iter().zip(written).filter_map(|(moved, written)| Some((moved, written.err()?)));
            let failed: Vec<_> = failed.collect();
            if let Some((_, error)) = failed.first() {
                tracing::debug!(%error, "read markers of senders could not be written yet");
                let mut waiting = self.moved();
                for (key, position) in failed.into_iter().map(|(moved, _)| moved).chain(moved) {
                    waiting.entry(key).or_insert(position);
                }
                return;
            }
        }
    }

    async fn mark(&self, user: &UserName, to: &Topic, position: &Position) -> Result<bool, BackendError> {
        match to {
            Topic::Room(room) => {
                let marker = RoomMarker { epoch: position.epoch, seq: position.seq };
                self.markers.mark_room(user, room, marker, Move::Forward).await
            }
            Topic::User(peer) => {
                self.markers.mark_private(user, peer, position.message_id, Move::Forward).await
            }
        }
    }
}
