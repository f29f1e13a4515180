//! How the spans of one message are linked: its request, the call to Redis, and the delivery on each node.

use std::time::Instant;

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::support::client::{Client, PATIENCE};
use crate::support::redis_server::RedisServer;
use crate::{first_span, node, place};

fn of_node<'a>(spans: &'a [Value], node: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["resource"]["service.instance.id"] == node).collect()
}

#[tokio::test]
async fn message_is_one_trace_on_all_nodes() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start());
    let url = redis.url();
    let start = |name| node(&receiver, &[("CHAT_REDIS__URL", &url), ("CHAT_NODE__NAME", name)]);
    let (mut one, mut two) = (start("one"), start("two"));
    let mut alice = Client::enter(one.address, "alice-in-wonderland", "secret-room").await;
    let mut bob = Client::enter(two.address, "bob-the-builder", "secret-room").await;
    let ack = alice.say("secret-room", "a text that nobody else reads").await;
    bob.next("GroupChat").await;
    alice.refused("GroupChat", json!({ "room": "elsewhere", "content": "x" }), "not_in_room").await;
    // What waits is sent at the end.
    one.terminate();
    two.terminate();

    let (trace, first) = first_span(&ack["message_id"]);
    let spans = receiver.spans(4, |span| span["trace"] == json!(trace));
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let named = |name: &str| spans.iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    let [request] = named("GroupChat")[..] else { panic!("{spans:#?}") };
    assert_eq!((&request["id"], &request["parent"]), (&json!(first), &json!("")));
    assert_eq!(request["kind"], "SPAN_KIND_SERVER");
    assert_eq!(request["attributes"]["messaging.message.id"], ack["message_id"]);
    assert_eq!(request["attributes"]["chat.outcome"], "done");
    let [publish] = named("publish")[..] else { panic!("{spans:#?}") };
    assert_eq!((&publish["parent"], &publish["kind"]), (&json!(first), &json!("SPAN_KIND_CLIENT")));
    assert_eq!(publish["attributes"]["db.system.name"], "redis");
    assert!(publish["nanoseconds"].as_u64().unwrap() <= request["nanoseconds"].as_u64().unwrap());
    for delivery in named("deliver") {
        assert_eq!((&delivery["parent"], &delivery["kind"]), (&json!(first), &json!("SPAN_KIND_CONSUMER")));
        assert_eq!(delivery["attributes"]["chat.connections"], 1);
        assert_eq!(delivery["attributes"]["chat.topic"], "room");
    }
    assert_eq!((of_node(&spans, "one").len(), of_node(&spans, "two").len()), (3, 1), "{spans:#?}");

    let all = receiver.all();
    let refused = all.iter().find(|span| span["attributes"]["error.type"] == "not_in_room").unwrap();
    // The mistake of a client is no error of the node.
    assert_eq!(
        (&refused["error"], &refused["attributes"]["chat.outcome"]),
        (&json!(null), &json!("refused"))
    );
    for span in &all {
        assert_eq!(span["resource"]["service.name"], "chatnode");
        assert_eq!(span["scope"], "chatnode");
        let text = span.to_string();
        for word in ["wonderland", "builder", "secret", "nobody"] {
            assert!(!text.contains(word), "{word} is in a span: {text}");
        }
    }
}

#[tokio::test]
async fn call_with_several_messages_is_linked_with_each() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start());
    let settings = [("CHAT_REDIS__URL", &*redis.url()), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
    let mut one = node(&receiver, &settings);
    let mut clients = Vec::new();
    for index in 0..6 {
        clients.push(Client::enter(one.address, &format!("user{index}"), "room").await);
    }
    let (deadline, mut messages) = (Instant::now() + PATIENCE, Vec::new());
    let is_linked = |span: &Value| span["name"] == "publish" && span["links"] != json!([]);
    while receiver.spans(0, is_linked).is_empty() {
        assert!(Instant::now() < deadline, "no call had several messages");
        // While the call of the first message waits for its answer, the others gather, unless the node reads them too late.
        redis.stop();
        let mut ids = Vec::new();
        for client in &mut clients {
            ids.push(client.send("GroupChat", json!({ "room": "room", "content": "hi" })).await);
        }
        redis.cont();
        for (client, id) in clients.iter_mut().zip(&ids) {
            let answer = client.answer(id).await;
            let message_id = &answer["message_body"]["message_id"];
            // A busy second has its bound.
            if message_id.as_str().unwrap().ends_with("ffffff") {
                messages.push(first_span(message_id));
            }
        }
    }
    one.terminate();

    messages.sort();
    let all = receiver.all();
    for name in ["publish", "deliver"] {
        let parent = |span: &Value| (text(&span["trace"]), text(&span["parent"]));
        // Each message is in one call and in one fan-out: as the parent of its span, or linked with it.
        let spans: Vec<&Value> = all.iter().filter(|span| span["name"] == name).collect();
        let mut places: Vec<_> = spans.iter().map(|span| parent(span)).collect();
        places.extend(spans.iter().flat_map(|span| span["links"].as_array().unwrap()).map(place));
        places.sort();
        assert_eq!(places, messages, "{name}: {spans:#?}");
    }
    for span in all.iter().filter(|span| is_linked(span)) {
        let size = span["attributes"]["db.operation.batch.size"].as_u64().unwrap() as usize;
        assert!(size > span["links"].as_array().unwrap().len(), "{span}");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().into()
}
