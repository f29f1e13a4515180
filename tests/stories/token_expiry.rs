//! The end of a token: the warning before it, the renewal in place, and the close after it.

use std::time::Duration;

use serde_json::json;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::jwt::{SECRET, now, signed_with, token, with_secret};

fn jwt(user: &str, seconds: u64) -> String {
    signed_with(SECRET, &json!({ "sub": user, "exp": now() + seconds }))
}

async fn connect(cluster: &Cluster, token: &str) -> Client {
    let header = [("authorization", format!("Bearer {token}"))];
    Client::connect_with(cluster.address(0), "alice", &header).await.unwrap()
}

on_each_store! {
    async fn connection_is_warned_before_its_token_ends(kind) {
        let cluster = Cluster::start_with(kind, 1, with_secret).await;
        // The leeway of 30 s counts: until then the node accepts it.
        let exp = now() + 20;
        let mut alice = connect(&cluster, &signed_with(SECRET, &json!({ "sub": "alice", "exp": exp }))).await;
        assert_eq!(alice.next("TokenExpiring").await, json!({ "expires_at": (exp + 30) * 1_000 }));
        let (status, issued) = cluster.call(0, "POST", "/tokens", json!({ "username": "alice", "ttl_seconds": 50 })).await;
        assert_eq!(status, 201);
        let mut by_uuid = cluster.connect(0, "alice").await;
        by_uuid.token = issued["token"].as_str().map(str::to_owned);
        by_uuid.ok("Auth", json!({})).await;
        assert_eq!(by_uuid.next("TokenExpiring").await["expires_at"], issued["expires_at"]);
        // Once, and not for a token with much time left.
        let mut long = connect(&cluster, &token("alice")).await;
        let mut late = connect(&cluster, &jwt("alice", 25)).await;
        late.next("TokenExpiring").await;
        for client in [&mut alice, &mut by_uuid, &mut long, &mut late] {
            client.heard_no("TokenExpiring").await;
        }
    }

    async fn new_token_renews_the_connection_in_place(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            with_secret(config);
            config.auth.jwt.leeway = Duration::ZERO;
        })
        .await;
        let old = jwt("alice", 4);
        let (mut renewed, mut left) = (connect(&cluster, &old).await, connect(&cluster, &old).await);
        for client in [&mut renewed, &mut left] {
            client.ok("Enter", json!({ "room": "ops" })).await;
            client.next("TokenExpiring").await;
        }
        // Not that of another user, and not one that is not valid.
        renewed.token = Some(token("bob"));
        renewed.refused("Ping", json!({}), "identity_mismatch").await;
        renewed.token = Some("a.b.c".into());
        renewed.refused("Ping", json!({}), "unauthorized").await;
        renewed.token = Some(token("alice"));
        renewed.ok("Ping", json!({})).await;
        // One request is enough: the connection was opened with a token.
        renewed.token = None;
        let (code, reason) = left.closed().await;
        assert_eq!((code, reason.as_str()), (4001, "token_revoked"));
        renewed.say("ops", "still here").await;
        renewed.heard_no("TokenExpiring").await;
    }

    async fn renewed_token_is_announced_again(kind) {
        let cluster = Cluster::start_with(kind, 1, with_secret).await;
        let mut alice = connect(&cluster, &jwt("alice", 10)).await;
        alice.next("TokenExpiring").await;
        let exp = now() + 20;
        alice.token = Some(signed_with(SECRET, &json!({ "sub": "alice", "exp": exp })));
        alice.ok("Ping", json!({})).await;
        assert_eq!(alice.next("TokenExpiring").await["expires_at"], json!((exp + 30) * 1_000));
    }
}
