//! The programs under test: Redis servers and nodes, each a separate process. Owns starting, signalling and ending them, always
//! by process id; the injector decides when. A process ends when its value is dropped.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

use crate::api;
use crate::history::{Event, Resources};

/// How long a program may take to start.
const UP: Duration = Duration::from_secs(20);

/// A free port, so far below the range of outgoing connections that the bus of a cluster, 10,000 above, is below it too. So both stay
/// free while the process is down. Never returns the
/// same port twice, even if the first one is not in use yet.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = rand::rng().random_range(15_000..22_700);
        let fresh = GIVEN.lock().expect("no task panics while it holds the lock").insert(port);
        if fresh && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

struct Process {
    child: Child,
}

impl Process {
    fn start(command: &mut Command, log: &Path) -> std::io::Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Self { child })
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "process {} has ended", self.child.id());
    }

    fn running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Ends it at once and waits for it.
    fn kill(&mut self) {
        // An error means that it had ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// When Redis writes its log to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    Always,
    EverySecond,
}

pub struct RedisServer {
    pub address: SocketAddr,
    dir: PathBuf,
    fsync: Fsync,
    options: Vec<String>,
    is_sentinel: bool,
    process: Option<Process>,
}

impl RedisServer {
    /// One that is not started yet.
    pub fn new(dir: PathBuf, fsync: Fsync) -> std::io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let address = local(free_port());
        Ok(Self { address, dir, fsync, options: Vec::new(), is_sentinel: false, process: None })
    }

    pub async fn start(dir: PathBuf, fsync: Fsync) -> std::io::Result<Self> {
        let mut server = Self::new(dir, fsync)?;
        server.up().await?;
        Ok(server)
    }

    /// Options of the command line, from the next start on.
    pub fn set_options(&mut self, options: Vec<String>) {
        self.options = options;
    }

    /// From the first start on it is a Sentinel with these settings.
    pub fn make_sentinel(&mut self, settings: &str) -> std::io::Result<()> {
        self.is_sentinel = true;
        let common = format!("port {}\nbind 127.0.0.1\ndir {}\n", self.address.port(), self.dir.display());
        std::fs::write(self.settings(), common + settings)
    }

    /// The file that a Sentinel writes again.
    fn settings(&self) -> PathBuf {
        self.dir.join("sentinel.conf")
    }

    fn arguments(&self) -> Vec<String> {
        if self.is_sentinel {
            return vec![self.settings().display().to_string(), "--sentinel".to_owned()];
        }
        let fsync = match self.fsync {
            Fsync::Always => "always",
            Fsync::EverySecond => "everysec",
        };
        let port = self.address.port();
        let fixed = format!(
            "--port {port} --bind 127.0.0.1 --appendonly yes --appendfsync {fsync} --maxmemory-policy noeviction --dir"
        );
        let fixed = fixed.split(' ').map(str::to_owned);
        let rest = [self.dir.display().to_string(), "--save".to_owned(), String::new()];
        fixed.chain(rest).chain(self.options.iter().cloned()).collect()
    }

    /// Starts it on the same port, with the data that it had written.
    pub async fn up(&mut self) -> std::io::Result<()> {
        // SIGXFSZ is ignored, so that a full disk is an error of `write` and does not end the process.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; exec redis-server \"$@\"", "redis-server"]).args(self.arguments());
        self.process = Some(Process::start(&mut command, &self.dir.join("redis.log"))?);
        let start = Instant::now();
        while self.command(&["PING"]).await.is_none() {
            if start.elapsed() > UP {
                return Err(std::io::Error::other("redis-server did not start in time"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Sends one command; none if it failed.
    pub async fn command(&self, words: &[&str]) -> Option<redis::Value> {
        let exchange = async {
            let mut connection = crate::raw_log::connect(self.address).await.ok()?;
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            command.query_async(&mut connection).await.ok()
        };
        tokio::time::timeout(Duration::from_secs(5), exchange).await.ok().flatten()
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::running)
    }

    /// From here on its log can grow only by so many bytes, as on a full disk.
    pub fn fill_disk(&self, left: u64) -> std::io::Result<()> {
        let mut written = 0;
        for file in std::fs::read_dir(self.dir.join("appendonlydir"))? {
            written = file?.metadata()?.len().max(written);
        }
        self.limit_files(&(written + left).to_string())
    }

    /// The disk has space again.
    pub fn free_disk(&self) -> std::io::Result<()> {
        self.limit_files("unlimited")
    }

    /// Sets the largest size of a file that it may write.
    fn limit_files(&self, bytes: &str) -> std::io::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        let process = process.child.id().to_string();
        // Only the soft limit, which may be raised again.
        let status =
            Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:")]).status()?;
        if status.success() { Ok(()) } else { Err(std::io::Error::other("prlimit failed")) }
    }

    /// Deletes its data on disk; only while it is down.
    pub fn wipe(&self) -> std::io::Result<()> {
        assert!(self.process.is_none(), "a running server would write its data again");
        std::fs::remove_dir_all(self.dir.join("appendonlydir"))
    }

    pub fn stop(&self) {
        self.process.iter().for_each(|process| process.signal("-STOP"));
    }

    pub fn resume(&self) {
        self.process.iter().for_each(|process| process.signal("-CONT"));
    }
}

/// The program of a node, and its settings except the addresses.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    pub binary: PathBuf,
    pub environment: Vec<(String, String)>,
}

pub struct Node {
    pub number: usize,
    pub address: SocketAddr,
    pub internal: SocketAddr,
    /// The URL of Redis.
    redis: String,
    settings: NodeSettings,
    log: PathBuf,
    process: Option<Process>,
}

impl Node {
    pub fn new(number: usize, redis: String, settings: NodeSettings, dir: &Path) -> Self {
        Self {
            number,
            address: local(free_port()),
            internal: local(free_port()),
            redis,
            settings,
            log: dir.join(format!("node-{number}.log")),
            process: None,
        }
    }

    /// Starts it without waiting.
    pub fn up(&mut self) -> std::io::Result<()> {
        let mut command = Command::new(&self.settings.binary);
        command
            .env("CHAT_HOST", "127.0.0.1")
            .env("CHAT_LIMITS__STORED_BYTES_PER_SECOND", "0")
            .env("CHAT_LIMITS__USER_MESSAGES_PER_SECOND", "0")
            .env("CHAT_PORT", self.address.port().to_string())
            .env("CHAT_INTERNAL__PORT", self.internal.port().to_string())
            .env("CHAT_REDIS__URL", &self.redis)
            .env("CHAT_NODE__NAME", format!("node-{}", self.number))
            .envs(self.settings.environment.iter().cloned());
        self.process = Some(Process::start(&mut command, &self.log)?);
        Ok(())
    }

    /// Waits until `/readyz` answers 200.
    pub async fn ready(&mut self) -> std::io::Result<()> {
        let start = Instant::now();
        loop {
            if let Some((200, _)) = api::http(self.internal, "GET", "/readyz", None, None).await {
                return Ok(());
            }
            if start.elapsed() > UP || !self.process.as_mut().is_some_and(Process::running) {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let tail = log.lines().rev().take(5).collect::<Vec<_>>().join("\n");
                return Err(std::io::Error::other(format!(
                    "node {} did not become ready:\n{tail}",
                    self.number
                )));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::running)
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.child.id())
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    pub fn stop(&self) {
        self.process.iter().for_each(|process| process.signal("-STOP"));
    }

    pub fn resume(&self) {
        self.process.iter().for_each(|process| process.signal("-CONT"));
    }

    /// Sends SIGTERM and waits for the end. False if it had to be killed, or ended with an error.
    pub async fn terminate(&mut self, within: Duration) -> bool {
        let Some(process) = &mut self.process else { return true };
        process.signal("-TERM");
        let start = Instant::now();
        while process.running() {
            if start.elapsed() > within {
                self.process = None;
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let clean = process.child.wait().is_ok_and(|status| status.success());
        self.process = None;
        clean
    }

    /// The lines with a panic in the output of all its processes.
    pub fn panics(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect()
    }

    /// The value of a metric.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let (_, metrics) = api::http(self.internal, "GET", "/metrics", None, None).await?;
        api::metric(&metrics, name)
    }

    /// The resources that it holds now.
    pub async fn resources(&self) -> Option<Resources> {
        let pid = self.pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let (_, metrics) = api::http(self.internal, "GET", "/metrics", None, None).await?;
        Some(Resources {
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
            threads: field("Threads:")?,
            tasks: api::metric(&metrics, "chat_runtime_tasks")?,
            resident_kib: field("VmRSS:")?,
            peak_kib: field("VmHWM:")?,
            connections: api::metric(&metrics, "chat_connections")?,
            subscriptions: api::metric(&metrics, "chat_subscriptions")?,
        })
    }

    /// The same as an event of the history.
    pub async fn holds(&self, end: bool) -> Option<Event> {
        let (pid, resources) = (self.pid()?, self.resources().await?);
        Some(Event::Holds { node: self.number as u8, pid, end, resources })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn restarted_redis_keeps_acknowledged_data_unless_wiped() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = RedisServer::start(dir.path().join("redis"), Fsync::Always).await.unwrap();
        assert!(server.command(&["SET", "a", "1"]).await.is_some());
        server.kill();
        assert!(server.command(&["GET", "a"]).await.is_none());
        server.up().await.unwrap();
        assert_eq!(server.command(&["GET", "a"]).await, Some(redis::Value::BulkString(b"1".to_vec())));
        server.fill_disk(0).unwrap();
        assert!(server.command(&["SET", "b", "1"]).await.is_none());
        let start = Instant::now();
        while server.running() {
            assert!(start.elapsed() < UP, "with `always`, Redis ends on a full disk");
            sleep(Duration::from_millis(5)).await;
        }
        server.up().await.unwrap();
        assert_eq!(server.command(&["GET", "b"]).await, Some(redis::Value::Nil));
        server.kill();
        server.wipe().unwrap();
        server.up().await.unwrap();
        assert_eq!(server.command(&["GET", "a"]).await, Some(redis::Value::Nil));
    }
}
