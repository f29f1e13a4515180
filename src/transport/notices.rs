//! Warnings about values that clients send, such as an `Origin`. Owns which were logged in this hour: a client could invent any
//! number of them, so the rest is summed up. Used where a refusal points to a setting; reported by a task of the server.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Different values of one kind that are logged in a [`PERIOD`].
const MAX_VALUES: usize = 20;

/// After this time, what was left out is summed up, and each value may be logged again.
const PERIOD: Duration = Duration::from_secs(60 * 60);

/// How often a sum that is due is looked for.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The most bytes of a value that are logged, or sent back.
const MAX_BYTES: usize = 200;

/// What is warned about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Origin,
    Host,
    Proxy,
}

impl Subject {
    fn plural(self) -> &'static str {
        match self {
            Self::Origin => "Origins",
            Self::Host => "host names",
            Self::Proxy => "proxies",
        }
    }
}

/// The values that were logged, by what they are.
#[derive(Default)]
pub(super) struct Notices(Mutex<HashMap<Subject, Hour>>);

struct Hour {
    since: Instant,
    logged: HashSet<String>,
    /// Requests with other values.
    left_out: u64,
}

impl Notices {
    /// Whether to log this value now: not yet in this hour, and not one of too many.
    pub(super) fn is_first(&self, subject: Subject, value: &str, now: Instant) -> bool {
        let mut hours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Hour { since: now, logged: HashSet::new(), left_out: 0 };
        let hour = hours.entry(subject).or_insert_with(fresh);
        if hour.logged.contains(value) {
            return false;
        }
        if hour.logged.len() >= MAX_VALUES {
            hour.left_out += 1;
            return false;
        }
        hour.logged.insert(value.to_owned())
    }

    /// Sums up what was left out, until the node stops.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut tick = interval(REPORT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self.report(Instant::now(), true),
                now = tick.tick() => self.report(now, false),
            }
        }
    }

    /// Logs how much was left out in each hour that is over; at the end of the node, in each hour.
    fn report(&self, now: Instant, is_end: bool) {
        for (subject, left_out) in self.sums(now, is_end) {
            let what = subject.plural();
            tracing::warn!(
                left_out,
                "requests with further {what} were left out of the log: {MAX_VALUES} {what} an hour are logged"
            );
        }
    }

    fn sums(&self, now: Instant, is_end: bool) -> Vec<(Subject, u64)> {
        let mut sums = Vec::new();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|subject, hour| {
            let is_over = is_end || now.saturating_duration_since(hour.since) >= PERIOD;
            if is_over && hour.left_out > 0 {
                sums.push((*subject, hour.left_out));
            }
            !is_over
        });
        sums
    }
}

/// A value of a client for the log or for an answer: at most [`MAX_BYTES`], and nothing that is not printable ASCII.
pub(super) fn printable(value: &[u8]) -> String {
    const CUT: &str = "...";
    let mut text = String::new();
    let mut short_enough = 0;
    for byte in value {
        text.extend(std::ascii::escape_default(*byte).map(char::from));
        if text.len() > MAX_BYTES {
            text.truncate(short_enough);
            text.push_str(CUT);
            break;
        }
        if text.len() + CUT.len() <= MAX_BYTES {
            short_enough = text.len();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_values_an_hour_are_logged_and_the_rest_summed_up() {
        let (notices, start) = (Notices::default(), Instant::now());
        let logged = |subject, values: std::ops::Range<usize>, now| {
            values.filter(|at| notices.is_first(subject, &format!("http://{at}"), now)).count()
        };
        assert_eq!(logged(Subject::Origin, 0..30, start), 20);
        assert_eq!(logged(Subject::Origin, 0..20, start), 0, "each was logged already");
        assert_eq!(logged(Subject::Host, 0..30, start + PERIOD / 2), 20, "other values have their own hour");
        assert_eq!(notices.sums(start + PERIOD / 2, false), []);
        assert_eq!(notices.sums(start + PERIOD, false), [(Subject::Origin, 10)]);
        assert_eq!(logged(Subject::Origin, 0..10, start + PERIOD), 10);
        assert_eq!(notices.sums(start + 3 * PERIOD, false), [(Subject::Host, 10)]);
        assert_eq!(notices.sums(start + 3 * PERIOD, true), []);
    }

    #[test]
    fn printable_value_is_short_ascii() {
        assert_eq!(printable(b"http://x"), "http://x");
        assert_eq!(printable("a\"\u{1b}[2J\r\n<é>".as_bytes()), r#"a\"\x1b[2J\r\n<\xc3\xa9>"#);
        assert_eq!(printable(&[b'x'; 200]), "x".repeat(200));
        assert_eq!(printable(&[b'x'; 201]), format!("{}...", "x".repeat(197)));
        for length in [50, 51, 60, 1_000] {
            let text = printable(&vec![0xff; length]);
            let whole = text.strip_suffix("...").unwrap_or(&text);
            assert!(text.len() <= MAX_BYTES && whole.len().is_multiple_of(4), "no escape is cut: {text}");
        }
    }
}
