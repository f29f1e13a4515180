//! Publishes per second over one command connection to a real Redis, with 1 and 100 publishes in flight. Each one takes the
//! whole path (dedupe, sequence, append, publish) with a body of 200 bytes, for one log and for two logs at once.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use chatnode::protocol::Topic;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::{StreamExt, stream};
use support::backend::{Harness, room, user};
use support::redis_server::RedisServer;

async fn publish(node: &Harness, logs: &[Vec<Topic>], count: u64, in_flight: usize) -> Duration {
    let body = "x".repeat(200);
    let started = Instant::now();
    stream::iter(0..count)
        .for_each_concurrent(in_flight, |n| {
            let (topics, body) = (&logs[n as usize % logs.len()], &body);
            async move {
                let topics: Vec<&Topic> = topics.iter().collect();
                node.publish(&topics, &format!("{n}:{started:?}"), body).await.unwrap();
            }
        })
        .await;
    started.elapsed()
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
        for in_flight in [1, 100] {
            group.bench_function(format!("{name}/{in_flight}_in_flight"), |bencher| {
                bencher.iter_custom(|count| runtime.block_on(publish(&node, logs, count, in_flight)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, publishes);
criterion_main!(benches);
