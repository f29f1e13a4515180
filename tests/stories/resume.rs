//! Joining and resuming: no gap, no repeat, ascending order; if that can't be proved, a gap with its reason.

use chatnode::protocol::MessageId;
use serde_json::{Value, json};

use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, Kind, until};

/// The `seq` of a message.
fn seq(body: &Value) -> u64 {
    body["seq"].as_u64().unwrap()
}

/// Publishes `count` messages, and returns the one with this `seq` as a client received it.
async fn message_at(cluster: &Cluster, room: &str, count: usize, at: u64) -> Value {
    let mut alice = cluster.enter(0, "alice", room).await;
    alice.say_many(room, "x", count).await;
    loop {
        let message = alice.next("GroupChat").await;
        if seq(&message) == at {
            return message;
        }
    }
}

/// The number of log reads that Redis has executed.
pub fn log_reads(cluster: &Cluster) -> usize {
    cluster.redis_server().log_reads()
}

pub async fn resume(
    cluster: &Cluster,
    node: usize,
    room: &str,
    since: Value,
    history: Option<u32>,
) -> (Client, Value) {
    let mut bob = cluster.connect(node, "bob").await;
    let mut request = json!({ "room": room, "since": since });
    if let Some(history) = history {
        request["history"] = json!(history);
    }
    let ack = bob.ok("Enter", request).await;
    (bob, ack)
}

on_each_store! {
    async fn joins_under_load_miss_and_repeat_nothing(kind) {
        const PUBLISHERS: usize = 3;
        const MESSAGES: usize = 250;
        let cluster = Cluster::start(kind, 2).await;
        let mut publishers = Vec::new();
        for i in 0..PUBLISHERS {
            publishers.push(cluster.enter(i % 2, &format!("publisher-{i}"), "ops").await);
        }
        let first = publishers[0].say("ops", "first").await;
        let mut talking = tokio::task::JoinSet::new();
        for mut publisher in publishers {
            talking.spawn(async move {
                let mut last = 0;
                for i in 0..MESSAGES {
                    last = seq(&publisher.say("ops", &i.to_string()).await);
                }
                last
            });
        }
        let mut joined: Vec<(Client, u64)> = Vec::new();
        let mut since = position(&first);
        let mut round = 0;
        let mut top = 0;
        while !talking.is_empty() {
            let name = format!("joiner-{round}");
            let mut client = cluster.connect(round % 2, &name).await;
            let next = match round % 3 {
                0 => seq(&client.ok("Enter", json!({ "room": "ops" })).await) + 1,
                1 => {
                    let ack = client.ok("Enter", json!({ "room": "ops", "history": 20 })).await;
                    seq(&ack).saturating_sub(20) + 1
                }
                _ => {
                    let from = since["seq"].as_u64().unwrap();
                    let ack = client.ok("Enter", json!({ "room": "ops", "since": since })).await;
                    assert_eq!(ack["recovered"], true, "{ack}");
                    since = position(&ack);
                    from + 1
                }
            };
            joined.push((client, next));
            while let Some(last) = talking.try_join_next() {
                top = top.max(last.unwrap());
            }
            round += 1;
        }
        assert!(joined.len() > 10, "only {} clients joined under load", joined.len());
        assert_eq!(top, (PUBLISHERS * MESSAGES) as u64 + 1);
        for (client, next) in &mut joined {
            client.hears_seqs(*next..=top).await;
            client.heard_no("GroupChat").await;
        }
    }

    async fn position_in_the_log_is_recovered_on_any_node(kind) {
        let mut cluster = Cluster::start(kind, 1).await;
        let message = message_at(&cluster, "ops", 10, 4).await;
        cluster.add_node().await;
        for node in [0, 1] {
            let (mut bob, ack) = resume(&cluster, node, "ops", position(&message), None).await;
            assert_eq!((&ack["recovered"], &ack["seq"]), (&json!(true), &json!(10)), "{ack}");
            assert_eq!((&ack["reason"], &ack["next_seq"]), (&Value::Null, &Value::Null), "{ack}");
            bob.hears_seqs(5..=10).await;
            bob.heard_no("GroupChat").await;
            // `history` has no effect if everything is recovered.
            let (mut bob, ack) = resume(&cluster, node, "ops", position(&message), Some(2)).await;
            assert_eq!(ack["recovered"], true);
            bob.hears_seqs(5..=10).await;
        }
    }

    async fn trimmed_position_gets_a_gap_and_the_remaining_messages(kind) {
        let mut cluster = Cluster::start_with(kind, 1, |config| config.history.max_messages = 10).await;
        let message = message_at(&cluster, "ops", 30, 5).await;
        cluster.add_node().await;
        // The node that has all messages in its ring can still recover.
        let (mut bob, ack) = resume(&cluster, 0, "ops", position(&message), None).await;
        assert_eq!(ack["recovered"], true, "{ack}");
        bob.hears_seqs(6..=30).await;
        let (mut bob, ack) = resume(&cluster, 1, "ops", position(&message), None).await;
        let told = json!([ack["recovered"], ack["reason"], ack["next_seq"], ack["seq"]]);
        assert_eq!(told, json!([false, "trimmed", 21, 30]));
        bob.hears_seqs(21..=30).await;
        let (mut bob, ack) = resume(&cluster, 1, "ops", position(&message), Some(3)).await;
        let told = json!([ack["recovered"], ack["reason"], ack["next_seq"], ack["seq"]]);
        assert_eq!(told, json!([false, "trimmed", 28, 30]));
        bob.hears_seqs(28..=30).await;
        bob.heard_no("GroupChat").await;
    }

    async fn history_0_with_an_unproved_position_sends_no_old_message(kind) {
        let mut cluster = Cluster::start_with(kind, 1, |config| {
            config.history.max_messages = 10;
            config.node.ring_bytes = 1;
        })
        .await;
        let first = message_at(&cluster, "ops", 100, 1).await;
        cluster.add_node().await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut elsewhere = position(&first);
        elsewhere["epoch"] = json!("0000000000000000");
        let (mut top, mut clients) = (100, Vec::new());
        for (node, since, reason) in
            [(0, position(&first), "trimmed"), (1, position(&first), "trimmed"), (1, elsewhere, "epoch")]
        {
            let (mut bob, ack) = resume(&cluster, node, "ops", since, Some(0)).await;
            let told = json!([ack["recovered"], ack["reason"], ack["next_seq"], ack["seq"]]);
            assert_eq!(told, json!([false, reason, top + 1, top]));
            bob.heard_no("GroupChat").await;
            clients.push((bob, top));
            top = seq(&alice.say("ops", "new").await);
        }
        for (mut bob, from) in clients {
            bob.hears_seqs(from + 1..=top).await;
            bob.heard_no("GroupChat").await;
        }
    }

    async fn more_than_1000_missed_messages_are_too_many(kind) {
        let mut cluster = Cluster::start_with(kind, 1, |config| config.history.max_messages = 5_000).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.say_many("ops", "x", 1_100).await;
        let mut heard = Vec::new();
        for _ in 0..100 {
            heard.push(alice.next("GroupChat").await);
        }
        cluster.add_node().await;
        for node in [0, 1] {
            let (mut bob, ack) = resume(&cluster, node, "ops", position(&heard[99]), None).await;
            assert_eq!(ack["recovered"], true, "exactly a thousand messages: {ack}");
            bob.hears_seqs(101..=1_100).await;
            let (mut bob, ack) = resume(&cluster, node, "ops", position(&heard[9]), None).await;
            let told = json!([ack["recovered"], ack["reason"], ack["next_seq"], ack["seq"]]);
            assert_eq!(told, json!([false, "too_many", 101, 1_100]));
            bob.hears_seqs(101..=1_100).await;
            let (mut bob, ack) = resume(&cluster, node, "ops", position(&heard[9]), Some(50)).await;
            let told = json!([ack["recovered"], ack["reason"], ack["next_seq"], ack["seq"]]);
            assert_eq!(told, json!([false, "too_many", 1_051, 1_100]));
            bob.hears_seqs(1_051..=1_100).await;
            bob.heard_no("GroupChat").await;
        }
    }

    async fn forged_positions_are_never_recovered_and_never_an_error(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let real = position(&message_at(&cluster, "ops", 5, 3).await);
        let with = |field: &str, value: Value| {
            let mut forged = real.clone();
            forged[field] = value;
            forged
        };
        let forgeries = [
            with("epoch", json!("")),
            with("epoch", json!("0000000000000000")),
            with("epoch", json!("not an epoch {}'; --")),
            with("seq", json!(2)),
            with("seq", json!(4)),
            with("seq", json!(5)),
            with("seq", json!(6)),
            with("seq", json!(9_007_199_254_740_991_u64)),
            with("message_id", json!("")),
            with("message_id", json!("x".repeat(1_000))),
            with("message_id", json!("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10")),
            with("message_id", json!("00000000-0000-0000-0000-000000000000")),
            json!({ "epoch": "00", "seq": 0 }),
        ];
        for node in [0, 1] {
            for forged in &forgeries {
                let (mut bob, ack) = resume(&cluster, node, "ops", forged.clone(), None).await;
                assert_eq!(ack["recovered"], false, "{forged}: {ack}");
                assert!(["epoch", "rollback"].contains(&ack["reason"].as_str().unwrap()), "{forged}: {ack}");
                assert_eq!((&ack["next_seq"], &ack["seq"]), (&json!(1), &json!(5)), "{forged}: {ack}");
                bob.hears_seqs(1..=5).await;
                bob.heard_no("GroupChat").await;
                let mut bob = cluster.connect(node, "bob").await;
                let ack = bob.ok("Auth", json!({ "since": forged })).await;
                assert_eq!(ack["recovered"], false, "{forged}: {ack}");
            }
        }
    }

    async fn malformed_position_is_an_invalid_message(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let real = json!({ "epoch": "0011223344556677", "seq": 1, "message_id": "" });
        let with = |field: &str, value: Value| {
            let mut malformed = real.clone();
            malformed[field] = value;
            malformed
        };
        for malformed in [
            json!([]),
            json!("here"),
            json!(7),
            json!({}),
            with("seq", json!("1")),
            with("seq", json!(-1)),
            with("seq", json!(1.5)),
            with("seq", json!(9_007_199_254_740_992_u64)),
            with("seq", Value::Null),
            with("epoch", json!(7)),
            with("message_id", json!({})),
        ] {
            let mut bob = cluster.connect(0, "bob").await;
            for kind in ["Enter", "Auth"] {
                let error = bob.refused(kind, json!({ "since": malformed }), "invalid_message").await;
                assert!(error["message"].as_str().unwrap().contains("since"), "{malformed}: {error}");
            }
            bob.ok("Enter", json!({})).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_log_gets_another_epoch() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let message = message_at(&cluster, "ops", 10, 4).await;
    cluster.redis_server().command(&["FLUSHALL"]).unwrap();
    cluster.add_node().await;
    let (mut bob, ack) = resume(&cluster, 1, "ops", position(&message), None).await;
    let told = json!([ack["recovered"], ack["reason"], ack["next_seq"], ack["seq"], ack["message_id"]]);
    assert_eq!(told, json!([false, "epoch", 1, 0, ""]));
    assert_ne!(ack["epoch"], message["epoch"]);
    let said = bob.say("ops", "the first of the new log").await;
    assert_eq!((&said["epoch"], &said["seq"]), (&ack["epoch"], &json!(1)));
    bob.hears_seqs(1..=1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_back_log_is_reported_as_rollback() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let redis = |words: &[&str], cluster: &Cluster| cluster.redis_server().command(words).unwrap();
    let mut alice = cluster.enter(0, "alice", "ops").await;
    alice.say_many("ops", "x", 5).await;
    for part in ["meta", "log"] {
        redis(&["COPY", &format!("chat:{{r:ops}}:{part}"), &format!("old:{part}")], &cluster);
    }
    let lost = alice.say_many("ops", "x", 3).await;
    for part in ["meta", "log"] {
        redis(&["COPY", &format!("old:{part}"), &format!("chat:{{r:ops}}:{part}"), "REPLACE"], &cluster);
    }
    cluster.add_node().await;
    // The log is shorter than the position, then as long, then longer, with other messages each time.
    for (said, top) in [(0, 5), (3, 8), (4, 12)] {
        let mut carol = cluster.enter(1, "carol", "ops").await;
        carol.say_many("ops", "x", said).await;
        let (mut bob, ack) = resume(&cluster, 1, "ops", position(&lost), None).await;
        let told = json!([ack["recovered"], ack["reason"], ack["next_seq"], ack["seq"]]);
        assert_eq!(told, json!([false, "rollback", 1, top]));
        assert_eq!(ack["epoch"], lost["epoch"]);
        bob.hears_seqs(1..=top).await;
        bob.heard_no("GroupChat").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn position_ahead_of_the_node_recovers_without_repeats() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    alice.say("ops", "seen").await;
    bob.hears_seqs(1..=1).await;
    proxy.freeze_subscriptions();
    let top = alice.say_many("ops", "x", 5).await;
    let (mut carol, ack) = resume(&cluster, 1, "ops", position(&top), None).await;
    assert_eq!((&ack["recovered"], &ack["seq"]), (&json!(true), &json!(6)), "{ack}");
    // The probe finds that the subscriptions are dead, and the node recovers from the log.
    bob.hears_seqs(2..=6).await;
    alice.say("ops", "on").await;
    carol.hears_seqs(7..=7).await;
    bob.hears_seqs(7..=7).await;
    carol.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn position_at_the_top_needs_no_log_read() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let before = alice.say("ops", "one").await;
    let top = alice.say("ops", "two").await;
    cluster.add_node().await;
    cluster.redis_server().count_log_reads();
    // The node knows the top since it subscribed, and has no message in its ring.
    let (_bob, ack) = resume(&cluster, 1, "ops", position(&top), None).await;
    assert_eq!(ack["recovered"], true);
    assert_eq!(log_reads(&cluster), 0);
    let (mut bob, ack) = resume(&cluster, 1, "ops", position(&before), None).await;
    assert_eq!(ack["recovered"], true);
    bob.hears_seqs(2..=2).await;
    until("the log was read", async || log_reads(&cluster) > 0).await;
}

/// All rooms share the memory of the embedded store; a room whose messages were evicted reports a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_with_an_evicted_log_reports_a_gap() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        c.history.embedded_bytes = 2 << 20;
        // Otherwise the node would recover from its ring.
        c.node.ring_bytes = 1;
    })
    .await;
    let first = message_at(&cluster, "ops", 20, 1).await;
    let mut mallory = cluster.connect(0, "mallory").await;
    let content = "x".repeat(16 << 10);
    for i in 0..100 {
        mallory.whisper(&format!("nobody {i}"), &content).await;
    }
    let (mut bob, ack) = resume(&cluster, 0, "ops", position(&first), None).await;
    assert_eq!((&ack["recovered"], &ack["reason"]), (&json!(false), &json!("trimmed")), "{ack}");
    // The log continues at its position.
    let next = bob.say("ops", "still here").await;
    assert_eq!((&next["epoch"], seq(&next)), (&first["epoch"], 21));
}

/// A resume that can't be proved reads the log twice: after the position, and from the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume_during_a_log_reset_reports_the_new_log() {
    let mut cluster = Cluster::start(Kind::Redis, 1).await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut bob = cluster.connect(0, "bob").await;
    let mut alice = cluster.connect(1, "alice").await;
    alice.ok("Auth", json!({})).await;
    let elsewhere = json!({ "epoch": "0123456789abcdef", "seq": 1, "message_id": MessageId::generate() });
    // The second read: from the start, at most one message.
    let mut second_read = proxy.hold("after\r\n$1\r\n0\r\n$1\r\n1\r\n");
    let id = alice.send("Enter", json!({ "room": "ops", "since": elsewhere })).await;
    second_read.reached().await;
    cluster.redis_server().command(&["FLUSHALL"]).unwrap();
    drop(second_read);
    let told = alice.answer(&id).await["message_body"].take();
    assert_eq!((&told["recovered"], &told["reason"]), (&json!(false), &json!("epoch")), "{told}");
    bob.ok("Enter", json!({ "room": "ops" })).await;
    bob.say("ops", "hello").await;
    let heard = alice.next("GroupChat").await;
    let is_gap = |frame: &&Value| frame["message_type"] == "Gap" && frame["message_body"]["room"] == "ops";
    let gaps: Vec<&Value> = alice.seen().iter().filter(is_gap).collect();
    assert_eq!((&heard["epoch"], &heard["seq"]), (&told["epoch"], &told["next_seq"]), "{told} {gaps:?}");
}
