//! The keys of the server API: what each may do, how often, and what is told and logged of it.

use serde_json::Value;

use crate::support::api::{KEY, with_api, with_tokens};
use crate::support::cluster::{Cluster, Kind, get, http};
use crate::support::program::Program;
use crate::support::raw::RawSocket;
use crate::support::redis_server::RedisServer;

const SCOPES: [&str; 5] = ["publish", "read", "moderate", "tokens", "admin"];

/// The key with one scope.
fn key_for(scope: &str) -> String {
    format!("Rv4k-9xTm-{scope}-Lw2q-Hn8z")
}

fn with_scoped_keys(config: &mut chatnode::config::Config) {
    // A ban from the server needs authentication.
    with_tokens(config);
    config.auth.api_keys =
        SCOPES.iter().map(|scope| format!("{scope}-key:{scope}:{}", key_for(scope)).into()).collect();
}

/// Each call in docs/protocol.md: method, path, and the scope that it needs.
fn calls() -> Vec<(String, String, String)> {
    let page = include_str!("../../docs/protocol.md");
    let table = page.split("\n| request | scope | body | answer |\n").nth(1).unwrap();
    let mut calls = Vec::new();
    for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let plain = |cell: &str| cell.trim_matches(['|', ' ', '`']).to_owned();
        let (request, scope) = (plain(cells[0]), plain(cells[1]));
        if request.starts_with("the same three") {
            let room = "/rooms/{room}/messages/{message_id}";
            let same: Vec<_> = calls
                .iter()
                .filter(|(_, path, _): &&(String, String, String)| path.contains(room))
                .map(|(method, path, scope)| {
                    (method.clone(), path.replace("/rooms/{room}", "/users/{user}"), scope.clone())
                })
                .collect();
            assert_eq!(same.len(), 3);
            calls.extend(same);
            continue;
        }
        let (method, path) = request.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap();
        calls.push((method.into(), path.into(), scope));
    }
    assert!(calls.len() >= 22, "{calls:?}");
    calls
}

async fn call(cluster: &Cluster, method: &str, path: &str, key: &str) -> (u16, Value) {
    let key = format!("Bearer {key}");
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    let (status, body) = http(cluster.address(0), method, path, &headers, "{}").await;
    (status, if body.is_empty() { Value::Null } else { serde_json::from_str(&body).unwrap() })
}

#[tokio::test]
async fn each_call_needs_the_scope_in_the_protocol() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, with_scoped_keys).await;
    for (method, path, needed) in calls() {
        let path = path.replace("{room}", "ops").replace("{user}", "alice").replace("{message_id}", "x");
        for scope in SCOPES {
            let (status, answer) = call(&cluster, &method, &path, &key_for(scope)).await;
            let message = answer["message"].as_str().unwrap_or_default();
            if scope == needed || scope == "admin" {
                assert!(
                    status != 401 && !message.contains("scope"),
                    "{method} {path} {scope}: {status} {answer}"
                );
            } else {
                assert_eq!((status, &answer["code"]), (403, &"forbidden".into()), "{method} {path} {scope}");
                let lacks = format!("the key {scope}-key lacks the scope {needed}, ");
                assert!(message.starts_with(&lacks), "{message}");
            }
        }
        let (status, answer) = call(&cluster, &method, &path, KEY).await;
        assert!(status != 401 && status != 403, "{method} {path} admin_key: {status} {answer}");
        assert_eq!(call(&cluster, &method, &path, "Rv4k-9xTm-unknown-Lw2q-Hn8z").await.0, 401);
    }
    let key = key_for("read");
    assert_eq!(call(&cluster, "GET", "/api/v1/nowhere", &key).await.0, 404);
    assert_eq!(call(&cluster, "GET", "/api/v1/tokens", &key).await.0, 405);
}

#[tokio::test]
async fn key_over_its_rate_is_told_when_to_come_back() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| {
        with_api(config);
        config.auth.api_keys = vec![
            format!("slow:read:1/s:{}", key_for("slow")).into(),
            format!("other:read:{}", key_for("other")).into(),
        ];
    })
    .await;
    let key = key_for("slow");
    let path = "/api/v1/rooms/ops/messages";
    assert_eq!(call(&cluster, "GET", path, &key).await.0, 200);
    // Calls without the scope count too. A machine is never so slow that each call takes a second.
    let mut refused = None;
    for _ in 0..100 {
        let (status, answer) = call(&cluster, "GET", "/api/v1/nodes", &key).await;
        if status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(status, 403, "{answer}");
    }
    let refused = refused.expect("a hundred calls in a row");
    assert_eq!(refused["code"], "rate_limited");
    assert!(refused["message"].as_str().unwrap().starts_with("the key slow makes more calls"), "{refused}");
    assert!((1..=1_000).contains(&refused["retry_after_ms"].as_u64().unwrap()), "{refused}");
    // Nothing of the body is waited for.
    let mut socket = RawSocket::connect(cluster.address(0)).await;
    let request = format!(
        "POST /api/v1/rooms/ops/messages HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{{"
    );
    let head = loop {
        socket.send(request.as_bytes()).await;
        let head = socket.head().await;
        if head.status == 429 {
            break head;
        }
        assert_eq!(head.status, 403);
        socket = RawSocket::connect(cluster.address(0)).await;
    };
    assert_eq!(head.header("retry-after"), "1");
    // Other keys have rates of their own, or none.
    for key in [KEY, &key_for("other")] {
        for _ in 0..20 {
            assert_eq!(call(&cluster, "GET", path, key).await.0, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_of_a_call_name_its_key_and_do_not_show_it() {
    let mut redis = RedisServer::start();
    let (url, key) = (redis.url(), key_for("shop"));
    let entries = format!("shop:tokens+read:5/s:{key}");
    let mut node = Program::start(&[
        ("CHAT_REDIS__URL", url.as_str()),
        ("CHAT_REDIS__TIMEOUT", "300ms"),
        ("CHAT_AUTH__API_KEYS", entries.as_str()),
    ]);
    redis.kill();
    let header = format!("Bearer {key}");
    let headers = [("Authorization", header.as_str()), ("Content-Type", "application/json")];
    let body = r#"{"username":"alice"}"#;
    let (status, answer) = http(node.address, "POST", "/api/v1/tokens", &headers, body).await;
    assert_eq!(status, 503, "{answer}");
    let (_, page) = get(node.address, "/metrics").await;
    for (key, result, count) in
        [("shop", "admitted", 1), ("shop", "over_rate", 0), ("admin_key", "admitted", 0)]
    {
        let line = format!("chat_api_calls_total{{key=\"{key}\",result=\"{result}\"}} {count}\n");
        assert!(page.contains(&line), "{line}{page}");
    }
    let log = node.stop();
    let line = log.lines().find(|line| line.contains("a request failed")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("api{key=\"shop\"}"), "{line}");
    assert!(log.contains("shop:tokens+read:5/s:***") && !log.contains(&key), "{log}");
}
