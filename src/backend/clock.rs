//! This process's wall clock. Owns its one form, Unix ms; Redis has a clock of its own, which its scripts ask. Used by the
//! backends, and by `chat` for what is compared with their times.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix ms; 0 where the clock stands before 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
