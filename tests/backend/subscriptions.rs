//! Subscriptions, events and notices.

use bytes::Bytes;
use chatnode::backend::{Notice, Publication, TokenHash};
use chatnode::protocol::{ConnectionId, Topic};

use crate::TestStore;
use crate::support::backend::{bodies, room, user, user_name};
use crate::support::listener::Delivery;

pub async fn subscriber_receives_the_entries_of_the_log(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let topic = room("lobby");
    node.subscribe(&topic).await;
    node.subscribe(&topic).await;
    let mut last = None;
    for i in 0..500 {
        last = Some(node.say(&topic, &i.to_string()).await);
    }
    let received = node.listener.messages(&topic, 500).await;
    assert_eq!(received, node.log(&topic).await);
    let epoch = last.unwrap().position.epoch;
    let is_message_of_the_log = |delivery: &Delivery| match delivery {
        Delivery::Published(_, Publication::Message { epoch: of, .. }) => *of == epoch,
        _ => false,
    };
    assert!(node.listener.deliveries().iter().all(is_message_of_the_log), "only messages of the log");
}

pub async fn unsubscribed_node_receives_nothing(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let (left, kept) = (room("left"), room("kept"));
    node.subscribe(&left).await;
    node.subscribe(&kept).await;
    node.say(&left, "received").await;
    node.listener.messages(&left, 1).await;
    node.backend.broker.unsubscribe(&left);
    node.backend.broker.unsubscribe(&room("never subscribed"));
    node.say(&left, "not received").await;
    node.say(&kept, "received").await;
    node.listener.messages(&kept, 1).await;
    assert_eq!(bodies(&node.listener.entries(&left)), ["received"]);
}

pub async fn last_call_decides_whether_a_topic_is_subscribed(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let broker = &node.backend.broker;
    for round in 0..50 {
        let topic = room(&format!("room {round}"));
        node.subscribe(&topic).await;
        broker.unsubscribe(&topic);
        if round % 2 == 0 {
            node.subscribe(&topic).await;
            broker.unsubscribe(&topic);
        }
        node.subscribe(&topic).await;
        node.say(&topic, "received").await;
        assert_eq!(bodies(&node.listener.messages(&topic, 1).await), ["received"]);
    }
}

pub async fn node_subscribes_to_many_topics_at_once(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let topics: Vec<Topic> = (0..1_200).map(|i| room(&format!("room {i}"))).collect();
    let subscribe_all = topics.iter().map(|topic| node.subscribe(topic));
    futures_util::future::join_all(subscribe_all).await;
    for topic in topics.iter().step_by(100) {
        node.say(topic, "hi").await;
    }
    for topic in topics.iter().step_by(100) {
        assert_eq!(node.listener.messages(topic, 1).await.len(), 1);
    }
}

pub async fn event_carries_its_origin_and_is_not_stored(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let topic = user("alice");
    node.subscribe(&topic).await;
    let origin = ConnectionId::generate();
    let sent = [
        Publication::Event { origin: Some(origin), body: Bytes::from_static(b"{\"one\":\n1}") },
        Publication::Event { origin: None, body: Bytes::from_static(b"{}") },
    ];
    for event in &sent {
        let Publication::Event { origin, body } = event else { unreachable!("both publications are events") };
        node.backend.broker.announce(&topic, *origin, body.clone()).await.unwrap();
    }
    node.say(&topic, "hi").await;
    node.listener.messages(&topic, 1).await;
    let deliveries = node.listener.deliveries();
    let expected: Vec<Delivery> =
        sent.into_iter().map(|event| Delivery::Published(topic.clone(), event)).collect();
    assert_eq!(deliveries[..2], expected);
    assert_eq!(node.log(&topic).await.len(), 1);
}

pub async fn notice_reaches_its_sender(store: &TestStore) {
    let node = store.node(|_| {}).await;
    let notices = [
        Notice::TokenRevoked(TokenHash::of(uuid::Uuid::from_u128(1))),
        Notice::UserTokensRevoked(user_name("日本 }{")),
        Notice::Disconnect(user_name("a b")),
    ];
    for notice in &notices {
        node.backend.broker.notify(notice.clone()).await.unwrap();
    }
    let expected: Vec<Delivery> = notices.into_iter().map(Delivery::Notice).collect();
    node.listener.until("all notices", |deliveries| deliveries.len() >= 3).await;
    assert_eq!(node.listener.deliveries(), expected);
}
