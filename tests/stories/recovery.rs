//! Recovery: messages that the channel lost come from the log, in order, once, and with one read per topic and node.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chatnode::backend::{Asker, BackendError, Links, NewEntry, Publish};
use chatnode::config::Config;
use chatnode::protocol::encode::ChatBody;
use chatnode::protocol::{Extras, MessageId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::backend::{Harness, room, room_name, user_name};
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, metric, until};

/// Without the idle check, only the mechanism under test can find the loss.
fn no_idle_check(config: &mut Config) {
    config.node.idle_check = Duration::from_secs(3_600);
}

fn quick_idle_check(config: &mut Config) {
    config.node.idle_check = Duration::from_millis(200);
}

/// A publisher whose messages are stored in the log but never sent to the channel.
async fn mute_publisher(cluster: &Cluster) -> Harness {
    let redis = cluster.redis_server();
    redis.command(&["ACL", "SETUSER", "mute", "on", ">mute", "~*", "+@all", "resetchannels"]).unwrap();
    Harness::redis_unready(&format!("redis://mute:mute@127.0.0.1:{}", redis.port()), |_| {}).await
}

async fn store_without_channel(mute: &Harness, content: &str) {
    let message_id = MessageId::generate();
    let (sender, name) = (user_name("mute"), room_name("ops"));
    let body = ChatBody {
        sender_username: &sender,
        target_username: None,
        content,
        room: Some(&name),
        message_id,
        client_id: None,
        sent_at: 1,
        extras: &Extras::default(),
    };
    let publish = Publish {
        topics: vec![room("ops")],
        dedupe_key: Some(message_id.to_string()),
        message_id,
        sent_at: 1,
        body: body.encode(),
        owner: None,
        is_repeat_only: false,
        asker: Asker::Server,
        entry: NewEntry::Message(Links::default()),
    };
    // The script failed after it had stored the message.
    let result = mute.backend.broker.publish(publish).await;
    assert!(matches!(result, Err(BackendError::Unknown(_))), "{result:?}");
}

/// The number of log reads that Redis has executed.
fn reads(cluster: &Cluster) -> usize {
    let stats = cluster.redis_server().command(&["INFO", "commandstats"]).unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls="));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

fn kill_subscriptions(cluster: &Cluster) {
    cluster.redis_server().command(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
}

async fn two_nodes(adjust: impl FnOnce(&mut Config)) -> (Cluster, Client, Client) {
    let cluster = Cluster::start_with(Kind::Redis, 2, adjust).await;
    let alice = cluster.enter(0, "alice", "ops").await;
    let bob = cluster.enter(1, "bob", "ops").await;
    (cluster, alice, bob)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_message_reveals_a_lost_message() {
    let (cluster, mut alice, mut bob) = two_nodes(no_idle_check).await;
    let mute = mute_publisher(&cluster).await;
    alice.say("ops", "one").await;
    store_without_channel(&mute, "two").await;
    store_without_channel(&mute, "three").await;
    alice.say("ops", "four").await;
    for client in [&mut alice, &mut bob] {
        for content in ["one", "two", "three", "four"] {
            assert_eq!(client.hears().await, content);
        }
        client.heard_no("Gap").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_check_finds_a_lost_last_message_in_ten_seconds() {
    // With the default settings.
    let (cluster, mut alice, mut bob) = two_nodes(|_| {}).await;
    let mute = mute_publisher(&cluster).await;
    let said = Instant::now();
    store_without_channel(&mute, "one").await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.hears().await, "one");
    }
    assert!(said.elapsed() < Duration::from_secs(10), "after {:?}", said.elapsed());
    alice.say("ops", "two").await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.hears().await, "two");
        client.heard_no("Gap").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_connection_costs_one_read_per_topic_and_node() {
    const ROOMS: usize = 20;
    let cluster = Cluster::start_with(Kind::Redis, 2, no_idle_check).await;
    let mut alice = cluster.connect(0, "alice").await;
    let mut members = Vec::new();
    for i in 0..ROOMS {
        let room = format!("room-{i}");
        alice.ok("Enter", json!({ "room": room })).await;
        alice.say(&room, "before").await;
        // The `Ack` may come first; a client that enters in between would get the message live.
        assert_eq!(alice.hears().await, "before");
        for node in [0, 1, 1] {
            members.push(cluster.enter(node, "bob", &room).await);
        }
    }
    assert_eq!(reads(&cluster), 0);
    kill_subscriptions(&cluster);
    for i in 0..ROOMS {
        alice.say(&format!("room-{i}"), "after").await;
    }
    for member in &mut members {
        assert_eq!(member.hears().await, "after");
    }
    assert_eq!(reads(&cluster), 2 * ROOMS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeatedly_cut_subscriptions_lose_nothing() {
    const ROOMS: usize = 20;
    const CUTS: usize = 15;
    let cluster = Cluster::start_with(Kind::Redis, 2, no_idle_check).await;
    let stop = CancellationToken::new();
    let mut talking = tokio::task::JoinSet::new();
    let mut members = Vec::new();
    for i in 0..ROOMS {
        let room = format!("room-{i}");
        for node in [0, 1] {
            members.push((room.clone(), cluster.enter(node, "bob", &room).await));
        }
        let mut publisher = cluster.enter(i % 2, "alice", &room).await;
        let stop = stop.clone();
        talking.spawn(async move {
            let mut said = 0;
            while !stop.is_cancelled() {
                said = publisher.say(&room, "x").await["seq"].as_u64().unwrap();
            }
            (room, publisher, said)
        });
    }
    let redis = cluster.redis_server();
    for _ in 0..CUTS {
        kill_subscriptions(&cluster);
        until("both nodes are subscribed again", async || {
            redis.command(&["PUBSUB", "NUMSUB", "chat:{r:room-0}"]).unwrap().ends_with("\n2")
        })
        .await;
    }
    stop.cancel();
    let mut tops = HashMap::new();
    while let Some(ended) = talking.join_next().await {
        let (room, publisher, said) = ended.unwrap();
        tops.insert(room.clone(), said);
        members.push((room, publisher));
    }
    for (room, member) in &mut members {
        member.hears_seqs(1..=tops[room]).await;
        member.heard_no("GroupChat").await;
        member.heard_no("Gap").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probe_finds_a_silent_subscription() {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        no_idle_check(config);
        config.history.max_messages = 10;
    })
    .await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    let mut carol = cluster.enter(1, "carol", "busy").await;
    alice.ok("Enter", json!({ "room": "busy" })).await;
    proxy.freeze_subscriptions();
    alice.say_many("ops", "x", 5).await;
    alice.say_many("busy", "x", 30).await;
    bob.hears_seqs(1..=5).await;
    bob.heard_no("Gap").await;
    // A gap reports the messages that the log no longer held by then.
    let gap = carol.next("Gap").await;
    assert_eq!(
        (&gap["room"], &gap["reason"], &gap["next_seq"]),
        (&json!("busy"), &json!("trimmed"), &json!(21))
    );
    carol.hears_seqs(21..=30).await;
    let counted = metric(cluster.address(1), "chat_gaps_detected_total{source=\"probe\"}").await;
    assert!(counted > 0.0, "the metric counts the silent connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_left_during_recovery_is_unsubscribed() {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        no_idle_check(config);
        config.node.linger = Duration::from_millis(50);
        config.redis.timeout = Duration::from_secs(1);
    })
    .await;
    let mute = mute_publisher(&cluster).await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let bob = cluster.enter(1, "bob", "ops").await;
    proxy.lose_the_answer_to("\r\nafter\r\n");
    store_without_channel(&mute, "one").await;
    alice.say("ops", "two").await;
    until("bob's node reads the log", async || proxy.answers_lost() == 1).await;
    bob.leave().await;
    assert_eq!(alice.next("Leave").await["sender_username"], "bob");
    until("bob's node has unsubscribed", async || {
        let subscribed = cluster.redis_server().command(&["PUBSUB", "NUMSUB", "chat:{r:ops}"]).unwrap();
        subscribed.ends_with("\n1")
    })
    .await;
}

/// The reason and the next `seq` in the gap of the room.
async fn gap(client: &mut Client) -> (Value, u64) {
    // Private logs may have gaps too.
    let is_of_room = |frame: &Value| frame["message_type"] == "Gap" && frame["message_body"]["room"] == "ops";
    let mut gap = client.wait_for("the room's Gap", is_of_room).await["message_body"].take();
    (gap["reason"].take(), gap["next_seq"].as_u64().unwrap())
}

/// Rolls the log of the room back from eight messages to five.
async fn roll_back(cluster: &Cluster, alice: &mut Client, bob: &mut Client) {
    roll_back_after(cluster, alice, bob, async || {}).await;
}

/// The same, after `before` has run.
async fn roll_back_after(
    cluster: &Cluster,
    alice: &mut Client,
    bob: &mut Client,
    before: impl AsyncFnOnce(),
) {
    let redis = cluster.redis_server();
    alice.say_many("ops", "kept", 5).await;
    for part in ["meta", "log"] {
        redis.command(&["COPY", &format!("chat:{{r:ops}}:{part}"), &format!("old:{part}")]).unwrap();
    }
    alice.say_many("ops", "lost", 3).await;
    for client in [alice, bob] {
        client.hears_seqs(1..=8).await;
    }
    before().await;
    for part in ["meta", "log"] {
        redis
            .command(&["COPY", &format!("old:{part}"), &format!("chat:{{r:ops}}:{part}"), "REPLACE"])
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_message_after_a_rollback_sends_a_gap() {
    let (cluster, mut alice, mut bob) = two_nodes(no_idle_check).await;
    roll_back(&cluster, &mut alice, &mut bob).await;
    alice.say_many("ops", "new", 4).await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(gap(client).await, (json!("rollback"), 6));
        for seq in 6..=9 {
            let message = client.next("GroupChat").await;
            assert_eq!((&message["seq"], &message["content"]), (&json!(seq), &json!("new")));
        }
        client.heard_no("GroupChat").await;
        client.heard_no("Gap").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_check_sends_a_gap_after_a_rollback() {
    let (cluster, mut alice, mut bob) = two_nodes(quick_idle_check).await;
    roll_back(&cluster, &mut alice, &mut bob).await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(gap(client).await, (json!("rollback"), 6));
    }
    alice.say("ops", "new").await;
    for client in [&mut alice, &mut bob] {
        client.hears_seqs(6..=6).await;
        client.heard_no("Gap").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_during_a_rollback_recovers_before_any_message() {
    let (cluster, mut alice, mut bob) = two_nodes(no_idle_check).await;
    roll_back(&cluster, &mut alice, &mut bob).await;
    let mut carol = cluster.connect(0, "carol").await;
    let forged = json!({ "epoch": "0000000000000000", "seq": 3, "message_id": "" });
    let entered = carol.ok("Enter", json!({ "room": "ops", "since": forged })).await;
    assert_eq!((&entered["recovered"], &entered["next_seq"]), (&json!(false), &json!(1)));
    carol.hears_seqs(1..=5).await;
    // The lost messages are still in the ring of the node, but no client gets them.
    carol.say("ops", "new").await;
    assert_eq!(carol.next("GroupChat").await["content"], "new");
    assert_eq!(gap(&mut alice).await, (json!("rollback"), 6));
    assert_eq!(alice.next("GroupChat").await["content"], "new");
    drop(bob);
}

async fn expect_another_epoch(adjust: impl FnOnce(&mut Config), is_quiet: bool) {
    let (cluster, mut alice, mut bob) = two_nodes(adjust).await;
    alice.say_many("ops", "lost", 5).await;
    for client in [&mut alice, &mut bob] {
        client.hears_seqs(1..=5).await;
    }
    cluster.redis_server().command(&["FLUSHALL"]).unwrap();
    if !is_quiet {
        alice.say("ops", "new").await;
    }
    for client in [&mut alice, &mut bob] {
        assert_eq!(gap(client).await, (json!("epoch"), 1));
    }
    if is_quiet {
        alice.say("ops", "new").await;
    }
    for client in [&mut alice, &mut bob] {
        client.hears_seqs(1..=1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_message_after_a_deleted_log_has_another_epoch() {
    expect_another_epoch(no_idle_check, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_check_finds_a_deleted_log() {
    expect_another_epoch(quick_idle_check, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_messages_after_a_rollback_reach_a_fresh_node() {
    let (mut cluster, mut alice, mut bob) = two_nodes(no_idle_check).await;
    let fresh = cluster.add_node().await;
    let mut carol = None;
    roll_back_after(&cluster, &mut alice, &mut bob, async || {
        // The node knows only the newest message.
        carol = Some(Client::enter(fresh, "carol", "ops").await);
    })
    .await;
    let mut carol = carol.unwrap();
    alice.say_many("ops", "new", 2).await;
    assert_eq!(gap(&mut carol).await, (json!("rollback"), 6));
    for seq in 6..=7 {
        let message = carol.next("GroupChat").await;
        assert_eq!((&message["seq"], &message["content"]), (&json!(seq), &json!("new")));
    }
    carol.heard_no("GroupChat").await;
}
