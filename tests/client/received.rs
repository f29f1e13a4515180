//! Which private messages count as received: those that the program has taken.

use chatnode::backend::Backend;
use chatnode_client::model::{Line, Model};
use chatnode_client::{Address, News, Session, UserName};
use serde_json::json;

use crate::program::{connect, content, soon};
use crate::support::backend::user_name;
use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, until};

async fn cursor(backend: &Backend, user: &str) -> Option<u64> {
    backend.markers.cursor(&user_name(user)).await.unwrap().map(|position| position.seq)
}

async fn cursor_moves_to(backend: &Backend, user: &str, seq: u64) {
    until("the cursor moves", async || cursor(backend, user).await == Some(seq)).await;
}

/// Waits until another client has answered a ping that came after its message, and the node has written that.
async fn pongs_are_written(cluster: &Cluster, backend: &Backend, sender: &mut Client) {
    let mut mark = cluster.connect(0, "mark").await;
    mark.ok("Auth", json!({})).await;
    sender.whisper("mark", "mark").await;
    mark.next("PrivateChat").await;
    mark.answers_a_ping().await;
    cursor_moves_to(backend, "mark", 1).await;
}

#[tokio::test]
async fn message_counts_as_received_once_its_event_is_taken() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let backend = cluster.backend().await;
    let mut bob = cluster.connect(0, "bob").await;
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    for text in ["one", "two", "three"] {
        bob.whisper("alice", text).await;
    }
    pongs_are_written(&cluster, &backend, &mut bob).await;
    assert_eq!(cursor(&backend, "alice").await, None, "the program has taken nothing");
    assert_eq!((content(&mut events).await, content(&mut events).await), ("one".into(), "two".into()));
    cursor_moves_to(&backend, "alice", 2).await;
    // The last one comes to the program that starts next.
    drop((alice, events));
    let (alice, mut events) = connect(cluster.address(0), "alice").await;
    assert_eq!(content(&mut events).await, "three");
    // The node is told before the client ends.
    alice.close(std::time::Duration::from_secs(5)).await.unwrap();
    cursor_moves_to(&backend, "alice", 3).await;
}

/// A program that shows the model has a message when it asks for what comes after it.
#[tokio::test]
async fn message_counts_as_received_once_it_was_shown() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let backend = cluster.backend().await;
    let mut bob = cluster.connect(0, "bob").await;
    bob.whisper("alice", "one").await;
    let address = Address::parse(&format!("ws://{}/", cluster.address(0))).unwrap();
    let mut session = Session::new(Model::new(UserName::parse("alice").unwrap(), 0), address);
    let showing = async {
        loop {
            while let Some(news) = session.settle() {
                if matches!(news, News::Line(_, Line::Message(_))) {
                    return;
                }
            }
            session.next().await;
        }
    };
    soon(showing).await;
    pongs_are_written(&cluster, &backend, &mut bob).await;
    assert_eq!(cursor(&backend, "alice").await, None, "the line is not shown yet");
    assert!(session.settle().is_none());
    session.close().await;
    cursor_moves_to(&backend, "alice", 1).await;
}
