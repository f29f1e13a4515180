//! Random requests to a node, from clients that make each text as long as they can. Owns the requests and the check of every
//! frame that comes; the property is in `tests/properties.rs`.

use chatnode::backend::Move;
use chatnode::protocol::MessageId;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::backend::{room_name, user_name};
use super::client::Client;
use super::cluster::{Cluster, Kind};

/// A node with these limits, and what it holds before the first request.
#[derive(Debug, Clone)]
pub struct Start {
    max_content_bytes: usize,
    /// Beyond the least that works, if it is set.
    delivery_beyond: Option<usize>,
    members: usize,
    markers: usize,
    /// What a name is filled with.
    letters: &'static str,
}

/// One request, or text that is none.
#[derive(Debug, Clone)]
pub enum Step {
    Say {
        is_private: bool,
        letter: &'static str,
        permille: usize,
    },
    History {
        is_private: bool,
        limit: u32,
        max_bytes: Option<u32>,
    },
    Members {
        limit: u32,
        max_bytes: Option<u32>,
    },
    Markers {
        limit: u32,
    },
    Typing {
        is_private: bool,
    },
    Read {
        is_private: bool,
    },
    Enter {
        history: u32,
        since: u64,
    },
    Leave,
    Unread,
    Ping,
    /// A new connection, whose first request is `Auth`.
    Return {
        since: Option<u64>,
    },
    Raw(String),
    Wrong(&'static str, Value),
}

/// Letters that take one to four bytes, and those that take more in JSON.
const LETTERS: [&str; 6] = ["x", "\"", "\\", "\u{1}", "\u{65e5}", "\u{1d538}"];

fn max_bytes() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![Just(None), Just(Some(4_096)), (4_096_u32..=262_144).prop_map(Some)]
}

pub fn start() -> impl Strategy<Value = Start> {
    let content = prop_oneof![Just(16_384_usize), 1_usize..40_000];
    let beyond = prop_oneof![Just(None), (0_usize..20_000).prop_map(Some)];
    let letters = prop_oneof![Just("x"), Just("\""), Just("\u{1d538}")];
    (content, beyond, 0_usize..300, 0_usize..300, letters).prop_map(
        |(max_content_bytes, delivery_beyond, members, markers, letters)| Start {
            max_content_bytes,
            delivery_beyond,
            members,
            markers,
            letters,
        },
    )
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let say = (any::<bool>(), prop::sample::select(&LETTERS[..]), 0_usize..=1_000)
        .prop_map(|(is_private, letter, permille)| Step::Say { is_private, letter, permille });
    let history = (any::<bool>(), 1_u32..=200, max_bytes())
        .prop_map(|(is_private, limit, max_bytes)| Step::History { is_private, limit, max_bytes });
    let members =
        (1_u32..=1_000, max_bytes()).prop_map(|(limit, max_bytes)| Step::Members { limit, max_bytes });
    let wrong_field = prop::sample::select(
        &[
            "room",
            "content",
            "since",
            "history",
            "before",
            "epoch",
            "limit",
            "after",
            "seq",
            "message_id",
            "max_bytes",
            "target_username",
            "sender_username",
        ][..],
    );
    let value = prop_oneof![
        Just(json!("\u{1}".repeat(20_000))),
        Just(json!({ "\"".repeat(20_000): 1 })),
        Just(json!(-1)),
        "\\PC{0,100}".prop_map(Value::from),
    ];
    let step = prop_oneof![
        12 => say,
        5 => history,
        3 => members,
        3 => (1_u32..=1_000).prop_map(|limit| Step::Markers { limit }),
        1 => any::<bool>().prop_map(|is_private| Step::Typing { is_private }),
        2 => any::<bool>().prop_map(|is_private| Step::Read { is_private }),
        2 => (0_u32..=200, any::<u64>()).prop_map(|(history, since)| Step::Enter { history, since: since >> 11 }),
        1 => Just(Step::Leave),
        2 => Just(Step::Unread),
        1 => Just(Step::Ping),
        2 => prop::option::of(any::<u64>()).prop_map(|since| Step::Return { since: since.map(|since| since >> 11) }),
        1 => "\\PC{0,300}".prop_map(Step::Raw),
        2 => (wrong_field, value).prop_map(|(field, value)| Step::Wrong(field, value)),
    ];
    prop::collection::vec(step, 1..40)
}

struct Run {
    cluster: Cluster,
    room: String,
    name: String,
    peer: String,
    client: Client,
    max_content_bytes: usize,
    limit: usize,
    requests: usize,
    /// Requests on this connection that were perhaps invalid.
    invalid: usize,
    since: Option<Value>,
}

/// A node closes a connection with the 11th invalid frame.
const MAX_INVALID: usize = 10;

/// A name of 64 characters.
fn name(number: usize, letters: &str) -> String {
    format!("{number:04}{}", letters.repeat(60))
}

/// Carries out the requests, and checks the size of each frame.
pub async fn run(start: Start, steps: Vec<Step>) {
    let mut limit = 0;
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| {
        config.limits.max_content_bytes = start.max_content_bytes;
        config.limits.max_frame_bytes = 6 * start.max_content_bytes + 200_000;
        config.limits.max_delivery_bytes =
            start.delivery_beyond.map(|beyond| start.max_content_bytes + 4_096 + beyond);
        config.history.max_messages = 20;
        limit = config.limits.delivery_bytes();
    })
    .await;
    let [room, own, peer] = [0, 1, 2].map(|number| name(number, start.letters));
    let backend = cluster.backend().await;
    backend.presence.renew().await.unwrap();
    for number in 0..start.members {
        let member = user_name(&name(10 + number, start.letters));
        backend.presence.add(&room_name(&room), &member, bytes::Bytes::new()).await.unwrap();
    }
    for number in 0..start.markers {
        let other = user_name(&name(10 + number, start.letters));
        backend
            .markers
            .mark_private(&user_name(&own), &other, MessageId::generate(), Move::Forward)
            .await
            .unwrap();
    }
    let client = cluster.enter(0, &own, &room).await;
    let max_content_bytes = start.max_content_bytes;
    let mut run = Run {
        cluster,
        room,
        name: own,
        peer,
        client,
        max_content_bytes,
        limit,
        requests: 0,
        invalid: 0,
        since: None,
    };
    for step in steps {
        run.step(step).await;
    }
    run.client.ok("Ping", json!({})).await;
    run.check(None);
}

impl Run {
    async fn step(&mut self, step: Step) {
        if matches!(step, Step::Raw(_) | Step::Wrong(..)) {
            self.invalid += 1;
            if self.invalid > MAX_INVALID {
                self.client = self.cluster.enter(0, &self.name, &self.room).await;
                self.invalid = 1;
            }
        }
        let target = |is_private: bool| {
            if is_private { json!({ "target_username": self.peer }) } else { json!({ "room": self.room }) }
        };
        match step {
            Step::Say { is_private, letter, permille } => {
                let mut body = target(is_private);
                let letters = (self.max_content_bytes / letter.len() * permille / 1_000).max(1);
                body["content"] = json!(letter.repeat(letters));
                let kind = if is_private { "PrivateChat" } else { "GroupChat" };
                let answer = self.ask(kind, body, None).await;
                self.since =
                    Some(answer["message_body"].clone()).filter(|_| is_private).or(self.since.take());
            }
            Step::History { is_private, limit, max_bytes } => {
                let mut body = target(is_private);
                (body["limit"], body["max_bytes"]) = (limit.into(), max_bytes.into());
                self.ask("History", body, max_bytes).await;
            }
            Step::Members { limit, max_bytes } => {
                self.ask("Members", json!({ "limit": limit, "max_bytes": max_bytes }), max_bytes).await;
            }
            Step::Markers { limit } => drop(self.ask("Markers", json!({ "limit": limit }), None).await),
            Step::Typing { is_private } => drop(self.ask("Typing", target(is_private), None).await),
            Step::Read { is_private } => {
                let mut body = target(is_private);
                (body["seq"], body["message_id"]) = (json!(1), json!(MessageId::generate()));
                self.ask("Read", body, None).await;
            }
            Step::Enter { history, since } => {
                let since =
                    json!({ "epoch": "0123456789abcdef", "seq": since, "message_id": MessageId::generate() });
                let body = json!({ "room": self.room, "history": history, "since": since });
                self.ask("Enter", body, None).await;
            }
            Step::Unread => drop(self.ask("Unread", json!({}), None).await),
            Step::Leave => drop(self.ask("Leave", json!({ "room": self.room }), None).await),
            Step::Ping => drop(self.ask("Ping", json!({}), None).await),
            Step::Return { since } => {
                self.client = self.cluster.connect(0, &self.name).await;
                self.invalid = 0;
                let known = self.since.clone().unwrap_or_else(|| json!({ "epoch": "0", "message_id": "0" }));
                let since = since.map(|seq| {
                    let seq = known.get("seq").cloned().unwrap_or_else(|| json!(seq));
                    json!({ "epoch": known["epoch"], "seq": seq, "message_id": known["message_id"] })
                });
                self.ask("Auth", json!({ "since": since }), None).await;
                self.ask("Enter", json!({ "room": self.room, "history": 20 }), None).await;
            }
            Step::Raw(text) => {
                self.client.send_text(text).await;
                self.client.ok("Ping", json!({})).await;
            }
            Step::Wrong(field, value) => {
                let kinds =
                    ["Enter", "GroupChat", "PrivateChat", "History", "Members", "Markers", "Read", "Auth"];
                let kind = kinds[self.requests % kinds.len()];
                self.ask(kind, json!({ "content": "x", field: value }), None).await;
            }
        }
        self.check(None);
    }

    /// Sends a request with a long id, waits for its answer, and checks its size.
    async fn ask(&mut self, kind: &str, body: Value, max_bytes: Option<u32>) -> Value {
        self.requests += 1;
        let id = format!("{}{}", self.requests, "\u{1}".repeat(60));
        let envelope = self.client.envelope(kind, body, Some(&id));
        self.client.send_text(envelope.to_string()).await;
        let answer = self.client.answer(&id).await;
        self.check_size(&answer, max_bytes);
        answer
    }

    /// Checks the frames that came besides the answers.
    fn check(&mut self, max_bytes: Option<u32>) {
        for frame in self.client.take_seen() {
            self.check_size(&frame, max_bytes);
        }
    }

    /// A page of one message may be larger than was asked for, but not larger than other frames.
    fn check_size(&self, frame: &Value, max_bytes: Option<u32>) {
        let body = &frame["message_body"];
        let list = body.get("messages").or(body.get("members")).and_then(Value::as_array);
        let most = match max_bytes.map(|bytes| bytes as usize) {
            Some(bytes) if list.is_some_and(|list| list.len() > 1) => bytes,
            Some(bytes) => bytes.max(self.limit),
            None => self.limit,
        };
        let size = frame.to_string().len();
        assert!(size <= most, "{size} bytes, not {most}: {:.200}", frame.to_string());
    }
}
