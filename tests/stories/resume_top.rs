//! A resume is answered from the top of the log as it is at that moment, by one read for all clients that resume together.

use std::time::Duration;

use serde_json::json;

use crate::resume::{log_reads, resume};
use crate::support::client::position;
use crate::support::cluster::{Cluster, Kind};

/// The node has the topic, with its messages in the ring, and has not noticed yet what happened to the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resume_right_after_a_lost_log_is_not_recovered() {
    let cluster = Cluster::start_with(Kind::Redis, 1, |config| {
        config.node.idle_check = Duration::from_secs(3_600);
    })
    .await;
    let redis = |words: &[&str]| cluster.redis_server().command(words).unwrap();
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let kept = alice.say_many("ops", "x", 5).await;
    for part in ["meta", "log"] {
        redis(&["COPY", &format!("chat:{{r:ops}}:{part}"), &format!("old:{part}")]);
    }
    let lost = alice.say("ops", "lost").await;
    alice.hears_seqs(1..=6).await;
    let (_bob, ack) = resume(&cluster, 0, "ops", position(&lost), None).await;
    assert_eq!(ack["recovered"], true, "{ack}");
    for part in ["meta", "log"] {
        redis(&["COPY", &format!("old:{part}"), &format!("chat:{{r:ops}}:{part}"), "REPLACE"]);
    }
    let (_bob, ack) = resume(&cluster, 0, "ops", position(&lost), None).await;
    assert_eq!((&ack["recovered"], &ack["reason"]), (&json!(false), &json!("rollback")), "{ack}");
    assert_eq!((&ack["seq"], &ack["message_id"]), (&json!(5), &kept["message_id"]), "the log's top: {ack}");
    let said = alice.say("ops", "after the rollback").await;
    let (_bob, ack) = resume(&cluster, 0, "ops", position(&said), None).await;
    assert_eq!(ack["recovered"], true, "{ack}");
    redis(&["FLUSHALL"]);
    let (_bob, ack) = resume(&cluster, 0, "ops", position(&said), None).await;
    assert_eq!((&ack["recovered"], &ack["reason"]), (&json!(false), &json!("epoch")), "{ack}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_resume_together_share_one_read() {
    const CLIENTS: usize = 40;
    let mut cluster = Cluster::start(Kind::Redis, 0).await;
    let proxy = cluster.put_proxy().await;
    cluster.add_node().await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    let since = position(&alice.say("ops", "before").await);
    alice.say("ops", "after").await;
    alice.hears_seqs(1..=2).await;
    let mut clients = Vec::new();
    for i in 0..CLIENTS {
        let mut client = cluster.connect(0, &format!("client-{i}")).await;
        // Everything else that an `Enter` reads is read here.
        client.ok("Enter", json!({ "room": "elsewhere" })).await;
        clients.push(client);
    }
    cluster.redis_server().count_log_reads();
    // The first read waits until all have asked.
    let mut first_read = proxy.hold("after\r\n$1\r\n2\r\n");
    let mut asked = Vec::new();
    for client in &mut clients {
        asked.push(client.send("Enter", json!({ "room": "ops", "since": since })).await);
    }
    first_read.reached().await;
    drop(first_read);
    for (client, id) in clients.iter_mut().zip(&asked) {
        let ack = client.answer(id).await;
        assert_eq!(ack["message_body"]["recovered"], true, "{ack}");
        client.hears_seqs(2..=2).await;
    }
    // One for those that asked before it, one for those that asked meanwhile; the requests of some may come later still.
    let reads = log_reads(&cluster);
    assert!((1..=CLIENTS / 4).contains(&reads), "{reads} reads for {CLIENTS} clients");
}
