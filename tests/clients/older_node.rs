//! A node of an older version drains with 1012: what libraries make of it. This is why a node closes with 4012.

use super::driver::{Driver, End, words};
use super::library::with_each;
use super::peer::Peer;
use super::table::Row;
use crate::support::cluster::{Cluster, Kind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn library_tells_what_it_makes_of_1012() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let newer = cluster.address(0);
    with_each(|library| async move {
        let older = Peer::start().await;
        let mut alice = Driver::start(library);
        let draining = async {
            let mut socket = older.accept().await;
            // The client says that it is there.
            socket.next().await.unwrap();
            // Some libraries give no answer.
            socket.close(1012, "retry_after_ms=2000").await;
        };
        let told = async {
            alice.open(older.address()).await;
            alice.send_text("{}").await;
            alice.ended().await
        };
        let ((), end) = tokio::join!(draining, told);
        let mut ends = vec![end];
        ends.extend(alice.open(newer).await);
        let says_time =
            |end: &End| matches!(end, End::Closed(_, reason) if reason.starts_with("retry_after_ms="));
        let time = if ends.iter().any(says_time) { "" } else { " without the time" };
        Row::of(library).says("1012", &format!("{}{time}", words(&ends)));
    })
    .await;
}
