//! Rates of users, which the nodes share.

use std::net::IpAddr;
use std::time::Duration;

use chatnode::backend::{LeaseRequest, Payer, Rate, RateLease};

use crate::TestStore;
use crate::support::backend::{Harness, user_name};

/// It grows by so little that a test does not notice it.
const RATE: Rate = Rate { per_second: 1, burst: 1_000 };

/// Asks for at least 100 requests.
async fn lease(node: &Harness, payer: &Payer, owed: i64, most: u32) -> RateLease {
    let request = LeaseRequest { rate: RATE, owed, least: 100, most };
    node.backend.rates.lease(payer, request).await.unwrap()
}

/// Whether the answer is that so many requests are missing, at one per second.
fn lacks(answer: RateLease, requests: u64) -> bool {
    let wait = Duration::from_secs(requests);
    matches!(answer, RateLease::Refused(told) if told <= wait && told > wait - Duration::from_secs(30))
}

fn alice() -> Payer {
    Payer::User(user_name("alice"))
}

pub async fn nodes_share_the_rate_of_a_user(store: &TestStore) {
    let (one, two) = (store.node(|_| ()).await, store.node(|_| ()).await);
    assert_eq!(lease(&one, &alice(), 0, 600).await, RateLease::Granted(600));
    assert_eq!(lease(&two, &alice(), 0, 200).await, RateLease::Granted(200));
    let rest = lease(&one, &alice(), 0, 600).await;
    assert!(matches!(rest, RateLease::Granted(200..230)), "{rest:?}");
    for node in [&one, &two] {
        let answer = lease(node, &alice(), 0, 200).await;
        assert!(lacks(answer, 100), "{answer:?}");
    }
}

pub async fn requests_that_are_owed_are_charged_in_any_case(store: &TestStore) {
    let node = store.node(|_| ()).await;
    assert_eq!(lease(&node, &alice(), 300, 600).await, RateLease::Granted(600));
    let answer = lease(&node, &alice(), 50, 100).await;
    assert!(lacks(answer, 50), "{answer:?}");
    let answer = lease(&node, &alice(), 40, 100).await;
    assert!(lacks(answer, 90), "what was owed is charged: {answer:?}");
    // What was not used is given back.
    assert_eq!(lease(&node, &alice(), -190, 150).await, RateLease::Granted(150));
    // Nobody waits for more than a burst beside what is missing.
    let answer = lease(&node, &alice(), 1_000_000, 100).await;
    assert!(lacks(answer, 1_100), "{answer:?}");
}

pub async fn nothing_is_given_back_beyond_the_burst(store: &TestStore) {
    let node = store.node(|_| ()).await;
    assert_eq!(lease(&node, &alice(), -1_000_000, 2_000).await, RateLease::Granted(1_000));
}

pub async fn users_and_addresses_have_rates_of_their_own(store: &TestStore) {
    let node = store.node(|_| ()).await;
    let addresses =
        ["192.0.2.7", "192.0.2.8", "2001:db8::"].map(|address| address.parse::<IpAddr>().unwrap());
    let names = ["192.0.2.7", "alice", "alice}", "{alice", "日本"].map(user_name);
    let payers = addresses.map(Payer::Address).into_iter().chain(names.map(Payer::User));
    for payer in payers {
        assert_eq!(lease(&node, &payer, 0, 1_000).await, RateLease::Granted(1_000), "{payer:?}");
        let answer = lease(&node, &payer, 0, 1_000).await;
        assert!(lacks(answer, 100), "{payer:?}: {answer:?}");
    }
}
