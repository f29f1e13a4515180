//! Publishes that go to Redis together: one call for what has gathered, and a result for each.

use std::collections::HashSet;

use chatnode::backend::{BackendError, Publish};
use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::support::backend::{Harness, bodies, message, room, user};
use crate::support::redis_server::RedisServer;

/// How many scripts Redis has run.
fn scripts_run(server: &RedisServer) -> u64 {
    let statistics = server.command(&["INFO", "commandstats"]).unwrap();
    let calls = |name: &str| {
        let line = statistics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":calls="));
        line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    };
    calls("cmdstat_evalsha") + calls("cmdstat_eval")
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_log_fails_only_its_own_publishes() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let (lobby, broken, inbox) = (room("lobby"), room("broken"), user("bob"));
    node.say(&broken, "before").await;
    server.command(&["HSET", "chat:{r:broken}:meta", "s", "many"]).unwrap();
    server.command(&["SET", "chat:{u:bob}:log", "not ours"]).unwrap();
    let own = user("alice");
    let all = (0..90).map(async |n| {
        let (key, body) = (format!("{n}"), format!("{n}"));
        match n % 3 {
            0 => node.publish(&[&lobby], &key, &body).await,
            1 => node.publish(&[&broken], &key, &body).await,
            _ => node.publish(&[&inbox, &own], &key, &body).await,
        }
    });
    for (n, result) in join_all(all).await.into_iter().enumerate() {
        match n % 3 {
            0 => assert!(!result.unwrap().duplicate),
            _ => assert!(matches!(result, Err(BackendError::Corrupt(_))), "{n}: {result:?}"),
        }
    }
    let stored: HashSet<String> = bodies(&node.log(&lobby).await).iter().map(ToString::to_string).collect();
    assert_eq!(stored, (0..90).step_by(3).map(|n| n.to_string()).collect());
    assert!(node.log(&own).await.is_empty(), "a message is in both logs or in none");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_that_wait_go_as_one_call() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let rooms: Vec<_> = (0..10).map(|i| room(&i.to_string())).collect();
    for topic in &rooms {
        node.subscribe(topic).await;
    }
    let before = scripts_run(&server);
    // Publishes gather before Redis can answer the first call.
    server.stop();
    let mut all = Box::pin(join_all((0..500).map(|n| {
        let publish = Publish { dedupe_key: None, ..message(&[&rooms[n % 10]], "", &n.to_string()) };
        node.backend.broker.publish(publish)
    })));
    assert!((&mut all).now_or_never().is_none());
    server.cont();
    let results = all.await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let calls = scripts_run(&server) - before;
    assert!(calls < 100, "{calls} calls for 500 publishes");
    for topic in &rooms {
        let heard = node.listener.messages(topic, 50).await;
        assert_eq!(heard, node.log(topic).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeat_within_one_call_is_recognised() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let (target, own) = (user("bob"), user("alice"));
    node.publish(&[&target, &own], "earlier", "x").await.unwrap();
    for topics in [&[&target, &own][..], &[&own]] {
        let key = format!("key {}", topics.len());
        let all = (0..40).map(|_| node.publish(topics, &key, "once"));
        let results: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(results.iter().filter(|stored| !stored.duplicate).count(), 1);
        assert!(results.iter().all(|stored| stored.position == results[0].position));
    }
    assert_eq!(bodies(&node.log(&own).await), ["x", "once", "once"]);
    assert_eq!(bodies(&node.log(&target).await), ["x", "once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_log_keeps_its_limits_in_blocks() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| config.history.max_messages = 320).await;
    let lobby = room("lobby");
    for n in 0..1_500_usize {
        let publish = Publish { dedupe_key: None, ..message(&[&lobby], "", &"x".repeat(n % 50)) };
        node.backend.broker.publish(publish).await.unwrap();
        if n % 97 == 0 {
            let log = node.log(&lobby).await;
            assert_eq!(log.len(), (n + 1).min(320));
            let field = |name| server.command(&["HGET", "chat:{r:lobby}:meta", name]).unwrap();
            let held = n as u64 + 2 - field("f").parse::<u64>().unwrap();
            assert!(held <= 340, "{held} entries after {n}");
            let bytes: usize = ((n as u64 + 1 - held) as usize..=n).map(|n| n % 50).sum();
            assert_eq!(field("b"), bytes.to_string(), "after {n}");
        }
    }
    let statistics = server.command(&["INFO", "commandstats"]).unwrap();
    let calls = |name: &str| statistics.matches(name).count();
    assert_eq!(calls("cmdstat_xtrim"), 0, "XADD trims");
}
