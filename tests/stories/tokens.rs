//! Authentication: a client with a valid token can use only the user name of the token. Connections of revoked and expired
//! tokens are closed on every node.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::api::with_tokens;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};

async fn start(kind: Kind, nodes: usize) -> Cluster {
    Cluster::start_with(kind, nodes, with_tokens).await
}

/// A client that sends its token with each request.
async fn connect(cluster: &Cluster, node: usize, name: &str) -> Client {
    let mut client = cluster.connect(node, name).await;
    client.token = Some(cluster.token(node, name).await);
    client
}

/// A client that authenticated at the handshake.
async fn connect_with(cluster: &Cluster, node: usize, name: &str, token: &str) -> Client {
    let header = [("authorization", format!("Bearer {token}"))];
    Client::connect_with(cluster.address(node), name, &header).await.unwrap()
}

on_each_store! {
    async fn each_request_carries_a_token(kind) {
        let cluster = start(kind, 2).await;
        let mut bob = connect(&cluster, 1, "bob").await;
        bob.ok("Enter", json!({ "room": "ops" })).await;
        let mut alice = connect(&cluster, 0, "alice").await;
        alice.ok("Enter", json!({ "room": "ops" })).await;
        alice.say("ops", "signed").await;
        let token = alice.token.take();
        for (kind, body) in [
            ("GroupChat", json!({ "content": "unsigned" })),
            ("PrivateChat", json!({ "target_username": "bob", "content": "unsigned" })),
            ("Enter", json!({ "room": "other" })),
            ("Leave", json!({})),
            ("Members", json!({})),
            ("Markers", json!({})),
            ("Rooms", json!({})),
            ("History", json!({})),
            ("Typing", json!({})),
            ("Auth", json!({})),
        ] {
            alice.refused(kind, body, "unauthorized").await;
        }
        // None of these requests had an effect.
        alice.token = token;
        alice.say("ops", "signed again").await;
        assert_eq!(bob.hears().await, "signed");
        assert_eq!(bob.hears().await, "signed again");
        bob.heard_no("PrivateChat").await;
        bob.heard_no("Leave").await;
    }

    async fn ping_returns_the_token_owner_and_starts_nothing(kind) {
        let cluster = start(kind, 1).await;
        let mut alice = connect(&cluster, 0, "alice").await;
        alice.ok("Enter", json!({ "room": "ops" })).await;
        let token = cluster.token(0, "bob").await;
        let mut bob = cluster.connect(0, "bob").await;
        let ping = async |bob: &mut Client, token: Option<&str>| {
            let frame = json!({ "message_type": "Ping", "id": "whose", "token": token });
            bob.send_text(frame.to_string()).await;
            bob.answer("whose").await["message_body"].take()
        };
        let owner = json!({ "sender_username": "bob", "idle_timeout_ms": 35_000 });
        assert_eq!(ping(&mut bob, None).await["code"], "unauthorized");
        assert_eq!(ping(&mut bob, Some(&token)).await, owner);
        // The connection has no user yet, so private messages are not sent.
        alice.whisper("bob", "psst").await;
        ping(&mut bob, Some(&token)).await;
        assert_eq!(bob.seen(), &[] as &[serde_json::Value]);
        bob.token = Some(token.clone());
        bob.ok("Auth", json!({})).await;
        assert_eq!(bob.hears_privately().await, "psst");

        let mut bob = connect_with(&cluster, 0, "bob", &token).await;
        assert_eq!(ping(&mut bob, None).await, owner);
    }

    async fn invalid_token_is_unauthorized(kind) {
        let cluster = start(kind, 2).await;
        let mut alice = connect(&cluster, 0, "alice").await;
        let good = alice.token.clone().unwrap();
        for token in [uuid::Uuid::new_v4().to_string(), "not-a-uuid".into(), String::new(), format!("{good}0"), good.replace('-', "_")] {
            alice.token = Some(token.clone());
            alice.refused("Enter", json!({ "room": "ops" }), "unauthorized").await;
        }
        // A token is valid on every node.
        let mut elsewhere = cluster.connect(1, "alice").await;
        elsewhere.token = Some(good);
        elsewhere.ok("Enter", json!({ "room": "ops" })).await;
        assert_eq!(elsewhere.ok("Members", json!({})).await["members"], json!(["alice"]));
    }

    async fn token_authorizes_only_its_user(kind) {
        let cluster = start(kind, 1).await;
        let mut bob = connect(&cluster, 0, "bob").await;
        bob.ok("Enter", json!({ "room": "ops" })).await;
        let mut mallory = cluster.connect(0, "alice").await;
        mallory.token = Some(cluster.token(0, "mallory").await);
        for kind in ["Enter", "Auth", "Ping"] {
            mallory.refused(kind, json!({}), "identity_mismatch").await;
        }
        let whisper = json!({ "target_username": "bob", "content": "it's me, alice" });
        mallory.refused("PrivateChat", whisper, "identity_mismatch").await;
        mallory.ok("Enter", json!({ "sender_username": "mallory", "room": "ops" })).await;
        // A token of another user is refused once the connection has a user.
        mallory.token = Some(cluster.token(0, "alice").await);
        mallory.refused("GroupChat", json!({ "content": "x" }), "identity_mismatch").await;
        mallory.refused("GroupChat", json!({ "sender_username": "mallory", "content": "x" }), "identity_mismatch").await;
        bob.heard_no("GroupChat").await;
        bob.heard_no("PrivateChat").await;
    }

    async fn later_tokens_must_be_valid_after_a_token_handshake(kind) {
        let cluster = start(kind, 1).await;
        let token = cluster.token(0, "alice").await;
        let mut alice = connect_with(&cluster, 0, "alice", &token).await;
        alice.ok("Enter", json!({ "room": "ops" })).await;
        alice.token = Some("nonsense".into());
        alice.refused("GroupChat", json!({ "content": "x" }), "unauthorized").await;
        // A newer token replaces the old one: revoking the old one has no effect any more.
        let newer = cluster.token(0, "alice").await;
        alice.token = Some(newer.clone());
        alice.say("ops", "renewed").await;
        cluster.revoke(0, &token).await;
        alice.token = None;
        alice.say("ops", "still here").await;
        cluster.revoke(0, &newer).await;
        let (code, reason) = alice.closed().await;
        assert_eq!((code, reason.as_str()), (4001, "token_revoked"));
    }

    async fn refused_token_changes_nothing(kind) {
        let cluster = start(kind, 1).await;
        let token = cluster.token(0, "alice").await;
        let mut alice = connect_with(&cluster, 0, "alice", &token).await;
        let mallorys = cluster.token(0, "mallory").await;
        alice.token = Some(mallorys.clone());
        alice.refused("Enter", json!({ "room": "ops" }), "identity_mismatch").await;
        // The connection keeps its user, and revoking the other token does not affect it.
        cluster.revoke(0, &mallorys).await;
        alice.token = None;
        alice.ok("Enter", json!({ "room": "ops" })).await;
        assert_eq!(alice.ok("Members", json!({})).await["members"], json!(["alice"]));
        cluster.revoke(0, &token).await;
        assert_eq!(alice.closed().await.0, 4001);
    }

    async fn revoked_token_closes_its_connections_on_every_node(kind) {
        let cluster = start(kind, 3).await;
        let token = cluster.token(0, "alice").await;
        let mut clients = Vec::new();
        for node in 0..3 {
            let mut entered = connect_with(&cluster, node, "alice", &token).await;
            entered.ok("Enter", json!({ "room": "ops" })).await;
            clients.push(entered);
            // One connection that sends no request, and one that sends the token in a request.
            clients.push(connect_with(&cluster, node, "alice", &token).await);
            let mut by_request = cluster.connect(node, "alice").await;
            by_request.token = Some(token.clone());
            by_request.ok("Auth", json!({})).await;
            clients.push(by_request);
        }
        let mut other = connect(&cluster, 1, "alice").await;
        other.ok("Enter", json!({ "room": "ops" })).await;
        let revoked = Instant::now();
        cluster.revoke(2, &token).await;
        for client in &mut clients {
            assert_eq!(client.closed().await.0, 4001);
        }
        assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
        // Another token of the same user is not affected.
        other.say("ops", "not me").await;
        let mut again = cluster.connect(1, "alice").await;
        again.token = Some(token);
        again.refused("Auth", json!({}), "unauthorized").await;
    }

    async fn all_tokens_of_a_user_can_be_revoked(kind) {
        let cluster = start(kind, 2).await;
        let mut clients = Vec::new();
        for node in [0, 1, 0] {
            let mut client = connect(&cluster, node, "alice").await;
            client.ok("Auth", json!({})).await;
            clients.push(client);
        }
        let unused = cluster.token(0, "alice").await;
        let mut bob = connect(&cluster, 1, "bob").await;
        bob.ok("Auth", json!({})).await;
        let revoked = Instant::now();
        assert_eq!(cluster.call(1, "DELETE", "/users/alice/tokens", Value::Null).await.0, 204);
        for client in &mut clients {
            assert_eq!(client.closed().await.0, 4001);
        }
        assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
        bob.ok("Ping", json!({})).await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.token = Some(unused);
        alice.refused("Auth", json!({}), "unauthorized").await;
        // The user is not banned: a new token is valid.
        alice.token = Some(cluster.token(0, "alice").await);
        alice.ok("Auth", json!({})).await;
    }

    async fn expired_token_closes_its_connections_and_opens_none(kind) {
        let cluster = start(kind, 2).await;
        let asked = Instant::now();
        let (status, issued) = cluster.call(0, "POST", "/tokens", json!({ "username": "alice", "ttl_seconds": 2 })).await;
        assert_eq!(status, 201);
        let token = issued["token"].as_str().unwrap();
        let mut clients = vec![connect_with(&cluster, 0, "alice", token).await, connect_with(&cluster, 1, "alice", token).await];
        for client in &mut clients {
            client.ok("Enter", json!({ "room": "ops" })).await;
        }
        for client in &mut clients {
            assert_eq!(client.closed().await.0, 4001);
        }
        let lived = asked.elapsed();
        assert!(lived >= Duration::from_secs(2) && lived < Duration::from_secs(5), "{lived:?}");
        let mut late = cluster.connect(0, "alice").await;
        late.token = Some(token.to_owned());
        late.refused("Auth", json!({}), "unauthorized").await;
    }

    async fn disconnected_user_can_return_with_the_same_token(kind) {
        let cluster = start(kind, 2).await;
        let token = cluster.token(0, "alice").await;
        let mut bound = connect_with(&cluster, 0, "alice", &token).await;
        bound.ok("Enter", json!({ "room": "ops" })).await;
        let mut unbound = connect_with(&cluster, 1, "alice", &token).await;
        assert_eq!(cluster.call(1, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
        assert_eq!(bound.closed().await.0, 4003);
        assert_eq!(unbound.closed().await.0, 4003);
        let mut back = connect_with(&cluster, 0, "alice", &token).await;
        back.ok("Enter", json!({ "room": "ops" })).await;
    }

    async fn token_is_ignored_without_authentication(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = connect_with(&cluster, 0, "alice", "nonsense").await;
        alice.token = Some("more nonsense".into());
        alice.ok("Enter", json!({ "room": "ops" })).await;
    }

    async fn ping_needs_a_token_and_keeps_the_connection_open(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            with_tokens(c);
            c.auth.deadline = Duration::from_millis(400);
        })
        .await;
        let mut alice = connect(&cluster, 0, "alice").await;
        alice.ok("Ping", json!({})).await;
        let mut idle = cluster.connect(0, "idle").await;
        idle.refused("Ping", json!({}), "unauthorized").await;
        assert_eq!(idle.closed().await.0, 1008);
        // Alice's deadline has passed before that.
        alice.ok("Ping", json!({})).await;
    }
}

/// A notice can be lost, because it is only published and not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_without_its_notice_is_found_by_the_check() {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, |c| {
        with_tokens(c);
        c.auth.recheck_interval = Duration::from_secs(1);
    })
    .await;
    let revoked = cluster.token(0, "alice").await;
    let mut alice = connect_with(&cluster, 0, "alice", &revoked).await;
    alice.ok("Enter", json!({ "room": "ops" })).await;
    let records = cluster.redis().command(&["KEYS", "chat:token:*"]).unwrap();
    let mut bob = connect(&cluster, 0, "bob").await;
    bob.ok("Enter", json!({ "room": "ops" })).await;
    assert_eq!(cluster.redis().command(&["DEL", records.trim()]).unwrap(), "1");
    assert_eq!(alice.closed().await.0, 4001);
    bob.say("ops", "still here").await;
}

/// The number of reads by key in Redis, which is how nodes look tokens up.
fn lookups(cluster: &Cluster) -> Vec<String> {
    let statistics = cluster.redis_server().command(&["INFO", "commandstats"]).unwrap();
    let calls = |line: &str| Some(line.split(',').next()?.to_owned());
    let is_read = |line: &&str| line.starts_with("cmdstat_mget:") || line.starts_with("cmdstat_get:");
    statistics.lines().filter(is_read).filter_map(calls).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_needs_no_token_lookup() {
    let cluster = Cluster::start_with(Kind::Redis, 1, |c| {
        with_tokens(c);
        c.auth.recheck_interval = Duration::from_secs(3_600);
    })
    .await;
    let mut alice = connect(&cluster, 0, "alice").await;
    alice.ok("Enter", json!({ "room": "ops" })).await;
    let before = lookups(&cluster);
    assert_eq!(before, ["cmdstat_mget:calls=3"], "the ban, then the token and the ban for the first request");
    alice.say_many("ops", "signed", 100).await;
    assert_eq!(lookups(&cluster), before);
}

/// A token that can't be checked is not reported as invalid.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_without_the_store_is_unavailable() {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, |c| {
        with_tokens(c);
        c.redis.timeout = Duration::from_millis(300);
    })
    .await;
    let token = cluster.token(0, "alice").await;
    let mut alice = cluster.connect(0, "alice").await;
    cluster.redis().kill();
    alice.token = Some(token.clone());
    alice.refused("Auth", json!({}), "unavailable").await;
    let header = [("authorization", format!("Bearer {token}"))];
    let refused = Client::connect_with(cluster.address(0), "alice", &header).await;
    match refused.map(|_| "the node accepted it").map_err(|error| *error) {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
            assert_eq!(answer.status().as_u16(), 503);
            assert!(answer.headers().contains_key("retry-after"));
        }
        other => panic!("{other:?}"),
    }
}
