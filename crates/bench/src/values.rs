//! The values of options. Owns their bounds and their errors. Used by the command line.

use std::time::Duration;

/// How many of something.
pub(crate) type Count = u32;

pub(crate) fn count(text: &str) -> Result<Count, String> {
    match text.replace('_', "").parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("expected a number from 1 to 1000000".to_owned()),
    }
}

pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.replace('_', "").parse() {
        Ok(rate) if rate > 0.0 && rate <= 10e6 => Ok(rate),
        _ => Err("expected a number above 0, of events per second".to_owned()),
    }
}

pub(crate) fn rate_or_none(text: &str) -> Result<f64, String> {
    if text == "0" { Ok(0.0) } else { rate(text) }
}

pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    match text.trim_end_matches('s').parse() {
        // A stamp has room for three days.
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected seconds, from 0.1 to 86400".to_owned()),
    }
}

pub(crate) fn seconds_or_none(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { seconds(text) }
}
