//! A Redis Cluster for one test: masters with slots, and a replica of each if wanted. Owns the processes, moves slots and asks who
//! is master of what; does not know the project. Used in tests of clusters.

use std::time::{Duration, Instant};

use super::redis_server::RedisServer;

/// A deadline of a call that fits the time after which the servers replace a silent master, 2 s.
pub const TIMEOUT: Duration = Duration::from_millis(1_000);

const PATIENCE: Duration = Duration::from_secs(40);
const SLOTS: usize = 16_384;

/// The options of a server of a cluster; durable. A master that gives its last slot away stays a master.
pub fn options_of_cluster() -> Vec<&'static str> {
    let options = "--cluster-enabled yes --cluster-node-timeout 2000 --cluster-allow-replica-migration no --cluster-replica-validity-factor 0 --repl-diskless-sync-delay 0 \
                   --appendonly yes --appendfsync always";
    options.split_whitespace().collect()
}

/// Servers that know each other. The masters come first, each with a third of the slots if there are three, then the replicas.
pub struct RedisCluster {
    pub servers: Vec<RedisServer>,
    masters: usize,
}

impl RedisCluster {
    /// Masters without replicas, which keep nothing on disk.
    pub fn start(masters: usize) -> Self {
        Self::launch(masters, 0, &["--appendonly", "no"])
    }

    /// Durable masters, each with a replica.
    pub fn start_with_replicas(masters: usize) -> Self {
        Self::launch(masters, masters, &["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Durable masters, each with a replica, which speak TLS with each other and with nodes.
    pub fn start_with_tls(masters: usize, options: &[&str]) -> Self {
        let options = [&["--appendonly", "yes", "--tls-cluster", "yes", "--tls-replication", "yes"], options];
        Self::launch(masters, masters, &options.concat())
    }

    fn launch(masters: usize, replicas: usize, options: &[&str]) -> Self {
        let options = [&options_of_cluster()[..], options].concat();
        let servers = (0..masters + replicas).map(|_| RedisServer::start_with(&options)).collect();
        let cluster = Self { servers, masters };
        for (index, server) in cluster.servers.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).unwrap();
            if index < masters {
                let [first, last] = [index, index + 1].map(|part| part * SLOTS / masters);
                let (first, last) = (first.to_string(), (last - 1).to_string());
                server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).unwrap();
            }
            if index > 0 {
                let first = cluster.servers[0].peer_port().to_string();
                server.command(&["CLUSTER", "MEET", "127.0.0.1", &first]).unwrap();
            }
        }
        let count = format!("cluster_known_nodes:{}", masters + replicas);
        cluster.until("all servers know each other", || cluster.all_say(&count));
        for replica in masters..masters + replicas {
            let master = cluster.id(replica - masters);
            cluster.until("a replica follows its master", || {
                cluster.servers[replica].command(&["CLUSTER", "REPLICATE", &master]).is_ok()
            });
        }
        cluster.until("the replicas have all data", || {
            let replicas = &cluster.servers[masters..];
            replicas.iter().all(|replica| {
                replica
                    .command(&["INFO", "replication"])
                    .is_ok_and(|info| info.contains("master_link_status:up"))
            })
        });
        cluster.until("the cluster works", || cluster.all_say("cluster_state:ok"));
        cluster
    }

    /// One server that has all slots, as a single Redis does after a restart with the options of a cluster.
    pub fn of_one(server: RedisServer) -> Self {
        let cluster = Self { servers: vec![server], masters: 1 };
        cluster.until("the data is loaded", || cluster.servers[0].command(&["PING"]).is_ok());
        cluster.add_slots(0, SLOTS - 1);
        cluster.until("the cluster works", || cluster.all_say("cluster_state:ok"));
        cluster
    }

    /// Gives the first server these slots. A server that starts with data has claimed the slots of its keys already, and refuses a
    /// whole range for one of them.
    fn add_slots(&self, first: usize, last: usize) {
        let range = [first.to_string(), last.to_string()];
        let added = self.servers[0].command(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
        if added.is_err() && first < last {
            let middle = first.midpoint(last);
            self.add_slots(first, middle);
            self.add_slots(middle + 1, last);
        }
    }

    /// Lets a further master in. It has no slots yet.
    pub fn add_master(&mut self) {
        let first = self.servers[0].port().to_string();
        let server = RedisServer::start_with(&options_of_cluster());
        server.command(&["CLUSTER", "MEET", "127.0.0.1", &first]).unwrap();
        self.servers.push(server);
        self.masters += 1;
        let count = format!("cluster_known_nodes:{}", self.servers.len());
        self.until("all servers know each other", || self.all_say(&count));
        self.until("the cluster works", || self.all_say("cluster_state:ok"));
    }

    /// The first server alone. The others end.
    pub fn into_first(mut self) -> RedisServer {
        self.servers.swap_remove(0)
    }

    fn all_say(&self, what: &str) -> bool {
        let says =
            |server: &RedisServer| server.command(&["CLUSTER", "INFO"]).is_ok_and(|info| info.contains(what));
        self.servers.iter().all(says)
    }

    /// Waits until a condition holds.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "never came true: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The URL of one server.
    pub fn url(&self) -> String {
        self.servers[0].url()
    }

    /// Id of a server in the cluster.
    pub fn id(&self, server: usize) -> String {
        self.servers[server].command(&["CLUSTER", "MYID"]).unwrap()
    }

    /// The slot of a key.
    pub fn slot(&self, key: &str) -> usize {
        self.servers[0]
            .command(&["CLUSTER", "KEYSLOT", key])
            .unwrap()
            .trim_start_matches(':')
            .parse()
            .unwrap()
    }

    /// Index of the server that `by` takes for the master of a slot.
    pub fn owner_by(&self, by: usize, slot: usize) -> Option<usize> {
        let nodes = self.servers[by].command(&["CLUSTER", "NODES"]).ok()?;
        nodes.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let holds = words.iter().skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let bounds = (first.parse::<usize>(), last.parse::<usize>());
                matches!(bounds, (Ok(first), Ok(last)) if (first..=last).contains(&slot))
            });
            let port: u16 = words.get(1)?.split('@').next()?.rsplit_once(':')?.1.parse().ok()?;
            (holds && words[2].contains("master"))
                .then(|| self.servers.iter().position(|s| s.port() == port))?
        })
    }

    /// Index of the master that holds a slot at first.
    pub fn first_owner(&self, slot: usize) -> usize {
        (0..self.masters).find(|index| slot < (index + 1) * SLOTS / self.masters).unwrap()
    }

    /// A planned failover to a replica. The replica gives up after five seconds if the others do not answer in time.
    pub fn fail_over(&self, replica: usize) {
        let server = &self.servers[replica];
        let is_master = || server.command(&["ROLE"]).is_ok_and(|role| role.starts_with("master"));
        let mut asked_at: Option<Instant> = None;
        self.until("a replica takes over", || {
            is_master() || {
                if asked_at.is_none_or(|at| at.elapsed() > Duration::from_secs(6)) {
                    asked_at = Some(Instant::now());
                    server.command(&["CLUSTER", "FAILOVER"]).unwrap();
                }
                false
            }
        });
    }

    /// Begins to move a slot from one master to another.
    pub fn begin_to_move(&self, slot: usize, from: usize, to: usize) {
        let number = slot.to_string();
        self.servers[to].command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &self.id(from)]).unwrap();
        self.servers[from].command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &self.id(to)]).unwrap();
    }

    /// Moves the keys of a slot, as many as there are at this moment.
    pub fn move_keys(&self, slot: usize, from: usize, to: usize) {
        let number = slot.to_string();
        let port = self.servers[to].peer_port().to_string();
        loop {
            let keys = self.servers[from].command(&["CLUSTER", "GETKEYSINSLOT", &number, "100"]).unwrap();
            let keys: Vec<&str> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                return;
            }
            let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            self.servers[from].command(&[&migrate[..], &keys].concat()).unwrap();
        }
    }

    /// Ends the move: every master learns the new owner.
    pub fn end_move(&self, slot: usize, to: usize) {
        let (number, id) = (slot.to_string(), self.id(to));
        // First the one that gets it, as redis-cli does.
        self.servers[to].command(&["CLUSTER", "SETSLOT", &number, "NODE", &id]).unwrap();
        for (index, server) in self.servers[..self.masters].iter().enumerate() {
            if index != to {
                server.command(&["CLUSTER", "SETSLOT", &number, "NODE", &id]).unwrap();
            }
        }
    }

    /// Moves a whole slot.
    pub fn move_slot(&self, slot: usize, from: usize, to: usize) {
        self.begin_to_move(slot, from, to);
        self.move_keys(slot, from, to);
        self.end_move(slot, to);
    }
}
