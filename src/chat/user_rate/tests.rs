//! The rate of a user over several nodes, on the embedded store in simulated time, and a store that does not answer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::advance;

use super::*;
use crate::backend::{BackendError, Embedded, RateLease};
use crate::chat::registry::Registry;
use crate::config::Config;
use crate::protocol::UserName;

const RATE: Rate = Rate { per_second: 200, burst: 400 };

/// The embedded store, which answers only as often as a test allows, and counts the questions.
struct Store {
    rates: Arc<dyn Rates>,
    asked: AtomicUsize,
    answers: Semaphore,
}

impl Store {
    fn new(answers: usize) -> Arc<Self> {
        let config = Config::default();
        let backend = Embedded::new(&config).join(&config, Arc::new(Registry::new(0).0));
        Arc::new(Self { rates: backend.rates, asked: AtomicUsize::new(0), answers: Semaphore::new(answers) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Rates for Store {
    async fn lease(&self, payer: &Payer, request: LeaseRequest) -> Result<RateLease, BackendError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.answers.acquire().await.unwrap().forget();
        self.rates.lease(payer, request).await
    }
}

fn nodes(store: &Arc<Store>, count: usize) -> Vec<Arc<UserRate>> {
    (0..count).map(|_| Arc::new(UserRate::new(store.clone(), Some(RATE)))).collect()
}

fn alice() -> Payer {
    Payer::User(UserName::parse("alice").unwrap())
}

async fn take(node: &Arc<UserRate>, payer: &Payer) -> Result<(), Duration> {
    node.take(payer, Owner::from(payer)).await
}

#[tokio::test(start_paused = true)]
async fn hammering_on_all_nodes_gets_rate_and_burst() {
    let store = Store::new(Semaphore::MAX_PERMITS);
    let (nodes, alice, seconds) = (nodes(&store, 3), alice(), 30);
    let mut passed = 0;
    for _ in 0..seconds * 1_000 {
        for node in &nodes {
            while take(node, &alice).await.is_ok() {
                passed += 1;
            }
        }
        advance(Duration::from_millis(1)).await;
    }
    let rate = RATE.burst as usize + RATE.per_second as usize * seconds;
    assert!(passed >= rate - 10, "{passed} of {rate}");
    assert!(
        passed <= rate + 3 * 20,
        "{passed}: each node has a free share of 20, and the store is told of it"
    );
    assert!(store.asked() <= 20 * seconds, "{} questions", store.asked());
}

#[tokio::test(start_paused = true)]
async fn user_below_the_rate_is_never_refused() {
    let store = Store::new(Semaphore::MAX_PERMITS);
    let (nodes, alice) = (nodes(&store, 3), alice());
    let seconds = 60;
    for _ in 0..seconds * 50 {
        for node in &nodes {
            take(node, &alice).await.unwrap();
        }
        advance(Duration::from_millis(20)).await;
    }
    assert!(store.asked() <= 5 * seconds, "{} questions for 9,000 requests", store.asked());
}

#[tokio::test(start_paused = true)]
async fn ordinary_user_costs_the_store_nothing() {
    let store = Store::new(0);
    let (nodes, alice) = (nodes(&store, 3), alice());
    for _ in 0..1_000 {
        for node in &nodes {
            take(node, &alice).await.unwrap();
        }
        advance(Duration::from_millis(100)).await;
    }
    assert_eq!(store.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_share_one_question() {
    let store = Store::new(0);
    let (nodes, alice) = (nodes(&store, 1), alice());
    let mut all = Box::pin(join_all((0..30).map(|_| take(&nodes[0], &alice))));
    assert!((&mut all).now_or_never().is_none());
    assert_eq!(store.asked(), 1);
    // 20 are free, and the first lease has 10.
    store.answers.add_permits(1);
    assert_eq!(all.await, vec![Ok(()); 30]);
    assert_eq!(store.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn question_goes_on_without_the_request_that_asked_it() {
    let store = Store::new(0);
    let (nodes, alice) = (nodes(&store, 1), alice());
    join_all((0..20).map(|_| take(&nodes[0], &alice))).await;
    let mut first = Box::pin(take(&nodes[0], &alice));
    assert!((&mut first).now_or_never().is_none());
    let mut second = Box::pin(take(&nodes[0], &alice));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    store.answers.add_permits(1);
    assert_eq!((second.await, store.asked()), (Ok(()), 1));
    // A question that nobody waits for any more does not end, and the next request asks anew.
    for _ in 0..29 {
        take(&nodes[0], &alice).await.unwrap();
    }
    assert!(take(&nodes[0], &alice).now_or_never().is_none());
    store.answers.add_permits(1);
    assert_eq!((take(&nodes[0], &alice).await, store.asked()), (Ok(()), 3));
}

#[tokio::test(start_paused = true)]
async fn limit_passes_while_the_store_does_not_answer() {
    let store = Store::new(0);
    let (nodes, alice) = (nodes(&store, 1), alice());
    let start = Instant::now();
    let answers = join_all((0..1_000).map(|_| take(&nodes[0], &alice))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((start.elapsed(), store.asked()), (ANSWER_TIME, 1));
    advance(PAUSE / 2).await;
    let bob = Payer::Address(IpAddr::from([192, 0, 2, 7]));
    for payer in [&alice, &bob] {
        for _ in 0..1_000 {
            assert_eq!(take(&nodes[0], payer).now_or_never(), Some(Ok(())));
        }
    }
    assert_eq!(store.asked(), 1);
    // It holds again as soon as the store does.
    advance(PAUSE / 2).await;
    store.answers.add_permits(Semaphore::MAX_PERMITS);
    let answers = join_all((0..1_000).map(|_| take(&nodes[0], &alice))).await;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(refused > 500, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn changed_rate_holds_for_every_user() {
    let store = Store::new(Semaphore::MAX_PERMITS);
    let (nodes, alice) = (nodes(&store, 1), alice());
    let spend = async || {
        let mut passed = 0;
        while passed < 10_000 && take(&nodes[0], &alice).await.is_ok() {
            passed += 1;
        }
        passed
    };
    assert!(spend().await < 500);
    nodes[0].set(None);
    assert_eq!(spend().await, 10_000);
    nodes[0].set(Some(Rate { per_second: 1, burst: 1 }));
    assert!(spend().await <= 1);
}

#[tokio::test(start_paused = true)]
async fn many_users_are_bounded_and_forgotten() {
    let store = Store::new(0);
    let node = &nodes(&store, 1)[0];
    let payer = |number: u32| Payer::Address(IpAddr::from(number.to_be_bytes()));
    for number in 0..100_000 {
        take(node, &payer(number)).await.unwrap();
    }
    assert_eq!(node.state().users.len(), MAX_USERS);
    advance(Duration::from_secs(10)).await;
    take(node, &payer(100_000)).await.unwrap();
    assert_eq!(node.state().users.len(), 1);
}
