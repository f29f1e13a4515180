//! Many clients in some rooms. Owns them, and the questions that tests ask about all their records.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::client::{Client, Plan};
use crate::process::until;

/// Clients in one room.
const ROOM: usize = 30;

pub struct Clients {
    clients: Vec<Client>,
    /// One for each group of added clients, which sends nothing until this is true.
    talk: Vec<watch::Sender<bool>>,
    address: SocketAddr,
}

impl Clients {
    /// Connects so many clients to this address, 30 in each room, each from its own address.
    pub async fn connect(address: SocketAddr, size: usize) -> Self {
        let mut clients = Self { clients: Vec::new(), talk: Vec::new(), address };
        clients.add(size).await;
        clients
    }

    /// Adds so many clients, in new rooms. Three of each room send a message twice a second after [`Clients::start_talking`].
    pub async fn add(&mut self, by: usize) {
        let talk = watch::Sender::new(false);
        for number in self.clients.len()..self.clients.len() + by {
            let plan = Plan {
                name: format!("p{number}"),
                room: format!("room-{}", number / ROOM),
                source: source(number),
                address: self.address,
                says_every: (number % ROOM < 3).then_some(Duration::from_millis(500)),
            };
            self.clients.push(Client::start(plan, talk.subscribe()));
        }
        self.talk.push(talk);
        until("all clients have entered", Duration::from_secs(30), || async {
            self.clients.iter().all(|client| !client.record().caught_up.is_empty()).then_some(())
        })
        .await;
    }

    pub fn start_talking(&self) {
        self.talk.iter().for_each(|talk| talk.send_modify(|may| *may = true));
    }

    /// Whether at least so many messages are stored.
    pub fn has_stored(&self, messages: usize) -> bool {
        self.clients.iter().map(|client| client.record().stored.len()).sum::<usize>() >= messages
    }

    /// Stops sending, waits until all messages are answered and every member of a room has received each stored message once,
    /// and checks that no client recorded a violation.
    pub async fn finish_without_loss(&self) {
        self.talk.iter().for_each(|talk| talk.send_modify(|may| *may = false));
        let within = Duration::from_secs(30);
        until("all messages are stored", within, || async {
            self.clients.iter().all(|client| !client.record().waits).then_some(())
        })
        .await;
        let mut stored = 0;
        for room in self.clients.chunks(ROOM) {
            let said: HashSet<String> =
                room.iter().flat_map(|client| client.record().stored.clone()).collect();
            stored += said.len();
            for client in room {
                until(&format!("{} has received all messages", client.plan.name), within, || async {
                    said.iter().all(|content| client.record().heard.contains_key(content)).then_some(())
                })
                .await;
                let record = client.record();
                assert_eq!(record.violations, Vec::<String>::new(), "{}", client.plan.name);
                assert!(
                    record.heard.values().all(|times| *times == 1),
                    "{} received a message twice",
                    client.plan.name
                );
                assert_eq!(
                    record.heard.len(),
                    said.len(),
                    "{} received a message that was not sent",
                    client.plan.name
                );
            }
        }
        assert!(stored > self.clients.len() / 10, "too few messages: {stored}");
        println!("{stored} messages to {} clients, no loss, no duplicate", self.clients.len());
    }

    /// When connections ended after `start`, and with which codes.
    pub fn ended_since(&self, start: Instant) -> Vec<(Instant, Option<u16>)> {
        let all = self.clients.iter().flat_map(|client| client.record().ended.clone());
        all.filter(|(when, _)| *when >= start).collect()
    }

    /// For each client whose connection ended after `start`: when it had caught up again, if it has.
    pub fn returned_since(&self, start: Instant) -> Vec<Option<Instant>> {
        let back = |client: &Client| {
            let record = client.record();
            let ended = record.ended.iter().map(|(when, _)| *when).find(|when| *when >= start)?;
            Some(record.caught_up.iter().copied().find(|when| *when > ended))
        };
        self.clients.iter().filter_map(back).collect()
    }
}

/// The source address of each client; no node trusts it as a proxy.
pub fn source(number: usize) -> Ipv4Addr {
    let low = u8::try_from(number % 250 + 1).unwrap();
    Ipv4Addr::new(127, 1, u8::try_from(number / 250).unwrap(), low)
}
