//! Presence by node lease against its model, by the scripts themselves. `PROPTEST_CASES` raises the number of cases.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::leases::{Stage, play, steps};
use crate::support::redis_server::RedisServer;

/// Each with nodes of its own, which have to connect.
const CASES: u32 = 40;

#[test]
fn presence_is_what_the_leases_say() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let server = RedisServer::start();
    let case = Cell::new(0_u32);
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        case.set(case.get() + 1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&Stage::Redis(&server, format!("case{}", case.get())), steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
