//! Batches on their way to the receiver. Owns what becomes of a batch that could not be sent: it is counted and logged, and the next one
//! is tried. Encoding and repeated tries are those of the OTLP exporter. Called by the thread of the batch processor, one batch at a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::http::LastFailure;
use super::recorder::Waiting;
use crate::metrics::{TRACE_SPANS_DROPPED, TRACE_SPANS_EXPORTED};

/// The shortest time between two lines of the log about lost spans.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Sends batches, and counts them.
#[derive(Debug)]
pub(super) struct Exporter {
    otlp: Otlp,
    waiting: Arc<Waiting>,
    failure: LastFailure,
    report: Mutex<Report>,
    exported: Counter,
    failed: Counter,
}

/// What the log has to say.
#[derive(Debug, Default)]
struct Report {
    /// Spans that could not be sent since the last line, and those that found no room.
    unsent: usize,
    dropped: usize,
    logged: Option<Instant>,
    is_failing: bool,
}

impl Exporter {
    pub(super) fn new(otlp: Otlp, waiting: Arc<Waiting>, failure: LastFailure) -> Self {
        Self {
            otlp,
            waiting,
            failure,
            report: Mutex::default(),
            exported: metrics::counter!(TRACE_SPANS_EXPORTED),
            failed: metrics::counter!(TRACE_SPANS_DROPPED, "reason" => "not_sent"),
        }
    }
}

impl Report {
    /// What became of a batch. Returns whether a line of the log is due.
    fn add(&mut self, unsent: usize, dropped: usize, now: Instant) -> bool {
        self.unsent += unsent;
        self.dropped += dropped;
        let has_news = self.unsent > 0 || self.dropped > 0;
        let is_due = has_news && self.logged.is_none_or(|logged| now - logged >= LOG_INTERVAL);
        if is_due {
            self.logged = Some(now);
        }
        is_due
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        // That of an earlier batch explains nothing.
        self.failure.take();
        let result = self.otlp.export(batch).await;
        self.waiting.leave(spans);
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = self.waiting.take_dropped();
        match &result {
            Ok(()) => {
                self.exported.increment(spans as u64);
                if std::mem::take(&mut report.is_failing) {
                    tracing::info!("spans reach the receiver again");
                    report.logged = None;
                }
            }
            Err(_) => {
                self.failed.increment(spans as u64);
                report.is_failing = true;
            }
        }
        let unsent = if result.is_err() { spans } else { 0 };
        if report.add(unsent, dropped, Instant::now()) {
            let (unsent, dropped) = (std::mem::take(&mut report.unsent), std::mem::take(&mut report.dropped));
            match &result {
                Err(error) => {
                    let error = self.failure.take().unwrap_or_else(|| error.to_string());
                    tracing::warn!(
                        error,
                        unsent,
                        dropped,
                        "spans could not be sent to the receiver of traces"
                    );
                }
                Ok(()) => tracing::warn!(
                    unsent,
                    dropped,
                    "spans were lost: record fewer (OTEL_TRACES_SAMPLER_ARG), or raise OTEL_BSP_MAX_QUEUE_SIZE"
                ),
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_spans_are_logged_once_a_minute() {
        let (mut report, start) = (Report::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!report.add(0, 0, at(0)));
        assert!(report.add(5, 0, at(1)));
        assert!(!report.add(5, 1, at(60)));
        assert!(report.add(0, 1, at(61)));
    }
}
