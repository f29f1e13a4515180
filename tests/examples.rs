//! The clients in `examples/` against real nodes: connections break, answers are lost, and each message comes once.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "support/mod.rs"]
#[macro_use]
mod support;

#[path = "page/browser.rs"]
#[allow(dead_code, reason = "the page's own stories use the rest")]
mod browser;

#[path = "../examples/client.rs"]
#[allow(dead_code, reason = "its `main` is not called")]
mod client;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chatnode_client::ConnectOptions;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use browser::Browser;
use support::api::with_api;
use support::client::PATIENCE;
use support::cluster::{Cluster, Kind};
use support::fake_balancer::FakeBalancer;

/// One of the clients, as a story uses it: its input and its output.
enum Example {
    JavaScript(Browser),
    Python { child: Child, stdin: ChildStdin, shown: Arc<Mutex<Vec<String>>> },
    Rust { running: JoinHandle<()>, say: mpsc::Sender<String>, shown: Arc<Mutex<Vec<String>>> },
}

impl Drop for Example {
    fn drop(&mut self) {
        match self {
            Self::JavaScript(_) => {}
            Self::Python { child, .. } => {
                // It may have ended already.
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Rust { running, .. } => running.abort(),
        }
    }
}

impl Example {
    /// In a browser, on a page of the node without any script.
    async fn javascript(url: &str) -> Self {
        let browser = Browser::start().await;
        browser
            .post("/url", json!({ "url": url.replace("ws://", "http://").replace("/ws", "/healthz") }))
            .await;
        let source = include_str!("../examples/client.mjs");
        // As on a page with plain http, beyond localhost.
        let script = "delete Crypto.prototype.randomUUID;
            const [source, url, done] = arguments;
            window.shown = [];
            import('data:text/javascript,' + encodeURIComponent(source)).then(({ chat }) => {
                window.say = chat(url, { sender_username: 'alice', room: 'ops' }, (line) => shown.push(line));
                done();
            });";
        browser.post("/execute/async", json!({ "script": script, "args": [source, url] })).await;
        Self::JavaScript(browser)
    }

    fn python(url: &str) -> Self {
        // The first Python that has the package. Debian has a package for its own Python.
        let has_package = |python: &&str| {
            let asked = Command::new(python).args(["-c", "import websockets"]).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let python = ["/usr/bin/python3", "python3"].into_iter().find(has_package);
        let mut child =
            Command::new(python.expect("websockets for Python is missing; tests/run installs it"))
                .args([concat!(env!("CARGO_MANIFEST_DIR"), "/examples/client.py"), url, "alice", "ops"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let lines = shown.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self::Python { child, stdin, shown }
    }

    fn rust(url: &str) -> Self {
        let (say, said) = mpsc::channel(100);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let lines = shown.clone();
        let show = move |line| lines.lock().unwrap().push(line);
        let options = ConnectOptions::new(url).user("alice");
        let running = tokio::spawn(async move {
            let (client, events) = options.connect().await.unwrap();
            client.join("ops").await.unwrap();
            client::chat((client, events), "ops", said, show).await;
        });
        Self::Rust { running, say, shown }
    }

    async fn say(&mut self, text: &str) {
        match self {
            Self::JavaScript(browser) => {
                let script = json!({ "script": "say(arguments[0])", "args": [text] });
                browser.post("/execute/sync", script).await;
            }
            Self::Python { stdin, .. } => writeln!(stdin, "{text}").unwrap(),
            Self::Rust { say, .. } => say.send(text.to_owned()).await.unwrap(),
        }
    }

    async fn shown(&self) -> Vec<String> {
        match self {
            Self::JavaScript(browser) => {
                let script = json!({ "script": "return shown", "args": [] });
                serde_json::from_value(browser.post("/execute/sync", script).await).unwrap()
            }
            Self::Python { shown, .. } | Self::Rust { shown, .. } => shown.lock().unwrap().clone(),
        }
    }

    /// Waits until the condition holds for the output.
    async fn shows(&self, what: &str, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.shown().await;
            if fits(&shown) {
                return shown;
            }
            assert!(Instant::now() < deadline, "{what} was not shown: {shown:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The lines with this start, in order.
fn of<'a>(shown: &'a [String], start: &str) -> Vec<&'a str> {
    shown.iter().filter_map(|line| line.strip_prefix(start)).collect()
}

/// Connections break between messages, inside messages, and between a message and its answer.
async fn loses_and_repeats_nothing(start: impl AsyncFnOnce(&str) -> Example) {
    let cluster = Cluster::start_with(Kind::Embedded, 2, with_api).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0), cluster.address(1)]).await;
    let mut bob = cluster.enter(1, "bob", "ops").await;
    let mut alice = start(&format!("ws://{}/ws", balancer.address)).await;
    alice.say("said 1").await;
    alice.shows("what she said", |shown| shown.len() == 1).await;
    assert_eq!(bob.hears().await, "said 1");

    // The message is stored, but the answer is lost. The client repeats it with the same id, and it is stored once.
    balancer.mute();
    alice.say("said 2").await;
    assert_eq!(bob.hears().await, "said 2");
    balancer.prefer(cluster.address(1));
    balancer.cut();
    alice.shows("what she said again", |shown| shown.len() == 2).await;

    // Without a connection: messages of others come later, and her own are sent later.
    balancer.shut();
    for number in 1..=5 {
        bob.say("ops", &format!("missed {number}")).await;
        bob.whisper("alice", &format!("secret {number}")).await;
    }
    for number in 3..=5 {
        alice.say(&format!("said {number}")).await;
    }
    balancer.open();
    alice.shows("what she said", |shown| shown.contains(&"alice: said 5".to_owned())).await;

    // The connection breaks four times while messages are sent. Each time it moves to the other node.
    for round in 0..4 {
        for number in 1..=8 {
            alice.say(&format!("said {}", 5 + round * 8 + number)).await;
            bob.say("ops", &format!("busy {}", round * 8 + number)).await;
            if number == 4 {
                balancer.prefer(cluster.address(round % 2));
                balancer.cut();
            }
        }
        // Wait until she is connected again, so that the next cut hits a connection.
        let last = format!("alice: said {}", 13 + round * 8);
        alice.shows(&last, |shown| shown.contains(&last)).await;
    }
    let numbers =
        |word: &str, count| (1..=count).map(|number| format!("{word} {number}")).collect::<Vec<_>>();
    let all = 37 + 5 + 5 + 32;
    let shown = alice.shows("all of it", |shown| shown.len() >= all).await;
    assert_eq!(of(&shown, "alice: "), numbers("said", 37));
    // There are two logs, and each keeps its own order.
    let (secret, open): (Vec<&str>, _) =
        of(&shown, "bob: ").iter().partition(|said| said.starts_with("secret"));
    assert_eq!(open, [numbers("missed", 5), numbers("busy", 32)].concat());
    assert_eq!(secret, numbers("secret", 5));
    assert_eq!(shown.len(), all, "nothing else was shown: {shown:#?}");

    // Others received every message once.
    let mut heard = vec!["said 1".to_owned(), "said 2".to_owned()];
    while heard.len() < 37 {
        let message = bob.next("GroupChat").await;
        if message["sender_username"] == "alice" {
            heard.push(message["content"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(heard, numbers("said", 37));

    // A client that an administrator removes does not come back.
    assert_eq!(cluster.call(0, "POST", "/users/alice/disconnect", Value::Null).await.0, 204);
    alice.shows("the end", |shown| shown.last().unwrap().starts_with("-- closed: ")).await;
}

/// A refused message, a store that is away, and a store that comes back empty.
async fn hides_nothing(start: impl AsyncFnOnce(&str) -> Example) {
    let mut cluster = Cluster::start_with(Kind::Redis, 1, |_| ()).await;
    let balancer = FakeBalancer::start(vec![cluster.address(0)]).await;
    let mut alice = start(&format!("ws://{}/ws", balancer.address)).await;
    alice.say(&"far too long ".repeat(2_000)).await;
    alice.say("before").await;
    let shown = alice.shows("what was refused, and the next", |shown| shown.len() == 2).await;
    assert!(shown[0].starts_with("-- ") && shown[1] == "alice: before", "{shown:?}");

    // Foreign data replaces the log of the room until an operator repairs it.
    cluster.redis().command(&["RENAME", "chat:{r:ops}:meta", "aside"]).unwrap();
    cluster.redis().command(&["SET", "chat:{r:ops}:meta", "x"]).unwrap();
    alice.say("patience").await;
    alice.shows("what is wrong", |shown| shown.iter().any(|line| line.contains("operator"))).await;
    cluster.redis().command(&["RENAME", "aside", "chat:{r:ops}:meta"]).unwrap();
    alice.shows("what waited", |shown| shown.last().unwrap() == "alice: patience").await;

    cluster.redis().kill();
    alice.say("meanwhile 1").await;
    alice.say("meanwhile 2").await;
    alice.shows("that the store is away", |shown| shown.iter().any(|line| line.contains("store"))).await;
    cluster.redis().restart();
    let shown = alice.shows("the rest", |shown| shown.iter().any(|line| line == "alice: meanwhile 2")).await;
    assert_eq!(of(&shown, "alice: "), ["before", "patience", "meanwhile 1", "meanwhile 2"]);
    assert!(shown.iter().any(|line| line == "-- messages may be missing here"), "{shown:?}");
    let mut bob = cluster.connect(0, "bob").await;
    bob.ok("Enter", json!({ "room": "ops", "history": 50 })).await;
    assert_eq!((bob.hears().await, bob.hears().await), ("meanwhile 1".into(), "meanwhile 2".into()));
    bob.heard_no("GroupChat").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_javascript_hides_nothing() {
    hides_nothing(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_python_hides_nothing() {
    hides_nothing(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_rust_hides_nothing() {
    hides_nothing(async |url: &str| Example::rust(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_javascript_loses_and_repeats_nothing() {
    loses_and_repeats_nothing(Example::javascript).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_python_loses_and_repeats_nothing() {
    loses_and_repeats_nothing(async |url: &str| Example::python(url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_rust_loses_and_repeats_nothing() {
    loses_and_repeats_nothing(async |url: &str| Example::rust(url)).await;
}
