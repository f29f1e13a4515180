//! The spans that wait for the receiver. Owns the bound of the queue and the counts of what is lost; the batch processor of the SDK has
//! the queue, and the thread that empties it. Filled where spans end: nothing there waits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use metrics::Counter;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};

use super::sampler::{Bound, Sampler};
use crate::metrics::TRACE_SPANS_DROPPED;

/// The recorder of this process, if it has traces.
static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// The recorder of this process. All that traces cost where they are off.
pub(super) fn recorder() -> Option<&'static Recorder> {
    RECORDER.get()
}

/// Records from now on.
pub(super) fn install(recorder: Recorder) {
    // A second one in a process would have no spans of its own.
    let _installed = RECORDER.set(recorder);
}

/// The spans that were recorded and not yet sent, those of the batch under way included.
#[derive(Debug)]
pub(super) struct Waiting {
    count: AtomicUsize,
    most: usize,
    /// Since the exporter has asked for the last time.
    dropped: AtomicUsize,
}

impl Waiting {
    pub(super) fn at_most(most: usize) -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), most, dropped: AtomicUsize::new(0) })
    }

    fn enter(&self) -> bool {
        let next = |count| (count < self.most).then_some(count + 1);
        let is_in = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok();
        if !is_in {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_in
    }

    /// These have been sent, or are lost.
    pub(super) fn leave(&self, spans: usize) {
        self.count.fetch_sub(spans, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many found no room since the last question.
    pub(super) fn take_dropped(&self) -> usize {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// Records spans.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) processor: BatchSpanProcessor,
    pub(super) waiting: Arc<Waiting>,
    pub(super) sampler: Sampler,
    pub(super) requests: Bound,
    pub(super) deliveries: Bound,
    /// Whether a `traceparent` counts.
    pub(super) takes_parents: bool,
    pub(super) scope: InstrumentationScope,
    over_rate: Counter,
    queue_full: Counter,
}

impl Recorder {
    pub(super) fn new(
        processor: BatchSpanProcessor,
        waiting: Arc<Waiting>,
        sampler: Sampler,
        takes_parents: bool,
    ) -> Self {
        let dropped = |reason| metrics::counter!(TRACE_SPANS_DROPPED, "reason" => reason);
        Self {
            processor,
            waiting,
            sampler,
            requests: Bound::default(),
            deliveries: Bound::default(),
            takes_parents,
            scope: InstrumentationScope::builder("chatnode").with_version(env!("CARGO_PKG_VERSION")).build(),
            over_rate: dropped("rate"),
            queue_full: dropped("queue_full"),
        }
    }

    /// Whether one more fan-out may be recorded in this second.
    pub(super) fn may_record_delivery(&self, now: SystemTime) -> bool {
        let may = self.deliveries.take(now);
        if !may {
            self.count_over_rate();
        }
        may
    }

    /// A span was not recorded, since the second has too many.
    pub(super) fn count_over_rate(&self) {
        self.over_rate.increment(1);
    }

    /// Takes a span that has ended. Without room for it, it is dropped and counted.
    pub(super) fn record(&self, span: SpanData) {
        if self.waiting.enter() {
            self.processor.on_end(span);
        } else {
            self.queue_full.increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_without_room_is_dropped_and_counted() {
        let waiting = Waiting::at_most(2);
        assert_eq!(
            [waiting.enter(), waiting.enter(), waiting.enter(), waiting.enter()],
            [true, true, false, false]
        );
        assert_eq!((waiting.count(), waiting.take_dropped(), waiting.take_dropped()), (2, 2, 0));
        waiting.leave(2);
        assert!(waiting.enter());
    }
}
