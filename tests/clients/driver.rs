//! A program around one client library, which a test drives step by step. Owns the process and the line protocol: one command a
//! line on its input, one event a line on its output, texts in Base64.
//!
//! | command | | event | |
//! | --- | --- | --- | --- |
//! | `open URL` | open a connection | `opened` | it is open |
//! | `send TEXT` | send a text frame | `text TEXT` | a text message arrived |
//! | `close` | close the connection | `closed CODE REASON` | it ended; `-` if the library tells no code |
//! | `pause` | work on the next message until `resume` | `failed MESSAGE` | the library told an error |
//! | end of the input | end | | |
//!
//! With the argument `unadvised`, a driver does without what `docs/clients.md` advises for its library.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::library::Library;

/// How long a test waits for an event. Many drivers start at once.
const DEADLINE: Duration = Duration::from_secs(60);

/// How a library told the end of a connection, or that there will be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Code and reason; no code if the library tells none.
    Closed(Option<u16>, String),
    Failed(String),
}

impl End {
    /// In the words of `docs/clients.md`.
    fn words(&self) -> String {
        match self {
            Self::Closed(None, _) => "no code".into(),
            Self::Closed(Some(code), reason) => match status(reason) {
                Some(status) if !reason.starts_with("retry_after_ms=") => format!("{code} ({status})"),
                _ => code.to_string(),
            },
            Self::Failed(message) => match status(message) {
                Some(status) => format!("error {status}"),
                None => "error".into(),
            },
        }
    }
}

/// The status of a refused upgrade, if a text names it. As a word: a port can contain the same digits.
fn status(text: &str) -> Option<&str> {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.find(|word| matches!(*word, "401" | "403" | "429" | "503"))
}

/// All that a library told of one end, in the words of `docs/clients.md`.
pub fn words(ends: &[End]) -> String {
    let mut words: Vec<String> = ends.iter().map(End::words).collect();
    words.dedup();
    words.join(", ")
}

enum Event {
    Opened,
    Text(Value),
    End(End),
}

/// A running driver. Killed when dropped.
pub struct Driver {
    pub library: Library,
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// Frames that were read but not returned to the test, oldest first.
    seen: VecDeque<Value>,
    requests: u64,
    /// Sent with every request.
    pub token: Option<String>,
}

impl Driver {
    pub fn start(library: Library) -> Self {
        Self::launch(library, library.command())
    }

    /// The same, without what `docs/clients.md` advises.
    pub fn start_unadvised(library: Library) -> Self {
        let mut command = library.command();
        command.arg("unadvised");
        Self::launch(library, command)
    }

    fn launch(library: Library, mut command: Command) -> Self {
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; tests/clients/install builds it", library.name));
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { library, process, input, output, seen: VecDeque::new(), requests: 0, token: None }
    }

    /// Opens a connection, and returns what else was told of the one before.
    pub async fn open(&mut self, address: SocketAddr) -> Vec<End> {
        self.begin(address).await;
        self.opened().await
    }

    /// Begins to open a connection.
    pub async fn begin(&mut self, address: SocketAddr) {
        self.command(&format!("open ws://{address}/ws")).await;
    }

    /// Begins to open a connection, and sends a text before it can be open: the driver reads both at once.
    pub async fn begin_and_send(&mut self, address: SocketAddr, text: &str) {
        let text = BASE64_STANDARD.encode(text);
        self.command(&format!("open ws://{address}/ws\nsend {text}")).await;
    }

    /// Waits until a connection is open, and returns what else was told meanwhile.
    pub async fn opened(&mut self) -> Vec<End> {
        let mut ends = Vec::new();
        loop {
            match self.event().await {
                Event::Opened => return ends,
                Event::End(end) => ends.push(end),
                // It came with the answer to the upgrade.
                Event::Text(text) => self.seen.push_back(text),
            }
        }
    }

    /// Tries to open a connection.
    pub async fn try_open(&mut self, address: SocketAddr) -> Result<(), End> {
        self.begin(address).await;
        match self.event().await {
            Event::Opened => Ok(()),
            Event::End(end) => Err(end),
            Event::Text(text) => panic!("{}: {text}", self.library.name),
        }
    }

    /// Opens a connection and enters a room.
    pub async fn enter(&mut self, address: SocketAddr) -> Value {
        self.open(address).await;
        self.ok("Auth", json!({})).await;
        self.ok("Enter", json!({ "room": "ops" })).await
    }

    /// Sends text as it is.
    pub async fn send_text(&mut self, text: &str) {
        self.command(&format!("send {}", BASE64_STANDARD.encode(text))).await;
    }

    /// From now on the program works on a message, the next one that arrives, and takes no others.
    pub async fn pause(&mut self) {
        self.command("pause").await;
    }

    /// The program has done its work.
    pub async fn resume(&mut self) {
        self.command("resume").await;
    }

    /// Waits for the end of the program.
    pub async fn exits(&mut self) {
        let exit = timeout(DEADLINE, self.process.wait()).await;
        exit.unwrap_or_else(|_| panic!("{}: the driver goes on", self.library.name)).unwrap();
    }

    /// Sends a request and returns the answer.
    pub async fn ask(&mut self, kind: &str, mut body: Value) -> Value {
        self.requests += 1;
        let id = format!("{}-{}", self.library.name, self.requests);
        body["sender_username"] = json!("alice");
        let mut request = json!({ "message_type": kind, "id": id, "message_body": body });
        if let Some(token) = &self.token {
            request["token"] = json!(token);
        }
        self.send_text(&request.to_string()).await;
        self.next(|frame| frame["id"] == id.as_str() && frame["message_type"] != kind).await
    }

    /// Sends a request, and returns the body of its `Ack`.
    pub async fn ok(&mut self, kind: &str, body: Value) -> Value {
        let answer = self.ask(kind, body).await;
        assert_eq!(answer["message_type"], "Ack", "{}: {answer}", self.library.name);
        answer["message_body"].clone()
    }

    /// The next frame that fits. Others are kept.
    pub async fn next(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.seen.iter().position(&fits) {
            return self.seen.remove(at).unwrap();
        }
        loop {
            match self.event().await {
                Event::Text(frame) if fits(&frame) => return frame,
                Event::Text(frame) => self.seen.push_back(frame),
                Event::Opened => panic!("{}: opened again", self.library.name),
                Event::End(end) => panic!("{}: ended by {end:?}", self.library.name),
            }
        }
    }

    /// Whether the next event is a text; otherwise the connection has ended.
    pub async fn takes_a_text(&mut self) -> bool {
        match self.event().await {
            Event::Text(_) => true,
            Event::End(_) => false,
            Event::Opened => panic!("{}: opened again", self.library.name),
        }
    }

    /// Whether nothing is told for this time.
    pub async fn tells_nothing_for(&mut self, time: Duration) -> bool {
        timeout(time, self.event()).await.is_err()
    }

    /// Waits for the end of the connection.
    pub async fn ended(&mut self) -> End {
        loop {
            match self.event().await {
                Event::Text(frame) => self.seen.push_back(frame),
                Event::Opened => panic!("{}: opened again", self.library.name),
                Event::End(end) => return end,
            }
        }
    }

    async fn command(&mut self, line: &str) {
        let writing = async {
            self.input.write_all(format!("{line}\n").as_bytes()).await?;
            self.input.flush().await
        };
        let written = timeout(DEADLINE, writing).await;
        written.unwrap_or_else(|_| panic!("{}: the driver reads nothing", self.library.name)).unwrap();
    }

    async fn event(&mut self) -> Event {
        let name = self.library.name;
        let line = timeout(DEADLINE, self.output.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{name}: nothing was told in time")).unwrap();
        let line = line.unwrap_or_else(|| panic!("{name}: the driver has ended"));
        let words: Vec<&str> = line.split(' ').collect();
        let decoded = |at: usize| {
            let bytes = BASE64_STANDARD.decode(words.get(at).unwrap_or(&""));
            String::from_utf8(bytes.unwrap_or_else(|error| panic!("{name}: {error}: {line}"))).unwrap()
        };
        match words[0] {
            "opened" => Event::Opened,
            "text" => Event::Text(
                serde_json::from_str(&decoded(1)).unwrap_or_else(|error| panic!("{name}: {error}")),
            ),
            "closed" => Event::End(End::Closed(words[1].parse().ok(), decoded(2))),
            "failed" => Event::End(End::Failed(decoded(1))),
            _ => panic!("{name}: not the line protocol: {line}"),
        }
    }
}
