//! What the program refuses, and which limit of the nodes or of its own it names.

use std::io::Write;

use super::bench::{assert_right, bench, bench_with, figure, report};
use super::node::{KEY, Node, metrics_server};

#[tokio::test]
async fn foreign_hosts_are_refused_without_permission() {
    // An address for documentation: nothing is sent to it.
    for url in ["ws://192.0.2.1:8080/", "wss://[2001:db8::1]/"] {
        let finished = bench(&["fan", "--url", url]).await;
        assert_eq!(finished.code, 2, "{finished:?}");
        assert!(finished.errors.contains("--i-may-load-this-host"), "{finished:?}");
    }
}

#[tokio::test]
async fn wrong_command_lines_are_explained() {
    for (args, says) in [
        (&["fan", "--expect", "p98<5ms"][..], "there is no figure \"p98\""),
        (&["fan", "--expect", "p99<5 parsecs"], "is no value"),
        (&["fan", "--search", "fast"], "compares nothing"),
        (&["fan", "--publishers", "200"], "--publishers 200 is more than --members 100"),
        (&["fan", "--url", "localhost:8080"], "is not a URL such as"),
        (&["fan", "--token-file", "/no/such/file"], "/no/such/file"),
        (&["fan", "--issue-tokens"], "CHAT_AUTH__ADMIN_KEY"),
    ] {
        // The nodes are looked for before users are.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("--url=ws://{}/", listener.local_addr().unwrap());
        let args = if args.contains(&"--url") { args.to_vec() } else { [args, &[&url]].concat() };
        let finished = bench(&args).await;
        assert_eq!(finished.code, 2, "{args:?}: {finished:?}");
        assert!(finished.errors.contains(says), "{args:?}: {finished:?}");
    }
    let finished = bench(&["fan", "--url=ws://127.0.0.1:1/"]).await;
    assert_eq!(finished.code, 1);
    assert!(finished.errors.contains("nothing answers at 127.0.0.1:1"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limit_of_the_node_is_named() {
    let node = Node::start(|config| config.limits.messages_per_second = 20).await;
    let args = ["--rooms=1", "--members=2", "--duration=2", "--in-flight=50"];
    let (_, report) = report("fan", &[node.address], &args).await;
    assert!(figure(&report, "slowed") > 0.0, "{report:#}");
    assert!(report["notes"].to_string().contains("limits.messages_per_second"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn full_node_is_named() {
    let node = Node::start(|config| config.max_connections = 5).await;
    let url = format!("--url=ws://{}/", node.address);
    let metrics = format!("--metrics-url=http://{}/", metrics_server(5).await);
    let finished = bench(&["idle", "--connections=20", &url, &metrics]).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.errors.contains("5 free seats, and 20 connections are wanted"), "{finished:?}");
    // Without its metrics, the node itself has to say it.
    let finished = bench(&["idle", "--connections=20", "--no-metrics", &url]).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.errors.contains("could not join") && finished.errors.contains("full"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_issued_or_read_from_a_file() {
    let node = Node::start(|config| {
        config.auth.enabled = true;
        config.auth.admin_key = Some(KEY.to_owned().into());
    })
    .await;
    let url = format!("--url=ws://{}/", node.address);
    let fan =
        ["fan", "--rooms=1", "--members=3", "--duration=0.5", "--warmup=0", "--no-metrics", "--json", &url];
    let finished = bench(&fan).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.errors.contains("unauthorized"), "{finished:?}");
    let finished =
        bench_with(&[&fan[..], &["--issue-tokens"]].concat(), &[("CHAT_AUTH__ADMIN_KEY", KEY)]).await;
    assert_right(finished.code, &serde_json::from_str(&finished.output).unwrap());
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(b"not the key of the node\n").unwrap();
    let file = key.path().to_str().unwrap();
    let finished = bench(&[&fan[..], &["--admin-key-file", file]].concat()).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    assert!(finished.errors.contains("the key is not that of the nodes"), "{finished:?}");
    let mut tokens = tempfile::NamedTempFile::new().unwrap();
    for user in ["ann", "bob", "cid"] {
        writeln!(tokens, "{user} 7d1f0c1e-5f0e-4f0f-9a77-1f7e2f1d5c3b").unwrap();
    }
    let file = tokens.path().to_str().unwrap();
    let finished = bench(&[&fan[..], &["--token-file", file]].concat()).await;
    assert_eq!(finished.code, 1, "{finished:?}");
    // The tokens were shown at the upgrade, and are not valid.
    assert!(finished.errors.contains("401") && !finished.errors.contains("7d1f0c1e"), "{finished:?}");
}
