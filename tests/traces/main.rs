//! Traces of real nodes, as a receiver gets them over the wire: `tests/run --traces`.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../support/mod.rs"]
#[macro_use]
mod support;

mod collector;
mod linked;
mod lost;
mod parents;
mod receiver;
mod variables;

use serde_json::Value;

use receiver::Receiver;
use support::program::Program;

/// A node that sends its spans to a receiver when it ends, and not before.
fn node(receiver: &Receiver, more: &[(&str, &str)]) -> Program {
    let mut environment =
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    environment.extend_from_slice(more);
    Program::start(&environment)
}

/// The trace and the first span of a message, as its id says.
fn first_span(message_id: &Value) -> (String, String) {
    let digits = message_id.as_str().unwrap().replace('-', "");
    assert!(digits.ends_with("ffffff"), "the message is not traced: {message_id}");
    (format!("{:0>32}", &digits[12..]), digits[16..].to_owned())
}

/// The span that a span or a link names.
fn place(span: &Value) -> (String, String) {
    (span["trace"].as_str().unwrap().into(), span["id"].as_str().unwrap().into())
}
