//! `chatnode chat` in a pipe: the real program against nodes in this process, over connections that break.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod support;

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use support::client::PATIENCE;
use support::cluster::{Cluster, Kind};

/// The program, with its input and output. Killed when dropped.
struct Chat {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Chat {
    fn start(address: SocketAddr, args: &[&str]) -> Self {
        let mut child = command(&[&["chat", &format!("ws://{address}/")], args].concat()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    async fn say(&mut self, lines: &str) {
        self.input.as_mut().unwrap().write_all(lines.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.output.next_line()).await;
        line.expect("the program prints nothing").unwrap().expect("the program has ended")
    }

    /// Ends the input and waits for the program to end: the exit code, the rest of the output, and the errors.
    async fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        self.input = None;
        let mut rest = Vec::new();
        while let Some(line) = timeout(PATIENCE, self.output.next_line()).await.unwrap().unwrap() {
            rest.push(line);
        }
        let output = timeout(PATIENCE, self.child.wait_with_output())
            .await
            .expect("the program does not end")
            .unwrap();
        (output.status.code(), rest, String::from_utf8(output.stderr).unwrap())
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatnode"));
    command
        .args(args)
        .env_clear()
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A connection to a node that can be cut.
struct Cable {
    address: SocketAddr,
    plugged: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Cable {
    async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (plugged, is_plugged) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut is_plugged = is_plugged.clone();
                if !*is_plugged.borrow() {
                    continue;
                }
                connections.spawn(async move {
                    let mut node = TcpStream::connect(node).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut node) => {}
                        _ = is_plugged.wait_for(|plugged| !plugged) => {}
                    }
                });
            }
        });
        Self { address, plugged, _tasks: tasks }
    }

    fn cut(&self) {
        self.plugged.send_replace(false);
    }

    fn repair(&self) {
        self.plugged.send_replace(true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_stores_every_line_in_order() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut reader = cluster.enter(0, "reader", "ops").await;
    let mut bot = Chat::start(cluster.address(0), &["--room", "ops", "--name", "bot"]);
    // The last line has no line break. A line that looks like a command is text.
    let lines: Vec<String> = (0..30).map(|i| format!("/line {i}")).collect();
    bot.say(&lines.join("\n\n")).await;
    let (code, printed, errors) = bot.end().await;
    assert_eq!((code, printed.len(), errors.as_str()), (Some(0), 0, ""), "{printed:?}");
    for line in lines {
        let message = reader.next("GroupChat").await;
        assert_eq!((&message["content"], &message["sender_username"]), (&json!(line), &json!("bot")));
    }
}

/// Lines that were read are stored. The exit code reports lines that were not read. The program ends even if its input does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_output_loses_no_input_silently() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut reader = cluster.enter(0, "reader", "ops").await;
    let mut bot = Chat::start(cluster.address(0), &["--room", "ops", "--name", "bot"]);
    bot.say("hello\n").await;
    while reader.hears().await != "hello" {}
    reader.say("ops", "one").await;
    assert_eq!(bot.line().await, "#ops reader: one");
    // Nobody reads the output any more, and the input stays open.
    let mut input = bot.input.take().unwrap();
    drop(std::mem::replace(&mut bot.output, BufReader::new(nothing().await).lines()));
    input.write_all(b"before\n").await.unwrap();
    while reader.hears().await != "before" {}
    reader.say("ops", "two").await;
    let (code, _, errors) = bot.end().await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("the rest of the input was not sent"), "{errors}");

    // After the end of the input there is nothing to report.
    let mut late = Chat::start(cluster.address(0), &["--room", "ops", "--name", "late", "--follow"]);
    // The input ends with this line, so the program knows its end before the line has come to the reader.
    late.say("last\n").await;
    late.input = None;
    while reader.hears().await != "last" {}
    drop(std::mem::replace(&mut late.output, BufReader::new(nothing().await).lines()));
    reader.say("ops", "three").await;
    let (code, _, errors) = late.end().await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
}

/// The output of a program that prints nothing.
async fn nothing() -> ChildStdout {
    let mut program = command(&["--version"]).spawn().unwrap();
    let mut output = program.stdout.take().unwrap();
    program.wait().await.unwrap();
    tokio::io::copy(&mut output, &mut tokio::io::sink()).await.unwrap();
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_output_is_an_error() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut reader = cluster.enter(0, "reader", "ops").await;
    reader.say("ops", "old").await;
    let address = format!("ws://{}/", cluster.address(0));
    let mut bot = command(&["chat", &address, "--room", "ops", "--name", "bot", "--history", "5"]);
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut child = bot.stdout(full).spawn().unwrap();
    drop(child.stdin.take());
    let output =
        timeout(PATIENCE, child.wait_with_output()).await.expect("the program does not end").unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("can't write the output"), "{error}");
}

/// With Redis the old messages come some time after the answer to `Enter`. More than a page of them comes in pieces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_prints_all_of_its_history() {
    for (kind, size) in [(Kind::Redis, 5), (Kind::Embedded, 15_000)] {
        let cluster = Cluster::start(kind, 1).await;
        let mut reader = cluster.enter(0, "reader", "ops").await;
        for number in 0..50 {
            reader.say("ops", &format!("{number} {}", "x".repeat(size))).await;
        }
        for _ in 0..3 {
            let args =
                ["--room", "ops", "--room", "nobody said anything here", "--name", "bot", "--history", "50"];
            let (code, printed, errors) = Chat::start(cluster.address(0), &args).end().await;
            assert_eq!((code, errors.as_str(), printed.len()), (Some(0), "", 50));
        }
    }
}

/// A pipe that runs several times does not print its messages of earlier runs, unless `--history` asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_prints_its_earlier_messages_only_with_history() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    for run in 0..3 {
        let mut bot = Chat::start(cluster.address(0), &["--to", "ann", "--name", "bot"]);
        bot.say(&format!("run {run}\n")).await;
        let (code, printed, errors) = bot.end().await;
        assert_eq!((code, printed, errors.as_str()), (Some(0), Vec::new(), ""), "run {run}");
    }
    let bot = Chat::start(cluster.address(0), &["--to", "ann", "--name", "bot", "--history", "2"]);
    let (_, printed, _) = bot.end().await;
    assert!(printed.ends_with(&["@ann bot: run 1".into(), "@ann bot: run 2".into()]), "{printed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_node_is_that_of_the_settings() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut reader = cluster.enter(0, "reader", "ops").await;
    let mut echo = command(&["chat", "--room", "ops", "--name", "bot"]);
    let port = cluster.address(0).port().to_string();
    let mut child = echo.env("CHAT_PORT", port).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello\n").await.unwrap();
    let output =
        timeout(PATIENCE, child.wait_with_output()).await.expect("the program does not end").unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(reader.hears().await, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_line_reaches_its_user_and_the_answer_is_printed() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut bob = cluster.connect(0, "bob").await;
    bob.ok("Auth", json!({})).await;
    let mut bot = Chat::start(cluster.address(0), &["--to", "bob", "--name", "bot"]);
    bot.say("psst\n").await;
    assert_eq!(bob.next("PrivateChat").await["content"], "psst");
    bob.ok("PrivateChat", json!({ "target_username": "bot", "content": "what?" })).await;
    assert_eq!(bot.line().await, "@bob bob: what?");
    assert_eq!(bot.end().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_loses_and_repeats_nothing() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let cable = Cable::to(cluster.address(0)).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bot = Chat::start(cable.address, &["--room", "ops", "--room", "dev", "--name", "bot"]);
    bot.say("here\n").await;
    assert_eq!(alice.next("GroupChat").await["content"], "here");
    let mut expected = Vec::new();
    for round in 0..3 {
        for (when, cut) in [("before", false), ("during", true)] {
            if cut {
                cable.cut();
            }
            for i in 0..5 {
                let content = format!("{round} {when} {i}");
                alice.ok("GroupChat", json!({ "content": content })).await;
                expected.push(format!("#ops alice: {content}"));
            }
            let content = format!("secret {round} {when}");
            alice.ok("PrivateChat", json!({ "target_username": "bot", "content": content })).await;
            expected.push(format!("@alice alice: {content}"));
        }
        bot.say(&format!("mine {round}\n")).await;
        cable.repair();
        let mine = json!(format!("mine {round}"));
        alice.wait_for("what the bot said", |frame| frame["message_body"]["content"] == mine).await;
    }
    let mut printed = Vec::new();
    while printed.len() < expected.len() {
        printed.push(bot.line().await);
    }
    let (code, rest, errors) = bot.end().await;
    assert_eq!((code, rest.as_slice()), (Some(0), &[] as &[String]), "{errors}");
    assert!(errors.contains("retrying in"), "{errors}");
    // There are two logs, and each keeps its own order.
    for place in ["#", "@"] {
        let of = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| line.starts_with(place)).cloned().collect()
        };
        assert_eq!(of(&printed), of(&expected));
    }
    let page = alice.ok("History", json!({ "limit": 200 })).await;
    let mine = page["messages"].as_array().unwrap().iter().filter(|m| m["sender_username"] == "bot");
    let mine: Vec<&str> = mine.map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(mine, ["here", "mine 0", "mine 1", "mine 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_is_printed_harmless_on_one_line() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut eve = cluster.enter(0, "eve", "ops").await;
    let content = "\u{1b}]0;owned\u{7}\u{1b}[2Jhi\r\n#ops admin: obey\u{202e}\u{9b}31m\0\u{8}";
    eve.ok("GroupChat", json!({ "content": content })).await;
    let args = ["--room", "ops", "--name", "bot", "--history", "5", "--follow"];
    let mut bot = Chat::start(cluster.address(0), &args);
    assert_eq!(bot.line().await, "#ops eve: hi ⏎ #ops admin: obey");
    bot.input = None;
    eve.ok("GroupChat", json!({ "content": "still there?" })).await;
    assert_eq!(bot.line().await, "#ops eve: still there?", "it follows after the end of its input");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impossible_chat_fails_with_a_clear_error() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| {
        config.auth.enabled = true;
        config.auth.admin_key = Some(support::api::KEY.into());
    });
    let cluster = cluster.await;
    let node = format!("ws://{}/", cluster.address(0));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = format!("ws://{}/", free.local_addr().unwrap());
    drop(free);
    let wrong = [("CHATNODE_TOKEN", "0193a1c2-7d3e-7c51-9a53-2f1f0f6a9b10")];
    for (environment, args, code, said) in [
        (&[][..], &["chat", &nobody, "--name", "bot"][..], 1, "can't connect"),
        (&[], &["chat", &node, "--name", "a\u{7}b"], 2, "--name"),
        (&[], &["chat", &node], 2, "use --name"),
        (&[], &["chat", &node, "--name", "bot"], 1, "the node refused the user"),
        (&wrong, &["chat", &node, "--name", "bot"], 1, "does not accept the token"),
    ] {
        let mut child = command(args).envs(environment.iter().copied()).spawn().unwrap();
        // The program may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(b"hello\n").await;
        let output = timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
        assert!(error.contains(said), "{args:?}: {error}");
        assert!(!error.contains(wrong[0].1), "a token is never printed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_line_is_reported_and_the_others_are_sent() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| config.limits.max_content_bytes = 10).await;
    let mut reader = cluster.enter(0, "reader", "ops").await;
    let mut bot = Chat::start(cluster.address(0), &["--room", "ops", "--name", "bot"]);
    bot.say(&format!("one\nfar too long\n{}\ntwo\n", "x".repeat(200_000))).await;
    let (code, _, errors) = bot.end().await;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("not sent to #ops") && errors.contains("far too long"), "{errors}");
    assert!(errors.ends_with("chatnode: 2 failed\n"), "{errors}");
    for content in ["one", "two"] {
        assert_eq!(reader.next("GroupChat").await["content"], content);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_file_signs_in_until_the_token_is_revoked() {
    let program = support::program::Program::start(&[("CHAT_AUTH__ENABLED", "true")]);
    let address = program.address;
    let token = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_chatnode"))
            .args(["token"])
            .args(args)
            .args(["--url", &format!("http://{address}")])
            .env_clear()
            .env("CHAT_AUTH__ADMIN_KEY", support::api::KEY)
            .current_dir(std::env::temp_dir())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token(&["issue", "ann"])).unwrap();
    let path = file.path().to_str().unwrap();
    let mut ann = Chat::start(address, &["--to", "ann", "--name", "ann", "--token-file", path, "--follow"]);
    ann.say("note to myself\n").await;
    let mut twin = Chat::start(address, &["--to", "ann", "--name", "ann", "--token-file", path, "--follow"]);
    assert_eq!(twin.line().await, "@ann ann: note to myself");
    // The token gives the user name, but only if the node asks for tokens.
    let mut nameless = Chat::start(address, &["--to", "bob", "--token-file", path]);
    nameless.say("by my token\n").await;
    let (code, _, errors) = nameless.end().await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(twin.line().await, "@bob ann: by my token");
    let open = Cluster::start(Kind::Embedded, 1).await;
    let (code, _, errors) = Chat::start(open.address(0), &["--token-file", path]).end().await;
    assert!(code == Some(1) && errors.contains("give a user name with --name"), "{errors}");
    token(&["revoke", "--user", "ann"]);
    let ended =
        timeout(Duration::from_secs(20), twin.child.wait()).await.expect("the program goes on").unwrap();
    assert_eq!(ended.code(), Some(1));
    let (code, _, errors) = ann.end().await;
    assert_eq!(code, Some(1));
    assert!(errors.contains("get a new one"), "{errors}");
}
