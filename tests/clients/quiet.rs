//! A connection on which nothing happens for a long time.

use std::time::{Duration, Instant};

use serde_json::json;

use super::driver::Driver;
use super::library::Library;
use crate::support::process::NodeProcess;

/// A minute with a ping every 2 s; or, where all libraries are tested, ten minutes with the defaults.
fn settings() -> (Duration, &'static [(&'static str, &'static str)]) {
    match std::env::var_os("CHATNODE_TEST_ALL_CLIENTS") {
        None => (Duration::from_secs(60), &[("CHAT_SERVER__PING_INTERVAL", "2s")]),
        Some(_) => (Duration::from_secs(600), &[]),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_library_stays_connected() {
    let (silence, settings) = settings();
    let node = NodeProcess::start(settings).await;
    let mut drivers = Vec::new();
    for library in Library::installed() {
        let mut alice = Driver::start(library);
        alice.enter(node.address).await;
        drivers.push((alice, Instant::now()));
    }
    for (mut alice, since) in drivers {
        // The test is about a time without any request.
        tokio::time::sleep_until((since + silence).into()).await;
        alice.ok("GroupChat", json!({ "content": "still here" })).await;
    }
}
