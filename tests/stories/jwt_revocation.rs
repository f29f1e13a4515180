//! Revocation of JWTs: of one by its `jti` or its text, and of all that a user has, on every node.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};
use crate::support::jwt::{SECRET, now, signed_with, with_secret};

fn token(more: &Value) -> String {
    let mut claims = json!({ "sub": "alice", "exp": now() + 3_600, "iat": now() });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    signed_with(SECRET, &claims)
}

async fn connect(cluster: &Cluster, node: usize, token: &str) -> Client {
    let mut client = cluster.connect(node, "alice").await;
    client.token = Some(token.to_owned());
    client.ok("Auth", json!({})).await;
    client
}

async fn is_refused(cluster: &Cluster, node: usize, token: &str) {
    let mut client = cluster.connect(node, "alice").await;
    client.token = Some(token.to_owned());
    let error = client.refused("Auth", json!({}), "unauthorized").await;
    assert!(error["message"].as_str().unwrap().contains("it was revoked"), "{error}");
}

async fn revoke(cluster: &Cluster, node: usize, body: Value) {
    assert_eq!(cluster.call(node, "POST", "/tokens/revoke", body).await, (204, Value::Null));
}

/// Waits for the end of these connections, and checks that it came soon after the revocation.
async fn are_closed(clients: &mut [Client], revoked: Instant) {
    for client in clients {
        let (code, reason) = client.closed().await;
        assert_eq!((code, reason.as_str()), (4001, "token_revoked"));
    }
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
}

on_each_store! {
    async fn revoked_jti_closes_its_connections_on_every_node(kind) {
        let cluster = Cluster::start_with(kind, 2, with_secret).await;
        let (one, other) = (token(&json!({ "jti": "t1" })), token(&json!({ "jti": "t2" })));
        let mut clients = [connect(&cluster, 0, &one).await, connect(&cluster, 1, &one).await];
        let mut left = connect(&cluster, 1, &other).await;
        let revoked = Instant::now();
        revoke(&cluster, 0, json!({ "jti": "t1" })).await;
        are_closed(&mut clients, revoked).await;
        left.ok("Ping", json!({})).await;
        is_refused(&cluster, 1, &one).await;
        // Before it was ever used.
        revoke(&cluster, 0, json!({ "jti": "t3", "expires_at": (now() + 3_600) * 1_000 })).await;
        is_refused(&cluster, 1, &token(&json!({ "jti": "t3" }))).await;
    }

    async fn whole_jwt_can_be_revoked_with_and_without_jti(kind) {
        let cluster = Cluster::start_with(kind, 2, with_secret).await;
        let (with_id, without) = (token(&json!({ "jti": "t1" })), token(&json!({})));
        for (token, user_has_other) in [(&with_id, &without), (&without, &token(&json!({ "x": 1 })))] {
            let mut clients = [connect(&cluster, 0, token).await, connect(&cluster, 1, token).await];
            let mut left = connect(&cluster, 0, user_has_other).await;
            let revoked = Instant::now();
            revoke(&cluster, 1, json!({ "token": token })).await;
            are_closed(&mut clients, revoked).await;
            left.ok("Ping", json!({})).await;
            is_refused(&cluster, 0, token).await;
        }
        // One that is not valid anyway is no error, and revokes nothing of others.
        let forged = signed_with("another-secret-of-thirty-two-bytes", &json!({ "sub": "x", "exp": now() + 60, "jti": "t9" }));
        revoke(&cluster, 0, json!({ "token": forged })).await;
        connect(&cluster, 0, &token(&json!({ "jti": "t9" }))).await.ok("Ping", json!({})).await;
    }

    async fn all_jwts_of_a_user_that_were_issued_before_are_revoked(kind) {
        let cluster = Cluster::start_with(kind, 2, with_secret).await;
        let (old, ageless) = (token(&json!({ "iat": now() - 1 })), token(&json!({ "iat": now() - 1, "nonce": 1 })));
        let without_iat = signed_with(SECRET, &json!({ "sub": "alice", "exp": now() + 3_600 }));
        let mut clients = Vec::new();
        for token in [&old, &ageless, &without_iat] {
            clients.push(connect(&cluster, 0, token).await);
            clients.push(connect(&cluster, 1, token).await);
        }
        let bobs = signed_with(SECRET, &json!({ "sub": "bob", "exp": now() + 3_600 }));
        let mut bob = cluster.connect(0, "bob").await;
        bob.token = Some(bobs);
        bob.ok("Auth", json!({})).await;
        let revoked = Instant::now();
        assert_eq!(cluster.call(1, "DELETE", "/users/alice/tokens", Value::Null).await, (204, Value::Null));
        are_closed(&mut clients, revoked).await;
        bob.ok("Ping", json!({})).await;
        for token in [&old, &without_iat] {
            is_refused(&cluster, 0, token).await;
        }
        // Those without `iat` count as the oldest, also if they were made later.
        is_refused(&cluster, 1, &signed_with(SECRET, &json!({ "sub": "alice", "exp": now() + 3_601 }))).await;
        // The user is not banned. `iat` has whole seconds: this one counts as later.
        connect(&cluster, 1, &token(&json!({ "iat": now() + 1 }))).await.ok("Ping", json!({})).await;
    }

    async fn revocation_says_what_is_wrong_with_its_body(kind) {
        let cluster = Cluster::start_with(kind, 1, with_secret).await;
        for bad in [
            json!({}),
            json!({ "token": "x" }),
            json!({ "token": token(&json!({})), "jti": "t1" }),
            json!({ "token": token(&json!({})), "expires_at": 1 }),
            json!({ "jti": "" }),
            json!({ "jti": "x".repeat(257) }),
            json!({ "jti": 7 }),
            json!({ "jti": "t1", "expires_at": "soon" }),
            json!({ "jti": "t1", "until": 1 }),
        ] {
            let (status, answer) = cluster.call(0, "POST", "/tokens/revoke", bad.clone()).await;
            assert!(status == 400 || status == 422, "{bad}: {status}");
            assert_eq!(answer["code"], "invalid_message", "{bad}");
        }
    }
}

/// A notice can be lost, because it is only published and not stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_jwt_is_found_by_the_check_without_its_notice() {
    let cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        with_secret(config);
        config.auth.recheck_interval = Duration::from_secs(1);
    })
    .await;
    let mut alice = connect(&cluster, 0, &token(&json!({}))).await;
    let mut bob = cluster.connect(0, "bob").await;
    bob.token = Some(signed_with(SECRET, &json!({ "sub": "bob", "exp": now() + 3_600, "iat": now() })));
    bob.ok("Auth", json!({})).await;
    let later = ((now() + 60) * 1_000).to_string();
    cluster.redis_server().command(&["SET", "chat:{u:alice}:revoked", &later]).unwrap();
    assert_eq!(alice.closed().await.0, 4001);
    // Data that no node wrote revokes nothing.
    cluster.redis_server().command(&["SET", "chat:{u:bob}:revoked", "rubbish"]).unwrap();
    for _ in 0..3 {
        bob.ok("Ping", json!({})).await;
    }
    let mut late = cluster.connect(0, "bob").await;
    late.token =
        Some(signed_with(SECRET, &json!({ "sub": "bob", "exp": now() + 3_600, "iat": now(), "x": 1 })));
    late.refused("Auth", json!({}), "internal").await;
}

/// What nothing needs any more leaves the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_end_with_the_tokens_that_they_concern() {
    let cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        with_secret(config);
        config.auth.jwt.max_ttl = Some(Duration::from_secs(7_200));
    })
    .await;
    let whole = token(&json!({}));
    revoke(&cluster, 0, json!({ "token": whole })).await;
    revoke(&cluster, 0, json!({ "jti": "t1" })).await;
    assert_eq!(cluster.call(0, "DELETE", "/users/alice/tokens", Value::Null).await.0, 204);
    let redis = cluster.redis_server();
    let keys = redis.command(&["KEYS", "chat:*revoked*"]).unwrap();
    assert_eq!(keys.lines().count(), 3, "{keys}");
    for key in keys.lines() {
        let seconds: i64 = redis.command(&["TTL", key.trim()]).unwrap().trim().parse().unwrap();
        // Four hours longer than a node needs it.
        assert!((14_400..14_400 + 7_200 + 61).contains(&seconds), "{key}: {seconds}");
    }
}
