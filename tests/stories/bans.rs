//! Users who are banned from the whole server, on two nodes: what closes, what opens nothing, and how it ends.

use chatnode::backend::FOREVER;
use serde_json::json;

use super::room_rights::{connect, enter, start};
use crate::support::backend::user_name;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::jwt::{now, token, with_secret};

const BAN: &str = "/users/bob/ban";

/// The status of a handshake with a token.
async fn handshake(cluster: &Cluster, node: usize, token: &str) -> u16 {
    let header = [("authorization", format!("Bearer {token}"))];
    match Client::connect_with(cluster.address(node), "bob", &header)
        .await
        .map(|_| ())
        .map_err(|error| *error)
    {
        Ok(()) => 101,
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

on_each_store! {
    async fn banned_user_is_out_on_every_node(kind) {
        let cluster = start(kind).await;
        let mut ann = enter(&cluster, 0, "ann").await;
        let mut bob = enter(&cluster, 1, "bob").await;
        let mut phone = connect(&cluster, 0, "bob").await;
        bob.say("ops", "one").await;
        let old = cluster.token(1, "bob").await.to_string();
        assert_eq!(cluster.call(0, "GET", BAN, json!(null)).await.0, 404);
        assert_eq!(cluster.call(0, "PUT", BAN, json!({})).await.0, 204);
        for client in [&mut bob, &mut phone] {
            assert_eq!(client.closed().await.0, 4003);
        }
        for node in [0, 1] {
            assert_eq!(handshake(&cluster, node, &old).await, 403);
        }
        let mut late = cluster.connect(1, "bob").await;
        late.token = Some(old.clone());
        let error = late.refused("Enter", json!({ "room": "ops" }), "forbidden").await;
        assert_eq!(error["message"], "you are banned from this server");
        let (status, answer) = cluster.call(1, "POST", "/tokens", json!({ "username": "bob" })).await;
        assert_eq!((status, &answer["code"]), (403, &json!("forbidden")));
        let (status, answer) = cluster.call(1, "GET", BAN, json!(null)).await;
        assert_eq!((status, answer), (200, json!({ "username": "bob", "until": 0 })));
        ann.say("ops", "two").await;
        assert_eq!(cluster.call(1, "DELETE", BAN, json!(null)).await.0, 204);
        assert_eq!(cluster.call(1, "DELETE", BAN, json!(null)).await.0, 204);
        // The tokens were not revoked.
        assert_eq!(handshake(&cluster, 0, &old).await, 101);
        late.ok("Enter", json!({ "room": "ops" })).await;
    }

    async fn ban_ends_by_itself_and_holds_for_jwts(kind) {
        let cluster = Cluster::start_with(kind, 2, with_secret).await;
        let until = (now() + 2) * 1_000;
        assert_eq!(cluster.call(0, "PUT", BAN, json!({ "until": until })).await.0, 204);
        let (_, answer) = cluster.call(1, "GET", BAN, json!(null)).await;
        assert_eq!(answer["until"], until);
        assert_eq!(handshake(&cluster, 1, &token("bob")).await, 403);
        crate::support::cluster::until("the ban ends", async || {
            handshake(&cluster, 1, &token("bob")).await == 101
        })
        .await;
        assert!(now() * 1_000 + 1_000 >= until);
        assert_eq!(cluster.call(0, "PUT", BAN, json!({ "until": 1 })).await.0, 400);
        assert_eq!(cluster.call(0, "PUT", BAN, json!({ "end": 1 })).await.0, 422);
    }

    async fn ban_closes_connections_that_missed_its_notice(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            with_secret(config);
            config.auth.recheck_interval = std::time::Duration::from_millis(600);
        })
        .await;
        let mut bob = enter(&cluster, 0, "bob").await;
        // As a node does whose notice is lost.
        let store = cluster.backend().await;
        store.tokens.ban(&user_name("bob"), FOREVER).await.unwrap();
        assert_eq!(bob.closed().await.0, 4003);
    }

    async fn ban_without_authentication_is_refused(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            crate::support::api::with_tokens(config);
            config.auth.enabled = false;
        })
        .await;
        let (status, answer) = cluster.call(0, "PUT", BAN, json!({})).await;
        assert_eq!((status, &answer["code"]), (403, &json!("forbidden")));
    }
}
