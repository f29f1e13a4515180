//! The limit for repeated log lines. Owns the number of recent lines per place in the source that logs, and reports how
//! many it left out; does not know what the lines say. A layer of the subscriber that `telemetry` installs: without it,
//! one client could fill the log with its refused requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How many lines each place may log per [`WINDOW`]. A line that a person acts on comes less often.
const MAX_LINES: u64 = 20;

/// After this time, the left out lines are summed up and the place may log again.
const WINDOW: Duration = Duration::from_secs(10);

/// The places that logged recently. Clones share them.
#[derive(Clone, Default)]
pub(super) struct RepeatLimit(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    // One entry per place in the source: the program has a fixed number of them.
    places: HashMap<Identifier, Place>,
    left_out: u64,
}

/// One place in the source that logs.
struct Place {
    metadata: &'static Metadata<'static>,
    since: Instant,
    lines: u64,
    /// The text of the first line that was left out.
    sample: String,
}

/// The lines of one place that were left out in one window.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    place: String,
    sample: String,
    left_out: u64,
}

impl RepeatLimit {
    /// The lines left out so far.
    pub(super) fn left_out(&self) -> u64 {
        self.lock().left_out
    }

    /// Logs a summary for each place whose window is over; at the end of the program, for each place.
    pub(super) fn report(&self, is_end: bool) {
        for Summary { place, sample, left_out } in self.summaries(Instant::now(), is_end) {
            tracing::warn!(place, left_out, "similar lines were left out: {sample}");
        }
    }

    fn summaries(&self, now: Instant, is_end: bool) -> Vec<Summary> {
        let mut summaries = Vec::new();
        self.lock().places.retain(|_, place| {
            let is_over = is_end || now.duration_since(place.since) >= WINDOW;
            if is_over && place.lines > MAX_LINES {
                let metadata = place.metadata;
                let line = metadata.line().unwrap_or_default();
                summaries.push(Summary {
                    place: format!("{}:{line}", metadata.file().unwrap_or(metadata.target())),
                    sample: std::mem::take(&mut place.sample),
                    left_out: place.lines - MAX_LINES,
                });
            }
            !is_over
        });
        summaries
    }

    /// Whether this place may log one more line now.
    fn admits(
        &self,
        metadata: &'static Metadata<'static>,
        now: Instant,
        sample: impl FnOnce() -> String,
    ) -> bool {
        let mut state = self.lock();
        let place = state.places.entry(metadata.callsite()).or_insert_with(|| Place {
            metadata,
            since: now,
            lines: 0,
            sample: String::new(),
        });
        place.lines += 1;
        if place.lines <= MAX_LINES {
            return true;
        }
        if place.lines == MAX_LINES + 1 {
            place.sample = sample();
        }
        state.left_out += 1;
        false
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for RepeatLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // An operator who asks for more than INFO wants every line. The queue of the log is bounded in any case.
        *metadata.level() > Level::INFO || self.admits(metadata, Instant::now(), || Message::of(event))
    }
}

/// The text of a line without its fields.
#[derive(Default)]
struct Message(String);

impl Message {
    fn of(event: &Event<'_>) -> String {
        let mut message = Self::default();
        event.record(&mut message);
        message.0
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::log_writer::LogWriter;

    #[test]
    fn repeated_lines_are_limited_and_summed_up() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let writer = LogWriter::start(pipe, || {}).unwrap();
        let limit = RepeatLimit::default();
        let lines = tracing_subscriber::fmt::layer().with_writer(writer.clone()).with_ansi(false);
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(limit.clone()).with(lines),
            || {
                for user in 0..1_000 {
                    tracing::warn!(user, "a request failed");
                }
                tracing::info!("another place");
                assert_eq!(limit.left_out(), 1_000 - MAX_LINES);
                limit.report(false);
                limit.report(true);
                limit.report(true);
                for user in 0..5 {
                    tracing::warn!(user, "a request failed");
                }
            },
        );
        assert!(writer.flush(Duration::from_secs(20)));
        // The test holds the writer, so the pipe has no end: read until the last line.
        let mut log = String::new();
        let mut buffer = [0; 4096];
        while log.lines().count() < 20 + 1 + 1 + 5 {
            let count = reader.read(&mut buffer).unwrap();
            log.push_str(str::from_utf8(&buffer[..count]).unwrap());
        }
        let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
        assert_eq!(log.lines().count(), 20 + 1 + 1 + 5, "{log}");
        assert_eq!(count(": a request failed user="), 25, "{log}");
        assert_eq!(count("another place"), 1, "{log}");
        let summary = "similar lines were left out: a request failed place=\"src/telemetry/repeat_limit.rs:";
        assert_eq!(count(summary), 1, "{log}");
        assert_eq!(count("left_out=980"), 1, "{log}");
    }

    #[test]
    fn place_may_log_again_after_its_window() {
        let limit = RepeatLimit::default();
        let metadata = {
            static SITE: std::sync::OnceLock<&'static Metadata<'static>> = std::sync::OnceLock::new();
            struct Keep;
            impl<S: Subscriber> Layer<S> for Keep {
                fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                    SITE.get_or_init(|| event.metadata());
                }
            }
            tracing::subscriber::with_default(tracing_subscriber::registry().with(Keep), || {
                tracing::warn!("once");
            });
            *SITE.get().unwrap()
        };
        let start = Instant::now();
        let admitted = |now| (0..50).filter(|_| limit.admits(metadata, now, || "once".into())).count();
        assert_eq!(admitted(start), 20);
        assert_eq!(admitted(start + WINDOW / 2), 0);
        assert_eq!(limit.summaries(start + WINDOW / 2, false), []);
        let summaries = limit.summaries(start + WINDOW, false);
        assert_eq!(summaries.len(), 1);
        assert_eq!((summaries[0].sample.as_str(), summaries[0].left_out), ("once", 80));
        assert_eq!(limit.summaries(start + WINDOW * 2, false), [], "each line is reported once");
        assert_eq!(admitted(start + WINDOW), 20);
        assert_eq!(limit.left_out(), 80 + 30);
    }
}
