//! Messages after they were sent: edits, deletions, reactions, replies, and what a node refuses of them.

use std::time::Duration;

use chatnode::config::Config;
use chatnode_client::{Change, ErrorCode, Event, Message, MessageId, NewMessage, SendError, UserName};
use serde_json::json;

use crate::program::{connect, message, next, room, soon, until, user};
use crate::support::cluster::{Cluster, Kind};
use crate::support::fake_balancer::FakeBalancer;

fn edit(content: &str, if_version: MessageId) -> Change {
    Change::Edit { content: content.into(), if_version: Some(if_version) }
}

/// The only message of the room, as it is now.
async fn stored(client: &chatnode_client::Client) -> Message {
    let mut page = soon(client.history(&room("ops"), None, 1)).await.unwrap();
    page.messages.pop().unwrap()
}

#[tokio::test]
async fn changes_have_receipts_and_reach_all_members() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    let (bob, mut seen) = connect(cluster.address(0), "bob").await;
    for client in [&alice, &bob] {
        soon(client.join("ops")).await.unwrap();
    }
    let (ops, sent) = (room("ops"), soon(alice.send("ops", "one")).await.unwrap().message_id);
    assert_eq!(message(&mut seen).await.id(), sent);
    let editing = alice.edit(&ops, sent, "two");
    let id = editing.id().clone();
    let edited = soon(editing).await.unwrap();
    assert_eq!((edited.seq, edited.duplicate, edited.unchanged), (Some(2), false, false));
    match next(&mut seen).await {
        Event::Edited { message_id, version, content, own_id, .. } => {
            assert_eq!((message_id, version, content.as_str()), (sent, edited.message_id, "two"));
            assert_eq!(own_id, None);
        }
        other => panic!("{other:?}"),
    }
    let own = until(&mut events, "the own edit", |event| match event {
        Event::Edited { own_id, .. } => own_id.clone(),
        _ => None,
    });
    assert_eq!(own.await, id);

    assert!(!soon(bob.react(&ops, sent, "👍", true)).await.unwrap().unchanged);
    let again = soon(bob.react(&ops, sent, "👍", true)).await.unwrap();
    assert_eq!((again.unchanged, again.seq, again.message_id), (true, None, sent));
    soon(alice.react(&ops, sent, "👍", true)).await.unwrap();
    for (client, mine) in [(&alice, true), (&bob, true)] {
        let message = stored(client).await;
        let count = message.reactions.get("👍").unwrap();
        assert_eq!((message.content.as_str(), message.version), ("two", Some(edited.message_id)));
        assert_eq!((message.reactions.iter().count(), count.count, count.mine), (1, 2, mine));
    }
    soon(bob.react(&ops, sent, "👍", false)).await.unwrap();
    let count = stored(&bob).await.reactions.get("👍").unwrap();
    assert_eq!((count.count, count.mine), (1, false));

    let reply = NewMessage::new("yes, @alice").reply_to(sent).mention(UserName::parse("alice").unwrap());
    soon(bob.send("ops", reply)).await.unwrap();
    let reply = until(&mut events, "the reply", |event| match event {
        Event::Message(message) if message.sender.as_str() == "bob" => Some(message.extras.clone()),
        _ => None,
    });
    let reply = reply.await;
    assert_eq!((reply.reply_to, reply.mentions[0].as_str()), (Some(sent), "alice"));

    soon(alice.change(&ops, sent, Change::Retract { reason: Some("typo".into()) })).await.unwrap();
    let deleted = until(&mut seen, "the deletion", |event| match event {
        Event::Retracted { message_id, retraction, .. } => Some((*message_id, retraction.reason.clone())),
        _ => None,
    });
    assert_eq!(deleted.await, (sent, Some("typo".to_owned())));
    let page = soon(bob.history(&ops, None, 2)).await.unwrap();
    assert!(page.messages[0].is_retracted() && page.messages[0].content.is_empty());
}

#[tokio::test]
async fn a_refused_change_says_why() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, _events) = connect(cluster.address(0), "alice").await;
    soon(alice.join("ops")).await.unwrap();
    let (ops, sent) = (room("ops"), soon(alice.send("ops", "one")).await.unwrap().message_id);
    let two = soon(alice.change(&ops, sent, edit("two", sent))).await.unwrap().message_id;
    match soon(alice.change(&ops, sent, edit("three", sent))).await.unwrap_err() {
        SendError::Conflict(current) => assert_eq!((current.version, current.content.as_str()), (two, "two")),
        other => panic!("{other:?}"),
    }
    soon(alice.change(&ops, sent, edit("three", two))).await.unwrap();
    for number in 2..100 {
        soon(alice.edit(&ops, sent, format!("edit {number}"))).await.unwrap();
    }
    assert_eq!(soon(alice.edit(&ops, sent, "the 101st")).await, Err(SendError::TooManyChanges));
    let unknown = MessageId::generate();
    assert_eq!(soon(alice.react(&ops, unknown, "+", true)).await, Err(SendError::NotFound));
    let of_bob = bob.say("ops", "mine").await["message_id"].as_str().unwrap().parse().unwrap();
    let forbidden = soon(alice.retract(&ops, of_bob)).await.unwrap_err();
    assert!(
        matches!(&forbidden, SendError::Refused { code, .. } if code.known() == Some(ErrorCode::Forbidden)),
        "{forbidden:?}"
    );
    let invalid = soon(alice.react(&ops, sent, "x".repeat(65), true)).await.unwrap_err();
    assert!(
        matches!(&invalid, SendError::Refused { message, .. } if message.contains("64 bytes")),
        "{invalid}"
    );
    soon(alice.retract(&ops, sent)).await.unwrap();
    assert_eq!(soon(alice.edit(&ops, sent, "back")).await, Err(SendError::Gone));
    assert!(matches!(soon(alice.retract(&room("dev"), sent)).await, Err(SendError::NotJoined(_))));
}

#[tokio::test]
async fn an_edit_after_the_window_is_too_late() {
    let short = |config: &mut Config| config.messages.edit_window = Duration::from_millis(1);
    let cluster = Cluster::start_with(Kind::Embedded, 1, short).await;
    let (alice, _events) = connect(cluster.address(0), "alice").await;
    let bob = user("bob");
    let sent = soon(alice.send_private("bob", "one")).await.unwrap().message_id;
    // Within the same millisecond, it is accepted.
    let error = loop {
        if let Err(error) = soon(alice.edit(&bob, sent, "two")).await {
            break error;
        }
    };
    assert_eq!(error, SendError::TooLate);
}

/// The client repeats the changes that had no answer when the connection was lost. The node stores each one once, in order.
#[tokio::test]
async fn a_change_outlives_its_connection() {
    let cluster = Cluster::start(Kind::Embedded, 2).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
    let (alice, mut events) = connect(balancer.address, "alice").await;
    let mut bob = cluster.connect(1, "bob").await;
    bob.ok("Auth", json!({})).await;
    let sent = soon(alice.send_private("bob", "one")).await.unwrap().message_id;
    let changes = [
        alice.edit(&user("bob"), sent, "two"),
        alice.react(&user("bob"), sent, "+", true),
        alice.retract(&user("bob"), sent),
    ];
    balancer.shut();
    until(&mut events, "the loss", |event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
    balancer.open();
    for change in changes {
        soon(change).await.unwrap();
    }
    assert_eq!(bob.hears_privately().await, "one");
    for kind in ["Edit", "React", "Retract"] {
        assert_eq!(bob.next(kind).await["target"]["message_id"], json!(sent), "{kind} in order");
    }
    for kind in ["Edit", "React", "Retract"] {
        bob.heard_no(kind).await;
    }
}
