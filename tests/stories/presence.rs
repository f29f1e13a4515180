//! Presence: one `Enter` and one `Leave` per user in the whole cluster, even if nodes or the store are killed or stall.

use std::time::Duration;

use chatnode::config::Config;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, until};
use crate::support::process::NodeProcess;
use crate::support::redis_server::RedisServer;

const LEASE: Duration = Duration::from_millis(1_500);

fn quick(config: &mut Config) {
    config.node.lease = LEASE;
    config.node.heartbeat = Duration::from_millis(300);
}

/// The settings of a node process with the same short lease.
fn quick_process(url: &str) -> [(&str, &str); 3] {
    [("CHAT_REDIS__URL", url), ("CHAT_NODE__LEASE", "1500ms"), ("CHAT_NODE__HEARTBEAT", "300ms")]
}

/// The names of a room's members and their count, as this client gets them; `None` if presence is unknown.
async fn known_members(client: &mut Client, room: &str) -> Option<(Vec<String>, u64)> {
    let answer = client.ask("Members", json!({ "room": room })).await;
    let body = &answer["message_body"];
    if answer["message_type"] == "Error" {
        assert_eq!(body["code"], "unavailable", "{answer}");
        return None;
    }
    let names = body["members"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    Some((names.collect(), body["count"].as_u64().unwrap()))
}

/// Asks until the list contains exactly these members. Meanwhile presence may be unknown.
async fn sees(client: &mut Client, room: &str, names: &[&str]) {
    let client = tokio::sync::Mutex::new(client);
    until(&format!("the members are {names:?}"), async || {
        match known_members(&mut **client.lock().await, room).await {
            Some((found, count)) => found == names && count == names.len() as u64,
            None => false,
        }
    })
    .await;
}

/// Waits for the next event of this kind, and returns its user.
async fn event(client: &mut Client, kind: &str) -> String {
    client.next(kind).await["sender_username"].as_str().unwrap().to_owned()
}

fn events<'a>(client: &'a Client, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    client.seen().iter().filter(move |frame| frame["message_type"] == kind)
}

on_each_store! {
    async fn first_connection_enters_a_user_and_the_last_leaves(kind) {
        let cluster = Cluster::start(kind, 3).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        assert_eq!(event(&mut alice, "Enter").await, "alice");
        let mut bobs = Vec::new();
        for node in [1, 1, 2, 0] {
            bobs.push(cluster.enter(node, "bob", "ops").await);
        }
        assert_eq!(event(&mut alice, "Enter").await, "bob");
        for bob in bobs.drain(1..) {
            bob.leave().await;
        }
        bobs[0].ok("Leave", json!({ "room": "ops" })).await;
        assert_eq!(event(&mut alice, "Leave").await, "bob");
        // A last event as a marker: all earlier events came before it.
        let _carol = cluster.enter(2, "carol", "ops").await;
        assert_eq!(event(&mut alice, "Enter").await, "carol");
        assert_eq!(events(&alice, "Enter").count() + events(&alice, "Leave").count(), 0, "{:?}", alice.seen());
        bobs[0].heard_no("Leave").await;
        sees(&mut alice, "ops", &["alice", "carol"]).await;
    }

    async fn members_of_all_nodes_are_paged(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut clients = Vec::new();
        for i in 0..25 {
            clients.push(cluster.enter(i % 2, &format!("user-{i:02}"), "ops").await);
        }
        let client = &mut clients[0];
        let mut found = Vec::new();
        let mut after = Value::Null;
        loop {
            let mut request = json!({ "room": "ops", "limit": 10 });
            if !after.is_null() {
                request["after"] = after.clone();
            }
            let page = client.ok("Members", request).await;
            assert_eq!(page["count"], 25);
            let names = page["members"].as_array().unwrap().clone();
            assert!(names.len() <= 10);
            after = names.last().unwrap().clone();
            found.extend(names.into_iter().map(|name| name.as_str().unwrap().to_owned()));
            if page["more"] == false {
                break;
            }
        }
        let all: Vec<String> = (0..25).map(|i| format!("user-{i:02}")).collect();
        assert_eq!(found, all);
    }

    async fn large_room_sends_no_presence_but_lists_members(kind) {
        let cluster = Cluster::start_with(kind, 2, |config| config.rooms.quiet_above = 2).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let _bob = cluster.enter(1, "bob", "ops").await;
        assert_eq!(event(&mut alice, "Enter").await, "alice");
        assert_eq!(event(&mut alice, "Enter").await, "bob");
        let mut carol = cluster.enter(1, "carol", "ops").await;
        sees(&mut alice, "ops", &["alice", "bob", "carol"]).await;
        carol.ok("Leave", json!({})).await;
        sees(&mut alice, "ops", &["alice", "bob"]).await;
        // Reaches both nodes after any event that they must not have got.
        alice.say("ops", "mark").await;
        alice.hears().await;
        assert_eq!(events(&alice, "Enter").count() + events(&alice, "Leave").count(), 0, "{:?}", alice.seen());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_survivor_announces_the_users_of_a_killed_node() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut victim = NodeProcess::start(&quick_process(&url)).await;
    let survivors =
        [NodeProcess::start(&quick_process(&url)).await, NodeProcess::start(&quick_process(&url)).await];
    let mut gone = Vec::new();
    for i in 0..20 {
        gone.push(Client::enter(victim.address, &format!("gone-{i:02}"), "ops").await);
    }
    let mut alice = Client::enter(survivors[0].address, "alice", "ops").await;
    let mut bob = Client::enter(survivors[1].address, "bob", "ops").await;
    let _stays = Client::enter(victim.address, "alice", "ops").await;
    victim.kill();
    for client in [&mut alice, &mut bob] {
        let mut left = Vec::new();
        for _ in 0..20 {
            left.push(event(client, "Leave").await);
        }
        left.sort();
        assert_eq!(left, (0..20).map(|i| format!("gone-{i:02}")).collect::<Vec<_>>());
    }
    until("the dead node is forgotten", async || redis.command(&["ZCARD", "chat:leases"]).unwrap() == "2")
        .await;
    sees(&mut alice, "ops", &["alice", "bob"]).await;
    // A last event as a marker.
    Client::enter(survivors[1].address, "carol", "ops").await.leave().await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(event(client, "Leave").await, "carol");
        assert_eq!(events(client, "Leave").count(), 0, "{:?}", client.seen());
    }
}

/// The dead node held so many users that removing them takes longer than a lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_keeps_its_lease_while_it_removes_a_large_node() {
    const LARGE: &str = "for i = 1, 10000 do
        redis.call('ZADD', 'chat:held:dead', 0, 'full\\nuser-' .. i)
        redis.call('ZADD', 'chat:{r:full}:m', 0, 'user-' .. i)
        redis.call('HSET', 'chat:{r:full}:w', 'user-' .. i, 'dead')
    end
    redis.call('HSET', 'chat:nodes', 'dead', 'large')
    redis.call('ZADD', 'chat:leases', 1, 'dead')";
    const SHORTEST_LEASE: &str = "local now = redis.call('TIME')
    local first = redis.call('ZRANGEBYSCORE', 'chat:leases', '(1', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    return tonumber(first[2]) - now[1] * 1000 - math.floor(now[2] / 1000)";
    let redis = RedisServer::start();
    let url = redis.url();
    let survivor = NodeProcess::start(&quick_process(&url)).await;
    let mut alice = Client::enter(survivor.address, "alice", "ops").await;
    redis.command(&["EVAL", LARGE, "0"]).unwrap();
    until("the large node is forgotten", async || {
        let left: i64 = redis.command(&["EVAL", SHORTEST_LEASE, "0"]).unwrap().parse().unwrap();
        assert!(left > 0, "the survivor's lease expired {left} ms ago, before the large node was removed");
        redis.command(&["ZCARD", "chat:leases"]).unwrap() == "1"
    })
    .await;
    assert_eq!(redis.command(&["ZCARD", "chat:{r:full}:m"]).unwrap(), "0");
    sees(&mut alice, "ops", &["alice"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_return_after_their_node_stopped_past_its_lease() {
    let redis = RedisServer::start();
    let url = redis.url();
    let sleeper = NodeProcess::start(&quick_process(&url)).await;
    let survivor = NodeProcess::start(&quick_process(&url)).await;
    let mut alice = Client::enter(survivor.address, "alice", "ops").await;
    let mut bob = Client::enter(sleeper.address, "bob", "ops").await;
    sees(&mut alice, "ops", &["alice", "bob"]).await;
    sleeper.stop();
    assert_eq!(event(&mut alice, "Leave").await, "bob");
    sees(&mut alice, "ops", &["alice"]).await;
    alice.say("ops", "while bob's node slept").await;
    sleeper.cont();
    sees(&mut alice, "ops", &["alice", "bob"]).await;
    assert_eq!(bob.hears().await, "while bob's node slept");
}

/// Whoever is still there enters again once, in the order in which they were told to have left; whoever left meanwhile does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_stopped_node_enter_again_when_it_continues() {
    let redis = RedisServer::start();
    let url = redis.url();
    let sleeper = NodeProcess::start(&quick_process(&url)).await;
    let survivor = NodeProcess::start(&quick_process(&url)).await;
    let mut alice = Client::enter(survivor.address, "alice", "ops").await;
    let mut bob = Client::enter(sleeper.address, "bob", "ops").await;
    let carol = Client::enter(sleeper.address, "carol", "ops").await;
    // Present on both nodes: never gone for the others.
    let _here = Client::enter(survivor.address, "dave", "ops").await;
    let _there = Client::enter(sleeper.address, "dave", "ops").await;
    sees(&mut alice, "ops", &["alice", "bob", "carol", "dave"]).await;
    for name in ["alice", "bob", "carol", "dave"] {
        assert_eq!(event(&mut alice, "Enter").await, name);
    }
    sleeper.stop();
    let mut left = [event(&mut alice, "Leave").await, event(&mut alice, "Leave").await];
    left.sort();
    assert_eq!(left, ["bob", "carol"]);
    drop(carol);
    sleeper.cont();
    assert_eq!(event(&mut alice, "Enter").await, "bob");
    sees(&mut alice, "ops", &["alice", "bob", "dave"]).await;
    bob.ok("Leave", json!({})).await;
    assert_eq!(event(&mut alice, "Leave").await, "bob");
    // A last event as a marker: all earlier events came before it.
    Client::enter(survivor.address, "erin", "ops").await.leave().await;
    assert_eq!(event(&mut alice, "Enter").await, "erin");
    assert_eq!(events(&alice, "Enter").count() + events(&alice, "Leave").count(), 0, "{:?}", alice.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_stall_longer_than_a_lease_removes_no_members() {
    let cluster = Cluster::start_with(Kind::Redis, 3, quick).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let _others = [cluster.enter(1, "bob", "ops").await, cluster.enter(2, "carol", "ops").await];
    sees(&mut alice, "ops", &["alice", "bob", "carol"]).await;
    cluster.redis_server().stop();
    // The stall has to be longer than a lease.
    tokio::time::sleep(LEASE * 2).await;
    cluster.redis_server().cont();
    until("members are read again", async || {
        let mut probe = cluster.connect(1, "dave").await;
        probe.ask("Enter", json!({ "room": "elsewhere" })).await["message_type"] == "Ack"
    })
    .await;
    sees(&mut alice, "ops", &["alice", "bob", "carol"]).await;
    // Longer than a node would take to remove members whose leases expired in the stall. There is no event to wait for.
    tokio::time::sleep(LEASE * 2).await;
    sees(&mut alice, "ops", &["alice", "bob", "carol"]).await;
    alice.heard_no("Leave").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wiped_store_gets_all_members_back() {
    let cluster = Cluster::start_with(Kind::Redis, 2, quick).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    sees(&mut alice, "ops", &["alice", "bob"]).await;
    cluster.redis_server().command(&["FLUSHALL"]).unwrap();
    let mut was_unknown = false;
    let asks = tokio::sync::Mutex::new((&mut alice, &mut was_unknown));
    until("the members are known again", async || {
        let (alice, was_unknown) = &mut *asks.lock().await;
        let Some((found, _)) = known_members(alice, "ops").await else {
            **was_unknown = true;
            return false;
        };
        // Never a list without the one who asks.
        assert!(found.contains(&"alice".to_owned()), "{found:?}");
        **was_unknown
    })
    .await;
    sees(&mut alice, "ops", &["alice", "bob"]).await;
    bob.ok("Leave", json!({})).await;
    sees(&mut alice, "ops", &["alice"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_that_returns_after_a_failed_departure_is_listed() {
    // No heartbeat during this test: it would repair the list.
    let mut cluster = Cluster::start_with(Kind::Redis, 0, |config| {
        config.node.lease = Duration::from_secs(600);
        config.node.heartbeat = Duration::from_secs(300);
        config.redis.timeout = Duration::from_millis(500);
    })
    .await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    // Redis knows the script from here on, so it executes the next request at once.
    cluster.enter(0, "carol", "ops").await.ok("Leave", json!({})).await;
    sees(&mut alice, "ops", &["alice", "bob"]).await;
    proxy.lose_the_answer_to("\"Leave\"");
    bob.tell("Leave", json!({})).await;
    // The user returns by another connection before the node misses the answer.
    until("the departure is sent", async || proxy.answers_lost() == 1).await;
    // The connection that lost the answer is noticed and replaced.
    let mut again = cluster.connect(0, "bob").await;
    while again.ask("Enter", json!({ "room": "ops" })).await["message_type"] != "Ack" {}
    sees(&mut alice, "ops", &["alice", "bob"]).await;
}
