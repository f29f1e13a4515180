//! Replicas and Sentinels around the Redis of a run, each behind a proxy, so that the network between them can be cut too. Owns the
//! processes and who can reach whom; the injector decides when. Used by runs whose fault is one of Sentinels.
//!
//! All members announce the addresses of their proxies, and each connects from an address of its own (127.0.2.N): so a proxy knows who
//! connects. Nodes connect from 127.0.0.1.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use redis::{FromRedisValue, Value};
use tokio::time::{Instant, sleep};

use crate::process::{Fsync, RedisServer};
use crate::proxy::{NODES, Proxy, Sources};

/// The name of the master.
pub const MASTER: &str = "main";

/// A silent master is replaced after this time, which is longer than `redis.timeout` of the nodes.
const DOWN_AFTER_MS: u64 = 3_000;

/// How long a failover, or the return of all members, may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// The number of servers, and of Sentinels.
const MEMBERS: usize = 3;

pub struct SentinelSet {
    /// The servers but the first, which is the Redis of the run.
    replicas: Vec<RedisServer>,
    sentinels: Vec<RedisServer>,
    /// The proxies to the servers, then those to the Sentinels.
    proxies: Vec<Proxy>,
}

impl SentinelSet {
    /// Starts all of them, and the first server.
    ///
    /// # Errors
    /// They did not find each other in time.
    pub async fn start(
        first: &mut RedisServer,
        dir: &Path,
        fsync: Fsync,
        is_strict: bool,
    ) -> std::io::Result<Self> {
        let mut set = Self { replicas: Vec::new(), sentinels: Vec::new(), proxies: Vec::new() };
        for number in 1..MEMBERS {
            set.replicas.push(RedisServer::new(dir.join(format!("redis-{number}")), fsync)?);
        }
        for number in 0..MEMBERS {
            set.sentinels.push(RedisServer::new(dir.join(format!("sentinel-{number}")), fsync)?);
        }
        let all = [&*first].into_iter().chain(&set.replicas).chain(&set.sentinels);
        for address in all.map(|server| server.address).collect::<Vec<_>>() {
            set.proxies.push(Proxy::start(address).await?);
        }
        let ports: Vec<u16> = set.proxies.iter().map(|proxy| proxy.address.port()).collect();
        for (number, server) in [&mut *first].into_iter().chain(&mut set.replicas).enumerate() {
            let mut options = format!(
                "--bind-source-addr {} --replica-announce-ip 127.0.0.1 --replica-announce-port {} \
                 --repl-diskless-sync-delay 0",
                source(number),
                ports[number]
            );
            if is_strict {
                options += " --min-replicas-to-write 1 --min-replicas-max-lag 2";
            }
            if number > 0 {
                options += &format!(" --replicaof 127.0.0.1 {}", ports[0]);
            }
            server.set_options(options.split(' ').map(str::to_owned).collect());
            server.up().await?;
        }
        for (number, sentinel) in set.sentinels.iter_mut().enumerate() {
            let (own, first) = (ports[MEMBERS + number], ports[0]);
            sentinel.make_sentinel(&format!(
                "bind-source-addr {}\nsentinel announce-ip 127.0.0.1\nsentinel announce-port {own}\n\
                 sentinel monitor {MASTER} 127.0.0.1 {first} 2\n\
                 sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}\n\
                 sentinel failover-timeout {MASTER} 6000\n",
                source(MEMBERS + number)
            ))?;
            sentinel.up().await?;
        }
        set.tune().await;
        set.until_complete().await?;
        Ok(set)
    }

    /// Sentinels learn of each other by what they publish: faster than in production.
    async fn tune(&self) {
        for sentinel in &self.sentinels {
            sentinel.command(&["SENTINEL", "DEBUG", "publish-period", "500", "info-period", "1000"]).await;
        }
    }

    /// The URL of the Sentinels.
    pub fn url(&self) -> String {
        let addresses: Vec<String> =
            self.proxies[MEMBERS..].iter().map(|proxy| proxy.address.to_string()).collect();
        format!("redis://{}", addresses.join(","))
    }

    /// The server with this number; the first one is not here.
    pub fn replica(&mut self, number: usize) -> &mut RedisServer {
        &mut self.replicas[number - 1]
    }

    /// The number of the server that a Sentinel names.
    async fn master_by(&self, sentinel: usize) -> Option<usize> {
        let ask = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let reply = self.sentinels[sentinel].command(&ask).await?;
        let (_, port) = <(String, u16)>::from_redis_value(reply).ok()?;
        self.proxies[..MEMBERS].iter().position(|proxy| proxy.address.port() == port)
    }

    /// The number of the server that all Sentinels name.
    pub async fn master(&self) -> Option<usize> {
        let first = self.master_by(0).await?;
        let others = (self.master_by(1).await?, self.master_by(2).await?);
        (others == (first, first)).then_some(first)
    }

    /// The address of the master, past all proxies.
    ///
    /// # Errors
    /// The Sentinels do not agree in time.
    pub async fn master_address(&self, first: &RedisServer) -> std::io::Result<SocketAddr> {
        let start = Instant::now();
        loop {
            match self.master().await {
                Some(0) => return Ok(first.address),
                Some(number) => return Ok(self.replicas[number - 1].address),
                None if start.elapsed() > PATIENCE => {
                    return Err(too_late("the Sentinels agree on a master"));
                }
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Lets a Sentinel replace the master, as soon as it finds a replica good enough.
    ///
    /// # Errors
    /// It finds none in time.
    pub async fn fail_over(&self, sentinel: usize) -> std::io::Result<()> {
        let start = Instant::now();
        while self.sentinels[sentinel].command(&["SENTINEL", "FAILOVER", MASTER]).await.is_none() {
            if start.elapsed() > PATIENCE {
                return Err(too_late("a Sentinel begins a failover"));
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Ends all Sentinels.
    pub fn kill_sentinels(&mut self) {
        self.sentinels.iter_mut().for_each(RedisServer::kill);
    }

    /// Starts them again.
    pub async fn restart_sentinels(&mut self) -> std::io::Result<()> {
        for sentinel in &mut self.sentinels {
            sentinel.up().await?;
        }
        self.tune().await;
        Ok(())
    }

    /// Cuts the network in two: on one side the nodes, this server and this Sentinel, on the other side the rest.
    pub fn cut(&self, server: usize, sentinel: usize) {
        let mine = [server, MEMBERS + sentinel];
        let bits = |is_mine: bool| -> Sources {
            let bits = (0..2 * MEMBERS).filter(|member| mine.contains(member) == is_mine);
            bits.map(bit).fold(if is_mine { NODES } else { 0 }, |all, bit| all | bit)
        };
        for (member, proxy) in self.proxies.iter().enumerate() {
            proxy.block(bits(!mine.contains(&member)));
        }
    }

    /// Mends the network.
    pub fn mend(&self) {
        self.proxies.iter().for_each(|proxy| proxy.block(0));
    }

    /// Waits until so many Sentinels name another master than `old`.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn until_replaced(&self, old: usize, count: usize) -> std::io::Result<()> {
        let start = Instant::now();
        loop {
            let mut named = 0;
            for sentinel in 0..MEMBERS {
                named += usize::from(self.master_by(sentinel).await.is_some_and(|master| master != old));
            }
            if named >= count {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(too_late("the master is replaced"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until another server than `old` says that it is a master, which the Sentinels may not say yet.
    ///
    /// # Errors
    /// None does in time.
    pub async fn until_promoted(&self, first: &RedisServer, old: usize) -> std::io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for (number, server) in [first].into_iter().chain(&self.replicas).enumerate() {
                if number != old && is_master(server.command(&["ROLE"]).await) {
                    return Ok(());
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(too_late("a replica is promoted"))
    }

    /// Waits until all Sentinels name one master, with two replicas that it serves.
    ///
    /// # Errors
    /// They do not in time.
    pub async fn until_complete(&self) -> std::io::Result<()> {
        let start = Instant::now();
        loop {
            let mut complete = self.master().await.is_some();
            for sentinel in &self.sentinels {
                let reply = sentinel.command(&["SENTINEL", "REPLICAS", MASTER]).await;
                let others = sentinel.command(&["SENTINEL", "SENTINELS", MASTER]).await;
                complete &= ready(reply) == MEMBERS - 1 && ready(others) == MEMBERS - 1;
            }
            if complete {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(too_late("all servers and Sentinels find each other"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How many of the listed instances are up, and connected to their master if they are replicas.
fn ready(reply: Option<Value>) -> usize {
    let list = reply
        .and_then(|reply| Vec::<std::collections::HashMap<String, String>>::from_redis_value(reply).ok());
    let is_ready = |instance: &std::collections::HashMap<String, String>| {
        let flags = instance.get("flags").map_or("", String::as_str);
        let has_master = instance.get("master-link-status").is_none_or(|status| status == "ok");
        has_master && !flags.contains("down") && !flags.contains("disconnected")
    };
    list.unwrap_or_default().iter().filter(|instance| is_ready(instance)).count()
}

fn is_master(role: Option<Value>) -> bool {
    let parts = role.and_then(|role| Vec::<Value>::from_redis_value(role).ok()).unwrap_or_default();
    matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master")
}

/// The address from which a member connects.
fn source(member: usize) -> String {
    format!("127.0.2.{}", member + 1)
}

/// The same, for a proxy.
fn bit(member: usize) -> Sources {
    NODES << (member + 1)
}

fn too_late(what: &str) -> std::io::Error {
    std::io::Error::other(format!("not in time: {what}"))
}
