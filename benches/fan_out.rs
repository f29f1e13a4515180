//! Cost of a message on its node, without sockets: decoding the request, encoding the body and the frame, and the path from
//! a publish to the queue of every local member. `cargo bench --bench fan_out`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use chatnode::backend::Embedded;
use chatnode::chat::{ClientKind, Flow, Inlet, Node, RoomRules, Session, Socket};
use chatnode::config::Config;
use chatnode::jwt::Verifier;
use chatnode::protocol::encode::{ChatBody, put_chat};
use chatnode::protocol::{ClientMessage, Epoch, Extras, MessageId, RoomName, Topic, UserName};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const REQUEST: &str = r#"{"message_type":"GroupChat","id":"0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10","message_body":
    {"sender_username":"alice","room":"lobby","content":"The quick brown fox jumps over the lazy dog, and the dog does not mind at all. It has seen foxes before; this one is quick, which is new, and brown, which is not."}}"#;

const RESUME: &str = r#"{"message_type":"Enter","id":"a1","message_body":{"sender_username":"alice","room":"ops",
    "since":{"epoch":"0123456789abcdef","seq":41,"message_id":"0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10"}}}"#;

const INVALID: &str = r#"{"message_type":"GroupChat","id":"a1","message_body":{"sender_username":"alice","room":5,"content":"x"}}"#;

fn codec(criterion: &mut Criterion) {
    criterion.bench_function("decode an Enter with since", |b| {
        b.iter(|| ClientMessage::decode(black_box(RESUME), 16_384).unwrap());
    });
    criterion.bench_function("refuse an invalid GroupChat", |b| {
        b.iter(|| ClientMessage::decode(black_box(INVALID), 16_384).unwrap_err());
    });
    criterion.bench_function("decode a GroupChat of 200 B", |b| {
        b.iter(|| ClientMessage::decode(black_box(REQUEST), 16_384).unwrap());
    });
    let (user, room) = (UserName::parse("alice").unwrap(), RoomName::parse("lobby").unwrap());
    let content = "x".repeat(200);
    let body = ChatBody {
        sender_username: &user,
        target_username: None,
        content: &content,
        room: Some(&room),
        message_id: MessageId::generate(),
        client_id: Some("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10"),
        sent_at: 1_764_000_000_000,
        extras: &Extras::default(),
    };
    criterion.bench_function("encode a body of 200 B", |b| b.iter(|| black_box(&body).encode()));
    let stored = body.encode();
    let (topic, epoch) = (Topic::Room(room.clone()), Epoch::generate());
    criterion.bench_function("finish a frame of 200 B", |b| {
        b.iter_batched(
            BytesMut::new,
            |mut buffer| {
                put_chat(&mut buffer, &topic, black_box(&stored), epoch, 42);
                buffer
            },
            BatchSize::SmallInput,
        );
    });
}

/// A node with one room. Its members are sessions without sockets.
struct OneRoom {
    sessions: Vec<Session>,
    taken: Arc<Counted>,
    runtime: Runtime,
    _node: Arc<Node>,
}

impl OneRoom {
    fn with(members: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut config = Config::default();
        config.limits.messages_per_second = 0;
        let inlet = Inlet::new(&config);
        let backend = Embedded::new(&config).join(&config, inlet.registry());
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let rooms = RoomRules::new(&config.rooms).unwrap();
        let node = {
            let _guard = runtime.enter();
            let jwt = Verifier::new(&config.auth.jwt).unwrap();
            Node::start(config, (rooms, jwt), backend, inlet, &tracker, &stop)
        };
        let mut sessions = Vec::new();
        let taken = Arc::<Counted>::default();
        for i in 0..members {
            let connection = node.connect();
            connection.outbox().attach(taken.clone());
            let mut session = Session::new(node.clone(), connection, None, ClientKind::Program, None);
            let enter =
                format!(r#"{{"message_type":"Enter","message_body":{{"sender_username":"user {i}"}}}}"#);
            let flow = runtime.block_on(session.handle(&enter));
            assert_eq!(flow, Flow::Continue);
            sessions.push(session);
        }
        // The events of the joins go out in rounds: the node is quiet once none has come for longer than two of them.
        loop {
            write_replies(&sessions);
            std::thread::sleep(Duration::from_millis(600));
            if taken.0.swap(0, Ordering::Relaxed) == 0 {
                break;
            }
        }
        Self { sessions, taken, runtime, _node: node }
    }
}

/// A socket that takes everything, and counts the calls.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Socket for Counted {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }
}

/// Writes the replies, like the write loops.
fn write_replies(sessions: &[Session]) {
    for session in sessions {
        assert!(session.outbox().work().now_or_never().is_none());
    }
}

/// Waits until every member was written to.
fn wait_for(members: usize, taken: &Counted) {
    while taken.0.load(Ordering::Relaxed) < members {
        std::thread::yield_now();
    }
    taken.0.store(0, Ordering::Relaxed);
}

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish, deliver and write");
    for members in [1, 100, 10_000] {
        let mut room = OneRoom::with(members);
        group.throughput(Throughput::Elements(members as u64));
        group.bench_function(format!("{members} members"), |b| {
            b.iter(|| {
                let say = r#"{"message_type":"GroupChat","message_body":{"sender_username":"user 0","content":"hello, everybody"}}"#;
                room.runtime.block_on(room.sessions[0].handle(say));
                wait_for(members, &room.taken);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec, deliver);
criterion_main!(benches);
