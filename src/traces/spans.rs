//! The spans of a node: of a request, of a call that publishes, and of a fan-out. Owns their names, their attributes and how they are
//! linked. No attribute names a user, a room, an address or a text. Made where the work is done; a span that is not recorded is empty.

use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Ending;
use super::message::{context, first_span};
use super::recorder::{Recorder, recorder};
use super::sampler::Decision;
use crate::protocol::{ConnectionId, ErrorCode, MessageId, TraceParent};

const ERROR: &str = "error.type";
const MESSAGE: &str = "messaging.message.id";

/// A span that ends now, with nothing but what each has.
fn span(recorder: &Recorder, name: &'static str, context: SpanContext, start_time: SystemTime) -> SpanData {
    SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.into(),
        start_time,
        // The clock may have been set back.
        end_time: SystemTime::now().max(start_time),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: recorder.scope.clone(),
    }
}

fn random_span_id() -> SpanId {
    SpanId::from_bytes(rand::random_range(1..=u64::MAX).to_be_bytes())
}

fn random_trace_id() -> TraceId {
    TraceId::from_bytes(rand::random_range(1..=u128::MAX).to_be_bytes())
}

fn text(key: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(key, value)
}

/// When a request arrived.
#[derive(Debug, Clone, Copy)]
pub struct Arrived(Option<SystemTime>);

impl Arrived {
    /// Now.
    pub fn now() -> Self {
        Self(recorder().map(|_| SystemTime::now()))
    }
}

/// The trace that a connection belongs to: the parent of the requests that bring none.
#[derive(Debug, Default)]
pub struct ConnectionTrace(Option<Box<TraceParent>>);

impl ConnectionTrace {
    /// Of the text in the header of the upgrade. An invalid one counts as left out.
    pub fn of(header: Option<&str>) -> Self {
        Self(recorder().and_then(|_| TraceParent::parse(header?).map(Box::new)))
    }
}

/// The span of a request, if it is recorded. It ends with the request: also if that is dropped, since its connection ends.
#[derive(Debug, Default)]
pub struct RequestSpan(Option<Box<RecordedRequest>>);

#[derive(Debug)]
struct RecordedRequest {
    recorder: &'static Recorder,
    arrived: SystemTime,
    kind: &'static str,
    /// None for a call of the server API.
    connection: Option<ConnectionId>,
    parent: Option<TraceParent>,
    /// The message that it publishes, by the id that the node gave.
    message: Option<MessageId>,
    /// As the store has it; true for a repeat.
    stored: Option<(MessageId, bool)>,
    ending: Option<Ending>,
}

impl RequestSpan {
    /// Of a request that is carried out from now on, if the sampler records it.
    pub fn begin(
        Arrived(arrived): Arrived,
        kind: &'static str,
        (connection, trace): (Option<ConnectionId>, &ConnectionTrace),
        parent: Option<TraceParent>,
    ) -> Self {
        let (Some(recorder), Some(arrived)) = (recorder(), arrived) else { return Self(None) };
        let parent = parent.or(trace.0.as_deref().copied()).filter(|_| recorder.takes_parents);
        let trace_id = parent.map_or_else(random_trace_id, |parent| TraceId::from_bytes(parent.trace_id));
        match recorder.sampler.decide(trace_id, parent.as_ref(), &recorder.requests, arrived) {
            Decision::Leave => return Self(None),
            Decision::OverRate => {
                recorder.count_over_rate();
                return Self(None);
            }
            Decision::Record => {}
        }
        let (message, stored, ending) = (None, None, None);
        let request =
            RecordedRequest { recorder, arrived, kind, connection, parent, message, stored, ending };
        Self(Some(Box::new(request)))
    }

    /// The id of the message that the request publishes. That of a request that is recorded has the mark, and no other.
    pub fn message_id(&mut self) -> MessageId {
        let id = MessageId::generate();
        match &mut self.0 {
            Some(request) => *request.message.insert(id.traced()),
            None if id.is_traced() => MessageId::generate(),
            None => id,
        }
    }

    /// The message is stored, under this id; or it was already.
    pub fn stored(&mut self, message_id: MessageId, is_duplicate: bool) {
        if let Some(request) = &mut self.0 {
            request.stored = Some((message_id, is_duplicate));
        }
    }

    /// The request has its answer.
    pub fn end(mut self, ending: Ending) {
        if let Some(request) = &mut self.0 {
            request.ending = Some(ending);
        }
    }
}

impl Drop for RecordedRequest {
    fn drop(&mut self) {
        let first = self.message.map(first_span);
        let own = match (&self.parent, &first) {
            (Some(parent), _) => context(TraceId::from_bytes(parent.trace_id), random_span_id()),
            (None, Some(first)) => first.clone(),
            (None, None) => context(random_trace_id(), random_span_id()),
        };
        let mut request = span(self.recorder, self.kind, own.clone(), self.arrived);
        request.span_kind = SpanKind::Server;
        request.attributes = self.attributes();
        if !matches!(self.ending, Some(Ending::Done)) {
            request.status = self.status();
        }
        if let Some(parent) = &self.parent {
            request.parent_span_id = SpanId::from_bytes(parent.span_id);
            request.parent_span_is_remote = true;
        }
        // In the trace of its client, so the message has one of its own: other nodes know only its id.
        if let (Some(_), Some(first)) = (&self.parent, first) {
            request.links.links.push(Link::with_context(first.clone()));
            let mut message = span(self.recorder, "create", first, self.arrived);
            message.span_kind = SpanKind::Producer;
            message.attributes.extend(self.message_attribute());
            message.links.links.push(Link::with_context(own));
            self.recorder.record(message);
        }
        self.recorder.record(request);
    }
}

impl RecordedRequest {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![text("chat.request", self.kind)];
        attributes.extend(self.connection.map(|id| text("chat.connection.id", id.to_string())));
        attributes.extend(self.message_attribute());
        let outcome = match self.ending {
            Some(Ending::Done) if self.stored.is_some_and(|(_, is_duplicate)| is_duplicate) => "duplicate",
            Some(Ending::Done) => "done",
            Some(Ending::Failed(_, Some(outcome))) => outcome.as_str(),
            Some(Ending::Failed(_, None)) => "refused",
            None => "aborted",
        };
        attributes.push(text("chat.outcome", outcome));
        match self.ending {
            Some(Ending::Done) => {}
            Some(Ending::Failed(code, _)) => attributes.push(text(ERROR, code.as_str())),
            None => attributes.push(text(ERROR, outcome)),
        }
        attributes
    }

    fn message_attribute(&self) -> Option<KeyValue> {
        let id = self.stored.map(|(id, _)| id).or(self.message)?;
        Some(text(MESSAGE, id.to_string()))
    }

    /// An error of the node. A client's mistake is none.
    fn status(&self) -> Status {
        match self.ending {
            Some(Ending::Failed(code @ (ErrorCode::Unavailable | ErrorCode::Internal), _)) => {
                Status::error(code.as_str())
            }
            None => Status::error("the connection ended"),
            _ => Status::Unset,
        }
    }
}

/// The traced messages of a call or of a fan-out. The span belongs to the first one, and is linked with the others.
#[derive(Debug)]
struct Batch {
    recorder: &'static Recorder,
    started: SystemTime,
    first: MessageId,
    others: Vec<MessageId>,
    count: i64,
}

impl Batch {
    /// `None` if no message is traced. Not even the time is asked for then.
    fn begin(message_ids: impl Iterator<Item = MessageId>) -> Option<Self> {
        let recorder = recorder()?;
        let (mut count, mut first, mut others) = (0, None, Vec::new());
        for id in message_ids {
            count += 1;
            match (id.is_traced(), first) {
                (false, _) => {}
                (true, None) => first = Some(id),
                (true, Some(_)) => others.push(id),
            }
        }
        let first = first?;
        Some(Self { recorder, started: SystemTime::now(), first, others, count })
    }

    fn span(&self, name: &'static str, kind: SpanKind) -> SpanData {
        let first = first_span(self.first);
        let mut span = span(self.recorder, name, context(first.trace_id(), random_span_id()), self.started);
        span.span_kind = kind;
        span.parent_span_id = first.span_id();
        let linked = |id: &MessageId| Link::with_context(remote(&first_span(*id)));
        span.links.links.extend(self.others.iter().map(linked));
        span
    }
}

fn remote(context: &SpanContext) -> SpanContext {
    let (trace, span) = (context.trace_id(), context.span_id());
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
}

/// The span of a call that publishes, if it has a message that is traced.
#[derive(Debug)]
pub struct PublishSpan(Option<Batch>);

impl PublishSpan {
    /// Of a call with the messages of these ids.
    #[must_use]
    pub fn begin<'a>(message_ids: impl Iterator<Item = &'a str>) -> Self {
        if recorder().is_none() {
            return Self(None);
        }
        Self(Batch::begin(message_ids.map(|id| id.parse().unwrap_or(MessageId::NONE))))
    }

    /// The call has its reply; `error` is the kind of a failure.
    pub fn end(self, error: Option<&'static str>) {
        let Some(batch) = self.0 else { return };
        let mut span = batch.span("publish", SpanKind::Client);
        span.attributes = vec![text("db.system.name", "redis"), text("db.operation.batch.size", batch.count)];
        if let Some(error) = error {
            span.attributes.push(text(ERROR, error));
            span.status = Status::error(error);
        }
        batch.recorder.record(span);
    }
}

/// The span of a fan-out on one node, if it has a message that is traced.
#[derive(Debug)]
pub struct DeliverSpan(Option<Batch>);

impl DeliverSpan {
    /// Of messages with these ids.
    #[must_use]
    pub fn begin(message_ids: impl Iterator<Item = MessageId>) -> Self {
        Self(Batch::begin(message_ids).filter(|batch| batch.recorder.may_record_delivery(batch.started)))
    }

    /// So many connections have got the messages. `topic` is its kind.
    pub fn end(self, topic: &'static str, connections: usize) {
        let Some(batch) = self.0 else { return };
        let mut span = batch.span("deliver", SpanKind::Consumer);
        span.attributes = vec![
            text("chat.topic", topic),
            text("chat.connections", connections as i64),
            text("messaging.batch.message_count", batch.count),
            text(MESSAGE, batch.first.to_string()),
        ];
        batch.recorder.record(span);
    }
}
