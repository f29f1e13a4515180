//! The time that a failover takes at least, against the deadline of a call. Owns the rule between the two. Called by the preflight.

use std::time::Duration;

/// Checks that a call ends before a silent master can be replaced: the answer of a replaced master would come in time to be
/// believed. `setting` names the time on the side of the servers.
///
/// # Errors
/// The text says which value would do.
pub(super) fn check(timeout: Duration, window: Duration, setting: &str) -> Result<(), String> {
    if timeout < window {
        return Ok(());
    }
    // Three quarters leave time for the way; a round number can be typed.
    let fits = window.as_millis() as u64 * 3 / 4;
    let fits = if fits > 100 { fits / 50 * 50 } else { fits };
    Err(format!(
        "redis.timeout ({timeout:?}) must be below {setting} ({window:?}), or a master that was replaced could still \
         acknowledge messages that are lost: set redis.timeout to {fits}ms, or {setting} to more than {}",
        timeout.as_millis()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_a_timeout_that_would_do() {
        let ms = Duration::from_millis;
        assert_eq!(check(ms(2_000), ms(2_001), "x"), Ok(()));
        for (window, fits) in [(2_000, "1500ms"), (1_000, "750ms"), (130, "97ms"), (50, "37ms")] {
            let error = check(ms(2_000), ms(window), "down-after-milliseconds").unwrap_err();
            assert!(error.contains(&format!("set redis.timeout to {fits}, ")), "{error}");
            assert!(error.ends_with("or down-after-milliseconds to more than 2000"), "{error}");
        }
    }
}
