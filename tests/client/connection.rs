//! The connection: how it begins, is lost and comes back, and how a client ends.

use std::time::Duration;

use chatnode::config::Config;
use chatnode_client::{
    AddressError, ClosedReason, ConnectError, ConnectOptions, Event, GapReason, LostReason, RequestError,
    SendError,
};
use futures_util::StreamExt;
use serde_json::Value;

use crate::program::{connect, content, message, next, options, room, soon, until};
use crate::support::api::{with_api, with_tokens};
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;

#[tokio::test]
async fn an_invalid_setting_is_an_error() {
    let connect = |url: &str, user: &str| ConnectOptions::new(url).user(user).connect();
    assert!(matches!(
        connect("nowhere", "alice").await,
        Err(ConnectError::Address(AddressError::Url(url))) if url == "nowhere"
    ));
    assert!(matches!(connect("ws://127.0.0.1:9/", " ").await, Err(ConnectError::Name { .. })));
    let nobody = ConnectOptions::new("ws://127.0.0.1:9/").connect().await;
    assert!(matches!(nobody, Err(ConnectError::NoUser)));
    let header =
        ConnectOptions::new("ws://127.0.0.1:9/").user("alice").header("X-Region", "e\nu").connect().await;
    assert!(matches!(header, Err(ConnectError::Address(AddressError::Header(_)))));
}

/// The first connection fails at once, unless the program wants it retried.
#[tokio::test]
async fn the_first_connection_fails_or_is_retried() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    balancer.shut();
    let failed = soon(options(balancer.address, "alice").connect()).await;
    assert!(matches!(failed, Err(ConnectError::Lost(LostReason::CantConnect(_)))), "{failed:?}");

    let patient = options(balancer.address, "alice").retry_on_initial_connect();
    let (alice, mut events) = soon(patient.connect()).await.unwrap();
    let sending = alice.send_private("bob", "later");
    assert_eq!(alice.members("ops").await, Err(RequestError::Disconnected));
    balancer.open();
    until(&mut events, "the connection", |event| matches!(event, Event::Connected { .. }).then_some(()))
        .await;
    soon(sending).await.unwrap();
}

/// A lost connection is reported with its reason and the pause, and the client resumes where it stopped.
#[tokio::test]
async fn a_lost_connection_is_resumed() {
    let cluster = Cluster::start(Kind::Embedded, 2).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    let (alice, mut events) = connect(balancer.address, "alice").await;
    soon(alice.join("ops")).await.unwrap();
    for round in 0..3 {
        balancer.prefer(cluster.address(round % 2));
        balancer.cut();
        let pause = until(&mut events, "the loss", |event| match event {
            Event::Disconnected { reason: LostReason::Broken(_), retry_in, .. } => Some(*retry_in),
            _ => None,
        });
        // Short at first, and longer each time: no connection lasts for a minute here.
        assert!(pause.await <= Duration::from_secs(1 << round));
        bob.say("ops", &format!("missed {round}")).await;
        let sending = alice.send("ops", format!("unsent {round}"));
        let mut contents = [content(&mut events).await, content(&mut events).await];
        contents.sort();
        assert_eq!(contents, [format!("missed {round}"), format!("unsent {round}")]);
        soon(sending).await.unwrap();
    }
}

/// A gap is reported with the room and a typed reason, before the messages that are left.
#[tokio::test]
async fn a_gap_has_a_typed_reason() {
    let short = |config: &mut Config| config.history.max_messages = 10;
    let cluster = Cluster::start_with(Kind::Embedded, 2, short).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, mut events) = connect(balancer.address, "alice").await;
    soon(alice.join("ops")).await.unwrap();
    soon(alice.send("ops", "one")).await.unwrap();
    assert_eq!(content(&mut events).await, "one");
    balancer.shut();
    until(&mut events, "the loss", |event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
    bob.say_many("ops", "missed", 30).await;
    // The other node has none of the messages in memory.
    balancer.prefer(cluster.address(1));
    balancer.open();
    match next(&mut events).await {
        Event::Gap { topic, reason, .. } => {
            assert_eq!((topic, reason.known()), (Some(room("ops")), Some(GapReason::Trimmed)));
        }
        other => panic!("{other:?}"),
    }
    assert!(message(&mut events).await.position.seq > 20);
}

/// The end is reported once, with its reason. The token is shown at the handshake, and can give the user name.
#[tokio::test]
async fn the_node_ends_a_client() {
    let with_both = |config: &mut Config| {
        with_api(config);
        with_tokens(config);
    };
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_both).await;
    let refused = options(cluster.address(0), "alice").connect().await.unwrap_err();
    assert!(refused.to_string().contains("token"), "{refused}");
    assert!(matches!(refused, ConnectError::Closed(ClosedReason::Refused { .. })), "{refused:?}");
    let wrong = options(cluster.address(0), "alice").token("0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10");
    assert!(matches!(wrong.connect().await, Err(ConnectError::Closed(ClosedReason::TokenRejected))));

    let token = cluster.token(0, "alice").await;
    let nameless = ConnectOptions::new(format!("ws://{}/ws", cluster.address(0))).token(token);
    let (alice, mut events) = nameless.connect().await.unwrap();
    assert_eq!(alice.user().as_str(), "alice");
    soon(alice.join("ops")).await.unwrap();
    soon(alice.send("ops", "here")).await.unwrap();
    assert_eq!(content(&mut events).await, "here");
    assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
    match next(&mut events).await {
        Event::Closed { reason, .. } => assert_eq!(reason, ClosedReason::Removed),
        other => panic!("{other:?}"),
    }
    assert_eq!(soon(events.next()).await, None);
    assert_eq!(soon(alice.send("ops", "still there?")).await, Err(SendError::Closed));
    assert_eq!(soon(alice.join("dev")).await, Err(RequestError::Closed));
    assert_eq!(soon(alice.ready()).await, Err(SendError::Closed));
    assert_eq!(soon(alice.close(Duration::ZERO)).await, Ok(()));
}

/// Closing waits for the messages on their way, and others see the user leave.
#[tokio::test]
async fn close_flushes_the_messages_on_their_way() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, events) = connect(cluster.address(0), "alice").await;
    soon(alice.join("ops")).await.unwrap();
    for number in 0..50 {
        drop(alice.send("ops", number.to_string()));
    }
    alice.typing(&room("ops")).await.unwrap();
    assert_eq!(soon(alice.close(Duration::from_secs(30))).await, Ok(()));
    for number in 0..50 {
        assert_eq!(bob.hears().await, number.to_string());
    }
    for kind in ["Typing", "Leave"] {
        bob.wait_for("a typing notice, then the end", |frame| frame["message_type"] == kind).await;
    }
    let last = soon(events.collect::<Vec<Event>>()).await.pop();
    assert!(matches!(last, Some(Event::Closed { reason: ClosedReason::ByClient, .. })), "{last:?}");
}

/// Closing does not wait longer than it may, and says how many messages are unconfirmed.
#[tokio::test]
async fn close_gives_up_at_its_deadline() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let (alice, mut events) = connect(balancer.address, "alice").await;
    balancer.mute();
    let sending = alice.send_private("bob", "one");
    let closed = soon(alice.close(Duration::from_millis(300))).await;
    assert_eq!(closed.unwrap_err().unsent, 1);
    let error = soon(sending).await.unwrap_err();
    assert!(error.may_be_stored(), "{error}");
    assert!(matches!(next(&mut events).await, Event::NotSent { .. }));
    assert!(matches!(next(&mut events).await, Event::Closed { .. }));
}

/// A client without handles sends what is on its way, and ends.
#[tokio::test]
async fn a_dropped_client_sends_and_leaves() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, events) = connect(cluster.address(0), "alice").await;
    soon(alice.join("ops")).await.unwrap();
    drop(alice.send("ops", "last words"));
    drop((alice, events));
    assert_eq!(bob.hears().await, "last words");
    bob.wait_for("that alice left", |frame| frame["message_type"] == "Leave").await;
}

/// It answers no pings, since it does not read. The node hears it all the same.
#[tokio::test]
async fn busy_program_keeps_its_connection() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| {
        config.server.ping_interval = Duration::from_secs(1);
        config.server.pong_timeout = Duration::from_secs(1);
    })
    .await;
    let (alice, mut events) = options(cluster.address(0), "alice").event_capacity(1).connect().await.unwrap();
    soon(alice.join("ops")).await.unwrap();
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for number in 0..10 {
        bob.say("ops", &number.to_string()).await;
    }
    // Each comes after a second of silence.
    for _ in 0..5 {
        bob.ping_comes().await;
    }
    let mut heard = 0;
    while heard < 10 {
        match soon(events.next()).await.unwrap() {
            Event::Message(message) => {
                assert_eq!(message.content, heard.to_string());
                heard += 1;
            }
            Event::Disconnected { reason, .. } => panic!("{reason:?}"),
            _ => {}
        }
    }
    soon(alice.send("ops", "back")).await.unwrap();
}
