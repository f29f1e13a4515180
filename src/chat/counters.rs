//! Handles to the metrics of the hot path. Owns nothing but the handles: looking a metric up by name costs more than
//! counting. Made once per node, after the recorder is installed.

use metrics::{Counter, Histogram, counter, histogram};

use crate::backend::unix_ms;
use crate::metrics as names;
use crate::protocol::GapReason;

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

    /// Records how long a message took from the store to here; a clock that is behind the store's counts as none.
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
