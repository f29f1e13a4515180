//! What the embedded store alone has to do: it shares its memory with the node, so all of it has a bound.
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

/// The store tells what was used longest ago by the millisecond.
fn next_millisecond() {
    let millisecond = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let now = millisecond();
    while millisecond() == now {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn the_logs_used_longest_ago_lose_their_messages_first() {
    let node = Harness::embedded(&OnceLock::new(), one_mebibyte);
    let (heard, read) = (room("heard"), room("read"));
    node.subscribe(&heard).await;
    let first = node.publish(&[&heard], "first", "hello").await.unwrap();
    node.say(&heard, "the newest").await;
    node.say(&read, "hello").await;
    let body = "x".repeat(16 << 10);
    for i in 0..100 {
        node.say(&room(&i.to_string()), &body).await;
        next_millisecond();
        // Used all the time.
        assert_eq!(seqs(&node.log(&read).await), [1]);
    }
    let mut held = 0;
    for i in 0..100 {
        let log = node.log(&room(&i.to_string())).await;
        held += log.len();
        assert!(i < 70 || log.len() == 1, "{i} is new");
    }
    // The rest is for what is remembered of the others, and an eighth is freed at once.
    assert!((40..64).contains(&held), "{held} of 16 KiB in 1 MiB");
    // Whoever listens was sent the newest, and it stays; a repeat is still one.
    assert_eq!(seqs(&node.log(&heard).await), [2]);
    let again = node.publish(&[&heard], "first", "hello").await.unwrap();
    assert!(again.duplicate && again.position == first.position);
}

#[tokio::test]
async fn what_can_not_be_given_up_is_not_given_up_and_new_messages_are_refused() {
    let node = Harness::embedded(&OnceLock::new(), |config| config.history.embedded_bytes = 64 << 10);
    let (alice, first) = (user("alice"), room("0"));
    let stored = node.publish(&[&first], "first", "x").await.unwrap();
    // What makes a repeat a repeat must be kept for its time, so ever new rooms come to an end.
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
async fn once_the_time_for_repeats_is_over_there_is_room_again() {
    let node = Harness::embedded(&OnceLock::new(), |config| {
        config.history.embedded_bytes = 64 << 10;
        config.history.dedupe_window = Duration::from_millis(100);
    });
    let mut tried = 0;
    let mut stored = 0;
    let deadline = Instant::now() + PATIENCE;
    // No more than 60 fit at once.
    while stored < 200 {
        tried += 1;
        stored += usize::from(node.publish(&[&room(&tried.to_string())], "key", "x").await.is_ok());
        assert!(Instant::now() < deadline, "{stored} of {tried}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(tried > stored, "it was never full");
}
