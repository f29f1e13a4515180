//! Two clusters in two databases of one Redis: keys are apart by themselves, channels are not.

use chatnode::backend::Notice;

use crate::support::backend::{Harness, bodies, room, room_name, user_name};
use crate::support::listener::{Delivery, eventually};
use crate::support::redis_server::RedisServer;

async fn in_database(server: &RedisServer, database: u8) -> Harness {
    let node = Harness::redis_unready(&format!("{}/{database}", server.url()), |_| {}).await;
    node.ready().await;
    node
}

/// What a node hears in its database while another database has the same room.
async fn talk(node: &Harness, name: &str) {
    let lobby = room("lobby");
    node.say(&lobby, name).await;
    node.backend.broker.announce(&lobby, None, format!("typing in {name}").into()).await.unwrap();
    node.backend
        .presence
        .add(&room_name("lobby"), &user_name("alice"), format!("+{name}").into())
        .await
        .unwrap();
    node.backend.broker.notify(Notice::Disconnect(user_name(name))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_one_redis_do_not_hear_each_other() {
    let server = RedisServer::start();
    let lobby = room("lobby");
    let nodes = [
        ("zero", in_database(&server, 0).await),
        ("three", in_database(&server, 3).await),
        ("four", in_database(&server, 4).await),
    ];
    for (_, node) in &nodes {
        node.subscribe(&lobby).await;
    }
    for (name, node) in &nodes {
        talk(node, name).await;
    }
    for (name, node) in &nodes {
        node.listener
            .until("the notice arrives", |heard| heard.iter().any(|one| matches!(one, Delivery::Notice(_))))
            .await;
        assert_eq!(bodies(&node.listener.messages(&lobby, 1).await), [*name]);
        assert_eq!(node.listener.events(&lobby), [format!("typing in {name}"), format!("+{name}")]);
        let notices = node.listener.deliveries().into_iter().filter(|one| matches!(one, Delivery::Notice(_)));
        assert_eq!(notices.collect::<Vec<_>>(), [Delivery::Notice(Notice::Disconnect(user_name(name)))]);
        assert!(!node.listener.deliveries().contains(&Delivery::Interrupted(lobby.clone())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn node_beside_an_older_one_uses_its_channels_until_it_ends() {
    let server = RedisServer::start();
    let lobby = room("lobby");
    let older = |command: &str| {
        server
            .command(&["EVAL", &format!("redis.call('SELECT', 3) return redis.call({command})"), "0"])
            .unwrap()
    };
    older("'ZADD', 'chat:leases', 99999999999999, 'older'");
    let node = in_database(&server, 3).await;
    node.subscribe(&lobby).await;
    let channels = || server.command(&["PUBSUB", "CHANNELS", "*lobby*"]).unwrap();
    assert_eq!(channels(), "chat:{r:lobby}");
    node.say(&lobby, "one").await;
    older("'ZREM', 'chat:leases', 'older'");
    eventually("the channel has the number of the database", || async { channels() == "3/chat:{r:lobby}" })
        .await;
    node.say(&lobby, "two").await;
    // An older node comes back.
    older("'ZADD', 'chat:leases', 99999999999999, 'older'");
    eventually("the channel is that of the older node", || async { channels() == "chat:{r:lobby}" }).await;
    node.say(&lobby, "three").await;
    assert_eq!(bodies(&node.listener.messages(&lobby, 3).await), ["one", "two", "three"]);
}
