//! The list of rooms in Redis: what it costs, whose rooms are in it, and when it is unknown.

use std::collections::BTreeMap;
use std::time::Duration;

use chatnode::protocol::{RoomName, UserName};
use tokio::time::Instant;

use crate::support::backend::{Harness, room_name, user_name};
use crate::support::listener::eventually;
use crate::support::redis_server::RedisServer;

async fn present(server: &RedisServer, lease: Duration) -> Harness {
    let node = Harness::redis(server, |config| config.node.lease = lease).await;
    node.backend.presence.renew().await.unwrap();
    node
}

async fn hold(node: &Harness, members: &[(RoomName, UserName)]) {
    let members: Vec<_> = members.iter().map(|(room, user)| (room.clone(), user.clone(), None)).collect();
    node.backend.presence.restore_members(&members).await.unwrap();
}

async fn names(node: &Harness) -> Vec<String> {
    node.backend.presence.renew().await.unwrap();
    node.backend.presence.observe_leases(Instant::now()).await.unwrap();
    let page = node.backend.presence.rooms(None, 100).await.unwrap();
    assert!(page.is_complete && !page.more);
    page.rooms.iter().map(|size| size.room.to_string()).collect()
}

/// The calls of each command so far.
fn calls(server: &RedisServer) -> BTreeMap<String, u64> {
    let stats = server.command(&["INFO", "commandstats"]).unwrap();
    let count = |line: &str| {
        let (name, rest) = line.trim().strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split_once(',')?.0.parse().ok()?))
    };
    stats.lines().filter_map(count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_costs_a_step_for_each_room_and_node() {
    let server = RedisServer::start();
    let minute = Duration::from_secs(60);
    let (one, two) = (present(&server, minute).await, present(&server, minute).await);
    let crowd = (0..3_000).map(|user| (room_name("crowd"), user_name(&format!("user {user}"))));
    let many = (0..1_000).map(|room| (room_name(&format!("room {room}")), user_name("alice")));
    let members: Vec<_> = crowd.chain(many).collect();
    for node in [&one, &two] {
        hold(node, &members).await;
    }
    let before = calls(&server);
    let page = one.backend.presence.rooms(None, 10).await.unwrap();
    assert_eq!((page.rooms.len(), page.rooms[0].count, page.more), (10, 3_000, true));
    let cost: BTreeMap<String, u64> = calls(&server)
        .into_iter()
        .map(|(name, count)| (name.clone(), count - before.get(&name).unwrap_or(&0)))
        .filter(|(name, count)| *count > 0 && !["info", "role", "publish", "script|load"].contains(&&**name))
        .collect();
    // Both nodes have eleven steps. A script that Redis does not know yet is sent twice.
    let looked = (cost.get("zrangebylex"), cost.get("zcard"));
    assert_eq!(looked, (Some(&22), Some(&10)), "{cost:?}");
    let others = cost.keys().all(|name| {
        ["zrangebylex", "zcard", "eval", "evalsha", "hgetall", "zrange", "hello", "client|setinfo"]
            .contains(&&**name)
    });
    assert!(others, "{cost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_an_expired_node_are_left_out() {
    let server = RedisServer::start();
    let lease = Duration::from_millis(1_500);
    let (dead, alive) = (present(&server, lease).await, present(&server, lease).await);
    hold(&dead, &[(room_name("both"), user_name("ghost")), (room_name("gone"), user_name("ghost"))]).await;
    hold(&alive, &[(room_name("both"), user_name("alice"))]).await;
    assert_eq!(names(&alive).await, ["both", "gone"]);
    eventually("the rooms of the expired lease are left out", || async { names(&alive).await == ["both"] })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_an_emptied_redis_are_unknown() {
    let server = RedisServer::start();
    let node = present(&server, Duration::from_secs(60)).await;
    hold(&node, &[(room_name("lobby"), user_name("alice"))]).await;
    assert_eq!(names(&node).await, ["lobby"]);
    server.command(&["FLUSHALL"]).unwrap();
    assert!(!node.backend.presence.rooms(None, 10).await.unwrap().is_complete);
}
