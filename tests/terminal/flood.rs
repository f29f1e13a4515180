//! Many messages at once: the screen keeps up, whatever it shows.

use std::time::{Duration, Instant};

use crate::support::client::{Client, PATIENCE};
use crate::support::cluster::{Cluster, Kind};
use crate::window::{CONTROL_C, PAGE_UP, Window};

/// More than a picture of 24 rows of 100 columns takes.
const MAX_PICTURE_BYTES: usize = 12_000;

/// A node that holds and accepts many messages.
async fn cluster() -> Cluster {
    Cluster::start_with(Kind::Embedded, 1, |config| {
        config.limits.messages_per_second = 1_000_000;
        config.limits.burst = 1_000_000;
        config.history.max_messages = 10_000;
        config.history.max_bytes = 1 << 30;
        config.history.embedded_bytes = 1 << 30;
    })
    .await
}

async fn say_numbers(bob: &mut Client, from: usize, to: usize) {
    for number in from..to {
        bob.say("ops", &format!("number {number}.")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_drawn_at_most_30_times_a_second() {
    let cluster = cluster().await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    let (before, start) = (ann.written(), Instant::now());
    say_numbers(&mut bob, 0, 3_000).await;
    ann.shows("number 2999.").await;
    let pictures = start.elapsed().as_millis() as usize / 33 + 2;
    let written = ann.written() - before;
    assert!(written < pictures * MAX_PICTURE_BYTES, "{written} bytes in {:?}", start.elapsed());
    assert!(written < 3_000 * 300, "{written} bytes: less than a picture for each message");
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_far_up_stay_in_place_in_a_flood() {
    let cluster = cluster().await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    say_numbers(&mut bob, 0, 1_000).await;
    ann.shows("number 999.").await;
    let is_at_top = |rows: &[String]| rows.iter().any(|row| row.contains("bob: number 0."));
    let deadline = Instant::now() + PATIENCE;
    while !is_at_top(&ann.rows()) {
        assert!(Instant::now() < deadline, "the top does not come: {:#?}", ann.rows());
        ann.types(PAGE_UP);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    say_numbers(&mut bob, 1_000, 2_000).await;
    ann.shows_so("the count, and the same rows", |rows| {
        is_at_top(rows) && rows.iter().any(|row| row.contains("1000 new below"))
    })
    .await;
    ann.types("back\r");
    ann.shows("ann: back").await;
    ann.shows("number 1999.").await;
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}

/// The program reads on while its terminal takes nothing, so the node never finds it slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_terminal_costs_no_message() {
    let cluster = cluster().await;
    let mut bob = cluster.enter(0, "bob", "ops").await;
    let mut ann = Window::start(cluster.address(0), &["--room", "ops"]);
    ann.stands("#ops", "connected").await;
    ann.stall();
    let long = "x".repeat(10_000);
    for number in 0..1_500 {
        bob.say("ops", &format!("number {number}. {long}")).await;
    }
    say_numbers(&mut bob, 1_500, 1_510).await;
    ann.resume();
    ann.shows("number 1509.").await;
    let rows = ann.rows();
    assert!(rows.iter().any(|row| row.contains("number 1500.")), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.contains("missing here")), "{rows:#?}");
    ann.types(CONTROL_C);
    assert_eq!(ann.ended().await, 0);
}
