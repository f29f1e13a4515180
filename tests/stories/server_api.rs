//! The server API: every path with valid and invalid input, with and without the admin key.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api::{KEY, with_api, with_tokens};
use crate::support::cluster::{Cluster, Kind, get, http, until};
use crate::support::raw::RawSocket;

/// Status and code of a refusal, which must also have a message.
fn refusal(answer: (u16, Value)) -> (u16, String) {
    let (status, body) = answer;
    assert!(!body["message"].as_str().unwrap_or_default().is_empty(), "{status} {body}");
    (status, body["code"].as_str().unwrap().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const PATHS: [(&str, &str); 14] = [
    ("POST", "/tokens"),
    ("POST", "/tokens/revoke"),
    ("DELETE", "/users/alice/tokens"),
    ("POST", "/users/alice/disconnect"),
    ("POST", "/users/alice/messages"),
    ("GET", "/rooms"),
    ("GET", "/rooms/ops/members"),
    ("GET", "/rooms/ops/messages"),
    ("POST", "/rooms/ops/messages"),
    ("PATCH", "/rooms/ops/messages/x"),
    ("DELETE", "/users/alice/messages/x"),
    ("POST", "/rooms/ops/messages/x/reactions"),
    ("GET", "/nodes"),
    ("GET", "/nowhere"),
];

on_each_store! {
    async fn token_is_issued_with_a_lifetime(kind) {
        let cluster = Cluster::start_with(kind, 1, with_tokens).await;
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let before = now();
        for (ttl, seconds) in [(Value::Null, 24 * 3_600), (json!(1), 1), (json!(90), 90), (json!(31_622_400), 31_622_400)] {
            let (status, issued) = cluster.call(0, "POST", "/tokens", json!({ "username": " alice ", "ttl_seconds": ttl })).await;
            assert_eq!((status, &issued["username"]), (201, &json!("alice")), "{issued}");
            issued["token"].as_str().unwrap().parse::<uuid::Uuid>().unwrap();
            let lives = issued["expires_at"].as_u64().unwrap() - before;
            assert!((seconds * 1_000..seconds * 1_000 + 20_000).contains(&lives), "{issued}");
        }
        for bad in [
            json!({}),
            json!({ "username": "" }),
            json!({ "username": "a\u{0}b" }),
            json!({ "username": "x".repeat(65) }),
            json!({ "username": 5 }),
            json!({ "username": "alice", "ttl_seconds": 0 }),
            json!({ "username": "alice", "ttl_seconds": -1 }),
            json!({ "username": "alice", "ttl_seconds": 31_622_401 }),
            json!({ "username": "alice", "ttl_seconds": "1h" }),
            json!({ "username": "alice", "ttl": 5 }),
            json!([]),
        ] {
            let (status, code) = refusal(cluster.call(0, "POST", "/tokens", bad.clone()).await);
            assert!(status == 400 || status == 422, "{bad}: {status}");
            assert_eq!(code, "invalid_message", "{bad}");
        }
    }

    async fn revoking_an_invalid_token_succeeds(kind) {
        let cluster = Cluster::start_with(kind, 1, with_api).await;
        let path = "/tokens/revoke";
        for _ in 0..2 {
            let token = json!({ "token": "0193a1c2-7d3e-4c51-9a53-2f1f0f6a9b10" });
            assert_eq!(cluster.call(0, "POST", path, token).await, (204, Value::Null));
        }
        for bad in [json!({}), json!({ "token": "x" }), json!({ "token": null }), json!("x")] {
            assert_eq!(refusal(cluster.call(0, "POST", path, bad).await).1, "invalid_message");
        }
        assert_eq!(cluster.call(0, "DELETE", "/users/nobody/tokens", Value::Null).await, (204, Value::Null));
        assert_eq!(cluster.call(0, "POST", "/users/nobody/disconnect", Value::Null).await, (204, Value::Null));
    }

    async fn server_sends_a_message_to_a_room(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.enter(1, "alice", "a}{b /日本").await;
        let path = "/rooms/a%7D%7Bb%20%2F%E6%97%A5%E6%9C%AC/messages";
        let (status, stored) = cluster.call(0, "POST", path, json!({ "sender_username": "bot", "content": "deployed" })).await;
        assert_eq!(status, 201, "{stored}");
        let heard = alice.next("GroupChat").await;
        assert_eq!((&heard["sender_username"], &heard["content"]), (&json!("bot"), &json!("deployed")));
        for field in ["message_id", "epoch", "seq", "sent_at"] {
            assert_eq!(heard[field], stored[field], "{field}");
        }
        // A repeat with the same id is not stored again.
        let body = json!({ "sender_username": "bot", "content": "once", "id": "build-7" });
        let (_, first) = cluster.call(0, "POST", path, body.clone()).await;
        let (status, second) = cluster.call(1, "POST", path, body).await;
        assert_eq!((status, &second["duplicate"]), (201, &json!(true)));
        assert_eq!((&second["message_id"], &second["seq"]), (&first["message_id"], &first["seq"]));
        assert_eq!(alice.hears().await, "once");
        let (status, page) = cluster.call(1, "GET", path, Value::Null).await;
        assert_eq!((status, page["messages"].as_array().unwrap().len()), (200, 2), "{page}");
    }

    async fn server_sends_a_message_to_a_user(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.connect(1, "alice").await;
        alice.ok("Auth", json!({})).await;
        let path = "/users/alice/messages";
        let (status, stored) = cluster.call(0, "POST", path, json!({ "sender_username": "bot", "content": "psst" })).await;
        assert_eq!(status, 201, "{stored}");
        let heard = alice.next("PrivateChat").await;
        assert_eq!((&heard["content"], &heard["message_id"]), (&json!("psst"), &stored["message_id"]));
        assert_eq!(heard["target_username"], "alice");
    }

    async fn invalid_server_message_is_refused(kind) {
        let cluster = Cluster::start_with(kind, 1, with_api).await;
        for path in ["/rooms/ops/messages", "/users/alice/messages"] {
            for (bad, status, code) in [
                (json!({ "content": "x" }), 422, "invalid_message"),
                (json!({ "sender_username": "bot" }), 422, "invalid_message"),
                (json!({ "sender_username": "", "content": "x" }), 400, "invalid_message"),
                (json!({ "sender_username": "bot", "content": "" }), 400, "invalid_message"),
                (json!({ "sender_username": "bot", "content": "x", "id": "" }), 400, "invalid_message"),
                (json!({ "sender_username": "bot", "content": "x", "to": "y" }), 422, "invalid_message"),
                (json!({ "sender_username": "bot", "content": "x".repeat(16_385) }), 413, "message_too_large"),
                (json!({ "sender_username": "bot", "content": "x".repeat(140_000) }), 413, "message_too_large"),
            ] {
                let shown: String = bad.to_string().chars().take(80).collect();
                assert_eq!(refusal(cluster.call(0, "POST", path, bad).await), is(status, code), "{shown}");
            }
        }
        let (_, page) = cluster.call(0, "GET", "/rooms/ops/messages", Value::Null).await;
        assert_eq!((&page["messages"], &page["more"]), (&json!([]), &json!(false)));
    }

    async fn names_in_paths_are_validated(kind) {
        let cluster = Cluster::start_with(kind, 1, with_api).await;
        let long = "x".repeat(65);
        for name in ["%20", "a%00b", "a%E2%80%A8b", "%FF", &long] {
            for (method, path) in [
                ("GET", format!("/rooms/{name}/members")),
                ("GET", format!("/rooms/{name}/messages")),
                ("DELETE", format!("/users/{name}/tokens")),
                ("POST", format!("/users/{name}/disconnect")),
            ] {
                assert_eq!(refusal(cluster.call(0, method, &path, Value::Null).await), is(400, "invalid_message"), "{path}");
            }
            let body = json!({ "sender_username": "bot", "content": "x" });
            for path in [format!("/rooms/{name}/messages"), format!("/users/{name}/messages")] {
                assert_eq!(refusal(cluster.call(0, "POST", &path, body.clone()).await), is(400, "invalid_message"), "{path}");
            }
        }
    }

    async fn members_of_the_whole_cluster_are_paged(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut clients = Vec::new();
        for (index, name) in ["dora", "alice", "bob", "carol", "日本"].into_iter().enumerate() {
            clients.push(cluster.enter(index % 2, name, "ops").await);
        }
        let path = "/rooms/ops/members";
        let (status, all) = cluster.call(0, "GET", path, Value::Null).await;
        let everybody = json!(["alice", "bob", "carol", "dora", "日本"]);
        assert_eq!((status, all), (200, json!({ "room": "ops", "members": everybody, "count": 5, "more": false })));
        let (_, page) = cluster.call(1, "GET", &format!("{path}?limit=2&after=alice"), Value::Null).await;
        assert_eq!(page, json!({ "room": "ops", "members": ["bob", "carol"], "count": 5, "more": true }));
        let (_, page) = cluster.call(1, "GET", &format!("{path}?after=dora"), Value::Null).await;
        assert_eq!(page, json!({ "room": "ops", "members": ["日本"], "count": 5, "more": false }));
        let (_, none) = cluster.call(1, "GET", "/rooms/empty/members", Value::Null).await;
        assert_eq!(none, json!({ "room": "empty", "members": [], "count": 0, "more": false }));
        for bad in ["limit=0", "limit=1001", "limit=x", "after=%20", "limit=-1", "offset=5"] {
            let answer = cluster.call(0, "GET", &format!("{path}?{bad}"), Value::Null).await;
            assert_eq!(refusal(answer), is(400, "invalid_message"), "{bad}");
        }
    }

    async fn rooms_of_the_whole_cluster_are_paged(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        // Presence is known from the first heartbeat on.
        until("rooms can be listed", async || cluster.call(1, "GET", "/rooms", Value::Null).await.0 == 200).await;
        let (_, none) = cluster.call(0, "GET", "/rooms", Value::Null).await;
        assert_eq!(none, json!({ "rooms": [], "more": false }));
        let mut clients = Vec::new();
        for (node, name, room) in [(0, "alice", "ops"), (1, "bob", "ops"), (1, "bob", "a}{b /日本"), (0, "carol", "op")] {
            clients.push(cluster.enter(node, name, room).await);
        }
        let (first, second, third) = (
            json!({ "room": "a}{b /日本", "count": 1 }),
            json!({ "room": "op", "count": 1 }),
            json!({ "room": "ops", "count": 2 }),
        );
        for node in [0, 1] {
            let (status, all) = cluster.call(node, "GET", "/rooms", Value::Null).await;
            assert_eq!((status, all), (200, json!({ "rooms": [first, second, third], "more": false })));
            let (_, page) = cluster.call(node, "GET", "/rooms?limit=1&after=a%7D%7Bb%20%2F%E6%97%A5%E6%9C%AC", Value::Null).await;
            assert_eq!(page, json!({ "rooms": [second], "more": true }));
            let (_, page) = cluster.call(node, "GET", "/rooms?limit=1&after=op", Value::Null).await;
            assert_eq!(page, json!({ "rooms": [third], "more": false }));
        }
        for bad in ["limit=0", "limit=201", "limit=x", "after=%20", "offset=5"] {
            let answer = cluster.call(0, "GET", &format!("/rooms?{bad}"), Value::Null).await;
            assert_eq!(refusal(answer), is(400, "invalid_message"), "{bad}");
        }
        clients.truncate(1);
        until("empty rooms are not listed", async || {
            cluster.call(0, "GET", "/rooms", Value::Null).await.1 == json!({ "rooms": [{ "room": "ops", "count": 1 }], "more": false })
        })
        .await;
    }

    async fn messages_are_paged_backwards(kind) {
        let cluster = Cluster::start_with(kind, 2, with_api).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for count in 1..=5 {
            alice.say("ops", &format!("message {count}")).await;
        }
        let path = "/rooms/ops/messages";
        let contents = |page: &Value| -> Vec<String> {
            page["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap().to_owned()).collect()
        };
        let (status, newest) = cluster.call(1, "GET", &format!("{path}?limit=2"), Value::Null).await;
        assert_eq!((status, contents(&newest), &newest["more"]), (200, vec!["message 4".into(), "message 5".into()], &json!(true)));
        let first = &newest["messages"][0];
        let (seq, epoch) = (&first["seq"], first["epoch"].as_str().unwrap());
        let (_, older) = cluster.call(1, "GET", &format!("{path}?limit=3&before={seq}&epoch={epoch}"), Value::Null).await;
        assert_eq!((contents(&older), &older["more"]), (vec!["message 1".into(), "message 2".into(), "message 3".into()], &json!(false)));
        let (_, other) = cluster.call(1, "GET", &format!("{path}?before={seq}&epoch=0123456789abcdef"), Value::Null).await;
        assert_eq!(contents(&other), Vec::<String>::new());
        for bad in ["limit=0", "limit=201", "before=5", "before=x&epoch=y", "since=5"] {
            let answer = cluster.call(0, "GET", &format!("{path}?{bad}"), Value::Null).await;
            assert_eq!(refusal(answer), is(400, "invalid_message"), "{bad}");
        }
    }

    async fn nodes_are_listed(kind) {
        let cluster = Cluster::start_with(kind, 2, |c| {
            with_api(c);
            c.node.name = Some("lisbon".into());
        })
        .await;
        // A node is listed from its first heartbeat on.
        until("both nodes are listed", async || {
            let (status, answer) = cluster.call(0, "GET", "/nodes", Value::Null).await;
            assert_eq!(status, 200);
            let nodes = answer["nodes"].as_array().unwrap();
            assert!(nodes.iter().all(|node| node["name"] == "lisbon"), "{answer}");
            nodes.len() == 2
        })
        .await;
    }
}

// The following tests don't depend on the store.

#[tokio::test]
async fn every_path_without_the_admin_key_is_401() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_api).await;
    let almost = &KEY[..KEY.len() - 1];
    for (method, path) in PATHS {
        for header in
            [None, Some("Bearer".into()), Some(format!("Bearer {almost}")), Some(format!("Basic {KEY}"))]
        {
            let headers: Vec<(&str, &str)> =
                header.iter().map(|value: &String| ("Authorization", value.as_str())).collect();
            let path = format!("/api/v1{path}");
            let (status, body) = http(cluster.address(0), method, &path, &headers, "{}").await;
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &body["code"]), (401, &json!("unauthorized")), "{method} {path} {header:?}");
        }
    }
}

#[tokio::test]
async fn api_is_off_without_an_admin_key() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    for (method, path) in PATHS {
        for key in ["", KEY] {
            let key = format!("Bearer {key}");
            let path = format!("/api/v1{path}");
            let headers = [("Authorization", key.as_str())];
            let (status, body) = http(cluster.address(0), method, &path, &headers, "{}").await;
            assert_eq!(status, 404, "{method} {path}: {body}");
            assert!(body.contains("auth.admin_key"), "{body}");
        }
    }
}

#[tokio::test]
async fn unknown_calls_are_answered_with_json() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_api).await;
    for (method, path, expected) in [
        ("GET", "", is(404, "not_found")),
        ("GET", "/nowhere", is(404, "not_found")),
        ("GET", "/rooms/ops", is(404, "not_found")),
        ("GET", "/tokens", is(405, "method_not_allowed")),
        ("DELETE", "/rooms/ops/messages", is(405, "method_not_allowed")),
    ] {
        assert_eq!(refusal(cluster.call(0, method, path, Value::Null).await), expected, "{method} {path}");
    }
    let key = format!("Bearer {KEY}");
    let body = r#"{"username":"alice"}"#;
    for (headers, body) in [
        (&[("Authorization", key.as_str())][..], body),
        (&[("Authorization", key.as_str()), ("Content-Type", "text/plain")], body),
        (&[("Authorization", key.as_str()), ("Content-Type", "application/json")], "{"),
        (&[("Authorization", key.as_str()), ("Content-Type", "application/json")], ""),
    ] {
        let (status, answer) = http(cluster.address(0), "POST", "/api/v1/tokens", headers, body).await;
        assert!(status == 400 || status == 415, "{status} {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["code"].is_string() && answer["message"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn missing_body_times_out() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        with_api(c);
        c.server.handshake_timeout = Duration::from_millis(200);
        c.limits.request_timeout = Duration::from_millis(200);
    })
    .await;
    for (path, key, status) in [
        ("/api/v1/tokens", KEY, 503),
        ("/api/v1/tokens", "wrong", 401),
        ("/healthz", KEY, 405),
        ("/", KEY, 405),
    ] {
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n\
             Content-Length: 50\r\n\r\n{{"
        );
        socket.send(head.as_bytes()).await;
        assert_eq!(socket.head().await.status, status, "{path} {key}");
        socket.rest().await;
    }
}

#[tokio::test]
async fn operator_endpoints_can_use_a_separate_port() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |c| {
        with_api(c);
        c.internal.port = Some(0);
    })
    .await;
    let operators = cluster.nodes[0].operators;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(operators, path).await.0, 200, "{path}");
        assert_eq!(get(cluster.address(0), path).await.0, 404, "{path}");
    }
    let key = format!("Bearer {KEY}");
    let headers = [("Authorization", key.as_str())];
    assert_eq!(http(operators, "GET", "/api/v1/nodes", &headers, "").await.0, 200);
    assert_eq!(http(cluster.address(0), "GET", "/api/v1/nodes", &headers, "").await.0, 404);
    // That port does not serve the paths for clients.
    assert_eq!(get(operators, "/").await.0, 404);
}
