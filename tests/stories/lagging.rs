//! Lagging readers: a slow client delays no other client, loses nothing while it reads, and uses a bounded amount of memory.

use std::time::{Duration, Instant};

use chatnode::config::Config;
use serde_json::{Value, json};

use crate::support::client::{Client, position};
use crate::support::cluster::{Cluster, Kind, metric};
use crate::support::process::NodeProcess;
use crate::support::raw::{self, RawSocket};

/// A number of messages of 4 KiB that exceeds all buffers of a socket.
const FLOOD: usize = 2_000;

/// Logs that hold the flood, and long timeouts for clients on a busy machine.
fn long_logs(config: &mut Config) {
    config.history.max_messages = 10_000;
    config.history.max_bytes = 100 << 20;
    config.limits.write_timeout = Duration::from_secs(120);
    config.server.ping_interval = Duration::from_secs(600);
}

fn large() -> String {
    "x".repeat(4 << 10)
}

/// A client in a room, with a socket of small buffers.
async fn enter_narrow(cluster: &Cluster, node: usize, name: &str, room: &str) -> Client {
    let mut client = Client::connect_narrow(cluster.address(node), name).await;
    client.ok("Enter", json!({ "room": room })).await;
    client
}

on_each_store! {
    async fn paused_reader_receives_every_message(kind) {
        let cluster = Cluster::start_with(kind, 2, long_logs).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut slow = enter_narrow(&cluster, 1, "slow", "ops").await;
        alice.say_many("ops", &large(), FLOOD).await;
        slow.hears_seqs(1..=FLOOD as u64).await;
        alice.say("ops", "and on").await;
        assert_eq!(slow.hears().await, "and on");
        slow.heard_no("Gap").await;
    }

    async fn stopped_reader_is_closed_and_resumes_at_its_position(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            long_logs(config);
            config.limits.write_timeout = Duration::from_millis(500);
        })
        .await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut slow = enter_narrow(&cluster, 0, "slow", "ops").await;
        let started = Instant::now();
        alice.say_many("ops", &large(), FLOOD).await;
        // The room gets the `Leave` event before the client notices that it was closed.
        alice.wait_for("slow's Leave", |frame| {
            frame["message_type"] == "Leave" && frame["message_body"]["sender_username"] == "slow"
        })
        .await;
        assert!(started.elapsed() >= Duration::from_millis(500));
        let (code, reason) = slow.closed().await;
        assert!(code == 1006 || (code == 4002 && reason.starts_with("retry_after_ms=")), "{code} {reason}");
        let heard = slow.seen().iter().filter(|frame| frame["message_type"] == "GroupChat").count();
        assert!(heard < FLOOD);
        slow.hears_seqs(1..=heard as u64 - 1).await;
        let last = slow.next("GroupChat").await;
        let mut slow = cluster.connect(0, "slow").await;
        // A resume replays at most the newest thousand messages.
        let ack = slow.ok("Enter", json!({ "room": "ops", "since": position(&last) })).await;
        let next = if FLOOD - heard > 1_000 { FLOOD - 1_000 } else { heard } as u64 + 1;
        assert_eq!(ack["recovered"], FLOOD - heard <= 1_000, "{ack}");
        slow.hears_seqs(next..=FLOOD as u64).await;
    }

    async fn slow_member_delays_no_other_of_three_hundred(kind) {
        const MEMBERS: usize = 300;
        const MESSAGES: u64 = 20;
        let cluster = Cluster::start_with(kind, 2, long_logs).await;
        let mut slow = enter_narrow(&cluster, 0, "slow", "ops").await;
        slow.ok("Enter", json!({ "room": "bulk" })).await;
        let mut alice = cluster.enter(0, "alice", "bulk").await;
        alice.ok("Enter", json!({ "room": "ops" })).await;
        let mut members = Vec::new();
        for i in 0..MEMBERS - 2 {
            members.push(cluster.enter(i % 2, &format!("member-{i}"), "ops").await);
        }
        alice.say_many("bulk", &large(), FLOOD).await;
        alice.say_many("ops", "small", MESSAGES as usize).await;
        for member in &mut members {
            member.hears_seqs(1..=MESSAGES).await;
        }
        let is_of = |room: &'static str| {
            move |frame: &Value| frame["message_type"] == "GroupChat" && frame["message_body"]["room"] == room
        };
        for (room, count) in [("bulk", FLOOD as u64), ("ops", MESSAGES)] {
            for seq in 1..=count {
                let message = slow.wait_for(room, is_of(room)).await;
                assert_eq!(message["message_body"]["seq"], seq);
            }
        }
        slow.heard_no("Gap").await;
    }

    async fn join_beyond_the_ring_reads_the_log(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            long_logs(config);
            config.node.ring_bytes = 64 << 10;
        })
        .await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let first = alice.say("ops", &large()).await;
        alice.say_many("ops", &large(), 299).await;
        let mut bob = cluster.connect(0, "bob").await;
        bob.ok("Enter", json!({ "room": "ops", "history": 200 })).await;
        bob.hears_seqs(101..=300).await;
        let mut carol = cluster.connect(0, "carol").await;
        let ack = carol.ok("Enter", json!({ "room": "ops", "since": position(&first) })).await;
        assert_eq!(ack["recovered"], true);
        alice.say("ops", "on").await;
        carol.hears_seqs(2..=301).await;
        bob.hears_seqs(301..=301).await;
        carol.heard_no("GroupChat").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_of_a_full_log_to_many_takes_bounded_memory() {
    const JOINERS: usize = 20;
    const MESSAGES: u64 = 1_000;
    let node =
        NodeProcess::start(&[("CHAT_HISTORY__MAX_BYTES", "16777216"), ("CHAT_LIMITS__WRITE_TIMEOUT", "30s")])
            .await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    let start = alice.ok("Enter", json!({ "room": "ops" })).await;
    alice.say_many("ops", &large(), MESSAGES as usize).await;
    alice.leave().await;
    let before = metric(node.address, "process_resident_memory_bytes").await;
    let mut joiners = Vec::new();
    for i in 0..JOINERS {
        let mut joiner = Client::connect_narrow(node.address, &format!("joiner-{i}")).await;
        let ack = joiner.ok("Enter", json!({ "room": "ops", "since": position(&start) })).await;
        assert_eq!(ack["recovered"], true, "{ack}");
        joiners.push(joiner);
    }
    // The clients read nothing. Samples for three seconds, because the node sets the gauge once a second.
    let (mut queued, mut resident): (f64, f64) = (0.0, 0.0);
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        queued = queued.max(metric(node.address, "chat_send_queue_bytes").await);
        resident = resident.max(metric(node.address, "process_resident_memory_bytes").await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let bound = (JOINERS * (300 << 10)) as f64;
    assert!(queued > 0.0 && queued <= bound, "{queued} bytes queued");
    assert!(resident - before < 2.0 * bound, "grew by {} bytes", resident - before);
    for joiner in &mut joiners {
        joiner.hears_seqs(1..=MESSAGES).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lagging_reader_gets_gap_and_new_messages_after_rollback() {
    let cluster = Cluster::start_with(Kind::Redis, 1, long_logs).await;
    let redis = cluster.redis_server();
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut slow = enter_narrow(&cluster, 0, "slow", "ops").await;
    alice.say_many("ops", "kept", 10).await;
    for part in ["meta", "log"] {
        redis.command(&["COPY", &format!("chat:{{r:ops}}:{part}"), &format!("old:{part}")]).unwrap();
    }
    alice.say_many("ops", &large(), FLOOD).await;
    for part in ["meta", "log"] {
        let name = format!("chat:{{r:ops}}:{part}");
        redis.command(&["COPY", &format!("old:{part}"), &name, "REPLACE"]).unwrap();
    }
    alice.say_many("ops", "new", 3).await;
    assert_eq!(alice.next("Gap").await["next_seq"], 11);

    slow.hears_seqs(1..=10).await;
    let gap = slow.wait_for("the Gap", |frame| frame["message_type"] == "Gap").await;
    assert_eq!(gap["message_body"]["reason"], "rollback");
    assert_eq!(gap["message_body"]["next_seq"], 11);
    let mut new = Vec::new();
    while new.len() < 3 {
        let message = slow.next("GroupChat").await;
        // Messages that were sent before the rollback come before the gap.
        if message["content"] == "new" {
            new.push(message["seq"].as_u64().unwrap());
        }
    }
    assert_eq!(new, [11, 12, 13]);
    slow.heard_no("GroupChat").await;
}

/// The budget no longer counts a message whose connection is being closed, however long the client lets it take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_message_is_freed_before_its_connection_ends() {
    const SOCKETS: usize = 200;
    const PARKED: usize = 130_000;
    let settings = [("CHAT_LIMITS__MAX_UNFINISHED_BYTES", "1048576"), ("CHAT_SERVER__ALLOWED_HOSTS", "*")];
    let node = NodeProcess::start(&settings).await;
    let resident = || metric(node.address, "process_resident_memory_bytes");
    let before = resident().await;
    let mut sockets = Vec::new();
    for number in 0..SOCKETS {
        // An address that is closed so often has to wait.
        let source = [127, 0, 1, u8::try_from(number + 1).unwrap()];
        let mut socket = RawSocket::connect_from(source, node.address).await;
        socket.upgrade().await;
        sockets.push(socket);
    }
    let part = raw::fragment(raw::TEXT, &vec![b' '; PARKED]);
    for socket in &mut sockets {
        socket.send(&part).await;
    }
    // No client reads its close, or answers it. Samples for three seconds, because the node sets the gauge once a second.
    let mut most = 0.0_f64;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        most = most.max(resident().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let bound = (SOCKETS * PARKED / 2) as f64;
    assert!(most - before < bound, "grew by {} bytes", most - before);
    let closed = metric(node.address, "chat_connections_closed_total{reason=\"unfinished_message\"}").await;
    assert!(closed > (SOCKETS * 9 / 10) as f64, "{closed} of {SOCKETS} were closed");
    drop(sockets);
}
