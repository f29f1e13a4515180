//! Wall clock of this process. Owns its only format, Unix ms; the Redis scripts use the clock of Redis instead. Called by
//! the backends, and by `chat` for times that it compares with theirs.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time, Unix ms. 0 if the clock is set before 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
