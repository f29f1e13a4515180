//! The trace of a message. Owns how trace and span ids follow from the id of a message; which messages are traced, the sampler knows.
//! Called for every span that has to do with a message.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::protocol::MessageId;

/// The first span of a message: that of its publisher. On every node the same, whether the store has raised the time of the id or not.
pub(super) fn first_span(message_id: MessageId) -> SpanContext {
    let random = message_id.random_part();
    let span_id = (random as u64).to_be_bytes();
    context(TraceId::from_bytes(random.to_be_bytes()), SpanId::from_bytes(span_id))
}

/// The context of a span that is recorded.
pub(super) fn context(trace_id: TraceId, span_id: SpanId) -> SpanContext {
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE)
}
