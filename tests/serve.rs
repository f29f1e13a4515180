//! `chatnode serve` as a process: its output, its answers and its end.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const KEY: &str = "8Jq2-mVd7-Rz4x-Kp9w";

/// The name of the log file. (A pipe that nobody reads would block the node.)
const LOG: &str = "log";

/// The time limit for operations that normally finish at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node in its own process, which ends when this is dropped.
struct Node {
    child: Child,
    directory: TempDir,
    greeting: String,
}

impl Node {
    fn start(program: &str, environment: &[(&str, &str)], args: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let mut child = Command::new(program)
            .args(args)
            .current_dir(directory.path())
            .env_clear()
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join(LOG)).unwrap())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        let has_greeting = !environment.contains(&("CHAT_LOG__FORMAT", "json"));
        if has_greeting {
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut greeting).unwrap();
        }
        let node = Self { child, directory, greeting };
        let until = Instant::now() + PATIENCE;
        while !has_greeting && !node.log().contains("\"started\"") {
            assert!(Instant::now() < until, "{}", node.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        node
    }

    /// The address that follows some words of the greeting.
    fn address(&self, after: &str) -> &str {
        let (_, rest) = self.greeting.split_once(after).unwrap_or_else(|| panic!("{}", self.greeting));
        rest.split_once('/').unwrap().0
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    fn is_alive(&self, url: &str) -> bool {
        let args = ["health", "--live", "--timeout", "1s", "--url", url];
        command(&[], &args).status.success()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(LOG)).unwrap()
    }

    /// Waits for the end of the process: its exit status and its log.
    #[track_caller]
    fn end(mut self) -> (ExitStatus, String) {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "the node did not end"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        (status, self.log())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail if the process has already ended.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn command(environment: &[(&str, &str)], args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chatnode"))
        .args(args)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Opens a WebSocket and leaves it idle.
fn upgrade(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET / HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    stream
}

#[test]
fn both_binaries_serve_and_drain() {
    for program in [env!("CARGO_BIN_EXE_chatnode"), env!("CARGO_BIN_EXE_testserver")] {
        for signal in ["TERM", "INT"] {
            let node = Node::start(program, &[("CHAT_DRAIN__SPREAD", "10ms")], &["--port", "0"]);
            let address = node.address("chat page at http://").to_owned();
            assert_eq!(
                node.greeting,
                format!(
                    "chatnode {} listens at ws://{address}/ (embedded backend; chat page at http://{address}/)\n",
                    env!("CARGO_PKG_VERSION")
                )
            );
            assert!(get(&address, "/").starts_with("HTTP/1.1 200"), "the chat page");
            node.signal(signal);
            let (status, log) = node.end();
            assert_eq!(status.code(), Some(0), "{log}");
        }
    }
}

/// SIGTERM comes from a supervisor, which starts the next node; SIGINT comes from a keyboard.
#[test]
fn close_reason_distinguishes_restart_from_going_away() {
    for (signal, why) in [("TERM", ""), ("INT", "; node stops")] {
        let node =
            Node::start(env!("CARGO_BIN_EXE_chatnode"), &[("CHAT_DRAIN__SPREAD", "10ms")], &["--port", "0"]);
        let mut client = upgrade(node.address("ws://"));
        node.signal(signal);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = [0; 4];
        client.read_exact(&mut head).unwrap();
        assert_eq!((head[0], u16::from_be_bytes([head[2], head[3]])), (0x88, 4012), "{signal}");
        let mut reason = vec![0; usize::from(head[1]) - 2];
        client.read_exact(&mut reason).unwrap();
        let wait = String::from_utf8(reason).unwrap();
        let wait = wait.strip_prefix("retry_after_ms=").and_then(|wait| wait.strip_suffix(why));
        assert!(wait.is_some_and(|ms| ms.parse::<u64>().is_ok()), "{signal}: {wait:?}");
        drop(client);
        let (status, log) = node.end();
        assert_eq!(status.code(), Some(0), "{log}");
    }
}

/// SIGHUP has a meaning, see `tests/reload.rs`.
#[test]
fn other_signals_are_ignored_with_a_log_line() {
    let node =
        Node::start(env!("CARGO_BIN_EXE_chatnode"), &[("CHAT_DRAIN__SPREAD", "10ms")], &["--port", "0"]);
    let address = node.address("ws://").to_owned();
    for signal in ["USR1", "USR2"] {
        node.signal(signal);
        let until = Instant::now() + PATIENCE;
        while !node.log().contains(&format!("signal=\"SIG{signal}\"")) {
            assert!(Instant::now() < until, "{}", node.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"), "{signal}");
    }
    node.signal("TERM");
    let (status, log) = node.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(log.matches("SIGHUP lets the node read its settings again").count(), 2, "{log}");
}

#[test]
fn ipv6_host_is_accepted_with_and_without_brackets() {
    for host in ["::1", "[::1]"] {
        let node = Node::start(env!("CARGO_BIN_EXE_chatnode"), &[], &["--port", "0", "--host", host]);
        let address = node.address("ws://").to_owned();
        assert!(address.starts_with("[::1]:"), "{}", node.greeting);
        assert!(get(&address, "/").starts_with("HTTP/1.1 200"), "the chat page");
        let port = address.rsplit_once(':').unwrap().1;
        let health = command(&[], &["health", "--port", port, "--host", host]);
        assert_eq!(health.status.code(), Some(0), "{}", String::from_utf8_lossy(&health.stderr));
        assert!(node.is_alive(&format!("http://{address}")));
    }
}

/// The greeting is for people: a node without it works.
#[test]
fn greeting_that_cannot_be_written_does_not_end_the_node() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let directory = TempDir::new().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_chatnode"))
        .args(["--port", &port])
        .current_dir(directory.path())
        .env_clear()
        .stdout(File::options().write(true).open("/dev/full").unwrap())
        .stderr(File::create(directory.path().join(LOG)).unwrap())
        .spawn()
        .unwrap();
    let node = Node { child, directory, greeting: String::new() };
    let until = Instant::now() + PATIENCE;
    while !node.is_alive(&format!("http://127.0.0.1:{port}"))
        || !node.log().contains("can't write the greeting")
    {
        assert!(Instant::now() < until, "{}", node.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    node.signal("TERM");
    let (status, log) = node.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn second_signal_exits_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let spread = [("CHAT_DRAIN__SPREAD", "1h"), ("CHAT_DRAIN__TIMEOUT", "2h")];
        let node = Node::start(env!("CARGO_BIN_EXE_chatnode"), &spread, &["--port", "0"]);
        let address = node.address("ws://").to_owned();
        // Enough connections that some are left after the first batch of the drain.
        let clients: Vec<TcpStream> = (0..20).map(|_| upgrade(&address)).collect();
        node.signal(signal);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(&address).is_ok() {
            assert!(Instant::now() < until, "the node still accepts connections");
            std::thread::sleep(Duration::from_millis(5));
        }
        node.signal(signal);
        let (status, log) = node.end();
        assert_eq!(status.code(), Some(code), "{log}");
        assert!(log.contains("second signal: exiting at once"), "{log}");
        drop(clients);
    }
}

#[test]
fn internal_port_issues_and_revokes_tokens() {
    let environment =
        [("CHAT_AUTH__ADMIN_KEY", KEY), ("CHAT_AUTH__ENABLED", "true"), ("CHAT_INTERNAL__PORT", "0")];
    let node = Node::start(env!("CARGO_BIN_EXE_chatnode"), &environment, &["--port", "0"]);
    let url = format!("http://{}", node.address("operators at http://"));
    assert!(command(&[], &["health", "--url", &url]).status.success());
    assert!(node.is_alive(&url));

    let key = [("CHAT_AUTH__ADMIN_KEY", KEY)];
    let issued = command(&key, &["token", "issue", "Zoë", "--ttl", "1h", "--url", &url]);
    let token = String::from_utf8(issued.stdout).unwrap();
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    assert_eq!(uuid::Uuid::parse_str(token.trim_end()).unwrap().hyphenated().to_string() + "\n", token);
    for revoke in [&["token", "revoke", token.trim_end()][..], &["token", "revoke", "--user", "Zoë"]] {
        let revoked = command(&key, &[revoke, &["--url", &url]].concat());
        assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    }

    let wrong = [("CHAT_AUTH__ADMIN_KEY", "another-key-altogether")];
    let refused = command(&wrong, &["token", "issue", "ann", "--url", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("401"), "{refused:?}");

    // The endpoints for operators are not on the public port.
    let public = node.address("ws://");
    for path in ["/metrics", "/healthz", "/api/v1/nodes"] {
        assert!(get(public, path).starts_with("HTTP/1.1 404"), "{path}");
    }
    let operators = node.address("operators at http://");
    assert!(get(operators, "/metrics").contains("\nchat_build_info{version="));
}

#[test]
fn dangerous_settings_log_warnings_without_secrets() {
    let environment = [
        ("CHAT_HOST", "0.0.0.0"),
        ("CHAT_AUTH__ADMIN_KEY", "change-me-change-me"),
        ("CHAT_DRAIN__SPREAD", "10ms"),
        ("CHAT_LOG__FILTER", "trace"),
        ("CHAT_LOG__FORMAT", "json"),
    ];
    let node = Node::start(env!("CARGO_BIN_EXE_chatnode"), &environment, &["--port", "0"]);
    node.signal("TERM");
    let (status, log) = node.end();
    assert!(status.success(), "{log}");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warned = |words: &str| {
        lines.iter().any(|line| line["level"] == "WARN" && line["message"].as_str().unwrap().contains(words))
    };
    assert!(warned("authentication is off and 0.0.0.0 can be reached from outside"), "{log}");
    assert!(warned("auth.admin_key is an example"), "{log}");
    assert!(!log.contains("change-me"), "{log}");
}

/// Where programs read the log, no other line is between its lines.
#[test]
fn log_tells_the_start_with_its_settings() {
    let environment =
        [("CHAT_AUTH__ADMIN_KEY", KEY), ("CHAT_MAX_CONNECTIONS", "77"), ("CHAT_LOG__FORMAT", "json")];
    let mut node = Node::start(env!("CARGO_BIN_EXE_chatnode"), &environment, &["--port", "0"]);
    node.signal("TERM");
    let mut output = String::new();
    node.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    let (status, log) = node.end();
    assert!(status.success(), "{log}");
    assert_eq!(output, "");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let start = lines.iter().find(|line| line["message"] == "started").unwrap();
    assert_eq!((&start["level"], &start["store"]), (&"INFO".into(), &"embedded".into()));
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    assert!(start["url"].as_str().unwrap().starts_with("ws://127.0.0.1:"), "{start}");
    assert_eq!(
        start["settings"],
        "auth.admin_key = \"***\" (CHAT_AUTH__ADMIN_KEY in the environment), log.format = \"json\" (CHAT_LOG__FORMAT in \
         the environment), max_connections = 77 (CHAT_MAX_CONNECTIONS in the environment), port = 0 (--port on the \
         command line)"
    );
}

#[test]
fn refused_origin_and_host_are_logged_once_with_their_settings() {
    let node = Node::start(env!("CARGO_BIN_EXE_chatnode"), &[], &["--port", "0"]);
    let address = node.address("ws://");
    let ask = |headers: &str| {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        std::io::Write::write_all(&mut socket, request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        std::io::Read::read_exact(&mut socket, &mut answer).unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    };
    for _ in 0..3 {
        let origin = format!("Host: {address}\r\nOrigin: https://elsewhere.example\r\n");
        assert_eq!(ask(&origin), "HTTP/1.1 403");
        assert_eq!(ask("Host: rebound.example\r\n"), "HTTP/1.1 421");
    }
    node.signal("TERM");
    let (status, log) = node.end();
    assert!(status.success(), "{log}");
    for (value, setting) in
        [("https://elsewhere.example", "server.allowed_origins"), ("rebound.example", "server.allowed_hosts")]
    {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(value)).collect();
        assert!(matches!(lines.as_slice(), [line] if line.contains(setting)), "{log}");
    }
}

#[test]
fn error_names_the_port_in_use() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = command(&[], &["--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&format!("127.0.0.1:{port}")), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn invalid_settings_open_no_port() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = command(&[("CHAT_LIMITS__BURTS", "1")], &["--port", &free.port().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "chatnode: CHAT_LIMITS__BURTS in the environment: unknown; did you mean CHAT_LIMITS__BURST?\n"
    );
}
