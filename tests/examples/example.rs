//! The clients in `examples/`, as a story uses them: their input and their output. Owns how each is started, and ends it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chatnode_client::ConnectOptions;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::browser::Browser;
use super::client;
use super::support::client::PATIENCE;

/// The longest pause of a client between two attempts, and what a busy machine takes.
const AFTER_A_PAUSE: Duration = Duration::from_secs(22).saturating_add(PATIENCE);

/// One of the clients.
pub enum Example {
    JavaScript(Browser),
    Process { child: Child, stdin: ChildStdin, shown: Arc<Mutex<Vec<String>>> },
    Rust { running: JoinHandle<()>, say: mpsc::Sender<String>, shown: Arc<Mutex<Vec<String>>> },
}

impl Drop for Example {
    fn drop(&mut self) {
        match self {
            Self::JavaScript(_) => {}
            Self::Process { child, .. } => {
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
    pub async fn javascript(url: &str) -> Self {
        Self::javascript_after("", url).await
    }

    /// The same, after this script.
    pub async fn javascript_after(prelude: &str, url: &str) -> Self {
        let browser = Browser::start().await;
        browser
            .post("/url", json!({ "url": url.replace("ws://", "http://").replace("/ws", "/healthz") }))
            .await;
        let source = include_str!("../../examples/client.mjs");
        // As on a page with plain http, beyond localhost.
        let script = "delete Crypto.prototype.randomUUID;
            const [source, url, prelude, done] = arguments;
            eval(prelude);
            window.shown = [];
            import('data:text/javascript,' + encodeURIComponent(source)).then(({ chat }) => {
                window.say = chat(url, { sender_username: 'alice', room: 'ops' }, (line) => shown.push(line));
                done();
            });";
        browser.post("/execute/async", json!({ "script": script, "args": [source, url, prelude] })).await;
        Self::JavaScript(browser)
    }

    pub fn python(url: &str) -> Self {
        // The first Python that has the package. Debian has a package for its own Python.
        let has_package = |python: &&str| {
            let asked = Command::new(python).args(["-c", "import websockets"]).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let python = ["/usr/bin/python3", "python3"].into_iter().find(has_package);
        let mut command =
            Command::new(python.expect("websockets for Python is missing; tests/run installs it"));
        command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/examples/client.py"), url, "alice", "ops"]);
        Self::process(command)
    }

    /// In Node, with the `WebSocket` of this library.
    pub fn node(library: &str, url: &str) -> Self {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = project.join("target/clients/node/example.mjs");
        assert!(program.exists(), "the libraries for Node are missing; tests/run installs them");
        let mut command = Command::new("node");
        // Node 22 needs no flag.
        command.arg("--experimental-websocket").arg(program).arg(library);
        command.arg(project.join("examples/client.mjs")).args([url, "alice", "ops"]);
        Self::process(command)
    }

    /// In Node, with tokens that it takes one after the other. Prints a line for each.
    pub fn node_with_tokens(url: &str, tokens: &[&str]) -> Self {
        const PROGRAM: &str = "import { createInterface } from 'node:readline';
            const [, path, url, ...tokens] = process.argv;
            const { chat } = await import(path);
            const getToken = async () => {
                console.log(`-- asked for a token of ${tokens.length}`);
                return tokens.shift();
            };
            const say = chat(url, { sender_username: 'alice', room: 'ops' }, console.log, getToken);
            createInterface({ input: process.stdin }).on('line', say);";
        let client = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/client.mjs");
        let mut command = Command::new("node");
        command.args(["--experimental-websocket", "--input-type=module", "-e", PROGRAM, "--", client, url]);
        command.args(tokens);
        Self::process(command)
    }

    fn process(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(Vec::new()));
        let lines = shown.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self::Process { child, stdin, shown }
    }

    pub fn rust(url: &str) -> Self {
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

    pub async fn say(&mut self, text: &str) {
        match self {
            Self::JavaScript(browser) => {
                let script = json!({ "script": "say(arguments[0])", "args": [text] });
                browser.post("/execute/sync", script).await;
            }
            Self::Process { stdin, .. } => writeln!(stdin, "{text}").unwrap(),
            Self::Rust { say, .. } => say.send(text.to_owned()).await.unwrap(),
        }
    }

    pub async fn shown(&self) -> Vec<String> {
        match self {
            Self::JavaScript(browser) => {
                let script = json!({ "script": "return shown", "args": [] });
                serde_json::from_value(browser.post("/execute/sync", script).await).unwrap()
            }
            Self::Process { shown, .. } | Self::Rust { shown, .. } => shown.lock().unwrap().clone(),
        }
    }

    /// Waits until the condition holds for the output.
    pub async fn shows(&self, what: &str, fits: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + AFTER_A_PAUSE;
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
