//! How far users' private logs were delivered. Owns the cursors that have moved and are not written yet; the store owns
//! the rest. Sessions advance them, the node writes them once a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::Markers;
use crate::protocol::{Position, UserName};

/// Cursors to write: one per user, the latest.
pub(super) struct PrivateCursors {
    markers: Arc<dyn Markers>,
    moved: Mutex<HashMap<UserName, Position>>,
}

impl PrivateCursors {
    pub(super) fn new(markers: Arc<dyn Markers>) -> Self {
        Self { markers, moved: Mutex::default() }
    }

    fn moved(&self) -> MutexGuard<'_, HashMap<UserName, Position>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how far a user's private log was delivered. A position below the last one in the same epoch has no effect.
    pub(super) fn advance(&self, user: &UserName, position: Position) {
        let mut moved = self.moved();
        match moved.get_mut(user) {
            Some(old) if old.epoch == position.epoch && old.seq >= position.seq => {}
            Some(old) => *old = position,
            None => drop(moved.insert(user.clone(), position)),
        }
    }

    /// Writes what has moved, as far as the store takes it.
    pub(super) async fn write(&self) {
        let moved = std::mem::take(&mut *self.moved());
        let mut moved = moved.into_iter();
        while let Some((user, position)) = moved.next() {
            if let Err(error) = self.markers.advance_cursor(&user, position).await {
                tracing::debug!(%error, "the cursors of private logs could not be written yet");
                // Each of the others would wait for its own deadline, and so would the end of a drain. If this is the
                // end, the messages come again instead, and clients drop them by their id.
                let mut waiting = self.moved();
                for (user, position) in std::iter::once((user, position)).chain(moved) {
                    waiting.entry(user).or_insert(position);
                }
                return;
            }
        }
    }
}
