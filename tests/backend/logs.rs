//! Logs: order, retention, duplicates, pages.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use chatnode::backend::{BackendError, Owner, PageLimit, Publish, Range};
use chatnode::protocol::{MessageId, Position, Topic};

use crate::TestStore;
use crate::support::backend::{ALL, bodies, message, room, seqs, user, user_name};
use crate::support::listener::eventually;

pub async fn log_numbers_entries_and_links_each_to_the_previous(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let topic = room("lobby");
    let empty = node.page(&topic, Range::Top, ALL).await;
    assert_eq!(empty.top, Position::start(empty.top.epoch));
    assert!(empty.entries.is_empty() && !empty.more);

    let mut prev = MessageId::NONE;
    for seq in 1..=5 {
        let stored = node.say(&topic, &format!("message {seq}\n")).await;
        assert_eq!((stored.position.epoch, stored.position.seq), (empty.top.epoch, seq));
        assert!(!stored.duplicate);
        let page = node.page(&topic, Range::After(seq - 1), ALL).await;
        assert_eq!(page.top, stored.position);
        assert_eq!(page.entries.len(), 1);
        let entry = &page.entries[0];
        assert_eq!((entry.seq, entry.message_id, entry.prev), (seq, stored.position.message_id, prev));
        assert_eq!(entry.body, format!("message {seq}\n"));
        assert!(entry.stored_at > 1_600_000_000_000, "Unix ms: {}", entry.stored_at);
        prev = entry.message_id;
    }
    // A body may be any bytes, a dedupe key any text.
    let publish = Publish {
        dedupe_key: Some("w".into()),
        body: Bytes::from_static(&[0, 0xff, b'\r', b'\n']),
        ..message(&[&topic], "", "")
    };
    node.backend.broker.publish(publish).await.unwrap();
    assert_eq!(&node.log(&topic).await[5].body[..], &[0, 0xff, b'\r', b'\n']);
}

pub async fn log_drops_entries_above_its_count_limit(store: &TestStore) {
    let node = store.node(|config| config.history.max_messages = 10).await;
    let topic = room("lobby");
    for i in 1..=300 {
        node.say(&topic, &i.to_string()).await;
        let held = i.min(10);
        if i % 50 == 0 || i < 13 {
            assert_eq!(seqs(&node.log(&topic).await), (i - held + 1..=i).collect::<Vec<u64>>());
        }
    }
}

pub async fn log_drops_entries_above_its_byte_limit(store: &TestStore) {
    let node = store.node(|config| config.history.max_bytes = 1_000).await;
    let topic = room("lobby");
    for i in 1..=30 {
        let body = "x".repeat(if i % 3 == 0 { 300 } else { 90 });
        node.say(&topic, &body).await;
    }
    let log = node.log(&topic).await;
    let held: usize = log.iter().map(|entry| entry.body.len()).sum();
    // 300 + 90 + 90 + 300 + 90 + 90 = 960. One more entry would exceed the limit.
    assert_eq!((held, seqs(&log)), (960, (25..=30).collect()));
    // A single entry above the limit is still delivered and kept.
    node.say(&topic, &"y".repeat(2_000)).await;
    assert_eq!(seqs(&node.log(&topic).await), [31]);
    node.say(&topic, "z").await;
    assert_eq!(seqs(&node.log(&topic).await), [32]);
}

pub async fn log_drops_expired_entries_and_keeps_its_top(store: &TestStore) {
    let node = store.node(|config| config.history.max_age = Duration::from_millis(400)).await;
    let topic = room("lobby");
    for i in 1..=150 {
        node.say(&topic, &i.to_string()).await;
    }
    // While new entries are added, old entries expire one by one.
    let first = node.log(&topic).await[0].stored_at;
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        node.say(&topic, "more").await;
        for range in [Range::After(0), Range::Newest] {
            let log = node.page(&topic, range, ALL).await.entries;
            let (oldest, newest) = (log[0].stored_at, log[log.len() - 1].stored_at);
            // Ages and times of storage are whole milliseconds of two clocks.
            assert!(newest - oldest <= 401, "held for {} ms", newest - oldest);
        }
        if node.log(&topic).await[0].stored_at > first + 800 {
            break;
        }
    }
    let before = node.page(&topic, Range::Newest, ALL).await;
    assert!(before.top.seq > 151 && !before.entries.is_empty(), "{}", before.top.seq);
    eventually("all entries expire", || async { node.log(&topic).await.is_empty() }).await;
    for range in [Range::Top, Range::After(0), Range::After(150), Range::Before(160), Range::Newest] {
        let page = node.page(&topic, range, ALL).await;
        assert_eq!((page.top, page.entries.len(), page.more), (before.top, 0, false), "{range:?}");
    }
    let next = node.say(&topic, "next").await;
    assert_eq!((next.position.epoch, next.position.seq), (before.top.epoch, before.top.seq + 1));
    let page = node.page(&topic, Range::After(0), ALL).await;
    assert_eq!(seqs(&page.entries), [before.top.seq + 1]);
    assert_eq!(page.entries[0].prev, before.top.message_id);
}

pub async fn duplicate_returns_the_result_of_the_first_publish(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (one, other) = (room("one"), room("other"));
    node.subscribe(&one).await;
    let first = node.publish(&[&one], "key", "first").await.unwrap();
    node.say(&one, "between").await;
    let repeat = Publish { sent_at: 42, ..message(&[&one], "key", "second") };
    let repeat = node.backend.broker.publish(repeat).await.unwrap();
    assert!(repeat.duplicate && !first.duplicate);
    assert_eq!((repeat.position, repeat.sent_at), (first.position, first.sent_at));
    assert!(!node.publish(&[&one], "key2", "third").await.unwrap().duplicate);
    assert!(!node.publish(&[&other], "key", "elsewhere").await.unwrap().duplicate);
    assert_eq!(bodies(&node.log(&one).await), ["first", "between", "third"]);
    assert_eq!(bodies(&node.listener.messages(&one, 3).await), ["first", "between", "third"]);
}

pub async fn dedupe_key_expires_with_its_window(store: &TestStore) {
    let node = store.node(|config| config.history.dedupe_window = Duration::from_millis(500)).await;
    let topic = room("lobby");
    let first = node.publish(&[&topic], "key", "first").await.unwrap();
    assert!(node.publish(&[&topic], "key", "again").await.unwrap().duplicate);
    eventually("the key expires", || async {
        !node.publish(&[&topic], "key", "later").await.unwrap().duplicate
    })
    .await;
    let log = node.log(&topic).await;
    assert_eq!(bodies(&log), ["first", "later"]);
    assert!(log[1].stored_at - log[0].stored_at >= 500, "the key expired before the end of its window");
    assert_eq!(log[0].message_id, first.position.message_id);
}

pub async fn publish_to_two_topics_stores_one_message_in_both(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (target, own) = (user("bob"), user("alice"));
    for topic in [&target, &own] {
        node.subscribe(topic).await;
    }
    node.say(&own, "earlier").await;
    let stored = node.publish(&[&target, &own], "key", "hi").await.unwrap();
    assert_eq!(stored.position.seq, 2, "the position is in the publisher's own log");
    let repeat = node.publish(&[&target, &own], "key", "hi").await.unwrap();
    assert_eq!((repeat.position, repeat.duplicate), (stored.position, true));
    let (at_target, at_own) = (node.log(&target).await, node.log(&own).await);
    assert_eq!((bodies(&at_target), bodies(&at_own)), (vec!["hi"], vec!["earlier", "hi"]));
    assert_eq!(at_target[0].message_id, at_own[1].message_id);
    assert_eq!((at_target[0].seq, at_target[0].prev), (1, MessageId::NONE));
    assert_ne!(node.page(&target, Range::Top, ALL).await.top.epoch, stored.position.epoch);
    assert_eq!(node.listener.messages(&target, 1).await, at_target);
    assert_eq!(node.listener.messages(&own, 2).await, at_own);
}

/// Which of two logs can hold a message alone. In a cluster, the log of the sender is always written last.
fn halves(store: &TestStore) -> &'static [usize] {
    match store {
        TestStore::Cluster(..) => &[0],
        _ => &[0, 1],
    }
}

pub async fn duplicate_completes_a_half_stored_message(store: &TestStore) {
    let node = store.node(|_| {}).await;
    for &done_first in halves(store) {
        let topics = [user(&format!("target{done_first}")), user(&format!("own{done_first}"))];
        let first = node.publish(&[&topics[done_first]], "key", "as it was").await.unwrap();
        let repeat = Publish { sent_at: 42, ..message(&[&topics[0], &topics[1]], "key", "other text") };
        let completed = node.backend.broker.publish(repeat.clone()).await.unwrap();
        assert!(!completed.duplicate);
        assert_eq!(completed.sent_at, first.sent_at);
        let mut tops = Vec::new();
        for topic in &topics {
            let log = node.log(topic).await;
            assert_eq!(bodies(&log), ["as it was"]);
            assert_eq!(log[0].message_id, first.position.message_id);
            tops.push(node.page(topic, Range::Top, ALL).await.top);
        }
        assert_eq!(completed.position, tops[1]);
        let again = node.backend.broker.publish(repeat).await.unwrap();
        assert_eq!((again.position, again.duplicate), (tops[1], true));
    }
}

pub async fn only_a_repeat_is_answered_if_nothing_new_may_be_stored(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (lobby, bob, alice) = (room("lobby"), user("bob"), user("alice"));
    let repeat = |topics: &[&Topic], key: &str| {
        let publish = Publish { is_repeat_only: true, sent_at: 42, ..message(topics, key, "other text") };
        let broker = node.backend.broker.clone();
        async move { broker.publish(publish).await }
    };
    for topics in [&[&lobby][..], &[&bob, &alice], &[&alice]] {
        assert_eq!(repeat(topics, "key").await, Err(BackendError::NotARepeat));
    }
    // The refusal began no log: that of a user who never connected still has its limit.
    let owner = Some(Owner::from(&user_name("alice")));
    for count in 0..=64 {
        let publish = Publish { owner, ..message(&[&bob, &alice], &count.to_string(), "hi") };
        let stored = node.backend.broker.publish(publish).await;
        assert_eq!(stored.err(), (count == 64).then_some(BackendError::InboxFull), "{count}");
    }
    assert_eq!(node.page(&lobby, Range::Top, ALL).await.top.seq, 0);
    // A message that is stored is acknowledged, and completed as it was stored.
    let first = node.publish(&[&lobby], "key", "as it was").await.unwrap();
    let again = repeat(&[&lobby], "key").await.unwrap();
    assert_eq!((again.position, again.sent_at, again.duplicate), (first.position, first.sent_at, true));
    for &done in halves(store) {
        let topics = [user(&format!("target{done}")), user(&format!("own{done}"))];
        let half = node.publish(&[&topics[done]], "half", "as it was").await.unwrap();
        let completed = repeat(&[&topics[0], &topics[1]], "half").await.unwrap();
        assert_eq!((completed.position.message_id, completed.duplicate), (half.position.message_id, false));
        assert_eq!(bodies(&node.log(&topics[1 - done]).await), ["as it was"]);
    }
}

/// The ids are a clock's: of a node that is ahead, and of one that is behind.
pub async fn ids_of_a_log_sort_by_seq_whatever_the_clocks(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (lobby, bob, alice) = (room("lobby"), user("bob"), user("alice"));
    let ahead: MessageId = "7fffffff-ffff-7fff-bfff-ffffffffffff".parse().unwrap();
    for topic in [&lobby, &bob] {
        let publish = Publish { message_id: ahead, ..message(&[topic], "ahead", "") };
        assert_eq!(node.backend.broker.publish(publish).await.unwrap().position.message_id, ahead);
    }
    for (count, topics) in
        [&[&lobby][..], &[&bob, &alice], &[&alice, &bob], &[&lobby]].into_iter().enumerate()
    {
        let behind = message(topics, &count.to_string(), "");
        let body = format!(r#"{{"message_id":"{}"}}"#, behind.message_id);
        let publish = Publish { body: Bytes::from(body), ..behind.clone() };
        let stored = node.backend.broker.publish(publish.clone()).await.unwrap().position.message_id;
        assert_eq!(stored.to_string()[14..], behind.message_id.to_string()[14..], "as unique as before");
        assert_eq!(node.backend.broker.publish(publish).await.unwrap().position.message_id, stored);
        for topic in topics {
            let log = node.log(topic).await;
            let last = &log[log.len() - 1];
            assert_eq!(last.message_id, stored);
            assert_eq!(last.body, format!(r#"{{"message_id":"{stored}"}}"#));
            assert!(log.is_sorted_by(|one, next| one.message_id < next.message_id), "{log:?}");
        }
    }
}

pub async fn message_to_its_sender_is_stored_once(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let own = user("alice");
    node.subscribe(&own).await;
    let stored = node.publish(&[&own, &own], "key", "note").await.unwrap();
    assert_eq!((stored.position.seq, stored.duplicate), (1, false));
    assert!(node.publish(&[&own, &own], "key", "note").await.unwrap().duplicate);
    node.say(&own, "after").await;
    assert_eq!(bodies(&node.log(&own).await), ["note", "after"]);
    assert_eq!(bodies(&node.listener.messages(&own, 2).await), ["note", "after"]);
}

pub async fn history_returns_pages_in_both_directions(store: &TestStore) {
    let node = store.node(|config| config.history.max_messages = 50).await;
    let topic = room("lobby");
    for i in 1..=60 {
        node.say(&topic, &i.to_string()).await;
    }
    let ten = PageLimit { messages: 10, ..ALL };
    let forty = PageLimit { messages: 40, ..ALL };
    for (range, limit, from, to, more) in [
        (Range::After(0), ten, 11, 20, true),
        (Range::After(20), ten, 21, 30, true),
        (Range::After(50), ten, 51, 60, false),
        (Range::After(20), forty, 21, 60, false),
        (Range::After(59), ten, 60, 60, false),
        (Range::Newest, ten, 51, 60, true),
        (Range::Newest, ALL, 11, 60, false),
        (Range::Before(51), ten, 41, 50, true),
        (Range::Before(52), forty, 12, 51, true),
        (Range::Before(51), forty, 11, 50, false),
        (Range::Before(13), ten, 11, 12, false),
        (Range::Before(u64::MAX), ten, 51, 60, true),
    ] {
        let page = node.page(&topic, range, limit).await;
        assert_eq!(seqs(&page.entries), (from..=to).collect::<Vec<u64>>(), "{range:?} {limit:?}");
        assert_eq!((page.more, page.top.seq), (more, 60), "{range:?} {limit:?}");
    }
    for range in [
        Range::Top,
        Range::After(60),
        Range::After(1_000),
        Range::After(u64::MAX),
        Range::Before(0),
        Range::Before(1),
        Range::Before(11),
    ] {
        let page = node.page(&topic, range, ten).await;
        assert_eq!((page.entries.len(), page.more, page.top.seq), (0, false, 60), "{range:?}");
    }
}

pub async fn page_limits_leave_at_least_one_entry(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let topic = room("lobby");
    for _ in 0..40 {
        node.say(&topic, &"x".repeat(100)).await;
    }
    for (bytes, count) in [(1, 1), (100, 1), (199, 1), (200, 2), (2_050, 20)] {
        let limit = PageLimit { messages: 1_000, bytes };
        let forward = node.page(&topic, Range::After(5), limit).await;
        assert_eq!(seqs(&forward.entries), (6..6 + count).collect::<Vec<u64>>(), "{bytes}");
        let backward = node.page(&topic, Range::Newest, limit).await;
        assert_eq!(seqs(&backward.entries), (41 - count..=40).collect::<Vec<u64>>(), "{bytes}");
        assert!(forward.more && backward.more);
    }
}

pub async fn tops_returns_the_top_of_each_log(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let topics: Vec<Topic> = (0..230).map(|i| room(&format!("room {i}"))).collect();
    for (i, topic) in topics.iter().enumerate().step_by(3) {
        for _ in 0..=i % 2 {
            node.say(topic, "hi").await;
        }
    }
    let tops = node.backend.broker.tops(&topics).await.unwrap();
    assert_eq!(tops.len(), topics.len());
    for (i, (topic, top)) in topics.iter().zip(&tops).enumerate() {
        let top = top.unwrap();
        assert_eq!(top.seq, if i % 3 == 0 { 1 + i as u64 % 2 } else { 0 });
        assert_eq!(node.page(topic, Range::Top, ALL).await.top, top);
    }
    assert_eq!(node.backend.broker.tops(&topics).await.unwrap(), tops);
    assert_eq!(node.backend.broker.tops(&[]).await.unwrap(), []);
}

pub async fn topics_with_similar_names_have_separate_logs(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let names =
        ["a", "a}{b", "a%7D%7Bb", "a%7Bb", "a{b", "%7B", "{", "日本", "a:b", "a:log", "a b", "-", "*"];
    let topics: Vec<Topic> = names.iter().flat_map(|name| [room(name), user(name)]).collect();
    let mut epochs = HashSet::new();
    for topic in &topics {
        node.subscribe(topic).await;
    }
    for topic in &topics {
        let stored = node.publish(&[topic], "key", &format!("{topic:?}")).await.unwrap();
        assert!(!stored.duplicate, "{topic:?}");
        assert!(epochs.insert(stored.position.epoch), "{topic:?}");
    }
    for topic in &topics {
        assert_eq!(bodies(&node.log(topic).await), [format!("{topic:?}")]);
        assert_eq!(bodies(&node.listener.messages(topic, 1).await), [format!("{topic:?}")]);
    }
}
