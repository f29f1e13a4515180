//! A Redis in cluster mode whose only slot in use can be declared to move to another server, which never happens. Used to test
//! scripts.

use std::io;
use std::time::{Duration, Instant};

use super::redis_server::RedisServer;

/// How long the servers may take to know each other.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tag of all keys: `{t}`.
pub const TAG: &str = "{t}";

/// Two servers, of which the first owns every slot.
pub struct ClusterSlot {
    owner: RedisServer,
    /// The node id of the other server.
    target: String,
    slot: String,
    _other: RedisServer,
}

impl ClusterSlot {
    pub fn start() -> Self {
        let [owner, other] =
            [(); 2].map(|()| RedisServer::start_with(&["--appendonly", "no", "--cluster-enabled", "yes"]));
        owner.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
        owner.command(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()]).unwrap();
        let target = other.command(&["CLUSTER", "MYID"]).unwrap();
        let slot = owner.command(&["CLUSTER", "KEYSLOT", TAG]).unwrap();
        let cluster = Self { owner, target, slot, _other: other };
        cluster.eventually(&["SET", TAG, "x"]);
        cluster.eventually(&["CLUSTER", "SETSLOT", &cluster.slot, "MIGRATING", &cluster.target]);
        cluster.stay();
        cluster
    }

    fn eventually(&self, command: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.command(command) {
            assert!(Instant::now() < deadline, "{command:?}: {error}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a command at the owner.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        self.owner.command(words)
    }

    /// From here on the slot is about to move: a key that does not exist is taken to be at the other server.
    pub fn migrate(&self) {
        self.command(&["CLUSTER", "SETSLOT", &self.slot, "MIGRATING", &self.target]).unwrap();
    }

    /// The slot stays where it is.
    pub fn stay(&self) {
        self.command(&["CLUSTER", "SETSLOT", &self.slot, "STABLE"]).unwrap();
    }

    /// A digest of all keys and values.
    pub fn digest(&self) -> String {
        self.command(&["DEBUG", "DIGEST"]).unwrap()
    }
}
