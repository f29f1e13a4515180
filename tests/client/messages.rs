//! Sending and receiving: receipts, errors, order, and what is left of a message when its future is dropped.

use chatnode::config::Config;
use chatnode_client::{ErrorCode, Event, SendError, StopReason};
use futures_util::future::join_all;

use crate::program::{connect, content, message, next, options, room, soon, until, user};
use crate::support::api::with_api;
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;

/// Private messages need no room, come once after a lost connection, and cost no memory of the user.
#[tokio::test]
async fn private_messages_come_once_in_both_directions() {
    let cluster = Cluster::start(Kind::Embedded, 2).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
    let mut bob = cluster.connect(1, "bob").await;
    bob.ok("Auth", serde_json::json!({})).await;
    let (alice, mut events) = connect(balancer.address, "alice").await;
    let sending = alice.send_private("bob", "one");
    let id = sending.id().clone();
    let own = message(&mut events).await;
    assert_eq!((own.content.as_str(), own.own_id.as_ref(), &own.topic), ("one", Some(&id), &user("bob")));
    let receipt = soon(sending).await.unwrap();
    assert_eq!(
        (receipt.message_id, receipt.epoch, receipt.seq),
        (own.id(), own.position.epoch, own.position.seq)
    );
    assert_eq!((receipt.sent_at, receipt.duplicate), (own.sent_at, false));
    assert_eq!((alice.unsent(), bob.hears_privately().await.as_str()), (0, "one"));
    bob.whisper("alice", "two").await;
    let two = message(&mut events).await;
    assert_eq!((two.content.as_str(), two.sender.as_str(), two.own_id), ("two", "bob", None));

    balancer.shut();
    until(&mut events, "the loss", |event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
    bob.whisper("alice", "three").await;
    drop(alice.send_private("bob", "four"));
    balancer.open();
    assert_eq!(content(&mut events).await, "three");
    assert_eq!(content(&mut events).await, "four");
    let copies = [bob.hears_privately().await, bob.hears_privately().await];
    assert_eq!((copies, bob.hears_privately().await.as_str()), (["two".into(), "three".into()], "four"));
}

/// Both tasks use one connection, and each room keeps the order in which they sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tasks_share_one_handle() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, events) = connect(cluster.address(0), "alice").await;
    drop(events);
    alice.join("ops").await.unwrap();
    let tasks = ["left", "right"].map(|name| {
        let alice = alice.clone();
        tokio::spawn(async move {
            let sendings: Vec<_> =
                (0..20).map(|number| alice.send("ops", format!("{name} {number}"))).collect();
            join_all(sendings).await.into_iter().map(|fate| fate.unwrap().seq).collect::<Vec<u64>>()
        })
    });
    let mut seqs = Vec::new();
    for task in tasks {
        let own = soon(task).await.unwrap();
        assert!(own.is_sorted(), "{own:?}");
        seqs.extend(own);
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=40).collect::<Vec<u64>>());
    for _ in 0..40 {
        bob.hears().await;
    }
}

/// A message is on its way from the call on: nobody has to wait for it.
#[tokio::test]
async fn a_dropped_send_is_stored() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    alice.join("ops").await.unwrap();
    drop(alice.send("ops", "one"));
    assert_eq!(bob.hears().await, "one");
    assert_eq!(content(&mut events).await, "one");
    assert_eq!(alice.unsent(), 0);
}

/// A message that can't be sent fails with a reason, and the others go on.
#[tokio::test]
async fn a_failed_send_says_why() {
    let read_only = |config: &mut Config| config.rooms.read_only = vec!["news".into()];
    let cluster = Cluster::start_with(Kind::Embedded, 1, read_only).await;
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    let not_joined = soon(alice.send("news", "x")).await.unwrap_err();
    assert!(matches!(not_joined, SendError::NotJoined(room) if room.as_str() == "news"));
    assert!(matches!(soon(alice.send("", "x")).await, Err(SendError::Name { .. })));
    alice.join("news").await.unwrap();
    alice.join("ops").await.unwrap();
    let (forbidden, too_long) = (alice.send("news", "me, too"), alice.send("ops", "x".repeat(200_000)));
    let short = alice.send("ops", "short");
    let expected =
        [(forbidden.id().clone(), ErrorCode::Forbidden), (too_long.id().clone(), ErrorCode::MessageTooLarge)];
    // To each room one at a time, and no room waits for another.
    let mut refused = Vec::new();
    let mut content = None;
    while refused.len() < 2 || content.is_none() {
        match next(&mut events).await {
            Event::NotSent { id, error: SendError::Refused { code, .. }, .. } => {
                refused.push((id, code.known()))
            }
            Event::Message(message) => content = Some(message.content),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(content.as_deref(), Some("short"));
    for (id, code) in expected {
        assert!(refused.contains(&(id, Some(code))), "{refused:?}");
    }
    for fate in [soon(forbidden).await, soon(too_long).await] {
        assert!(matches!(fate, Err(SendError::Refused { .. })), "{fate:?}");
    }
    soon(short).await.unwrap();

    let late = alice.send("ops", "too late");
    alice.leave("ops").await.unwrap();
    // It was on its way before the answer to `Leave` could come.
    let error = soon(late).await.unwrap_err();
    assert_eq!(error, SendError::Unknown(StopReason::Left));
    assert!(error.may_be_stored() && error.to_string().contains("may have been stored"), "{error}");
    assert!(matches!(soon(alice.send("ops", "x")).await, Err(SendError::NotJoined(_))));
}

/// The bound of the send queue is an error at once, and `ready` waits for room.
#[tokio::test]
async fn a_full_send_queue_is_an_error() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let (alice, mut events) = options(balancer.address, "alice").send_capacity(2).connect().await.unwrap();
    balancer.shut();
    until(&mut events, "the loss", |event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
    let waiting = [alice.send_private("bob", "one"), alice.send_private("bob", "two")];
    assert_eq!(soon(alice.send_private("bob", "three")).await, Err(SendError::QueueFull));
    assert_eq!(alice.unsent(), 2);
    balancer.open();
    soon(alice.ready()).await.unwrap();
    for sending in waiting {
        soon(sending).await.unwrap();
    }
    soon(alice.send_private("bob", "four")).await.unwrap();
}

/// A program that does not read its events loses none of them.
#[tokio::test]
async fn a_full_event_queue_loses_nothing() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, mut events) = options(cluster.address(0), "alice").event_capacity(2).connect().await.unwrap();
    alice.join("ops").await.unwrap();
    for number in 0..200 {
        bob.say("ops", &format!("{number}")).await;
    }
    for number in 0..200 {
        assert_eq!(content(&mut events).await, number.to_string());
    }
    soon(alice.send("ops", "still there")).await.unwrap();
}

/// A passing error is reported once and retried; a message that is on its way at the end is reported.
#[tokio::test]
async fn a_passing_error_is_retried_until_the_end() {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, with_api).await;
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    alice.join("ops").await.unwrap();
    soon(alice.send("ops", "one")).await.unwrap();
    assert_eq!(content(&mut events).await, "one");
    cluster.redis().command(&["RENAME", "chat:{r:ops}:meta", "aside"]).unwrap();
    cluster.redis().command(&["SET", "chat:{r:ops}:meta", "x"]).unwrap();
    let two = alice.send("ops", "two");
    match next(&mut events).await {
        Event::SendDelayed { topic, code, .. } => {
            assert_eq!((topic, code.known()), (room("ops"), Some(ErrorCode::Internal)));
        }
        other => panic!("{other:?}"),
    }
    cluster.redis().command(&["RENAME", "aside", "chat:{r:ops}:meta"]).unwrap();
    assert_eq!(content(&mut events).await, "two");
    soon(two).await.unwrap();

    cluster.redis().command(&["SET", "chat:{r:ops}:meta", "x"]).unwrap();
    let three = alice.send("ops", "three");
    assert!(matches!(next(&mut events).await, Event::SendDelayed { .. }));
    assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", serde_json::Value::Null).await.0, 204);
    let id = three.id().clone();
    assert_eq!(soon(three).await, Err(SendError::Unknown(StopReason::Closed)));
    assert!(matches!(next(&mut events).await, Event::NotSent { id: of, .. } if of == id));
    assert!(matches!(next(&mut events).await, Event::Closed { .. }));
}
