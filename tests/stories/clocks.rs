//! Clocks that are wrong: of Redis, which is set while nodes run, and of one node.

use serde_json::{Value, json};

use crate::support::api::call;
use crate::support::client::Client;
use crate::support::cluster::{get, metric, until};
use crate::support::fake_clock::FakeClock;
use crate::support::process::NodeProcess;
use crate::support::program::Program;
use crate::support::redis_server::RedisServer;

const HOUR: i64 = 3_600;

/// A node process with a short lease, and these settings.
async fn node(redis: &RedisServer, more: &[(&'static str, String)]) -> NodeProcess {
    let url = redis.url();
    let mut settings =
        vec![("CHAT_REDIS__URL", &*url), ("CHAT_NODE__LEASE", "3s"), ("CHAT_NODE__HEARTBEAT", "300ms")];
    settings.extend(more.iter().map(|(name, value)| (*name, &**value)));
    NodeProcess::start(&settings).await
}

/// The members that a client gets; `None` while presence is unknown.
async fn members(client: &mut Client, room: &str) -> Option<Value> {
    let mut answer = client.ask("Members", json!({ "room": room })).await;
    if answer["message_type"] == "Error" {
        assert_eq!(answer["message_body"]["code"], "unavailable", "{answer}");
        return None;
    }
    Some(answer["message_body"]["members"].take())
}

/// The beats of all leases.
fn beats(redis: &RedisServer) -> Vec<String> {
    let leases = redis.command(&["ZRANGE", "chat:leases", "0", "-1", "WITHSCORES"]).unwrap();
    leases.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_of_a_killed_node_leave_though_redis_is_an_hour_back() {
    let clock = FakeClock::new();
    let redis = RedisServer::start_with_clock(&clock);
    let mut victim = node(&redis, &[]).await;
    let survivor = node(&redis, &[]).await;
    let mut alice = Client::enter(survivor.address, "alice", "ops").await;
    let _bob = Client::enter(victim.address, "bob", "ops").await;
    clock.set_ahead(-HOUR);
    victim.kill();
    assert_eq!(alice.next("Leave").await["sender_username"], "bob");
    assert_eq!(members(&mut alice, "ops").await, Some(json!(["alice"])));
    let forgotten = async || beats(&redis).len() == 2;
    until("the killed node is forgotten", forgotten).await;
    assert_eq!(redis.command(&["HLEN", "chat:durations"]).unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_user_leaves_because_redis_is_set_ahead_or_back() {
    let clock = FakeClock::new();
    let redis = RedisServer::start_with_clock(&clock);
    let nodes = [node(&redis, &[]).await, node(&redis, &[]).await];
    let mut alice = Client::enter(nodes[0].address, "alice", "ops").await;
    let mut bob = Client::enter(nodes[1].address, "bob", "ops").await;
    for ahead in [3 * HOUR, -HOUR, 30 * 24 * HOUR] {
        clock.set_ahead(ahead);
        // Many times as long as a node takes to notice a lease that has ended.
        for _ in 0..12 {
            let before = beats(&redis);
            until("all leases are renewed", async || {
                beats(&redis).iter().zip(&before).skip(1).step_by(2).all(|(now, before)| now != before)
            })
            .await;
            for client in [&mut alice, &mut bob] {
                if let Some(members) = members(client, "ops").await {
                    assert_eq!(members, json!(["alice", "bob"]), "{ahead} s ahead");
                }
            }
        }
        assert_eq!(members(&mut alice, "ops").await, Some(json!(["alice", "bob"])));
    }
    // A last event as a marker.
    Client::enter(nodes[0].address, "carol", "ops").await.leave().await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.next("Leave").await["sender_username"], "carol");
        client.heard_no("Leave").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_id_is_stored_once_though_redis_is_set() {
    let clock = FakeClock::new();
    let redis = RedisServer::start_with_clock(&clock);
    let nodes = [node(&redis, &[]).await, node(&redis, &[]).await];
    let mut phone = Client::enter(nodes[0].address, "alice", "ops").await;
    let mut laptop = Client::enter(nodes[1].address, "alice", "ops").await;
    let publish =
        phone.envelope("GroupChat", json!({ "room": "ops", "content": "once" }), Some("m1")).to_string();
    phone.send_text(publish.clone()).await;
    let first = phone.answer("m1").await["message_body"].take();
    assert_eq!(first["seq"], 1, "{first}");
    let offset = || redis.command(&["HGET", "chat:clock", "offset"]).unwrap_or_default();
    for ahead in [3 * HOUR, 0, -HOUR, 2 * HOUR] {
        let before = offset();
        clock.set_ahead(ahead);
        // At once, and when the nodes have noticed the step.
        for has_noticed in [false, true] {
            if has_noticed {
                until("a node has noticed the step", async || offset() != before).await;
            }
            for client in [&mut phone, &mut laptop] {
                client.send_text(publish.clone()).await;
                let again = client.answer("m1").await["message_body"].take();
                assert_eq!(
                    (&again["seq"], &again["duplicate"]),
                    (&json!(1), &json!(true)),
                    "{ahead}: {again}"
                );
            }
        }
    }
    assert_eq!(phone.say("ops", "twice").await["seq"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_node_forgets_nothing_though_its_clock_is_set() {
    let clock = FakeClock::new();
    let environment = clock.environment();
    let settings: Vec<_> = environment.iter().map(|(name, value)| (*name, &**value)).collect();
    let node = Program::start(&settings);
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    let publish =
        alice.envelope("GroupChat", json!({ "room": "ops", "content": "once" }), Some("m1")).to_string();
    alice.send_text(publish.clone()).await;
    assert_eq!(alice.answer("m1").await["message_body"]["seq"], 1);
    alice.ok("Read", json!({ "room": "ops", "seq": 1 })).await;
    for ahead in [3 * HOUR, 40 * 24 * HOUR, -HOUR] {
        clock.set_ahead(ahead);
        alice.send_text(publish.clone()).await;
        let again = alice.answer("m1").await["message_body"].take();
        assert_eq!((&again["seq"], &again["duplicate"]), (&json!(1), &json!(true)), "{ahead}: {again}");
        let history = alice.ok("History", json!({ "room": "ops" })).await;
        assert_eq!(history["messages"][0]["content"], "once", "{ahead}: {history}");
        assert_eq!(members(&mut alice, "ops").await, Some(json!(["alice"])));
        assert_eq!(alice.ok("Enter", json!({ "room": "ops" })).await["read"]["seq"], 1);
    }
    // Its messages keep their order while its clock is back.
    let last = alice.say("ops", "last").await;
    assert!(last["message_id"].as_str() > Some("019"), "{last}");
    assert_eq!(last["seq"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_token_is_accepted_though_redis_is_three_hours_ahead() {
    let clock = FakeClock::new();
    let redis = RedisServer::start_with_clock(&clock);
    let url = redis.url();
    let node = Program::start(&[("CHAT_REDIS__URL", &url), ("CHAT_AUTH__ENABLED", "true")]);
    until("the node is ready", async || get(node.address, "/readyz").await.0 == 200).await;
    let issue = json!({ "username": "alice", "ttl_seconds": 3_600 });
    let (status, issued) = call(node.address, "POST", "/tokens", issue).await;
    assert_eq!(status, 201, "{issued}");
    clock.set_ahead(3 * HOUR);
    let mut alice = Client::connect(node.address, "alice").await;
    alice.token = Some(issued["token"].as_str().unwrap().to_owned());
    alice.ok("Auth", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_markers_move_though_a_node_is_ten_minutes_ahead() {
    let clock = FakeClock::new();
    clock.set_ahead(600);
    let redis = RedisServer::start();
    let ahead = node(&redis, &clock.environment()).await;
    let right = node(&redis, &[]).await;
    let mut alice = Client::connect(right.address, "alice").await;
    alice.ok("Auth", json!({})).await;
    let mut phone = Client::connect(ahead.address, "bob").await;
    let mut laptop = Client::connect(right.address, "bob").await;
    let early = phone.whisper("alice", "from a fast node").await;
    assert_eq!(alice.hears_privately().await, "from a fast node");
    let late = laptop.whisper("alice", "from a right node").await;
    let received = alice.next("PrivateChat").await;
    assert_eq!(
        (&received["message_id"], &received["content"]),
        (&late["message_id"], &json!("from a right node"))
    );
    let wrong = early["sent_at"].as_u64().unwrap() - late["sent_at"].as_u64().unwrap();
    assert!(wrong > 590_000, "the node is not ahead: {wrong} ms");
    // Whoever compares ids counts the second message as unread.
    assert!(late["message_id"].as_str() > early["message_id"].as_str(), "{early} {late}");
    for message in [&early, &late] {
        let id = &message["message_id"];
        alice.ok("Read", json!({ "target_username": "bob", "message_id": id })).await;
        for device in [&mut phone, &mut laptop] {
            assert_eq!(device.next("Read").await["message_id"], *id);
        }
        let mut tablet = Client::connect(right.address, "alice").await;
        assert_eq!(tablet.ok("Auth", json!({})).await["read"], json!({ "bob": id }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_warns_of_clocks_that_differ_by_more_than_5_seconds() {
    const DIFFER: &str = "the clocks of this node and of Redis differ by more than 5 s";
    let (own, of_redis) = (FakeClock::new(), FakeClock::new());
    let redis = RedisServer::start_with_clock(&of_redis);
    let url = redis.url();
    let mut settings = vec![("CHAT_REDIS__URL", &*url), ("CHAT_LOG__FILTER", "info")];
    let environment = own.environment();
    settings.extend(environment.iter().map(|(name, value)| (*name, &**value)));
    let node = Program::start(&settings);
    let differs_by = async |seconds: f64| {
        until(&format!("the clocks differ by {seconds} s"), async || {
            (metric(node.address, "chat_clock_difference_seconds").await - seconds).abs() < 1.0
        })
        .await;
    };
    own.set_ahead(4);
    differs_by(4.0).await;
    assert!(!node.log().contains(DIFFER), "{}", node.log());
    own.set_ahead(600);
    differs_by(600.0).await;
    until("the warning", async || node.log().contains(DIFFER)).await;
    own.set_ahead(700);
    differs_by(700.0).await;
    own.set_ahead(0);
    differs_by(0.0).await;
    until("the end of the warning", async || node.log().contains("agree again")).await;
    assert_eq!(node.log().matches(DIFFER).count(), 1, "{}", node.log());
    of_redis.set_ahead(-HOUR);
    differs_by(HOUR as f64).await;
    until("the step", async || node.log().contains("the clock of Redis was set")).await;
}
