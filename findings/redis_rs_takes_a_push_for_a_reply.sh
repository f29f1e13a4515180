#!/usr/bin/env bash
# redis-rs 1.8.1.
#
# A server of a Redis Cluster ends a sharded subscription by itself when its slot moves, with a push `sunsubscribe`. The multiplexed
# connection takes each push of that kind for the reply to the request that it sent first. So a `SSUBSCRIBE` that is on its way at
# that moment succeeds with the push of another channel, and its true reply, an error, reaches nobody, or the next request.
#
# Seen: `SSUBSCRIBE a` succeeds with the end of `b`, and the `PING` behind it fails with the MOVED that was for `a`.
#
# Needs cargo.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src
cat >Cargo.toml <<'END'
[package]
name = "program"
version = "0.0.0"
edition = "2021"

[dependencies]
redis = { version = "=1.8.1", default-features = false, features = ["tokio-comp"] }
tokio = { version = "1", features = ["io-util", "macros", "rt"] }
END
cat >src/main.rs <<'END'
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Reads until a request with this word has come.
async fn until(server: &mut DuplexStream, word: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(word) {
        server.read_buf(&mut seen).await.unwrap();
    }
}

/// Says hello, ends the subscription of `b` while `a` is asked for, and refuses `a`.
async fn serve(mut server: DuplexStream) {
    until(&mut server, "HELLO").await;
    server.write_all(b"%1\r\n$5\r\nproto\r\n:3\r\n").await.unwrap();
    until(&mut server, "PING").await;
    server.write_all(b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nb\r\n:0\r\n-MOVED 1 host:1\r\n+PONG\r\n").await.unwrap();
    std::future::pending().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::spawn(serve(server));
    let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_push_sender(|_| Ok::<(), redis::aio::SendError>(()));
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, client, config).await.unwrap();
    tokio::spawn(driver);
    let (mut first, mut second) = (connection.clone(), connection);
    let mut subscribe = redis::cmd("SSUBSCRIBE");
    subscribe.arg("a");
    let ping = redis::cmd("PING");
    let (subscribed, pong) = tokio::join!(
        subscribe.query_async::<Value>(&mut first),
        ping.query_async::<Value>(&mut second)
    );
    println!("SSUBSCRIBE a: {subscribed:?}\nPING: {pong:?}");
    let is_of_b = matches!(&subscribed, Ok(reply) if format!("{reply:?}").contains("SUnsubscribe"));
    let is_moved = matches!(&pong, Err(error) if error.code() == Some("MOVED"));
    assert!(is_of_b && is_moved, "the behaviour has changed");
}
END
cargo run --quiet
