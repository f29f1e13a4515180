//! Presence on a real Redis against the model of leases. `PROPTEST_CASES` sets the number of cases.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::lease_model::steps;
use crate::support::leases::{TestStore, run};
use crate::support::redis_server::RedisServer;

/// Few cases, because each case connects new nodes.
const CASES: u32 = 40;

#[test]
fn presence_on_redis_agrees_with_the_model() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let server = RedisServer::start();
    let case = Cell::new(0_u32);
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        case.set(case.get() + 1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&TestStore::Redis(&server, format!("case{}", case.get())), steps));
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}
