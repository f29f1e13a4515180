//! A master, two replicas and three Sentinels for one test. Owns the six processes and asks them who is the master; does not know
//! the project. Used in tests of failovers.

use std::time::{Duration, Instant};

use super::redis_server::RedisServer;

/// The name of the master.
pub const MASTER: &str = "main";

/// How long the Sentinels wait until they replace a silent master.
pub const DOWN_AFTER: Duration = Duration::from_millis(1_500);

/// A deadline of a call that fits [`DOWN_AFTER`].
pub const TIMEOUT: Duration = Duration::from_millis(1_000);

const PATIENCE: Duration = Duration::from_secs(30);

/// Servers and Sentinels that know each other.
pub struct SentinelSet {
    pub servers: Vec<RedisServer>,
    pub sentinels: Vec<RedisServer>,
}

impl SentinelSet {
    /// Starts all; every Sentinel knows the others and both replicas.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more command line options for servers and Sentinels.
    pub fn start_with(options: &[&str]) -> Self {
        let durable = ["--appendonly", "yes", "--appendfsync", "always"];
        let master = RedisServer::start_with(&[&durable, options].concat());
        let servers = vec![master.start_replica(), master.start_replica()];
        let servers: Vec<RedisServer> = [master].into_iter().chain(servers).collect();
        for server in &servers {
            server.command(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).unwrap();
        }
        let sentinel = || RedisServer::start_with(&[&["--sentinel"], options].concat());
        let set = Self { servers, sentinels: (0..3).map(|_| sentinel()).collect() };
        for sentinel in &set.sentinels {
            set.monitor(sentinel);
        }
        set.until("the Sentinels know each other", || set.is_complete());
        set
    }

    /// Lets a Sentinel watch the master.
    fn monitor(&self, sentinel: &RedisServer) {
        let port = self.servers[0].peer_port().to_string();
        let down_after = DOWN_AFTER.as_millis().to_string();
        // Faster than in production: they find each other by what they publish.
        let periods =
            ["publish-period", "200", "info-period", "300", "ping-period", "200", "ask-period", "200"];
        sentinel.command(&[&["SENTINEL", "DEBUG"][..], &periods].concat()).unwrap();
        sentinel.command(&["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &port, "2"]).unwrap();
        let settings = ["down-after-milliseconds", &down_after, "failover-timeout", "4000"];
        sentinel.command(&[&["SENTINEL", "SET", MASTER][..], &settings].concat()).unwrap();
    }

    fn is_complete(&self) -> bool {
        self.sentinels.iter().all(|sentinel| {
            let text = sentinel.command(&["SENTINEL", "MASTER", MASTER]).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let value = |name: &str| lines.iter().position(|line| *line == name).map(|at| lines[at + 1]);
            value("num-slaves") == Some("2") && value("num-other-sentinels") == Some("2")
        })
    }

    /// The URL of the Sentinels.
    pub fn url(&self) -> String {
        url(&self.sentinels)
    }

    /// The index of the server that this Sentinel takes for the master.
    pub fn master_by(&self, sentinel: usize) -> Option<usize> {
        let reply =
            self.sentinels[sentinel].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]).ok()?;
        let port: u16 = reply.lines().nth(1)?.parse().ok()?;
        self.servers.iter().position(|server| server.peer_port() == port)
    }

    /// A planned failover.
    pub fn fail_over(&self) {
        self.sentinels[0].command(&["SENTINEL", "FAILOVER", MASTER]).unwrap();
    }

    /// Waits until every running Sentinel names another master than `old`. Returns its index.
    pub fn until_replaced(&self, old: usize, running: &[usize]) -> usize {
        self.until("the master is replaced", || {
            running.iter().all(|sentinel| self.master_by(*sentinel).is_some_and(|master| master != old))
        });
        self.master_by(running[0]).unwrap()
    }

    /// Waits until another server than `old` is a master, which the Sentinels may not say yet.
    pub fn until_promoted(&self, old: usize) {
        let is_master =
            |server: &RedisServer| server.command(&["ROLE"]).is_ok_and(|r| r.starts_with("master"));
        self.until("a replica is promoted", || {
            self.servers.iter().enumerate().any(|(at, server)| at != old && is_master(server))
        });
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A URL with the addresses of these Sentinels.
pub fn url(sentinels: &[RedisServer]) -> String {
    let urls: Vec<String> = sentinels.iter().map(RedisServer::url).collect();
    let (scheme, first) = urls[0].split_once("://").unwrap();
    let others = urls[1..].iter().map(|url| url.split_once("://").unwrap().1);
    format!("{scheme}://{}", [first].into_iter().chain(others).collect::<Vec<_>>().join(","))
}
