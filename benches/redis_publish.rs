//! Publishes per second over one command connection to a real Redis, with 1 and 100 publishes in flight. Each one takes the
//! whole path with a body of 200 bytes: to a room (one log) and as a private message (two logs), with the `id` of a client, so
//! that repeats are looked for, and without. `cargo bench --bench redis_publish`; beside the time of each publish, it prints what
//! Redis itself spent on it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use chatnode::backend::Publish;
use chatnode::protocol::{MessageId, Topic};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::{StreamExt, stream};
use support::backend::{Harness, message, room, user};
use support::redis_server::RedisServer;

async fn publish(
    node: &Harness,
    logs: &[Vec<Topic>],
    has_id: bool,
    count: u64,
    in_flight: usize,
) -> Duration {
    let body = "x".repeat(200);
    let started = Instant::now();
    stream::iter(0..count)
        .for_each_concurrent(in_flight, |n| {
            let (topics, body) = (&logs[n as usize % logs.len()], &body);
            async move {
                let topics: Vec<&Topic> = topics.iter().collect();
                let dedupe_key = has_id.then(|| format!("user-1\u{1f}\u{1f}{}", MessageId::generate()));
                let publish = Publish { dedupe_key, ..message(&topics, "", body) };
                node.backend.broker.publish(publish).await.unwrap();
            }
        })
        .await;
    started.elapsed()
}

/// Microseconds that Redis has spent on scripts.
fn script_us(server: &RedisServer) -> f64 {
    let statistics = server.command(&["INFO", "commandstats"]).unwrap();
    let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
    let spent = line.and_then(|line| line.split(',').find_map(|field| field.strip_prefix("usec=")));
    spent.map_or(0.0, |spent| spent.parse().unwrap())
}

fn publishes(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = RedisServer::start();
    let node = runtime.block_on(Harness::redis(&server, |_| {}));
    let rooms: Vec<Vec<Topic>> = (0..60).map(|i| vec![room(&i.to_string())]).collect();
    let pairs: Vec<Vec<Topic>> =
        (0..60).map(|i| vec![user(&format!("to {i}")), user(&format!("from {i}"))]).collect();
    let mut group = criterion.benchmark_group("redis_publish");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    for (name, logs) in [("room", &rooms), ("private", &pairs)] {
        for (id, has_id) in [("with id", true), ("without id", false)] {
            for in_flight in [1, 100] {
                let (mut published, before) = (0, script_us(&server));
                group.bench_function(format!("{name}, {id}, {in_flight} in flight"), |bencher| {
                    bencher.iter_custom(|count| {
                        published += count;
                        runtime.block_on(publish(&node, logs, has_id, count, in_flight))
                    });
                });
                if published > 0 {
                    let each = (script_us(&server) - before) / published as f64;
                    println!("    Redis: {each:.1} us of scripts for each publish");
                }
            }
        }
    }
    group.finish();
}

criterion_group!(benches, publishes);
criterion_main!(benches);
