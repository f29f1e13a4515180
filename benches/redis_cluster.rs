//! What a publish costs the servers of a Redis Cluster, beside a single Redis: CPU time and bytes between the servers, with
//! `redis.cluster_pubsub = sharded` and `broadcast`. One node publishes to 60 rooms, another one hears all of them. Bodies have 200
//! bytes, and each publish has the `id` of a client. `cargo bench --bench redis_cluster` prints a table: medians of rounds in which each
//! layout has its turn. CPU time is that of the server processes themselves, so other work on the machine counts little, and without
//! what they use while nobody publishes.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use chatnode::config::{ClusterPubSub, Config};
use chatnode::protocol::Topic;
use futures_util::{StreamExt, stream};
use support::backend::{Harness, room};
use support::listener::eventually;
use support::redis_cluster::{RedisCluster, TIMEOUT};
use support::redis_server::RedisServer;

const ROOMS: usize = 60;
const ROUNDS: usize = 3;

/// Publishes in one measurement, for each number of publishes in flight.
const MEASUREMENTS: [(usize, usize); 2] = [(1, 2_000), (100, 10_000)];

/// How long the servers are watched while nobody publishes.
const IDLE: Duration = Duration::from_secs(10);

/// One store with its two nodes.
struct Layout {
    name: String,
    servers: Vec<RedisServer>,
    /// For each room the index of its server.
    owners: Vec<usize>,
    rooms: Vec<Topic>,
    publisher: Harness,
    listener: Harness,
    heard: usize,
    /// What is used in a second in which nobody publishes: CPU time of each server, and bytes.
    idle: (Vec<f64>, f64),
}

/// What all servers have used so far.
struct Usage {
    at: Instant,
    /// Microseconds of CPU time of each server.
    cpu: Vec<f64>,
    /// Bytes that the servers have written, but not to clients.
    bus_bytes: f64,
}

/// What one publish has cost.
struct Costs {
    /// Microseconds of CPU time of all servers together.
    all: f64,
    /// The same of one server for a publish to one of its rooms, on the server for which it is highest.
    highest: f64,
    bus_bytes: f64,
}

/// A field of a section of INFO.
fn info(server: &RedisServer, section: &str, field: &str) -> f64 {
    let text = server.command(&["INFO", section]).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap().trim().parse().unwrap()
}

/// Bytes that a process has written, to files and sockets.
fn written(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
}

impl Layout {
    async fn single() -> Self {
        let server = RedisServer::start();
        let url = server.url();
        Self::new("one Redis".into(), vec![server], vec![0; ROOMS], &url, ClusterPubSub::Auto).await
    }

    async fn cluster(masters: usize, way: ClusterPubSub) -> Self {
        let cluster = RedisCluster::start(masters);
        let name = if way == ClusterPubSub::Sharded { "sharded" } else { "broadcast" };
        let owner = |index| cluster.first_owner(cluster.slot(&format!("chat:{{r:{index}}}")));
        let owners = (0..ROOMS).map(owner).collect();
        let url = cluster.url();
        Self::new(format!("{masters} masters, {name}"), cluster.servers, owners, &url, way).await
    }

    async fn new(
        name: String,
        servers: Vec<RedisServer>,
        owners: Vec<usize>,
        url: &str,
        way: ClusterPubSub,
    ) -> Self {
        let tune = |config: &mut Config| {
            config.redis.timeout = TIMEOUT;
            config.redis.cluster_pubsub = way;
        };
        let publisher = Harness::redis_unready(url, tune).await;
        let listener = Harness::redis_unready(url, tune).await;
        publisher.ready().await;
        listener.ready().await;
        let rooms: Vec<Topic> = (0..ROOMS).map(|index| room(&index.to_string())).collect();
        for room in &rooms {
            listener.subscribe(room).await;
        }
        let idle = (vec![0.0; servers.len()], 0.0);
        Self { name, servers, owners, rooms, publisher, listener, heard: 0, idle }
    }

    /// Publishes, each message again until it is acknowledged: on a busy machine, a call may be late.
    async fn publish(&mut self, in_flight: usize, count: usize) {
        let body = "x".repeat(200);
        let publish = async |index: usize| {
            let key = format!("user-1\u{1f}\u{1f}{}", rand::random::<u128>());
            let topic = [&self.rooms[index % ROOMS]];
            while self.publisher.publish(&topic, &key, &body).await.is_err() {}
        };
        stream::iter(0..count).for_each_concurrent(in_flight, publish).await;
        self.heard += count;
        let (listener, heard) = (&self.listener.listener, self.heard);
        eventually("all is heard", || async { listener.count() >= heard }).await;
    }

    fn usage(&self) -> Usage {
        let cpu = |server: &RedisServer| {
            1e6 * (info(server, "cpu", "used_cpu_user") + info(server, "cpu", "used_cpu_sys"))
        };
        let bus =
            |server| written(RedisServer::pid(server)) - info(server, "stats", "total_net_output_bytes");
        Usage {
            at: Instant::now(),
            cpu: self.servers.iter().map(cpu).collect(),
            bus_bytes: self.servers.iter().map(bus).sum(),
        }
    }

    async fn measure(&mut self, in_flight: usize, count: usize) -> Costs {
        let before = self.usage();
        self.publish(in_flight, count).await;
        let after = self.usage();
        let seconds = (after.at - before.at).as_secs_f64();
        let used = after.cpu.iter().zip(&before.cpu).map(|(after, before)| after - before);
        let cpu: Vec<f64> = used.zip(&self.idle.0).map(|(used, idle)| used - idle * seconds).collect();
        let of_its_rooms = cpu.iter().enumerate().map(|(server, cpu)| {
            let rooms = self.owners.iter().filter(|owner| **owner == server).count();
            cpu * ROOMS as f64 / (rooms * count) as f64
        });
        Costs {
            all: cpu.iter().sum::<f64>() / count as f64,
            highest: of_its_rooms.fold(0.0, f64::max),
            bus_bytes: (after.bus_bytes - before.bus_bytes - self.idle.1 * seconds) / count as f64,
        }
    }
}

fn median(costs: &[Costs], field: impl Fn(&Costs) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(field).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    let mut layouts = vec![Layout::single().await];
    for masters in [3, 6] {
        for way in [ClusterPubSub::Sharded, ClusterPubSub::Broadcast] {
            layouts.push(Layout::cluster(masters, way).await);
        }
    }
    println!(
        "| | in flight | µs of all servers | the most of one server, to its rooms | bytes between servers |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (in_flight, count) in MEASUREMENTS {
        for layout in &mut layouts {
            layout.publish(in_flight, count / 10).await;
        }
        let before: Vec<Usage> = layouts.iter().map(Layout::usage).collect();
        tokio::time::sleep(IDLE).await;
        for (layout, before) in layouts.iter_mut().zip(before) {
            let after = layout.usage();
            let seconds = (after.at - before.at).as_secs_f64();
            let used = after.cpu.iter().zip(&before.cpu).map(|(after, before)| after - before);
            let bytes = after.bus_bytes - before.bus_bytes;
            layout.idle = (used.map(|used| used / seconds).collect(), bytes / seconds);
        }
        let mut costs: Vec<Vec<Costs>> = layouts.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (layout, costs) in layouts.iter_mut().zip(&mut costs) {
                costs.push(layout.measure(in_flight, count).await);
            }
        }
        let single = median(&costs[0], |costs| costs.all);
        for (layout, costs) in layouts.iter().zip(&costs) {
            let (all, highest) = (median(costs, |costs| costs.all), median(costs, |costs| costs.highest));
            let bus_bytes = median(costs, |costs| costs.bus_bytes);
            println!(
                "| {} | {in_flight} | {all:.1} ({:.2}) | {highest:.1} ({:.2}) | {bus_bytes:.0} |",
                layout.name,
                all / single,
                highest / single,
            );
        }
    }
}
