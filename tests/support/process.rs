//! A node as a separate process, for faults that only a process can have. Owns the process and ends it by its id. Used in tests
//! of drains, presence and leaks.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::client::PATIENCE;
use super::cluster::{get, until};

/// One node. Killed when dropped.
pub struct NodeProcess {
    pub address: SocketAddr,
    child: Child,
}

impl NodeProcess {
    /// Starts the real binary with these settings, and waits until it is ready.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chatnode"))
            .env_clear()
            .current_dir(std::env::temp_dir())
            .env("CHAT_PORT", "0")
            .env("CHAT_LIMITS__MESSAGES_PER_SECOND", "0")
            .env("CHAT_LOG__FILTER", "warn")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        let address = greeting.split("ws://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
        let node = Self { address: address.parse().unwrap(), child };
        until("the node process is ready", async || get(node.address, "/readyz").await.0 == 200).await;
        node
    }

    /// Resident memory, KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// CPU time of all threads, as exact as the clock ticks of the kernel.
    pub fn cpu_time(&self) -> Duration {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which may contain spaces: the state comes first, user and system time are the 12th and 13th.
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
        Duration::from_secs_f64(ticks / TICKS_PER_SECOND)
    }

    /// SIGTERM: the node drains.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// SIGSTOP: the process exists but does nothing.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal("-CONT");
    }

    /// `kill -9`, as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process did not end in time");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
