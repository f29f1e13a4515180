//! The JSON Schema of the protocol, made from its types. Owns how frames are put together from bodies; each body's schema
//! comes from its type. Called by the example `schema`, which writes docs/protocol.schema.json, and by the test of that
//! file.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::close::CloseReason;
use super::error::ErrorBody;
use super::id::RequestId;
use super::position::Since;
use super::{events, requests};

/// The schema (JSON Schema 2020-12). A document is valid if it is a frame of a client or of a node; `$defs` has
/// `ClientFrame`, `ServerFrame`, `CloseCode` and every body under its name.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let id = generator.subschema_for::<RequestId>();
    let received = generator.subschema_for::<Since>();
    let requests = requests::schemas(&mut generator);
    let mut client_frames = Vec::new();
    let mut acks = Vec::new();
    for (kind, body, ack) in requests {
        client_frames.push(request(kind, &body, &id, &received));
        if !acks.contains(&ack) {
            acks.push(ack);
        }
    }
    let acks = json!({ "anyOf": acks });
    let mut server_frames = vec![
        answer("Ack", &acks, &id, &["message_type", "message_body", "id"]),
        answer("Error", &of::<ErrorBody>(&mut generator), &id, &["message_type", "message_body"]),
    ];
    for (kind, body) in events::schemas(&mut generator) {
        server_frames.push(json!({
            "type": "object",
            "properties": { "message_type": { "const": kind }, "message_body": body },
            "required": ["message_type", "message_body"],
        }));
    }
    let mut definitions = generator.take_definitions(true);
    let mut define = |name: &str, definition: Value| definitions.insert(name.to_owned(), definition);
    define(
        "ClientFrame",
        json!({
            "description": "What a client sends. A field that is null counts as left out; unknown fields are ignored.",
            "oneOf": client_frames,
        }),
    );
    define(
        "ServerFrame",
        json!({
            "description": "What a node sends. A client ignores fields and values of `message_type` that it does not know.",
            "oneOf": server_frames,
        }),
    );
    define("CloseCode", close_codes());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The wire protocol of chatnode, version 1",
        "anyOf": [{ "$ref": "#/$defs/ClientFrame" }, { "$ref": "#/$defs/ServerFrame" }],
        "$defs": definitions,
    })
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn request(kind: &str, body: &Schema, id: &Schema, received: &Schema) -> Value {
    let may_lack_body = kind == <requests::Ping as requests::Request>::KIND;
    let body = if may_lack_body { json!({ "anyOf": [body, { "type": "null" }] }) } else { json!(body) };
    let required: &[&str] = if may_lack_body { &["message_type"] } else { &["message_type", "message_body"] };
    json!({
        "type": "object",
        "properties": {
            "message_type": { "const": kind },
            "message_body": body,
            "token": { "type": ["string", "null"] },
            "id": { "anyOf": [id, { "type": "null" }] },
            "received": { "anyOf": [received, { "type": "null" }] },
            "traceparent": {
                "type": ["string", "null"],
                "description": "The span of the client that the request belongs to (W3C Trace Context). An invalid one is ignored.",
            },
        },
        "required": required,
    })
}

fn answer(kind: &str, body: &Value, id: &Schema, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": { "message_type": { "const": kind }, "message_body": body, "id": id },
        "required": required,
    })
}

fn close_codes() -> Value {
    let codes =
        CloseReason::ALL.iter().map(|reason| json!({ "const": reason.code(), "title": reason.as_str() }));
    json!({
        "description": "The codes of close frames. The text is the reason, or `retry_after_ms=N`.",
        "anyOf": codes.collect::<Vec<_>>(),
    })
}
