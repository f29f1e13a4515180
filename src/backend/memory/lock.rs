//! Locking in the embedded store. Owns the rule for a poisoned lock: go on, since no panic can leave an update half done.
//! Called by all stores in this process's memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, even after a panic of another thread.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
