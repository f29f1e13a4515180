//! JWTs: tokens of an identity provider, at the handshake and in requests, and why they are refused.

use serde_json::{Value, json};

use crate::support::api::with_tokens;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, metric};
use crate::support::jwt::{SECRET, now, signed_with, token, with_secret};

async fn start(kind: Kind, nodes: usize) -> Cluster {
    Cluster::start_with(kind, nodes, with_secret).await
}

/// A client that shows this token at the handshake.
async fn connect_with(cluster: &Cluster, node: usize, name: &str, token: &str) -> Client {
    let header = [("authorization", format!("Bearer {token}"))];
    Client::connect_with(cluster.address(node), name, &header).await.unwrap()
}

/// The status of a handshake that is refused, and the reason.
async fn refused_at_handshake(cluster: &Cluster, token: &str) -> (u16, String) {
    let header = [("authorization", format!("Bearer {token}"))];
    match Client::connect_with(cluster.address(0), "alice", &header).await.map(|_| ()).map_err(|error| *error)
    {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
            let text = answer.body().clone().unwrap_or_default();
            (answer.status().as_u16(), String::from_utf8(text).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn claims(more: &Value) -> Value {
    let mut claims = json!({ "sub": "alice", "exp": now() + 3_600, "iat": now() });
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    claims
}

on_each_store! {
    async fn jwt_opens_a_connection_and_authorizes_its_user(kind) {
        let cluster = start(kind, 2).await;
        let mut bob = connect_with(&cluster, 1, "bob", &token("bob")).await;
        bob.ok("Enter", json!({ "room": "ops" })).await;
        // With each request.
        let mut alice = cluster.connect(0, "alice").await;
        alice.token = Some(token("alice"));
        alice.ok("Enter", json!({ "room": "ops" })).await;
        alice.say("ops", "signed").await;
        assert_eq!(bob.hears().await, "signed");
        alice.refused("Enter", json!({ "sender_username": "bob", "room": "ops" }), "identity_mismatch").await;
        // A token of another user is refused; one of the same user takes the place of the old one.
        alice.token = Some(token("bob"));
        alice.refused("GroupChat", json!({ "content": "x" }), "identity_mismatch").await;
        alice.token = Some(signed_with(SECRET, &claims(&json!({ "jti": "newer" }))));
        alice.say("ops", "renewed").await;
        // A UUID stays what it was.
        alice.token = Some(cluster.token(0, "alice").await);
        alice.say("ops", "by uuid").await;
        let who = bob.ok("Ping", json!({})).await;
        assert_eq!(who["sender_username"], "bob");
    }

    async fn invalid_jwt_is_unauthorized_with_the_reason(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            with_secret(config);
            config.auth.jwt.issuer = Some("https://id.example.com/".into());
            config.auth.jwt.audience = vec!["chat".into(), "app".into()];
        })
        .await;
        let ours = json!({ "iss": "https://id.example.com/", "aud": "chat" });
        let with = |more: &Value| {
            let mut claims = claims(&ours);
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            signed_with(SECRET, &claims)
        };
        let good = with(&json!({ "aud": ["other", "app"], "nbf": now() + 20 }));
        let (signed, _) = good.rsplit_once('.').unwrap();
        let bare = signed_with(SECRET, &claims(&json!({ "aud": "chat" })));
        for (token, reason) in [
            (with(&json!({ "exp": now() - 31 })), "it has expired"),
            (with(&json!({ "exp": "2099-01-01" })), "`exp`"),
            (with(&json!({ "exp": null })), "`exp`"),
            (with(&json!({ "nbf": now() + 60 })), "it is not valid yet"),
            (with(&json!({ "nbf": "soon" })), "`nbf`"),
            (with(&json!({ "iat": now() + 60 })), "it is not valid yet"),
            (with(&json!({ "iss": "https://evil.example.com/" })), "another issuer"),
            (bare, "another issuer"),
            (with(&json!({ "aud": "other" })), "another audience"),
            (with(&json!({ "aud": null })), "another audience"),
            (with(&json!({ "aud": 7 })), "another audience"),
            (with(&json!({ "sub": "" })), "the user name in `sub` must not be empty"),
            (with(&json!({ "sub": "a\u{202e}b" })), "can't be seen"),
            (with(&json!({ "sub": 42 })), "must be a string"),
            (with(&json!({ "jti": 7 })), "`jti`"),
            (with(&json!({ "rooms": "ops" })), "`rooms` must be a list"),
            (with(&json!({ "rooms": [{ "room": "ops", "can": ["reed"] }] })), "read, write, create"),
            (signed_with("another-secret-of-thirty-two-bytes", &claims(&ours)), "its signature is wrong"),
            (format!("{signed}."), "its signature is wrong"),
            (format!("{signed}.AAAA"), "its signature is wrong"),
            ("a.b.c".into(), "no JWT"),
            ("..".into(), "no JWT"),
            (format!("{}.{}.", "A".repeat(4_000), "B".repeat(5_000)), "no JWT"),
        ] {
            let mut alice = cluster.connect(0, "alice").await;
            alice.token = Some(token.clone());
            let error = alice.refused("Enter", json!({ "room": "ops" }), "unauthorized").await;
            let said = error["message"].as_str().unwrap();
            assert!(said.contains(reason), "{reason}: {said}");
            // A good token is no failed one.
            alice.token = Some(good.clone());
            alice.ok("Enter", json!({ "room": "ops" })).await;
        }
        let (status, why) = refused_at_handshake(&cluster, &with(&json!({ "exp": now() - 31 }))).await;
        assert_eq!((status, why.as_str()), (401, "the token is not valid: it has expired; get a new one"));
        for result in ["ok", "expired", "signature", "issuer", "claims"] {
            let name = format!("chat_jwt_checks_total{{result=\"{result}\"}}");
            assert!(metric(cluster.nodes[0].operators, &name).await >= 1.0, "{name}");
        }
    }

    async fn node_without_jwt_accepts_none(kind) {
        let cluster = Cluster::start_with(kind, 1, with_tokens).await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.token = Some(token("alice"));
        alice.refused("Enter", json!({ "room": "ops" }), "unauthorized").await;
        let body = json!({ "token": token("alice") });
        let (status, answer) = cluster.call(0, "POST", "/tokens/revoke", body).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_message")));
    }

    async fn large_jwt_fits_the_handshake(kind) {
        let cluster = start(kind, 1).await;
        let of_size = |size: usize| {
            let token = |filling: usize| signed_with(SECRET, &claims(&json!({ "x": "x".repeat(filling) })));
            (size * 3 / 4 - 300..size).map(token).find(|token| token.len() >= size).unwrap()
        };
        let mut alice = connect_with(&cluster, 0, "alice", &of_size(8_180)).await;
        alice.ok("Enter", json!({ "room": "ops" })).await;
        assert_eq!(refused_at_handshake(&cluster, &of_size(8_193)).await.0, 401);
    }

    async fn previous_secret_is_accepted_until_it_is_removed(kind) {
        let mut cluster = Cluster::start_with(kind, 1, |config| {
            with_secret(config);
            config.auth.jwt.hmac_previous_secret = Some("previous-secret-of-thirty-two-bytes".into());
        })
        .await;
        let old = signed_with("previous-secret-of-thirty-two-bytes", &claims(&json!({})));
        connect_with(&cluster, 0, "alice", &old).await.ok("Enter", json!({ "room": "ops" })).await;
        connect_with(&cluster, 0, "alice", &token("alice")).await.ok("Auth", json!({})).await;
        cluster.adjust(|config| config.auth.jwt.hmac_previous_secret = None);
        let later = cluster.add_node().await;
        let mut alice = Client::connect(later, "alice").await;
        alice.token = Some(old);
        alice.refused("Auth", json!({}), "unauthorized").await;
    }

    async fn name_comes_from_the_claim_in_the_settings(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            with_secret(config);
            config.auth.jwt.user_claim = "https://example.com/name".into();
        })
        .await;
        let named = signed_with(SECRET, &claims(&json!({ "https://example.com/name": " Ann " })));
        let mut ann = connect_with(&cluster, 0, "Ann", &named).await;
        assert_eq!(ann.ok("Ping", json!({})).await["sender_username"], "Ann");
        assert_eq!(refused_at_handshake(&cluster, &token("alice")).await.0, 401);
    }

    async fn refused_jwts_are_bounded_by_address(kind) {
        let cluster = start(kind, 1).await;
        let mut alice = cluster.connect(0, "alice").await;
        let wrong = signed_with("another-secret-of-thirty-two-bytes", &claims(&json!({})));
        let mut codes = Vec::new();
        for _ in 0..100 {
            alice.token = Some(wrong.clone());
            let answer = alice.ask("Ping", json!({})).await;
            codes.push(answer["message_body"]["code"].as_str().unwrap().to_owned());
            if codes.last().unwrap() == "rate_limited" {
                break;
            }
        }
        assert_eq!(codes.last().unwrap(), "rate_limited", "{codes:?}");
        assert!(codes.len() > 30, "{codes:?}");
    }
}

/// Each token is verified once for each node, and the store is asked once; a message costs neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_needs_no_check_of_its_jwt() {
    let cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        with_secret(config);
        config.auth.recheck_interval = std::time::Duration::from_secs(3_600);
    })
    .await;
    let lookups = || {
        let statistics = cluster.redis_server().command(&["INFO", "commandstats"]).unwrap();
        let line = statistics.lines().find(|line| line.starts_with("cmdstat_mget:")).map(str::to_owned);
        line.map(|line| line.split(',').next().unwrap().to_owned())
    };
    let token = token("alice");
    let mut alice = cluster.connect(0, "alice").await;
    alice.token = Some(token.clone());
    alice.ok("Enter", json!({ "room": "ops" })).await;
    // Whether it was revoked, and whether its user is banned.
    assert_eq!(lookups().as_deref(), Some("cmdstat_mget:calls=2"));
    alice.say_many("ops", "signed", 100).await;
    connect_with(&cluster, 0, "alice", &token).await.ok("Ping", json!({})).await;
    assert_eq!(lookups().as_deref(), Some("cmdstat_mget:calls=2"));
}
