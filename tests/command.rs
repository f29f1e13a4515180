//! The subcommands that talk to a node, tested against a fake node: their requests, their output and their exit codes.

#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

const KEY: &str = "8Jq2-mVd7-Rz4x-Kp9w";

/// A fake node that answers one request after another, each on a connection of its own, and returns them.
struct Node {
    address: SocketAddr,
    requests: JoinHandle<Vec<String>>,
}

impl Node {
    fn answering(status: &'static str, body: &'static str) -> Self {
        Self::answering_all(vec![(status, body)])
    }

    fn answering_all(answers: Vec<(&'static str, &'static str)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = move |(status, body): (&str, &str)| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut buffer = [0; 4096];
            loop {
                let read = stream.read(&mut buffer).unwrap();
                request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    break;
                }
            }
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
            request
        };
        let requests = std::thread::spawn(move || answers.into_iter().map(answer).collect());
        Self { address, requests }
    }

    /// The only request.
    fn request(self) -> String {
        let [request] = self.requests.join().unwrap().try_into().unwrap();
        request
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn chatnode(environment: &[(&str, &str)], args: &[&str], input: &str) -> Output {
    chatnode_writing_to(Stdio::piped(), environment, args, input)
}

fn chatnode_writing_to(stdout: Stdio, environment: &[(&str, &str)], args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chatnode"))
        .args(args)
        .current_dir(std::env::temp_dir())
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A full disk.
fn full_disk() -> Stdio {
    std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn issue_prints_only_the_token() {
    let node = Node::answering("201 Created", r#"{"token":"t-1","username":"ann","expires_at":5}"#);
    let args = ["token", "issue", "ann", "--ttl", "1h", "--url", &node.url()];
    let output = chatnode(&[("CHAT_AUTH__ADMIN_KEY", KEY)], &args, "");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("t-1\n", ""));
    assert!(output.status.success());
    let request = node.request();
    assert!(request.starts_with("POST /api/v1/tokens HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("authorization: Bearer {KEY}\r\n")), "{request}");
    let body: serde_json::Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body, serde_json::json!({ "username": "ann", "ttl_seconds": 3600 }));
}

#[test]
fn refusal_prints_the_message_of_the_node() {
    let node = Node::answering("401 Unauthorized", r#"{"code":"unauthorized","message":"wrong key"}"#);
    let args = ["token", "issue", "ann", "--url", &node.url()];
    let output = chatnode(&[("CHAT_AUTH__ADMIN_KEY", KEY)], &args, "");
    assert_eq!(
        text(&output.stderr),
        "chatnode: the node answered 401 Unauthorized: wrong key; CHAT_AUTH__ADMIN_KEY is not the key of this node\n"
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(node.request().contains(r#"{"username":"ann"}"#));
}

#[test]
fn revoke_reads_the_token_from_stdin() {
    let node = Node::answering("204 No Content", "");
    let args = ["token", "revoke", "-", "--url", &node.url()];
    let output = chatnode(&[("CHAT_AUTH__ADMIN_KEY", KEY)], &args, "t-1\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let request = node.request();
    assert!(request.starts_with("POST /api/v1/tokens/revoke HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"token":"t-1"}"#), "{request}");
}

#[test]
fn revoke_ends_all_tokens_of_a_user() {
    let node = Node::answering("204 No Content", "");
    let args = ["token", "revoke", "--user", "a/b", "--url", &node.url()];
    let output = chatnode(&[("CHAT_AUTH__ADMIN_KEY", KEY)], &args, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let request = node.request();
    assert!(request.starts_with("DELETE /api/v1/users/a%2Fb/tokens HTTP/1.1\r\n"), "{request}");
}

#[test]
fn command_without_the_admin_key_sends_nothing() {
    let output = chatnode(&[], &["token", "issue", "ann", "--url", "http://127.0.0.1:9"], "");
    assert!(text(&output.stderr).contains("CHAT_AUTH__ADMIN_KEY"), "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn health_sets_the_exit_code() {
    for (args, path, status, code) in [
        (&["health"][..], "/readyz", "200 OK", 0),
        (&["health", "--live"][..], "/healthz", "200 OK", 0),
        (&["health"][..], "/readyz", "503 Service Unavailable", 1),
    ] {
        let node = Node::answering(status, "draining");
        let url = node.url();
        let output = chatnode(&[("CHAT_AUTH__ADMIN_KEY", KEY)], &[args, &["--url", &url]].concat(), "");
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let request = node.request();
        assert!(request.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{request}");
        assert!(!request.contains(KEY), "a probe needs no key");
    }
}

#[test]
fn health_uses_the_configured_node_and_timeout() {
    // The kernel accepts the connection, but no answer comes.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let environment = [("CHAT_INTERNAL__PORT", port.as_str())];
    let output = chatnode(&environment, &["health", "--timeout", "200ms"], "");
    let expected = format!("chatnode: no answer from 127.0.0.1:{port} in 200ms\n");
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn every_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish"] {
        let output = chatnode(&[], &["completions", shell], "");
        assert!(output.status.success() && text(&output.stdout).contains("max-connections"), "{shell}");
    }
}

/// The long options in the help of a command, in its order.
fn options(args: &[&str]) -> Vec<String> {
    let output = chatnode(&[], &[args, &["--help"]].concat(), "");
    assert!(output.status.success(), "{args:?} {}", text(&output.stderr));
    let lines = text(&output.stdout).lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("--")
            .or_else(|| line.split_once(", --").filter(|_| line.starts_with('-')).map(|at| at.1))
    });
    lines.map(|line| line.split([' ', '[']).next().unwrap().to_owned()).collect()
}

#[test]
fn help_lists_only_the_options_that_are_used() {
    let node = ["config", "host", "port", "internal-port"];
    for (args, own, used) in [
        (&["chat"][..], &["room", "name", "to", "token-file", "history", "follow"][..], &node[..3]),
        (&["health"], &["url", "live", "timeout"], &node),
        (&["token"], &[], &node),
        (&["token", "issue"], &["ttl", "url"], &node),
        (&["token", "revoke"], &["user", "url"], &node),
        (&["rooms"], &["url"], &node),
        (&["who"], &["url"], &node),
        (&["say"], &["name", "new", "url"], &node),
        (&["kick"], &["url"], &node),
        (&["nodes"], &["url"], &node),
        (&["completions"], &[], &[]),
    ] {
        let mut found = options(args);
        let mut expected: Vec<&str> = own.iter().chain(used).copied().chain(["help"]).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{args:?}");
    }
    for args in [&[][..], &["serve"], &["config"], &["config", "check"], &["config", "print"]] {
        let found = options(args);
        let all = node.iter().chain(&["max-connections", "auth", "redis-url", "node-name"]);
        assert!(all.clone().all(|flag| found.contains(&(*flag).to_owned())), "{args:?} {found:?}");
    }
}

/// So that one set of flags fits every command.
#[test]
fn flag_before_or_behind_a_command_is_the_same() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    for args in [
        &["--port", &port, "--redis-url", "redis://h", "health", "--timeout", "1ms"][..],
        &["health", "--port", &port, "--redis-url", "redis://h", "--timeout", "1ms"],
    ] {
        let output = chatnode(&[], args, "");
        assert_eq!(
            text(&output.stderr),
            format!("chatnode: no answer from 127.0.0.1:{port} in 1ms\n"),
            "{args:?}"
        );
    }
    for args in [
        &["--port", "0", "--max-connections", "x", "token", "issue", "ann"][..],
        &["token", "--port", "0", "--max-connections", "x", "issue", "ann"],
        &["token", "issue", "ann", "--port", "0", "--max-connections", "x"],
    ] {
        let output = chatnode(&[], args, "");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("--max-connections"), "{}", text(&output.stderr));
    }
}

/// Every subcommand that prints a result.
const PRINTING: [&[&str]; 8] = [
    &["config", "print"],
    &["config", "check"],
    &["completions", "bash"],
    &["completions", "zsh"],
    &["--help"],
    &["help"],
    &["token", "--help"],
    &["--version"],
];

#[test]
fn result_that_cannot_be_written_is_a_failure() {
    for args in PRINTING {
        let output = chatnode_writing_to(full_disk(), &[], args, "");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        let expected = "chatnode: can't write to standard output: No space left on device (os error 28)\n";
        assert_eq!(text(&output.stderr), expected, "{args:?}");
    }
}

/// `chatnode config print | head`.
#[test]
fn closed_pipe_is_no_error() {
    for args in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = chatnode_writing_to(writer.into(), &[], args, "");
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn invalid_command_line_is_reported_on_stderr() {
    let output = chatnode(&[], &["--no-such-flag"], "");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
    assert!(text(&output.stderr).contains("--no-such-flag"), "{}", text(&output.stderr));
}

#[test]
fn token_that_cannot_be_printed_is_revoked() {
    const ISSUED: (&str, &str) = ("201 Created", r#"{"token":"t-1","username":"ann","expires_at":5}"#);
    const FULL: &str =
        "chatnode: can't write to standard output: No space left on device (os error 28); the token";
    let issue = |node: &Node| {
        let args = ["token", "issue", "ann", "--url", &node.url()];
        let output = chatnode_writing_to(full_disk(), &[("CHAT_AUTH__ADMIN_KEY", KEY)], &args, "");
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr).to_owned()
    };
    let node = Node::answering_all(vec![ISSUED, ("204 No Content", "")]);
    assert_eq!(issue(&node), format!("{FULL} was revoked again\n"));
    let requests = node.requests.join().unwrap();
    assert!(requests[1].starts_with("POST /api/v1/tokens/revoke HTTP/1.1\r\n"), "{requests:?}");
    assert!(requests[1].ends_with(r#"{"token":"t-1"}"#), "{requests:?}");

    let node = Node::answering_all(vec![ISSUED, ("503 Service Unavailable", r#"{"message":"no store"}"#)]);
    let said = issue(&node);
    assert!(
        said.starts_with(FULL) && said.contains("can't be revoked") && said.contains("no store"),
        "{said}"
    );
}

/// A probe is about the node, not about the disk of its caller.
#[test]
fn health_ignores_a_full_disk() {
    let node = Node::answering("200 OK", "ready");
    let output = chatnode_writing_to(full_disk(), &[], &["health", "--url", &node.url()], "");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("can't write to standard output"), "{}", text(&output.stderr));
}

#[test]
fn authentication_needs_a_key_to_start() {
    for environment in [&[][..], &[("CHAT_AUTH__ADMIN_KEY", "")]] {
        let output = chatnode(environment, &["--auth", "--port", "0"], "");
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""));
        let error = text(&output.stderr);
        assert!(error.contains("set CHAT_AUTH__ADMIN_KEY to the same random key on every node"), "{error}");
    }
}
