//! Users of pages that send nothing any more: they no longer count as present, and stay members.

use std::time::Duration;

use chatnode::config::Config;
use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, until};

/// Long enough for a test to send the next request in time.
const AWAY_AFTER: Duration = Duration::from_secs(2);

fn quick(config: &mut Config) {
    config.server.away_after = AWAY_AFTER;
}

/// A page that sends a `Ping` once, as all pages do that can be away.
async fn page(cluster: &Cluster, node: usize, name: &str) -> Client {
    let mut page = Client::connect_browser(cluster.address(node), name).await;
    page.ok("Enter", json!({ "room": "ops" })).await;
    page.ok("Ping", json!({})).await;
    page
}

/// The next `Enter` or `Leave`, with its user.
async fn next_event(client: &mut Client) -> (String, String) {
    let is_event = |frame: &Value| frame["message_type"] == "Enter" || frame["message_type"] == "Leave";
    let frame = client.wait_for("an event", is_event).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&frame["message_type"]), text(&frame["message_body"]["sender_username"]))
}

async fn hears_that(client: &mut Client, kind: &str, name: &str) {
    assert_eq!(next_event(client).await, (kind.into(), name.into()));
}

async fn members(client: &mut Client) -> Value {
    client.ok("Members", json!({ "room": "ops" })).await["members"].take()
}

on_each_store! {
    async fn silent_page_leaves_presence_and_stays_a_member(kind) {
        let cluster = Cluster::start_with(kind, 2, quick).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        hears_that(&mut alice, "Enter", "alice").await;
        let mut bob = page(&cluster, 1, "bob").await;
        hears_that(&mut alice, "Enter", "bob").await;
        hears_that(&mut alice, "Leave", "bob").await;
        assert_eq!(members(&mut alice).await, json!(["alice"]));
        alice.say("ops", "still sent").await;
        alice.whisper("bob", "this too").await;
        assert_eq!((bob.hears().await, bob.hears_privately().await), ("still sent".into(), "this too".into()));
        // Any request brings the user back, before it is answered.
        assert_eq!(members(&mut bob).await, json!(["alice", "bob"]));
        hears_that(&mut alice, "Enter", "bob").await;
        // And then the silence counts anew.
        hears_that(&mut alice, "Leave", "bob").await;
        bob.say("ops", "here again").await;
        hears_that(&mut alice, "Enter", "bob").await;
        bob.ok("Leave", json!({})).await;
        hears_that(&mut alice, "Leave", "bob").await;
    }

    async fn user_is_present_while_one_connection_is_active(kind) {
        let cluster = Cluster::start_with(kind, 2, quick).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        hears_that(&mut alice, "Enter", "alice").await;
        let mut first = page(&cluster, 0, "bob").await;
        hears_that(&mut alice, "Enter", "bob").await;
        let second = page(&cluster, 1, "bob").await;
        let phone = cluster.enter(1, "bob", "ops").await;
        // A page of another user that goes away later than both.
        let _carol = page(&cluster, 1, "carol").await;
        hears_that(&mut alice, "Enter", "carol").await;
        hears_that(&mut alice, "Leave", "carol").await;
        assert_eq!(members(&mut alice).await, json!(["alice", "bob"]));
        phone.leave().await;
        hears_that(&mut alice, "Leave", "bob").await;
        // One that ends while it is away changes nothing.
        second.leave().await;
        first.ok("Ping", json!({})).await;
        hears_that(&mut alice, "Enter", "bob").await;
    }

    /// A page that knows only the four requests can't say that it is there; a program runs if it answers pings.
    async fn client_that_need_not_ping_stays_present(kind) {
        let cluster = Cluster::start_with(kind, 1, quick).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut simple = Client::connect_browser(cluster.address(0), "bob").await;
        simple.ok("Enter", json!({ "room": "ops" })).await;
        let mut program = cluster.enter(0, "carol", "ops").await;
        program.received = Some(json!({ "epoch": "", "seq": 0 }));
        program.ok("Ping", json!({})).await;
        let _dave = page(&cluster, 0, "dave").await;
        for name in ["alice", "bob", "carol", "dave"] {
            hears_that(&mut alice, "Enter", name).await;
        }
        // All others have been silent for longer.
        hears_that(&mut alice, "Leave", "dave").await;
        assert_eq!(members(&mut alice).await, json!(["alice", "bob", "carol"]));
    }

    async fn position_received_makes_a_page_one_that_can_be_away(kind) {
        let cluster = Cluster::start_with(kind, 1, quick).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        hears_that(&mut alice, "Enter", "alice").await;
        let mut bob = Client::connect_browser(cluster.address(0), "bob").await;
        bob.received = Some(json!({ "epoch": "", "seq": 0 }));
        bob.ok("Enter", json!({ "room": "ops" })).await;
        hears_that(&mut alice, "Enter", "bob").await;
        hears_that(&mut alice, "Leave", "bob").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_room_does_not_list_an_absent_user() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| {
        quick(config);
        config.rooms.quiet_above = 1;
    })
    .await;
    let alice = tokio::sync::Mutex::new(cluster.enter(0, "alice", "ops").await);
    let mut bob = page(&cluster, 0, "bob").await;
    for _ in 0..2 {
        // This request makes bob present.
        assert_eq!(members(&mut bob).await, json!(["alice", "bob"]));
        until("bob is away", async || members(&mut *alice.lock().await).await == json!(["alice"])).await;
    }
}

/// Its request waits: the node reads nothing from a client that takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_that_reads_slowly_stays_present() {
    let cluster = Cluster::start_with(Kind::Embedded, 1, |config| {
        quick(config);
        config.limits.max_queue_bytes = 16 << 10;
    })
    .await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    hears_that(&mut alice, "Enter", "alice").await;
    let mut bob = page(&cluster, 0, "bob").await;
    hears_that(&mut alice, "Enter", "bob").await;
    // More than the sockets between them hold. As long as they hold it, the requests are read.
    let text = "x".repeat(16_000);
    let mut waiting = String::new();
    for _ in 0..20 {
        alice.say_many("ops", &text, 50).await;
        waiting = bob.send("Ping", json!({})).await;
    }
    // Longer than the time after which bob would be away, and shorter than the node waits for a client that takes nothing.
    tokio::time::sleep(AWAY_AFTER * 2).await;
    assert_eq!(members(&mut alice).await, json!(["alice", "bob"]));
    assert_eq!(bob.answer(&waiting).await["message_type"], "Ack");
}

/// The store does not answer when one user comes back, and when another goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_leave_and_return_while_the_store_stalls() {
    let cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        quick(config);
        config.redis.timeout = Duration::from_millis(500);
    })
    .await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    hears_that(&mut alice, "Enter", "alice").await;
    let mut bob = page(&cluster, 0, "bob").await;
    hears_that(&mut alice, "Enter", "bob").await;
    hears_that(&mut alice, "Leave", "bob").await;
    let _carol = page(&cluster, 0, "carol").await;
    hears_that(&mut alice, "Enter", "carol").await;
    cluster.redis_server().stop();
    // Answered all the same.
    bob.ok("Ping", json!({})).await;
    // The stall has to be longer than the time after which carol is away.
    tokio::time::sleep(AWAY_AFTER * 2).await;
    cluster.redis_server().cont();
    alice
        .wait_for("carol's Leave", |frame| {
            frame["message_type"] == "Leave" && frame["message_body"]["sender_username"] == "carol"
        })
        .await;
    let (alice, bob) = (tokio::sync::Mutex::new(alice), tokio::sync::Mutex::new(bob));
    // The first attempt that the store answers succeeds.
    until("bob is present again", async || {
        bob.lock().await.ok("Ping", json!({})).await;
        let answer = alice.lock().await.ask("Members", json!({ "room": "ops" })).await;
        answer["message_body"]["members"] == json!(["alice", "bob"])
    })
    .await;
}
