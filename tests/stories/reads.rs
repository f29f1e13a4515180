//! What reading costs: a request pays for the bytes that it read, and one user's reads wait for each other and not for others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::{with_api, with_tokens};
use crate::support::backend::{room_name, user_name};
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, metric};
use crate::support::process::NodeProcess;

/// Sends a request and a `Ping` behind it. Returns how long the answer to the `Ping` took.
async fn ping_after(client: &mut Client, kind: &str, body: Value) -> Duration {
    let started = Instant::now();
    let read = client.send(kind, body).await;
    let ping = client.send("Ping", json!({})).await;
    let answer = client.answer(&read).await;
    assert_eq!(answer["message_type"], "Ack", "{answer}");
    client.answer(&ping).await;
    started.elapsed()
}

fn slow(config: &mut chatnode::config::Config) {
    with_api(config);
    config.limits.messages_per_second = 20;
    config.limits.burst = 10;
}

on_each_store! {
    /// A page of a conversation with nobody is empty, but the whole private log was read for it.
    async fn history_costs_the_bytes_that_it_reads(kind) {
        let cluster = Cluster::start_with(kind, 1, slow).await;
        let body = json!({ "sender_username": "alice", "content": "x".repeat(16_000) });
        for _ in 0..34 {
            let (status, answer) = cluster.call(0, "POST", "/users/alice/messages", body.clone()).await;
            assert_eq!(status, 201, "{answer}");
        }
        let mut alice = cluster.connect(0, "alice").await;
        // 34 messages are 33 units of 16 KiB, 6 more for the requests, minus 10 in the bucket, at 20 per second.
        let took = ping_after(&mut alice, "History", json!({ "target_username": "nobody" })).await;
        assert!(took >= Duration::from_millis(1_400), "{took:?}");
    }

    async fn member_list_costs_the_bytes_of_its_names(kind) {
        let cluster = Cluster::start_with(kind, 1, slow).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let others = cluster.backend().await;
        others.presence.renew().await.unwrap();
        let room = room_name("ops");
        let members: Vec<_> = (0..400)
            .map(|number| {
                let name = format!("{}{number:04}", "\u{10348}".repeat(60));
                (room.clone(), user_name(&name), None)
            })
            .collect();
        others.presence.restore_members(&members).await.unwrap();
        // 400 names of 244 bytes are 5 units, and each list 5 more: without the names, the bucket has enough for two.
        let mut took = Duration::ZERO;
        for _ in 0..4 {
            took += ping_after(&mut alice, "Members", json!({ "max_bytes": 262_144 })).await;
        }
        assert!(took >= Duration::from_millis(1_300), "{took:?}");
    }
}

/// Long names would be read only to be cut: a thousand of them are eight pages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_page_reads_little_more_than_it_sends() {
    let cluster = Cluster::start(Kind::Redis, 1).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let others = cluster.backend().await;
    others.presence.renew().await.unwrap();
    let name = |number| user_name(&format!("{number:04}{}", "\u{10348}".repeat(60)));
    let members: Vec<_> = (0..1_000).map(|number| (room_name("ops"), name(number), None)).collect();
    others.presence.restore_members(&members).await.unwrap();
    let sent_by_redis = || -> usize {
        let stats = cluster.redis_server().command(&["INFO", "stats"]).unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        line.unwrap().trim().parse().unwrap()
    };
    let before = sent_by_redis();
    let page = alice.ok("Members", json!({ "limit": 1_000 })).await;
    let read = sent_by_redis() - before;
    let (names, count) = (page["members"].as_array().unwrap().len(), &page["count"]);
    assert!(page["more"] == true && count == 1_001 && (100..200).contains(&names), "{names} of {count}");
    assert!((32_000..64_000).contains(&read), "{read} bytes for {names} names");
    // Short names come with a second read, as many as were asked for.
    let members: Vec<_> =
        (0..1_000).map(|number| (room_name("dev"), user_name(&format!("{number:04}")), None)).collect();
    others.presence.restore_members(&members).await.unwrap();
    alice.ok("Enter", json!({ "room": "dev" })).await;
    for limit in [1, 127, 128, 129, 1_000] {
        let page = alice.ok("Members", json!({ "limit": limit })).await;
        let names: Vec<_> = page["members"].as_array().unwrap().clone();
        let first: Vec<_> = (0..limit).map(|number| json!(format!("{number:04}"))).collect();
        assert!(names == first && page["more"] == true && page["count"] == 1_001, "{limit}: {page}");
    }
    let page = alice.ok("Members", json!({ "after": "0899" })).await;
    assert_eq!((&page["members"][100], &page["more"]), (&json!("alice"), &json!(false)), "{page}");
}

/// Answers wait for clients that read nothing: all of them together are bounded, and then the pages of others are shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_pages_take_bounded_memory() {
    const READERS: usize = 600;
    const MESSAGES: u64 = 17;
    let node = NodeProcess::start(&[("CHAT_LIMITS__WRITE_TIMEOUT", "120s")]).await;
    let mut alice = Client::enter(node.address, "alice", "ops").await;
    alice.say_many("ops", &"x".repeat(16_000), MESSAGES as usize).await;
    let mut readers = Vec::new();
    for number in 0..READERS {
        let mut reader = Client::connect_narrow(node.address, &format!("reader-{number}")).await;
        reader.ok("Enter", json!({ "room": "ops" })).await;
        reader.send("History", json!({ "limit": 200, "max_bytes": 262_144 })).await;
        readers.push(reader);
        if number % 16 == 0 {
            // Answered after all reads before it: an address reads one page at a time.
            alice.ok("History", json!({ "limit": 1 })).await;
        }
    }
    let waiting = metric(node.address, "chat_send_queue_bytes").await;
    assert!(waiting < f64::from(64 << 20), "{waiting}");
    let (mut found, mut before) = (Vec::new(), json!({ "limit": 200, "max_bytes": 262_144 }));
    loop {
        let page = alice.ok("History", before).await;
        let messages = page["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 1, "while memory is short");
        found.splice(0..0, messages.iter().map(|message| message["seq"].as_u64().unwrap()));
        if page["more"] == false {
            break;
        }
        before = json!({ "limit": 200, "max_bytes": 262_144, "before": found[0], "epoch": page["epoch"] });
    }
    assert!(found.iter().copied().eq(1..=MESSAGES), "{found:?}");
    drop(readers);
}

/// Whoever reads much, on many connections, keeps no connection to the store from others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_reads_one_page_at_a_time_and_others_go_on() {
    let mut cluster = Cluster::start_with(Kind::Redis, 0, with_tokens).await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let sign_in = async |name: &str| {
        let mut client = cluster.connect(0, name).await;
        client.token = Some(cluster.token(0, name).await);
        client.ok("Auth", json!({})).await;
        client
    };
    let mut first = sign_in("mallory").await;
    let mut second = sign_in("mallory").await;
    let mut bob = sign_in("bob").await;
    let request = json!({ "target_username": "nobody" });
    let mut held = proxy.hold("newest");
    let first_read = first.send("History", request.clone()).await;
    held.reached().await;
    let second_read = second.send("History", request.clone()).await;
    bob.ok("History", request).await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    bob.say("ops", "hello").await;
    let early = tokio::time::timeout(Duration::from_millis(300), second.answer(&second_read)).await;
    assert!(early.is_err(), "{early:?}");
    drop(held);
    assert_eq!(first.answer(&first_read).await["message_type"], "Ack");
    assert_eq!(second.answer(&second_read).await["message_type"], "Ack");
}
