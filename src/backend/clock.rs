//! Clocks of this process. Owns the wall clock in its only format, Unix ms, and a clock for durations that can't be set. The
//! Redis scripts use the clock of Redis instead. Called by the backends, and by `chat` for times that it compares with
//! theirs.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The start of the monotonic time, and where it starts: any age is less than that.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
const START_MS: u64 = 1 << 48;

/// The current time, Unix ms. 0 if the clock is set before 1970.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// A monotonic time, ms. Its start has no meaning.
pub(super) fn steady_ms() -> u64 {
    START_MS + START.elapsed().as_millis() as u64
}
