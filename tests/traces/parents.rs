//! `traceparent` in the envelope, in the upgrade and at the server API, and what the samplers make of it.

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::support::api::KEY;
use crate::support::client::Client;
use crate::support::cluster::http;
use crate::{first_span, node, place};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0b1902b7";

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{SPAN}-{flags}")
}

/// Sends a request with a `traceparent`, and returns the body of its `Ack`.
async fn ask(client: &mut Client, kind: &str, body: Value, traceparent: Value) -> Value {
    let id = format!("{kind}-{:08x}", rand::random::<u32>());
    let mut envelope = client.envelope(kind, body, Some(&id));
    envelope["traceparent"] = traceparent;
    client.send_text(envelope.to_string()).await;
    let answer = client.answer(&id).await;
    assert_eq!(answer["message_type"], "Ack", "{answer}");
    answer["message_body"].clone()
}

#[tokio::test]
async fn request_belongs_to_the_trace_of_its_client() {
    let receiver = Receiver::start();
    let mut one = node(&receiver, &[]);
    let mut alice = Client::enter(one.address, "alice", "room").await;
    let message = json!({ "room": "room", "content": "hi" });
    let ack = ask(&mut alice, "GroupChat", message.clone(), json!(parent("01"))).await;
    // Not sampled by its client: no span, and no mark.
    let unsampled = ask(&mut alice, "GroupChat", message.clone(), json!(parent("00"))).await;
    assert!(!unsampled["message_id"].as_str().unwrap().ends_with("ffffff"));
    // An invalid one is no error, and no parent.
    for invalid in [json!("00-garbage"), json!(7), json!({}), json!(null), json!(parent("01").to_uppercase())]
    {
        ask(&mut alice, "GroupChat", message.clone(), invalid).await;
    }
    one.terminate();

    let all = receiver.all();
    let requests: Vec<&Value> = all.iter().filter(|span| span["name"] == "GroupChat").collect();
    assert_eq!(requests.len(), 6, "{requests:#?}");
    let of_client: Vec<&&Value> = requests.iter().filter(|span| span["trace"] == TRACE).collect();
    let [request] = of_client[..] else { panic!("{requests:#?}") };
    assert_eq!(request["parent"], SPAN);
    assert!(requests.iter().all(|span| span["trace"] == TRACE || span["parent"] == ""), "{requests:#?}");
    // Other nodes know only the id of the message: it has a trace of its own, linked both ways.
    let first = first_span(&ack["message_id"]);
    assert_eq!(place(&request["links"][0]), first);
    assert_eq!(request["links"].as_array().unwrap().len(), 1);
    let [message] = &receiver.named("create", 1)[..] else { panic!("one message has another parent") };
    assert_eq!((place(message), &message["parent"]), (first.clone(), &json!("")));
    assert_eq!(place(&message["links"][0]), place(request));
    let deliveries = receiver.spans(1, |span| span["name"] == "deliver" && span["trace"] == json!(first.0));
    assert_eq!(deliveries[0]["parent"], json!(first.1));
}

#[tokio::test]
async fn upgrade_and_api_calls_bring_a_trace() {
    let receiver = Receiver::start();
    let mut one = node(&receiver, &[]);
    let headers = [("traceparent", parent("01"))];
    let mut alice = Client::connect_with(one.address, "alice", &headers).await.unwrap();
    alice.ok("Enter", json!({ "room": "room" })).await;
    // The request's own comes first.
    let other = "11111111111111111111111111111111";
    ask(&mut alice, "Ping", json!({}), json!(format!("00-{other}-{SPAN}-01"))).await;
    let twice = [("traceparent", parent("01")), ("traceparent", parent("01"))];
    let mut bob = Client::connect_with(one.address, "bob", &twice).await.unwrap();
    bob.ok("Auth", json!({})).await;
    let key = format!("Bearer {KEY}");
    let traceparent = parent("01");
    let headers = [
        ("Authorization", key.as_str()),
        ("Content-Type", "application/json"),
        ("traceparent", traceparent.as_str()),
    ];
    let body = json!({ "sender_username": "back end", "content": "hi" }).to_string();
    let (status, _) = http(one.address, "POST", "/api/v1/rooms/room/messages", &headers, &body).await;
    assert_eq!(status, 201);
    one.terminate();

    let trace = |name: &str| receiver.named(name, 1)[0]["trace"].clone();
    assert_eq!(
        (trace("Enter"), trace("SendMessage"), trace("Ping")),
        (json!(TRACE), json!(TRACE), json!(other))
    );
    assert_ne!(trace("Auth"), TRACE);
}

#[tokio::test]
async fn sampler_and_propagators_decide_what_counts() {
    for (settings, of_sampled, of_none) in [
        ([("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_PROPAGATORS", "tracecontext,baggage")], false, false),
        (
            [("OTEL_TRACES_SAMPLER", "parentbased_always_off"), ("OTEL_PROPAGATORS", "tracecontext")],
            true,
            false,
        ),
        ([("OTEL_TRACES_SAMPLER", "parentbased_always_off"), ("OTEL_PROPAGATORS", "none")], false, false),
        ([("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")], false, false),
        ([("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "1")], true, true),
    ] {
        let receiver = Receiver::start();
        let mut one = node(&receiver, &settings);
        let mut alice = Client::connect(one.address, "alice").await;
        alice.ok("Auth", json!({})).await;
        ask(&mut alice, "Ping", json!({}), json!(parent("01"))).await;
        one.terminate();
        let expected = [("Ping", of_sampled), ("Auth", of_none)];
        let expected: Vec<&str> = expected.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let mut names: Vec<String> =
            receiver.all().iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect();
        names.sort_by(|one, other| other.cmp(one));
        assert_eq!(names, expected, "{settings:?}");
    }
}
