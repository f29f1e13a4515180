//! The crate's own client against real nodes: what a program hears of rooms, persons, refusals and lost connections.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "support/mod.rs"]
#[macro_use]
mod support;

use std::time::Duration;

use chatnode::protocol::UserName;
use chatnode_client::{Client, ClientError, Event, Message, Target};
use serde_json::Value;

use support::api::{with_api, with_tokens};
use support::client::PATIENCE;
use support::cluster::{Cluster, Kind};
use support::fake_balancer::FakeBalancer;

fn url(address: std::net::SocketAddr) -> String {
    format!("ws://{address}/")
}

/// The next event that fits; what comes before it is of no interest.
async fn until<T>(client: &mut Client, what: &str, fits: impl Fn(&Event) -> Option<T>) -> T {
    let waiting = async {
        loop {
            let event = client.next().await.unwrap_or_else(|| panic!("it was over before {what}"));
            if let Some(found) = fits(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// The next event that is more than news of the connection.
async fn heard(client: &mut Client) -> Event {
    until(client, "something to hear", |event| {
        (!matches!(event, Event::Connected | Event::Lost(..))).then(|| event.clone())
    })
    .await
}

async fn message(client: &mut Client) -> Message {
    match heard(client).await {
        Event::Message(message) => message,
        other => panic!("no message: {other:?}"),
    }
}

fn bob() -> Target {
    Target::User(UserName::parse("bob").unwrap())
}

/// Private messages need no room, come once over a lost connection, and cost no memory of the person.
#[tokio::test]
async fn private_messages_come_once_in_both_directions() {
    let cluster = Cluster::start(Kind::Embedded, 2).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
    let mut other = cluster.connect(1, "bob").await;
    other.ok("Auth", serde_json::json!({})).await;
    let mut alice = Client::new(&url(balancer.address), "alice").unwrap();
    let id = alice.whisper("bob", "one").unwrap();
    let own = message(&mut alice).await;
    assert_eq!((own.content.as_str(), own.own_id, &own.conversation), ("one", Some(id), &bob()));
    assert_eq!((alice.unsent(), other.hears_privately().await.as_str()), (0, "one"));
    other.whisper("alice", "two").await;
    let said = message(&mut alice).await;
    assert_eq!((said.content.as_str(), said.sender.as_str(), said.own_id), ("two", "bob", None));

    balancer.shut();
    until(&mut alice, "the loss", |event| matches!(event, Event::Lost(..)).then_some(())).await;
    other.whisper("alice", "three").await;
    alice.whisper("bob", "four").unwrap();
    balancer.open();
    assert_eq!(message(&mut alice).await.content, "three");
    assert_eq!(message(&mut alice).await.content, "four");
    let copies = [other.hears_privately().await, other.hears_privately().await];
    assert_eq!((copies, other.hears_privately().await.as_str()), (["two".into(), "three".into()], "four"));
}

/// What can't be said is told with its id, and the rest goes on.
#[tokio::test]
async fn what_is_not_sent_comes_back() {
    let read_only = |config: &mut chatnode::config::Config| config.rooms.read_only = vec!["news".into()];
    let cluster = Cluster::start_with(Kind::Embedded, 1, read_only).await;
    let mut alice = Client::new(&url(cluster.address(0)), "alice").unwrap();
    assert!(matches!(alice.say("news", "x"), Err(ClientError::NotEntered(room)) if room.as_str() == "news"));
    assert!(matches!(alice.enter(""), Err(ClientError::Name(..))));
    alice.enter("news").unwrap();
    alice.enter("ops").unwrap();
    let forbidden = alice.say("news", "me, too").unwrap();
    let too_long = alice.say("ops", "x".repeat(200_000)).unwrap();
    alice.say("ops", "short").unwrap();
    // To each room one at a time, and no room waits for another.
    let mut refused = Vec::new();
    let mut short = None;
    while refused.len() < 2 || short.is_none() {
        match heard(&mut alice).await {
            Event::NotSent { id, why, .. } => refused.push((id, why)),
            Event::Message(message) => short = Some(message.content),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(short.as_deref(), Some("short"));
    for (expected, word) in [(forbidden, "read"), (too_long, "long")] {
        let why = refused.iter().find(|(id, _)| *id == expected).map(|(_, why)| why.as_str());
        assert!(why.is_some_and(|why| why.contains(word)), "{refused:?}");
    }

    let late = alice.say("ops", "too late").unwrap();
    alice.leave("ops").unwrap();
    // It was on its way before the answer to the leaving could come.
    match heard(&mut alice).await {
        Event::NotSent { id, why, .. } => {
            assert!(id == late && why.contains("may have been stored"), "{why}")
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(alice.say("ops", "x"), Err(ClientError::NotEntered(_))));
}

/// A room that can't be entered takes nothing, at once and not only after a while; with old messages where they are asked for.
#[tokio::test]
async fn a_room_that_is_refused_takes_nothing_and_history_comes_where_it_is_asked_for() {
    let one_room = |config: &mut chatnode::config::Config| config.limits.max_rooms_per_connection = 1;
    let cluster = Cluster::start_with(Kind::Embedded, 1, one_room).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for number in 1..=3 {
        bob.say("ops", &format!("old {number}")).await;
    }
    let mut alice = Client::new(&url(cluster.address(0)), "alice").unwrap();
    alice.ask_for_history(2);
    alice.enter("ops").unwrap();
    alice.enter("dev").unwrap();
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(match heard(&mut alice).await {
            Event::Message(message) => message.content,
            Event::Notice(Some(room), _) => room.to_string(),
            other => panic!("{other:?}"),
        });
    }
    // The answer for the one room and the messages of the other come in either order.
    lines.sort();
    assert_eq!(lines, ["#dev", "old 2", "old 3"]);
    let id = alice.say("dev", "anybody?").unwrap();
    assert_eq!(alice.unsent(), 0);
    assert!(matches!(heard(&mut alice).await, Event::NotSent { id: of, .. } if of == id));
}

/// The end is told once, with what to do about it; a token is shown at the upgrade.
#[tokio::test]
async fn it_is_over_when_the_node_says_so() {
    let with_both = |config: &mut chatnode::config::Config| {
        with_api(config);
        with_tokens(config);
    };
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_both).await;
    let address = url(cluster.address(0));
    let closed = |event: &Event| match event {
        Event::Closed(why) => Some(why.clone()),
        _ => None,
    };
    let mut nobody = Client::new(&address, "alice").unwrap();
    assert!(until(&mut nobody, "the refusal", closed).await.contains("token"));
    assert_eq!(nobody.next().await, None);

    let token = cluster.token(0, "alice").await;
    let mut alice = Client::with_token(&address, "alice", &token).unwrap();
    alice.enter("ops").unwrap();
    alice.say("ops", "here").unwrap();
    assert_eq!(message(&mut alice).await.content, "here");
    assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
    assert!(until(&mut alice, "the end", closed).await.contains("administrator"));
    assert!(matches!(alice.say("ops", "still there?"), Err(ClientError::Over)));
    let over = tokio::time::timeout(Duration::from_secs(1), alice.next()).await;
    assert_eq!(over.unwrap(), None);
}

/// What is refused for now is told, and tried again; and what is under way when it ends is told.
#[tokio::test]
async fn what_is_refused_for_now_is_tried_again_until_the_end() {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, with_api).await;
    let mut alice = Client::new(&url(cluster.address(0)), "alice").unwrap();
    alice.enter("ops").unwrap();
    alice.say("ops", "one").unwrap();
    assert_eq!(message(&mut alice).await.content, "one");
    cluster.redis().command(&["RENAME", "chat:{r:ops}:meta", "aside"]).unwrap();
    cluster.redis().command(&["SET", "chat:{r:ops}:meta", "x"]).unwrap();
    alice.say("ops", "two").unwrap();
    assert!(matches!(heard(&mut alice).await, Event::Notice(Some(_), text) if text.contains("trying on")));
    cluster.redis().command(&["RENAME", "aside", "chat:{r:ops}:meta"]).unwrap();
    assert_eq!(message(&mut alice).await.content, "two");

    cluster.redis().command(&["SET", "chat:{r:ops}:meta", "x"]).unwrap();
    let id = alice.say("ops", "three").unwrap();
    assert!(matches!(heard(&mut alice).await, Event::Notice(..)));
    assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
    assert!(matches!(heard(&mut alice).await, Event::NotSent { id: of, .. } if of == id));
    assert!(matches!(heard(&mut alice).await, Event::Closed(_)));
}
