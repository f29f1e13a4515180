//! The keys of an identity provider: rotated while clients are connected; and a server of keys that is away, slow, or answers
//! rubbish.

use std::time::Duration;

use serde_json::json;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, metric, until};
use crate::support::jwt::{Answer, KeyServer, SigningKey, now, signed_with, with_keys_at};

async fn start(url: &str) -> Cluster {
    Cluster::start_with(Kind::Embedded, 1, |config| with_keys_at(config, url)).await
}

/// The code of the answer to a request with this token; `ok` if it is carried out.
async fn code(cluster: &Cluster, token: &str) -> String {
    let mut client = cluster.connect(0, "alice").await;
    client.token = Some(token.to_owned());
    let answer = client.ask("Ping", json!({})).await;
    answer["message_body"]["code"].as_str().unwrap_or("ok").to_owned()
}

/// Waits until a token is accepted: the node reads the keys at most every ten seconds.
async fn is_accepted_soon(cluster: &Cluster, token: &str) {
    until("the token is accepted", async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        code(cluster, token).await == "ok"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_while_clients_are_connected() {
    let (old, new) = (SigningKey::new("2026-1"), SigningKey::new("2026-2"));
    let server = KeyServer::start(Answer::Keys(vec![old.jwk()])).await;
    let cluster = start(&server.url()).await;
    let header = [("authorization", format!("Bearer {}", old.token("alice")))];
    let mut alice = Client::connect_with(cluster.address(0), "alice", &header).await.unwrap();
    alice.ok("Enter", json!({ "room": "ops" })).await;
    assert_eq!(code(&cluster, &new.token("alice")).await, "unauthorized", "its key is not published");
    server.set(Answer::Keys(vec![new.jwk()]));
    is_accepted_soon(&cluster, &new.token("alice")).await;
    // The set is swapped as a whole, so the old key is gone. Who is connected stays.
    assert_eq!(code(&cluster, &old.token("alice")).await, "unauthorized");
    alice.say("ops", "still here").await;
    assert!(server.requests() < 8, "{} reads", server.requests());
    let reads = "chat_jwks_fetches_total{result=\"ok\"}";
    assert!(metric(cluster.nodes[0].operators, reads).await >= 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_keys_cause_one_read_for_all() {
    let (known, other) = (SigningKey::new("known"), SigningKey::new("other"));
    let server = KeyServer::start(Answer::Keys(vec![known.jwk()])).await;
    let cluster = start(&server.url()).await;
    assert_eq!(code(&cluster, &known.token("alice")).await, "ok");
    let tokens: Vec<String> = (0..20).map(|number| other.token(&format!("user {number}"))).collect();
    let asked = tokens.iter().map(|token| code(&cluster, token));
    let codes = futures_util::future::join_all(asked).await;
    assert!(codes.iter().all(|code| code == "unauthorized"), "{codes:?}");
    // The read at the start, and one more if ten seconds have passed since.
    assert!(server.requests() <= 2, "{} reads", server.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_starts_without_the_server_of_keys() {
    let key = SigningKey::new("1");
    let address = KeyServer::address_of_none().await;
    let cluster = start(&format!("http://{address}/keys?v=1")).await;
    let token = key.token("alice");
    assert_eq!(code(&cluster, &token).await, "unavailable");
    let header = [("authorization", format!("Bearer {token}"))];
    match Client::connect_with(cluster.address(0), "alice", &header).await.map(|_| ()).map_err(|error| *error)
    {
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
            assert_eq!(answer.status().as_u16(), 503, "a client keeps its token");
            assert!(answer.headers().contains_key("retry-after"));
        }
        other => panic!("{other:?}"),
    }
    // Other tokens need no key.
    let mut bob = cluster.connect(0, "bob").await;
    bob.token = Some(cluster.token(0, "bob").await);
    bob.ok("Enter", json!({ "room": "ops" })).await;
    let _server = KeyServer::start_at(address, Answer::Keys(vec![key.jwk()])).await;
    is_accepted_soon(&cluster, &token).await;
}

/// The last good set lives on, whatever the server answers; only a token with an unknown key has to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_answers_keep_the_last_good_keys() {
    let (known, new) = (SigningKey::new("known"), SigningKey::new("new"));
    let elsewhere = KeyServer::start(Answer::Keys(vec![new.jwk()])).await;
    let bad = [
        Answer::Text(500, "broken".into()),
        Answer::Text(200, "<html>login</html>".into()),
        Answer::Text(200, "{\"keys\":[]}".into()),
        Answer::Text(200, "x".repeat(300 << 10)),
        Answer::Redirect(elsewhere.url()),
        Answer::Silence,
    ];
    // Each kind at a node of its own, at the same time: each waits for ten seconds.
    let each = bad.into_iter().map(async |answer| {
        let server = KeyServer::start(Answer::Keys(vec![known.jwk()])).await;
        let cluster = start(&server.url()).await;
        assert_eq!(code(&cluster, &known.token("alice")).await, "ok");
        server.set(answer);
        until("the bad answer is read", async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            code(&cluster, &new.token("alice")).await == "unavailable"
        })
        .await;
        assert_eq!(code(&cluster, &known.token("alice")).await, "ok");
        server.set(Answer::Keys(vec![new.jwk()]));
        is_accepted_soon(&cluster, &new.token("alice")).await;
    });
    futures_util::future::join_all(each).await;
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_set_never_serve_as_secrets() {
    let key = SigningKey::new("1");
    let secret = "c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtMDAwMDA";
    let oct = json!({ "kty": "oct", "k": secret, "alg": "HS256", "kid": "2" });
    let server = KeyServer::start(Answer::Keys(vec![oct, key.jwk(), json!({ "kty": "new" })])).await;
    let cluster = start(&server.url()).await;
    assert_eq!(code(&cluster, &key.token("alice")).await, "ok");
    let claims = json!({ "sub": "alice", "exp": now() + 60 });
    let x = key.jwk()["x"].as_str().unwrap().to_owned();
    for secret in ["secret-of-thirty-two-bytes-00000", secret, &x] {
        assert_eq!(code(&cluster, &signed_with(secret, &claims)).await, "unauthorized");
    }
}
