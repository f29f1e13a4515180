//! The program as an operator runs it, for tests of its log and its metrics. Owns the process and its log file. Used in tests of
//! observability and faults.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::api::KEY;
use super::client::PATIENCE;

/// A running `chatnode`. Killed when dropped.
pub struct Program {
    child: Child,
    folder: TempDir,
    pub address: SocketAddr,
}

impl Program {
    /// Starts it on a free port, with the server API on and these settings in its environment.
    pub fn start(environment: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_chatnode"))
            .current_dir(folder.path())
            .env_clear()
            .env("CHAT_PORT", "0")
            .env("CHAT_AUTH__ADMIN_KEY", KEY)
            .env("CHAT_DRAIN__DELAY", "0s")
            .env("CHAT_DRAIN__SPREAD", "0s")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        let address = greeting.split("ws://").nth(1).and_then(|rest| rest.split('/').next()?.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {greeting:?}"));
        Self { child, folder, address }
    }

    /// Sends SIGTERM, waits for its end, and returns its log.
    pub fn stop(&mut self) -> String {
        let asked = Command::new("sh").args(["-c", &format!("kill {}", self.child.id())]).status().unwrap();
        assert!(asked.success());
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the program did not stop in time");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.log()
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

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
