//! Programs that a test starts. Owns their output, their ports and how they end; does not know what they do. Used by all other
//! files of this test.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running program; killed by its process id when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it prints goes to `<folder>/<name>.log`.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let child =
            command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap_or_else(
                |error| panic!("{name} can't be started ({error}); tests/run installs missing programs"),
            );
        Self { child, log }
    }

    /// Sends a signal by its name (`TERM`, `KILL`).
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }

    /// Sends SIGTERM and waits a moment: a program with child processes, such as the workers of nginx, ends them then. If it were
    /// killed, they would continue.
    pub fn end(&mut self) {
        self.signal("TERM");
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end and returns its status.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {within:?}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last lines of its output, for the report of a failed test.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}

/// Ports that are free on every address of this machine.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
    held.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of `deploy/` with other ports and no other change. Each pair is a text in the file and its replacement, which may
/// differ only in digits.
pub fn with_ports(path: &str, ports: &[(&str, String)]) -> String {
    let mut text = std::fs::read_to_string(project(path)).unwrap();
    for (from, to) in ports {
        let bare = |text: &str| text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
        assert_eq!(bare(from), bare(to), "only the port may change");
        assert!(text.contains(from), "{path} has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// Asks repeatedly until there is an answer; fails after a time.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
