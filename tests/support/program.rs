//! The program as an operator runs it, for tests of its log and its metrics. Owns the process and its log file. Used in
//! tests of observability and faults.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::api::KEY;
use super::client::PATIENCE;

/// A running `chatnode`. Killed when dropped.
pub struct Program {
    child: Child,
    folder: TempDir,
    pub address: SocketAddr,
    /// The address of the endpoints for operators, if they have their own.
    pub operators: Option<SocketAddr>,
}

impl Program {
    /// Starts it on a free port, with the server API on and these settings in its environment.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        Self::launch(Command::new(env!("CARGO_BIN_EXE_chatnode")), environment, None)
    }

    /// The same, with its log written to `log` instead of its file.
    pub fn start_logging_to(environment: &[(&str, &str)], log: Stdio) -> Self {
        Self::launch(Command::new(env!("CARGO_BIN_EXE_chatnode")), environment, Some(log))
    }

    /// The same, with a hard limit of open files, and a soft limit below it.
    pub fn start_with_files(limit: u32, environment: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("/bin/sh");
        let limits = format!("ulimit -Sn {} && ulimit -Hn {limit} && exec \"$0\"", limit / 2);
        shell.args(["-c", &limits, env!("CARGO_BIN_EXE_chatnode")]);
        Self::launch(shell, environment, None)
    }

    fn launch(mut command: Command, environment: &[(&str, &str)], log: Option<Stdio>) -> Self {
        let folder = TempDir::new().unwrap();
        let log = log.unwrap_or_else(|| std::fs::File::create(folder.path().join("log")).unwrap().into());
        let mut child = command
            .current_dir(folder.path())
            .env_clear()
            .env("CHAT_PORT", "0")
            .env("CHAT_AUTH__ADMIN_KEY", KEY)
            .env("CHAT_DRAIN__DELAY", "0s")
            .env("CHAT_DRAIN__SPREAD", "0s")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        // It holds the node's end of the log: with it, a closed pipe would not be closed.
        drop(command);
        let greeting = if environment.contains(&("CHAT_LOG__FORMAT", "json")) {
            first_line(&folder.path().join("log"), "\"started\"")
        } else {
            let mut greeting = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
            greeting
        };
        let after = |words: &str| -> Option<SocketAddr> {
            greeting.split(words).nth(1).and_then(|rest| rest.split('/').next()?.parse().ok())
        };
        let address = after("ws://")
            .or_else(|| after("wss://"))
            .unwrap_or_else(|| panic!("no address in {greeting:?}"));
        Self { child, folder, address, operators: after("operators at http://") }
    }

    /// Sends SIGTERM, waits for its end, and returns its log.
    pub fn stop(&mut self) -> String {
        self.terminate();
        self.log()
    }

    /// The working directory, from which it reads `.env`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: &str) {
        let asked = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(asked.success());
    }

    /// Sends SIGTERM, and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the program did not stop in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The first line of a log with these words, once it is there.
fn first_line(log: &Path, words: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        if let Some(line) = lines.into_iter().find(|line| line.contains(words)) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "no {words} in the log: {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
