//! The wall clock of the embedded backend: what Redis's `TIME` is for the other. Called by its parts.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix ms.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
