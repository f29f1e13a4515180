//! A real Redis for one test, with its own port and folder. Owns the process and ends it by its id; does not know the project.
//! Used in all tests with Redis. `CHATNODE_TEST_STORE` names another server than `redis-server` (tests/run --store).

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::fake_clock::FakeClock;

/// How long a server may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server. Killed when dropped.
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    /// A second port, for TLS.
    tls_port: Option<u16>,
    folder: TempDir,
    options: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl RedisServer {
    /// A server that stores nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "no"])
    }

    /// A server that stores every acknowledged write on disk.
    pub fn start_durable() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server that writes to its disk once a second.
    pub fn start_written_each_second() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"])
    }

    /// A Sentinel that watches no master.
    pub fn start_sentinel() -> Self {
        Self::start_with(&["--sentinel"])
    }

    /// A server with more command line options. With a certificate among them, it has a second port, for TLS.
    pub fn start_with(options: &[&str]) -> Self {
        Self::launch(options, Vec::new())
    }

    /// A server whose clock the test sets.
    pub fn start_with_clock(clock: &FakeClock) -> Self {
        Self::launch(&["--appendonly", "no"], clock.environment().into())
    }

    fn launch(options: &[&str], environment: Vec<(&'static str, String)>) -> Self {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let folder = tempfile::tempdir().unwrap();
        let has_tls = options.iter().any(|option| option == "--tls-cert-file");
        let mut server = Self { child: None, port: 0, tls_port: None, folder, options, environment };
        let free_port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Another process may take a free port before the server uses it; then the next one is tried.
        for _ in 0..20 {
            server.port = free_port();
            server.tls_port = has_tls.then(free_port);
            if server.spawn() {
                return server;
            }
        }
        panic!("redis-server can't be started: is it installed?");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port that other servers and nodes use: that for TLS, if there is one.
    pub fn peer_port(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    pub fn url(&self) -> String {
        let scheme = if self.tls_port.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.peer_port())
    }

    /// The options of TLS.
    fn tls_options(&self) -> Vec<&str> {
        let pairs = self.options.windows(2).filter(|pair| pair[0].starts_with("--tls-"));
        pairs.flatten().map(String::as_str).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// A server that copies this one, once it has all data.
    pub fn start_replica(&self) -> Self {
        let master = format!("127.0.0.1 {}", self.peer_port());
        self.command(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).unwrap();
        let options = [&["--appendonly", "no", "--replicaof", &master][..], &self.tls_options()].concat();
        let replica = Self::start_with(&options);
        // The master calls it online once all is sent, which may be before the replica has loaded it.
        replica.until_it_answers(&["INFO", "replication"], "master_link_status:up");
        self.until_it_answers(&["INFO", "replication"], "state=online");
        replica
    }

    /// From now on, [`RedisServer::log_reads`] counts.
    pub fn count_log_reads(&self) {
        self.command(&["CONFIG", "SET", "slowlog-max-len", "100000"]).unwrap();
        self.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]).unwrap();
        self.command(&["SLOWLOG", "RESET"]).unwrap();
    }

    /// How many pages of logs were read: the calls of `history.lua` with a direction, as the slow log has them.
    pub fn log_reads(&self) -> usize {
        let calls = self.command(&["SLOWLOG", "GET", "-1"]).unwrap();
        calls.lines().filter(|word| ["after", "before", "newest"].contains(word)).count()
    }

    /// Hands the role of the master over to a replica, without loss.
    pub fn fail_over_to(&self, replica: &Self) {
        self.command(&["FAILOVER", "TO", "127.0.0.1", &replica.port.to_string()]).unwrap();
        self.until_it_answers(&["ROLE"], "slave");
        replica.until_it_answers(&["ROLE"], "master");
    }

    fn until_it_answers(&self, words: &[&str], part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.command(words).is_ok_and(|reply| reply.contains(part)) {
            assert!(Instant::now() < deadline, "{words:?} did not answer {part} in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9`, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Restarts it on the same port, with its data on disk.
    pub fn restart(&mut self) {
        self.kill();
        let deadline = Instant::now() + PATIENCE;
        while !self.spawn() {
            assert!(Instant::now() < deadline, "redis-server did not restart on port {}", self.port);
        }
    }

    /// Restarts it on the same port and data, with other options.
    pub fn restart_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.restart();
    }

    /// SIGSTOP: the process exists but does not answer.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn cont(&self) {
        self.signal("-CONT");
    }

    /// From here on its append-only file can't grow, as on a full disk.
    pub fn fill_disk(&self) {
        let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).unwrap();
        let largest = files.map(|file| file.unwrap().metadata().unwrap().len()).max().unwrap();
        self.limit_files(&largest.to_string());
    }

    /// The disk has space again.
    pub fn free_disk(&self) {
        self.limit_files("unlimited");
    }

    /// Sets the largest size of a file that it may write. Only the soft limit, which may be raised again.
    fn limit_files(&self, bytes: &str) {
        let process = self.pid().to_string();
        let limit = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={bytes}:")]).status();
        assert!(limit.unwrap().success());
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Runs one command on a new connection; returns the reply as text, one line per element.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(request.as_bytes())?;
        read_reply(&mut BufReader::new(stream))
    }

    /// Starts the process. True once it answers; false if it ended before that.
    fn spawn(&mut self) -> bool {
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        // A Sentinel needs a file that it may write.
        let settings = self.folder.path().join("redis.conf");
        std::fs::OpenOptions::new().create(true).append(true).open(&settings).unwrap();
        let program = std::env::var("CHATNODE_TEST_STORE").unwrap_or_else(|_| "redis-server".into());
        // SIGXFSZ is ignored, so that a full disk is an error of `write` and does not end the process.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", &program])
            .arg(settings)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(self.tls_port.iter().flat_map(|port| ["--tls-port".to_owned(), port.to_string()]))
            .args(["--enable-debug-command", "local", "--dir"])
            .arg(self.folder.path())
            .args(&self.options)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("there is a shell");
        let mine = format!("process_id:{}\r", child.id());
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Compares the process id, because another server may have the port.
            if self.command(&["INFO", "server"]).is_ok_and(|info| info.contains(&mine)) {
                self.child = Some(child);
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "redis-server did not answer in time");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn read_reply(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let rest = line.get(1..).unwrap_or_default().trim_end().to_owned();
    let length = || rest.parse::<i64>().map_err(|_| io::Error::other("not a length"));
    match line.chars().next() {
        Some('+' | ':') => Ok(rest),
        Some('-') => Err(io::Error::other(rest)),
        Some('$') => {
            let Ok(length) = usize::try_from(length()?) else { return Ok(String::new()) };
            let mut bytes = vec![0; length + 2];
            reader.read_exact(&mut bytes)?;
            bytes.truncate(length);
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Some('*') => {
            let items: io::Result<Vec<String>> = (0..length()?).map(|_| read_reply(reader)).collect();
            Ok(items?.join("\n"))
        }
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}
