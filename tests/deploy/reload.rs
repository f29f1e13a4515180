//! A balancer that takes an edited file while clients are connected. Only Caddy: the others keep the process or the workers that have
//! the connections.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::balancer::{Balancer, Kind};
use crate::clients::Clients;
use crate::cluster::Cluster;
use crate::process::until;
use crate::stories::PATIENCE;

/// Longer than Caddy takes to end what has to end at a reload.
const A_WHILE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn caddy_keeps_connections_at_a_reload() {
    let cluster = Cluster::start(3, &[]).await;
    let balancer = Balancer::start(Kind::Caddy, &cluster).await;
    let clients = Clients::connect(balancer.address, 60).await;
    clients.start_talking();
    let start = Instant::now();
    let file = cluster.folder().join("Caddyfile");
    let text = std::fs::read_to_string(&file).unwrap();
    let edited = text.replace("respond @operators 404", "respond @operators 410");
    assert_ne!(edited, text);
    std::fs::write(&file, edited).unwrap();
    let reload = Command::new("caddy").arg("reload").current_dir(cluster.folder()).output().unwrap();
    assert!(reload.status.success(), "{}", String::from_utf8_lossy(&reload.stderr));
    until("the edited file is in use", PATIENCE, || async {
        crate::http::get(balancer.address, "/metrics").await.filter(|(status, _)| *status == 410)
    })
    .await;
    // The story is about the time itself.
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(clients.ended_since(start), []);
    clients.finish_without_loss().await;
}
