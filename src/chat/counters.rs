//! Handles to the metrics of the hot path. Owns only the handles: to look a metric up by its name costs more than to
//! count. Made once per node, after the recorder is installed.

use std::time::Instant;

use metrics::{Counter, Histogram, counter, histogram};

use crate::backend::{BackendError, Stored, unix_ms};
use crate::metrics as names;
use crate::protocol::{GapReason, Outcome};

/// Counters of deliveries.
pub(super) struct Counters {
    pub(super) live: Counter,
    pub(super) replay: Counter,
    pub(super) lagged: Counter,
    pub(super) gap_hole: Counter,
    pub(super) gap_idle_check: Counter,
    pub(super) gap_probe: Counter,
    pub(super) gap_reconnect: Counter,
    delivery: Histogram,
}

/// Metrics of publishes.
pub(super) struct PublishCounters {
    ack: Histogram,
    by_result: [Counter; PublishResult::ALL.len()],
}

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PublishResult {
    Ok,
    Duplicate,
    Limited,
    Refused,
    Unknown,
}

impl PublishResult {
    /// In the order of their numbers.
    const ALL: [Self; 5] = [Self::Ok, Self::Duplicate, Self::Limited, Self::Refused, Self::Unknown];

    fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Duplicate => "duplicate",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

impl PublishCounters {
    pub(super) fn new() -> Self {
        Self {
            ack: histogram!(names::PUBLISH_ACK),
            by_result: PublishResult::ALL
                .map(|result| counter!(names::PUBLISHES, "result" => result.label())),
        }
    }
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            live: counter!(names::DELIVERIES, "path" => "live"),
            replay: counter!(names::DELIVERIES, "path" => "replay"),
            lagged: counter!(names::LAGGED),
            gap_hole: counter!(names::GAPS_DETECTED, "source" => "hole"),
            gap_idle_check: counter!(names::GAPS_DETECTED, "source" => "idle_check"),
            gap_probe: counter!(names::GAPS_DETECTED, "source" => "probe"),
            gap_reconnect: counter!(names::GAPS_DETECTED, "source" => "reconnect"),
            delivery: histogram!(names::DELIVERY),
        }
    }

    /// Records how long a message took from the store to here. If this clock is behind the store's, that counts as 0.
    pub(super) fn delivery_age(&self, stored_at_ms: u64) {
        self.delivery.record(unix_ms().saturating_sub(stored_at_ms) as f64 / 1_000.0);
    }

    /// Counts `Gap` frames.
    pub(super) fn gaps_sent(&self, reason: GapReason, count: u64) {
        counter!(names::GAPS_SENT, "reason" => reason.as_str()).increment(count);
    }

    /// Counts a join with a position.
    pub(super) fn resumed(&self, broken: Option<GapReason>) {
        counter!(names::RESUMES, "result" => broken.map_or("recovered", GapReason::as_str)).increment(1);
    }
}

/// A publish under way. Counted once, when it is dropped: as `unknown` if it got no answer, since its connection was lost
/// or its deadline passed.
pub(super) struct Publishing<'a> {
    counters: &'a PublishCounters,
    started: Instant,
    result: PublishResult,
}

impl<'a> Publishing<'a> {
    pub(super) fn begin(counters: &'a PublishCounters) -> Self {
        Self { counters, started: Instant::now(), result: PublishResult::Unknown }
    }

    pub(super) fn end(mut self, answer: Result<&Stored, &BackendError>) {
        self.result = match answer {
            Ok(stored) if stored.duplicate => PublishResult::Duplicate,
            Ok(_) => PublishResult::Ok,
            Err(BackendError::OverShare(_) | BackendError::InboxFull | BackendError::NotARepeat) => {
                PublishResult::Limited
            }
            Err(error) if error.outcome() == Outcome::Refused => PublishResult::Refused,
            Err(_) => PublishResult::Unknown,
        };
        self.counters.ack.record(self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.counters.by_result[self.result as usize].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::protocol::{Epoch, Position};

    #[test]
    fn each_publish_is_counted_once_with_its_result() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let position = Position::start(Epoch::generate());
        let stored =
            |duplicate| Stored { position, sent_at: 0, duplicate, logs_begun: 0, is_unchanged: false };
        metrics::with_local_recorder(&recorder, || {
            let counters = PublishCounters::new();
            let publishing = || Publishing::begin(&counters);
            publishing().end(Ok(&stored(false)));
            publishing().end(Ok(&stored(true)));
            publishing().end(Err(&BackendError::Refused(String::new())));
            publishing().end(Err(&BackendError::OverShare(Duration::ZERO)));
            publishing().end(Err(&BackendError::Unknown(String::new())));
            drop(publishing());
        });
        let page = recorder.handle().render();
        for (result, count) in [("ok", 1), ("duplicate", 1), ("refused", 1), ("limited", 1), ("unknown", 2)] {
            let line = format!("chat_publishes_total{{result=\"{result}\"}} {count}\n");
            assert!(page.contains(&line), "{line} is not in {page}");
        }
    }
}
