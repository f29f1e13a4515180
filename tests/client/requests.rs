//! Rooms, members, history, typing notices and read markers.

use std::collections::BTreeSet;
use std::time::Duration;

use chatnode::config::Config;
use chatnode_client::{ErrorCode, Event, RequestError, SendError, StopReason, UserName};
use serde_json::json;

use crate::program::{connect, content, message, next, options, room, soon, until, user};
use crate::support::backend::{room_name, user_name};
use crate::support::cluster::{Cluster, Kind};

/// A refused room fails its messages at once; old messages come if the program asks for them.
#[tokio::test]
async fn a_refused_room_takes_no_messages() {
    let one_room = |config: &mut Config| config.limits.max_rooms_per_connection = 1;
    let cluster = Cluster::start_with(Kind::Embedded, 1, one_room).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for number in 1..=3 {
        bob.say("ops", &format!("old {number}")).await;
    }
    let (alice, mut events) =
        options(cluster.address(0), "alice").history_on_join(2).connect().await.unwrap();
    assert!(matches!(alice.join("").await, Err(RequestError::Name { .. })));
    soon(alice.join("ops")).await.unwrap();
    let refused = soon(alice.join("dev")).await.unwrap_err();
    assert!(
        matches!(&refused, RequestError::Refused { code, .. } if code.known() == Some(ErrorCode::TooManyRooms)),
        "{refused:?}"
    );
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(match next(&mut events).await {
            Event::Message(message) => message.content,
            Event::JoinRefused { room, .. } => format!("#{room}"),
            other => panic!("{other:?}"),
        });
    }
    // The answer for the one room and the messages of the other come in either order.
    lines.sort();
    assert_eq!(lines, ["#dev", "old 2", "old 3"]);
    let sending = alice.send("dev", "anybody?");
    let id = sending.id().clone();
    assert_eq!(soon(sending).await, Err(SendError::NotStored(StopReason::RoomRefused)));
    assert_eq!(alice.unsent(), 0);
    assert!(matches!(next(&mut events).await, Event::NotSent { id: of, .. } if of == id));
}

/// More members than one page holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_follow_all_pages() {
    rlimit::increase_nofile_limit(8_192).unwrap();
    // The other members read nothing here, so they answer no pings.
    let no_pings = |config: &mut Config| config.server.ping_interval = Duration::from_secs(3_600);
    let cluster = Cluster::start_with(Kind::Embedded, 1, no_pings).await;
    let (alice, events) = connect(cluster.address(0), "alice").await;
    drop(events);
    soon(alice.join("ops")).await.unwrap();
    let mut others = Vec::new();
    let mut names = BTreeSet::from(["alice".to_owned()]);
    for number in 0..1_005 {
        let name = format!("user {number}");
        others.push(cluster.enter(0, &name, "ops").await);
        names.insert(name);
    }
    let members = soon(alice.members("ops")).await.unwrap();
    assert_eq!(members.iter().map(UserName::to_string).collect::<Vec<_>>(), Vec::from_iter(names));
    let outside = soon(alice.members("dev")).await.unwrap_err();
    assert!(
        matches!(&outside, RequestError::Refused { code, .. } if code.known() == Some(ErrorCode::NotInRoom)),
        "{outside:?}"
    );
}

#[tokio::test]
async fn history_comes_in_pages() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    for number in 1..=5 {
        bob.say("ops", &format!("old {number}")).await;
    }
    bob.whisper("alice", "secret").await;
    let (alice, _events) = connect(cluster.address(0), "alice").await;
    soon(alice.join("ops")).await.unwrap();
    let (mut contents, mut page) = (Vec::new(), soon(alice.history(&room("ops"), None, 2)).await.unwrap());
    loop {
        contents.splice(0..0, page.messages.iter().map(|message| message.content.clone()));
        if !page.more {
            break;
        }
        page = soon(alice.history(&room("ops"), page.messages.first(), 2)).await.unwrap();
        assert!(page.messages.len() <= 2);
    }
    assert_eq!(contents, ["old 1", "old 2", "old 3", "old 4", "old 5"]);
    let page = soon(alice.history(&user("bob"), None, 50)).await.unwrap();
    assert_eq!((page.messages.len(), page.messages[0].content.as_str(), page.more), (1, "secret", false));
    assert_eq!(page.messages[0].topic, user("bob"));
}

#[tokio::test]
async fn typing_presence_and_read_markers_are_events() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    for feature in ["history", "members", "typing", "read"] {
        assert!(alice.features().has(feature), "{feature}");
    }
    soon(alice.join("ops")).await.unwrap();
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let entered = until(&mut events, "bob", |event| match event {
        Event::Entered { room, user, .. } if user.as_str() == "bob" => Some(room.to_string()),
        _ => None,
    });
    assert_eq!(entered.await, "ops");

    bob.tell("Typing", json!({ "room": "ops" })).await;
    bob.tell("Typing", json!({ "target_username": "alice" })).await;
    for topic in [room("ops"), user("bob")] {
        match next(&mut events).await {
            Event::Typing { topic: of, user, .. } => assert_eq!((of, user.as_str()), (topic, "bob")),
            other => panic!("{other:?}"),
        }
    }
    alice.typing(&room("ops")).await.unwrap();
    assert_eq!(bob.next("Typing").await["room"], "ops");

    soon(alice.send_private("bob", "read this")).await.unwrap();
    let own = message(&mut events).await;
    bob.tell("Read", json!({ "target_username": "alice", "message_id": own.id() })).await;
    match next(&mut events).await {
        Event::ReadPrivate { reader, peer, message_id, .. } => {
            assert_eq!((reader.as_str(), peer.as_str(), message_id), ("bob", "alice", own.id()));
        }
        other => panic!("{other:?}"),
    }

    // Another device of alice marks the room as read.
    bob.say("ops", "news").await;
    let news = message(&mut events).await;
    let (phone, mut phone_events) = connect(cluster.address(0), "alice").await;
    soon(phone.join("ops")).await.unwrap();
    phone.mark_read(&news).await.unwrap();
    match next(&mut events).await {
        Event::ReadRoom { room, epoch, seq, .. } => {
            assert_eq!((room.as_str(), epoch, seq), ("ops", news.position.epoch, news.position.seq));
        }
        other => panic!("{other:?}"),
    }
    bob.whisper("alice", "psst").await;
    let psst = until(&mut phone_events, "the private message", |event| match event {
        Event::Message(message) if message.content == "psst" => Some(message.clone()),
        _ => None,
    });
    let psst = psst.await;
    assert_eq!(soon(phone.unread(&["ops"])).await.unwrap().users[&user_name("bob")].unread, 1);
    phone.mark_read(&psst).await.unwrap();
    bob.wait_for("the read marker", |frame| frame["message_type"] == "Read").await;
    let unread = soon(phone.unread(&["ops"])).await.unwrap();
    assert!(unread.users.is_empty() && unread.rooms[&room_name("ops")].unread == 0);

    bob.leave().await;
    let left = until(&mut events, "that bob left", |event| match event {
        Event::Left { user, .. } => Some(user.to_string()),
        _ => None,
    });
    assert_eq!(left.await, "bob");
}

/// A room stays joined over a lost connection, until the program leaves it.
#[tokio::test]
async fn a_left_room_sends_nothing() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    soon(alice.join("ops")).await.unwrap();
    bob.say("ops", "one").await;
    assert_eq!(content(&mut events).await, "one");
    alice.leave("ops").await.unwrap();
    bob.wait_for("that alice left", |frame| frame["message_type"] == "Leave").await;
    bob.say("ops", "two").await;
    soon(alice.join("ops")).await.unwrap();
    bob.say("ops", "three").await;
    assert_eq!(content(&mut events).await, "three");
}
