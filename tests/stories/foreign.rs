//! Something that no node wrote stands under a node's keys in Redis: nobody waits for it in silence, it is told where it
//! lies, everything else goes on, and all is well once it is gone.

use std::time::Duration;

use chatnode::config::Config;
use serde_json::json;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind};

const INTERNAL_ERROR: (u16, &str) = (1011, "internal_error");

/// Puts a plain string where a node keeps something else.
fn spoil(cluster: &Cluster, key: &str) {
    cluster.redis_server().command(&["SET", key, "not ours"]).unwrap();
}

fn mend(cluster: &Cluster, key: &str) {
    cluster.redis_server().command(&["DEL", key]).unwrap();
}

fn quick_idle_check(config: &mut Config) {
    config.node.idle_check = Duration::from_millis(200);
}

fn slow_idle_check(config: &mut Config) {
    config.node.idle_check = Duration::from_secs(3_600);
}

async fn is_closed_as_internal_error(client: &mut Client) {
    let (code, reason) = client.closed().await;
    assert_eq!((code, reason.as_str()), INTERNAL_ERROR);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_meets_it_is_internal_with_an_outcome_and_the_connection_goes_on() {
    let cluster = Cluster::start_with(Kind::Redis, 1, slow_idle_check).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    for key in ["chat:{r:ops}:meta", "chat:{r:den}:meta"] {
        spoil(&cluster, key);
    }
    for (request, body) in [
        ("GroupChat", json!({ "room": "ops", "content": "hello" })),
        ("History", json!({ "room": "ops" })),
        ("Enter", json!({ "room": "den" })),
    ] {
        let error = alice.refused(request, body, "internal").await;
        assert_eq!(error["outcome"], "unknown", "{request}: {error}");
        let text = error["message"].as_str().unwrap();
        assert!(
            !text.contains("WRONGTYPE") && !text.contains("chat:"),
            "the store's words are the log's: {text}"
        );
    }
    alice.ok("Enter", json!({ "room": "elsewhere" })).await;
    alice.say("elsewhere", "hello").await;
    mend(&cluster, "chat:{r:den}:meta");
    alice.ok("Enter", json!({ "room": "den" })).await;
    alice.say("den", "hello").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_can_not_be_sent_the_past_is_closed_with_1011() {
    let cluster = Cluster::start_with(Kind::Redis, 2, slow_idle_check).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    alice.say_many("ops", "hello", 3).await;
    // The top can be read, and so the room be entered; what was said can't.
    mend(&cluster, "chat:{r:ops}:log");
    spoil(&cluster, "chat:{r:ops}:log");
    let mut bob = cluster.connect(1, "bob").await;
    bob.ok("Enter", json!({ "room": "ops", "history": 10 })).await;
    is_closed_as_internal_error(&mut bob).await;
    // Who has had it all needs no past.
    alice.ok("Ping", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_quiet_room_that_is_spoilt_are_closed_with_1011_and_other_rooms_are_still_checked() {
    let cluster = Cluster::start_with(Kind::Redis, 2, quick_idle_check).await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let mut bob = cluster.enter(0, "bob", "den").await;
    spoil(&cluster, "chat:{r:ops}:meta");
    is_closed_as_internal_error(&mut alice).await;
    // The check that finds the one finds what is lost of the others too: here a whole log.
    mend(&cluster, "chat:{r:den}:meta");
    assert_eq!(bob.next("Gap").await["reason"], "epoch");
    let mut alice = cluster.connect(0, "alice").await;
    alice.refused("Enter", json!({ "room": "ops" }), "internal").await;
    mend(&cluster, "chat:{r:ops}:meta");
    alice.ok("Enter", json!({ "room": "ops" })).await;
    alice.say("ops", "hello").await;
}
