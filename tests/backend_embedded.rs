//! Requirements for the embedded store only: it uses the memory of the node, so its size is bounded.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use chatnode::backend::{BackendError, Owner, Publish, Stored};
use chatnode::config::Config;
use chatnode::protocol::Topic;
use support::backend::{Harness, message, room, seqs, user, user_name};
use support::listener::PATIENCE;

fn one_mebibyte(config: &mut Config) {
    config.history.embedded_bytes = 1 << 20;
}

/// Waits for a millisecond: the store orders logs by the millisecond of their last use.
fn next_millisecond() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1) {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn eviction_starts_with_the_least_recently_used_logs() {
    let node = Harness::embedded(&OnceLock::new(), one_mebibyte);
    let (subscribed, read) = (room("subscribed"), room("read"));
    node.subscribe(&subscribed).await;
    let first = node.publish(&[&subscribed], "first", "hello").await.unwrap();
    node.say(&subscribed, "the newest").await;
    node.say(&read, "hello").await;
    let body = "x".repeat(16 << 10);
    for i in 0..100 {
        node.say(&room(&i.to_string()), &body).await;
        next_millisecond();
        // This log is used all the time.
        assert_eq!(seqs(&node.log(&read).await), [1]);
    }
    let mut held = 0;
    for i in 0..100 {
        let log = node.log(&room(&i.to_string())).await;
        held += log.len();
        assert!(i < 70 || log.len() == 1, "{i} was used recently");
    }
    // The other logs need memory for their records too, and an eviction frees an eighth at once.
    assert!((40..64).contains(&held), "{held} of 16 KiB in 1 MiB");
    // Subscribers have received the newest message, so it stays. A duplicate is still recognised.
    assert_eq!(seqs(&node.log(&subscribed).await), [2]);
    let again = node.publish(&[&subscribed], "first", "hello").await.unwrap();
    assert!(again.duplicate && again.position == first.position);
}

#[tokio::test]
async fn full_store_refuses_messages_and_keeps_dedupe_records() {
    let node = Harness::embedded(&OnceLock::new(), |config| config.history.embedded_bytes = 64 << 10);
    let (alice, first) = (user("alice"), room("0"));
    let stored = node.publish(&[&first], "first", "x").await.unwrap();
    // Dedupe records must be kept for the whole window, so new rooms use up the store.
    let mut refused = None;
    for i in 1..1_000 {
        if let Err(error) = node.publish(&[&room(&i.to_string())], "key", "x").await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(BackendError::Full(_))), "{refused:?}");
    let error = node.publish(&[&alice], "key", "x").await.unwrap_err();
    assert!(matches!(error, BackendError::Full(_)), "{error:?}");
    let again = node.publish(&[&first], "first", "x").await.unwrap();
    assert!(again.duplicate && again.position == stored.position);
}

#[tokio::test]
async fn full_store_accepts_messages_after_the_dedupe_window() {
    let node = Harness::embedded(&OnceLock::new(), |config| {
        config.history.embedded_bytes = 64 << 10;
        config.history.dedupe_window = Duration::from_millis(100);
    });
    let mut tried = 0;
    let mut stored = 0;
    let deadline = Instant::now() + PATIENCE;
    // At most 60 rooms fit at once.
    while stored < 200 {
        tried += 1;
        stored += usize::from(node.publish(&[&room(&tried.to_string())], "key", "x").await.is_ok());
        assert!(Instant::now() < deadline, "{stored} of {tried}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(tried > stored, "the store was never full");
}

/// Publishes a message that is charged to a user.
async fn publish_as(
    node: &Harness,
    owner: &str,
    topics: &[&Topic],
    key: &str,
    body: &str,
) -> Result<Stored, BackendError> {
    let owner = Some(Owner::from(&user_name(owner)));
    node.backend.broker.publish(Publish { owner, ..message(topics, key, body) }).await
}

/// Publishes as mallory until the store refuses it, each time to the topics of the number. Returns how often that worked.
async fn fill(node: &Harness, topics: impl Fn(usize) -> Vec<Topic>) -> usize {
    for count in 0..10_000 {
        let topics = topics(count);
        let topics: Vec<&Topic> = topics.iter().collect();
        let key = format!("{count}{}", "\u{10348}".repeat(60));
        match publish_as(node, "mallory", &topics, &key, "x").await {
            Ok(stored) => assert!(!stored.duplicate),
            Err(BackendError::OverShare(retry_after)) => {
                assert!(!retry_after.is_zero());
                return count;
            }
            Err(error) => panic!("after {count} messages: {error}"),
        }
    }
    panic!("one owner stores without end");
}

#[tokio::test]
async fn owner_over_its_share_is_refused_and_others_go_on() {
    let topics: [fn(usize) -> Vec<Topic>; 3] = [
        |_| vec![room("noise")],
        |count| vec![room(&count.to_string())],
        |count| vec![user(&count.to_string()), user("mallory")],
    ];
    for topics in topics {
        let node = Harness::embedded(&OnceLock::new(), one_mebibyte);
        let calm = room("calm");
        let stored = publish_as(&node, "alice", &[&calm], "first", "hello").await.unwrap();
        let count = fill(&node, topics).await;
        // A record has a fixed size, whatever its key: an eighth of the budget holds a known number.
        assert!((60..1_000).contains(&count), "{count}");
        for i in 0..200 {
            let new = room(&format!("new {i}"));
            for topic in [&calm, &new] {
                publish_as(&node, &format!("user {i}"), &[topic], &i.to_string(), "hello").await.unwrap();
            }
        }
        assert_eq!(node.log(&calm).await.len(), 201, "nothing of others was evicted");
        let again = publish_as(&node, "alice", &[&calm], "first", "hello").await.unwrap();
        assert!(again.duplicate && again.position == stored.position);
        let first = topics(0);
        let first: Vec<&Topic> = first.iter().collect();
        let key = format!("0{}", "\u{10348}".repeat(60));
        let again = publish_as(&node, "mallory", &first, &key, "x").await.unwrap();
        assert!(again.duplicate, "a repeat needs no memory");
    }
}

#[tokio::test]
async fn eviction_takes_the_messages_of_the_heaviest_owner_first() {
    let node = Harness::embedded(&OnceLock::new(), one_mebibyte);
    let calm = room("calm");
    publish_as(&node, "alice", &[&calm], "first", "hello").await.unwrap();
    next_millisecond();
    let body = "x".repeat(16 << 10);
    for i in 0..60 {
        let noise = room(&i.to_string());
        for part in 0..4 {
            publish_as(&node, "mallory", &[&noise], &part.to_string(), &body).await.unwrap();
        }
    }
    assert_eq!(seqs(&node.log(&calm).await), [1], "the oldest log is not that of the heaviest owner");
    assert_eq!(seqs(&node.log(&room("0")).await), [] as [u64; 0], "its oldest messages were evicted");
}

#[tokio::test]
async fn owner_over_its_share_may_store_again_after_the_dedupe_window() {
    let node = Harness::embedded(&OnceLock::new(), |config| {
        config.history.embedded_bytes = 1 << 20;
        config.history.dedupe_window = Duration::from_millis(500);
    });
    let deadline = Instant::now() + PATIENCE;
    let mut refused = 0;
    let mut stored_since = 0;
    for i in 0.. {
        assert!(Instant::now() < deadline, "{i} messages, {refused} refused, {stored_since} stored since");
        let to = [&user(&i.to_string()), &user("mallory")];
        match publish_as(&node, "mallory", &to, "key", "x").await {
            Ok(_) => stored_since += usize::from(refused > 0),
            Err(_) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        if stored_since > 50 {
            break;
        }
    }
}
