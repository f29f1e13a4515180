//! Full nodes behind a balancer: a client gets a seat where one is free, learns when to come back where none is, and disturbs nobody
//! who has one. Each test runs with every balancer and its own cluster.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::balancer::{Balancer, Kind, on_each_balancer};
use crate::client::{Client, Plan, Socket, enter};
use crate::clients::{Clients, source};
use crate::cluster::Cluster;
use crate::http::{Answer, head, upgrade};
use crate::process::until;
use crate::stories::PATIENCE;

/// Of each node.
const SEATS: &str = "20";

/// Longer than a balancer takes to decide that a node has failed.
const LONG: Duration = Duration::from_secs(7);

on_each_balancer! {
    newcomers_get_a_node_that_has_room
    clients_return_to_the_only_node_that_has_room
    full_nodes_answer_503_until_seats_are_free
}

async fn newcomers_get_a_node_that_has_room(kind: Kind) {
    let cluster = Cluster::start(3, &[("CHAT_MAX_CONNECTIONS", SEATS)]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let clients = Clients::connect(balancer.address, 30).await;
    clients.start_talking();
    // The balancer does not see these connections: for it, the full node has the fewest.
    let mut seated = Vec::new();
    let full = SocketAddr::from((Cluster::address(0), cluster.port));
    while let Some(socket) = enter(source(200), full, None).await {
        seated.push(socket);
    }
    let start = Instant::now();
    let before = cluster.connections().await;
    assert_eq!(before[0], 20.0);
    let newcomers = 60 - before.iter().sum::<f64>() as usize;
    let mut let_in = Vec::new();
    // Traefik picks nodes at random, so all of its tries may go to the full one.
    let tries = if kind == Kind::Traefik { 20 } else { 1 };
    for number in 0..newcomers {
        let mut socket = None;
        for _ in 0..tries {
            socket = enter(source(300 + number), balancer.address, None).await;
            if socket.is_some() {
                break;
            }
        }
        let_in.push(socket.unwrap_or_else(|| panic!("newcomer {number} of {newcomers} finds no room")));
        // They come one after the other, over a time.
        tokio::time::sleep(LONG / newcomers as u32).await;
    }
    assert_eq!(cluster.connections().await, [20.0; 3]);
    clients.finish_without_loss().await;
    assert_eq!(clients.ended_since(start), []);
}

async fn clients_return_to_the_only_node_that_has_room(kind: Kind) {
    let mut cluster = Cluster::start(3, &[("CHAT_MAX_CONNECTIONS", SEATS)]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let clients = Clients::connect(balancer.address, 60).await;
    clients.start_talking();
    let start = Instant::now();
    cluster.kill_node(1).await;
    // Its clients try again and again meanwhile, and the balancer sees it fail.
    tokio::time::sleep(LONG).await;
    assert_eq!(cluster.connections().await, [20.0; 2], "the others have no room");
    cluster.start_node(1).await;
    let ready = Instant::now();
    // HAProxy gives a new node its share over 10 s.
    until("all clients have returned", PATIENCE, || async {
        let back = clients.returned_since(start);
        (back.len() == 20 && back.iter().all(Option::is_some)).then_some(())
    })
    .await;
    println!("{kind:?}: 20 clients are back within {:?}", ready.elapsed());
    clients.finish_without_loss().await;
    assert_eq!(clients.ended_since(start).len(), 20, "nobody else was disturbed");
}

async fn full_nodes_answer_503_until_seats_are_free(kind: Kind) {
    let cluster = Cluster::start(3, &[("CHAT_MAX_CONNECTIONS", SEATS)]).await;
    let balancer = Balancer::start(kind, &cluster).await;
    let clients = Clients::connect(balancer.address, 30).await;
    let mut seated = fill_all(&cluster, &balancer, 30).await;
    // The chat page asks without an upgrade.
    let told = head(balancer.address, "/ws").await;
    assert!(told.starts_with("http/1.1 503") && told.contains("\r\nx-chat-refused: full\r\n"), "{told}");
    let start = Instant::now();
    clients.start_talking();
    let quiet = watch::Sender::new(false);
    let comers: Vec<Client> = (0..15)
        .map(|number| {
            let plan = Plan {
                name: format!("comer-{number}"),
                room: "comers".into(),
                source: source(400 + number),
                address: balancer.address,
                says_every: None,
            };
            Client::start(plan, quiet.subscribe())
        })
        .collect();
    let mut answers = 0;
    while start.elapsed() < LONG {
        let Answer { status, retry_after } = upgrade(source(500), balancer.address, "unused").await;
        assert_eq!(status, 503, "after {answers} answers");
        assert!(matches!(retry_after, Some(1..=10)), "{retry_after:?} after {answers} answers");
        answers += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(comers.iter().all(|comer| comer.record().caught_up.is_empty()), "there is a seat");
    assert_eq!(cluster.connections().await, [20.0; 3]);
    // Nobody does anything but wait and come again, after a pause of at most eight seconds.
    let freed = Instant::now();
    seated.truncate(seated.len() - comers.len());
    until("all comers have entered", PATIENCE, || async {
        comers.iter().all(|comer| !comer.record().caught_up.is_empty()).then_some(())
    })
    .await;
    println!("{kind:?}: {answers} times 503, then {} got in within {:?}", comers.len(), freed.elapsed());
    clients.finish_without_loss().await;
    assert_eq!(clients.ended_since(start), []);
}

/// Connections through the balancer to all seats but those of so many clients. A connection that failed is still counted for
/// a moment, so only those that have entered say when no node has a seat.
async fn fill_all(cluster: &Cluster, balancer: &Balancer, clients: usize) -> Vec<Socket> {
    let mut seated = Vec::new();
    let start = Instant::now();
    while clients + seated.len() < 60 {
        assert!(start.elapsed() < PATIENCE, "the nodes don't get full: {:?}", cluster.connections().await);
        seated.extend(enter(source(200 + seated.len()), balancer.address, None).await);
    }
    until("no other connection is left", PATIENCE, || async {
        (cluster.connections().await == [20.0; 3]).then_some(())
    })
    .await;
    seated
}
