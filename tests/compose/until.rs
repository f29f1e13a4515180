//! Waiting for what a test expects. Owns the deadline and the message when it is over; knows no program. Used by all other files of
//! this test.

use std::time::{Duration, Instant};

/// The longest time that a test waits for a condition, unless it is about the time.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Asks repeatedly until there is an answer, and returns it with the time that it took.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return (answer, start.elapsed());
        }
        assert!(start.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
