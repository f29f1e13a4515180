//! Foreign data under the keys of a node in Redis: requests that read it fail with an error, everything else works, and the node
//! recovers once the data is removed.

use std::time::Duration;

use chatnode::config::Config;
use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use crate::support::api::{with_api, with_tokens};
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};

const INTERNAL_ERROR: (u16, &str) = (1011, "internal_error");

/// Replaces the data of a node with a plain string.
fn write_foreign_data(cluster: &Cluster, key: &str) {
    cluster.redis_server().command(&["SET", key, "not ours"]).unwrap();
}

fn remove(cluster: &Cluster, key: &str) {
    cluster.redis_server().command(&["DEL", key]).unwrap();
}

fn quick_idle_check(config: &mut Config) {
    config.node.idle_check = Duration::from_millis(200);
}

fn slow_idle_check(config: &mut Config) {
    config.node.idle_check = Duration::from_secs(3_600);
}

async fn expect_internal_error_close(client: &mut Client) {
    let (code, reason) = client.closed().await;
    assert_eq!((code, reason.as_str()), INTERNAL_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_on_foreign_data_gets_internal_and_an_outcome() {
    let cluster = Cluster::start_with(Kind::Redis, 1, slow_idle_check).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    for key in ["chat:{r:ops}:meta", "chat:{r:den}:meta"] {
        write_foreign_data(&cluster, key);
    }
    for (request, body) in [
        ("GroupChat", json!({ "room": "ops", "content": "hello" })),
        ("History", json!({ "room": "ops" })),
        ("Enter", json!({ "room": "den" })),
    ] {
        let error = alice.refused(request, body, "internal").await;
        assert_eq!(error["outcome"], "unknown", "{request}: {error}");
        let text = error["message"].as_str().unwrap();
        assert!(
            !text.contains("WRONGTYPE") && !text.contains("chat:"),
            "the message of the store is only for the log: {text}"
        );
    }
    alice.ok("Enter", json!({ "room": "elsewhere" })).await;
    alice.say("elsewhere", "hello").await;
    remove(&cluster, "chat:{r:den}:meta");
    alice.ok("Enter", json!({ "room": "den" })).await;
    alice.say("den", "hello").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_whose_replay_fails_is_closed_with_1011() {
    let cluster = Cluster::start_with(Kind::Redis, 2, slow_idle_check).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    alice.say_many("ops", "hello", 3).await;
    // The top can be read, so the client can enter the room; the messages can't be read.
    remove(&cluster, "chat:{r:ops}:log");
    write_foreign_data(&cluster, "chat:{r:ops}:log");
    let mut bob = cluster.connect(1, "bob").await;
    bob.ok("Enter", json!({ "room": "ops", "history": 10 })).await;
    expect_internal_error_close(&mut bob).await;
    // A member that has received all messages is not affected.
    alice.ok("Ping", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_check_closes_only_members_of_the_foreign_room() {
    let cluster = Cluster::start_with(Kind::Redis, 2, quick_idle_check).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(0, "bob", "den").await;
    write_foreign_data(&cluster, "chat:{r:ops}:meta");
    expect_internal_error_close(&mut alice).await;
    // The same check also finds the loss of another log.
    remove(&cluster, "chat:{r:den}:meta");
    assert_eq!(bob.next("Gap").await["reason"], "epoch");
    let mut alice = cluster.connect(0, "alice").await;
    alice.refused("Enter", json!({ "room": "ops" }), "internal").await;
    remove(&cluster, "chat:{r:ops}:meta");
    alice.ok("Enter", json!({ "room": "ops" })).await;
    alice.say("ops", "hello").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_api_answers_500_on_foreign_data() {
    let cluster = Cluster::start_with(Kind::Redis, 1, with_api).await;
    write_foreign_data(&cluster, "chat:{r:ops}:meta");
    let message = json!({ "sender_username": "alice", "content": "hello" });
    let (status, answer) = cluster.call(0, "POST", "/rooms/ops/messages", message.clone()).await;
    assert_eq!((status, &answer["code"]), (500, &json!("internal")), "{answer}");
    let (status, answer) = cluster.call(0, "GET", "/rooms/ops/messages", json!(null)).await;
    assert_eq!((status, &answer["code"]), (500, &json!("internal")), "{answer}");
    remove(&cluster, "chat:{r:ops}:meta");
    assert_eq!(cluster.call(0, "POST", "/rooms/ops/messages", message).await.0, 201);
}

/// The key of the only token.
fn key_of_the_token(cluster: &Cluster) -> String {
    cluster.redis_server().command(&["KEYS", "chat:token:*"]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_token_data_is_internal_and_can_be_revoked() {
    let cluster = Cluster::start_with(Kind::Redis, 1, with_tokens).await;
    let token = cluster.token(0, "alice").await;
    let key = key_of_the_token(&cluster);
    write_foreign_data(&cluster, &key);
    let header = [("authorization", format!("Bearer {token}"))];
    let refused = Client::connect_with(cluster.address(0), "alice", &header).await;
    match refused.map(|_| "the node accepted it").map_err(|error| *error) {
        // With 401 the client would discard the token.
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 500),
        other => panic!("{other:?}"),
    }
    let mut alice = cluster.connect(0, "alice").await;
    alice.token = Some(token.clone());
    alice.refused("Auth", json!({}), "internal").await;
    cluster.revoke(0, &token).await;
    alice.refused("Auth", json!({}), "unauthorized").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_token_data_hides_no_other_revocation() {
    let cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        with_tokens(config);
        config.auth.recheck_interval = Duration::from_millis(200);
    })
    .await;
    let mut alice = cluster.connect(0, "alice").await;
    alice.token = Some(cluster.token(0, "alice").await);
    alice.ok("Auth", json!({})).await;
    // Data that is not UTF-8 must not make the whole reply unreadable.
    let foreign = key_of_the_token(&cluster);
    cluster.redis_server().command(&["SETBIT", &foreign, "0", "1"]).unwrap();
    let mut bob = cluster.connect(0, "bob").await;
    bob.token = Some(cluster.token(0, "bob").await);
    bob.ok("Auth", json!({})).await;
    let keys = cluster.redis_server().command(&["KEYS", "chat:token:*"]).unwrap();
    let revoked = keys.lines().find(|key| *key != foreign).unwrap();
    remove(&cluster, revoked);
    // Without a notice, the regular check finds the revocation.
    assert_eq!(bob.closed().await.0, 4001);
    alice.ok("Ping", json!({})).await;
}
