//! Requirements for the embedded store only: it uses the memory of the node, so its size is bounded.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chatnode::backend::BackendError;
use chatnode::config::Config;
use support::backend::{Harness, room, seqs, user};
use support::listener::PATIENCE;

fn one_mebibyte(config: &mut Config) {
    config.history.embedded_bytes = 1 << 20;
}

/// Waits for the next millisecond: the store orders logs by the millisecond of their last use.
fn next_millisecond() {
    let millisecond = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = millisecond();
    while millisecond() == now {
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
    assert!(matches!(refused, Some(BackendError::Refused(_))), "{refused:?}");
    let error = node.publish(&[&alice], "key", "x").await.unwrap_err();
    assert!(matches!(error, BackendError::Refused(_)), "{error:?}");
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
