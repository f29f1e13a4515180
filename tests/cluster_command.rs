//! The commands of operators against real nodes: `rooms`, `who`, `say`, `kick` and `nodes`, and what each says when it fails.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tokio::io::AsyncWriteExt;

use support::api::{KEY, call};
use support::client::Client;
use support::cluster::{Kind, until};
use support::program::Program;
use support::redis_server::RedisServer;

/// Two nodes that share a Redis, or one with the embedded store.
struct Nodes {
    programs: Vec<Program>,
    _redis: Option<RedisServer>,
}

impl Nodes {
    async fn start(kind: Kind) -> Self {
        let redis = (kind == Kind::Redis).then(RedisServer::start);
        let url = redis.as_ref().map(RedisServer::url);
        let names = if redis.is_some() { vec!["lisbon", "oslo"] } else { vec!["lisbon"] };
        let start = |name: &&str| {
            let mut settings = vec![("CHAT_NODE__NAME", *name), ("CHAT_ROOMS__READ_ONLY", "news")];
            settings.push(("CHAT_LIMITS__MESSAGES_PER_SECOND", "0"));
            settings.extend(url.as_deref().map(|url| ("CHAT_REDIS__URL", url)));
            Program::start(&settings)
        };
        let nodes = Self { programs: names.iter().map(start).collect(), _redis: redis };
        until("the nodes know who is present", async || {
            for node in &nodes.programs {
                let rooms = call(node.address, "GET", "/rooms", json!(null)).await.0;
                let listed = call(node.address, "GET", "/nodes", json!(null)).await.1;
                if rooms != 200 || listed["nodes"].as_array().unwrap().len() != nodes.programs.len() {
                    return false;
                }
            }
            true
        })
        .await;
        nodes
    }

    fn first(&self) -> SocketAddr {
        self.programs[0].address
    }

    fn last(&self) -> SocketAddr {
        self.programs[self.programs.len() - 1].address
    }
}

/// Runs a command against a node, with the key of the nodes.
async fn chatnode(node: SocketAddr, args: &[&str]) -> Output {
    run(&[("CHAT_AUTH__ADMIN_KEY", KEY)], args, &format!("http://{node}"), "").await
}

async fn run(environment: &[(&str, &str)], args: &[&str], url: &str, input: &str) -> Output {
    let mut child = tokio::process::Command::from(Command::new(env!("CARGO_BIN_EXE_chatnode")))
        .args(args)
        .args(["--url", url])
        .current_dir(std::env::temp_dir())
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // A command that reads no input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}

fn printed(output: &Output) -> &str {
    assert!(output.status.success(), "{}", said(output));
    std::str::from_utf8(&output.stdout).unwrap()
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

on_each_store! {
    async fn operator_sees_users_and_rooms_of_the_whole_cluster(kind) {
        let nodes = Nodes::start(kind).await;
        assert_eq!(printed(&chatnode(nodes.first(), &["rooms"]).await), "");
        let _alice = Client::enter(nodes.first(), "alice", "ops").await;
        let _bob = Client::enter(nodes.last(), "bob", "ops").await;
        let _carol = Client::enter(nodes.last(), "carol", "a b/日本").await;
        for node in [nodes.first(), nodes.last()] {
            assert_eq!(printed(&chatnode(node, &["rooms"]).await), "      1 a b/日本\n      2 ops\n");
            assert_eq!(printed(&chatnode(node, &["who", "ops"]).await), "alice\nbob\n");
            assert_eq!(printed(&chatnode(node, &["who", "a b/日本"]).await), "carol\n");
        }
        let listed = chatnode(nodes.first(), &["nodes"]).await;
        let lines: Vec<Vec<&str>> = printed(&listed).lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.iter().map(|line| line[0]).collect::<Vec<_>>(), ["lisbon", "oslo"][..nodes.programs.len()]);
        assert!(lines.iter().all(|line| line.len() == 3 && line[1].ends_with('s')), "{lines:?}");
    }

    async fn operator_lists_more_than_a_page(kind) {
        let nodes = Nodes::start(kind).await;
        let mut clients = Vec::new();
        for user in 0..4 {
            let mut client = Client::connect(nodes.last(), &format!("user {user}")).await;
            for room in 0..60 {
                client.ok("Enter", json!({ "room": format!("room {user} {room:02}") })).await;
            }
            clients.push(client);
        }
        let listed = chatnode(nodes.first(), &["rooms"]).await;
        let rooms: Vec<String> =
            (0..4).flat_map(|user| (0..60).map(move |room| format!("      1 room {user} {room:02}"))).collect();
        assert_eq!(printed(&listed).lines().collect::<Vec<_>>(), rooms);
    }

    async fn operator_speaks_in_a_room(kind) {
        let nodes = Nodes::start(kind).await;
        let mut alice = Client::enter(nodes.last(), "alice", "news").await;
        let output = chatnode(nodes.first(), &["say", "news", "down at 5", "--name", "ops"]).await;
        let id = printed(&output).trim().to_owned();
        let heard = alice.next("GroupChat").await;
        assert_eq!((&heard["sender_username"], &heard["content"]), (&json!("ops"), &json!("down at 5")));
        assert_eq!(heard["message_id"], json!(id));
        let environment = [("CHAT_AUTH__ADMIN_KEY", KEY), ("USER", "root")];
        let output = run(&environment, &["say", "news", "-"], &format!("http://{}", nodes.first()), "two\nlines\n").await;
        printed(&output);
        let heard = alice.next("GroupChat").await;
        assert_eq!((&heard["sender_username"], &heard["content"]), (&json!("root"), &json!("two\nlines")));
    }

    async fn misspelt_room_takes_no_message(kind) {
        let nodes = Nodes::start(kind).await;
        let say = ["say", "op", "hello", "--name", "ops"];
        let output = chatnode(nodes.first(), &say).await;
        let expected = "chatnode: the room \"op\" has neither members nor messages: `chatnode rooms` lists the rooms that \
            have members, and --new sends to a new room\n";
        assert_eq!((output.status.code(), said(&output)), (Some(1), expected));
        let output = chatnode(nodes.first(), &["who", "op"]).await;
        let expected = "chatnode: nobody is in the room \"op\": `chatnode rooms` lists the rooms that have members\n";
        assert_eq!((output.status.code(), said(&output)), (Some(1), expected));
        printed(&chatnode(nodes.first(), &[&say[..], &["--new"]].concat()).await);
        // Now it has messages, though nobody is there.
        printed(&chatnode(nodes.first(), &say).await);
    }

    async fn kicked_user_loses_every_connection(kind) {
        let nodes = Nodes::start(kind).await;
        let mut here = Client::enter(nodes.first(), "a/b", "ops").await;
        let mut there = Client::enter(nodes.last(), "a/b", "ops").await;
        let mut other = Client::enter(nodes.last(), "bob", "ops").await;
        assert_eq!(printed(&chatnode(nodes.first(), &["kick", "a/b"]).await), "");
        for client in [&mut here, &mut there] {
            assert_eq!(client.closed().await.0, 4003);
        }
        other.say("ops", "still here").await;
        assert_eq!(printed(&chatnode(nodes.first(), &["who", "ops"]).await), "bob\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_works_with_a_key_of_the_scope() {
    let scoped = "Gk2w-7nBq4-Rt9z-Yc6m";
    let node = Program::start(&[("CHAT_AUTH__API_KEYS", &*format!("bot:publish+read:{scoped}"))]);
    let key = [("CHAT_AUTH__ADMIN_KEY", scoped)];
    let url = format!("http://{}", node.address);
    until("the node knows who is present", async || {
        call(node.address, "GET", "/rooms", json!(null)).await.0 == 200
    })
    .await;
    printed(&run(&key, &["say", "ops", "hello", "--name", "bot", "--new"], &url, "").await);
    let output = run(&key, &["kick", "ann"], &url, "").await;
    let expected = "chatnode: the node answered 403 Forbidden: the key bot lacks the scope moderate, which this call needs: use \
        another key, or add the scope in auth.api_keys\n";
    assert_eq!((output.status.code(), said(&output)), (Some(1), expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_says_what_to_do() {
    let node = Program::start(&[("CHAT_INTERNAL__PORT", "0")]);
    let operators = format!("http://{}", node.operators.unwrap());
    let wrong = [("CHAT_AUTH__ADMIN_KEY", "another-key-of-16-letters")];
    let key = [("CHAT_AUTH__ADMIN_KEY", KEY)];
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let commands: [&[&str]; 5] =
        [&["rooms"], &["who", "ops"], &["say", "ops", "x", "--name", "n"], &["kick", "ann"], &["nodes"]];
    for args in commands {
        for (environment, url, code, what) in [
            (&[][..], operators.as_str(), 2, "set CHAT_AUTH__ADMIN_KEY in the environment"),
            (&wrong, &operators, 1, "CHAT_AUTH__ADMIN_KEY is not the key of this node"),
            (&key, &format!("http://{free}"), 1, "is the node running? --url names another one"),
            (&key, &format!("http://{}", node.address), 1, "on another port (internal.port)"),
            (&key, "127.0.0.1", 2, "it must be an HTTP URL"),
        ] {
            let output = run(environment, args, url, "").await;
            assert_eq!(output.status.code(), Some(code), "{args:?} {}", said(&output));
            assert!(said(&output).contains(what) && said(&output).lines().count() == 1, "{}", said(&output));
            assert!(output.stdout.is_empty());
        }
    }
    let output = run(&key, &["say", "ops", "x"], &operators, "").await;
    assert_eq!((output.status.code(), said(&output)), (Some(2), "chatnode: no user name: use --name\n"));
}
