//! What pongs prove, and how long a client may be silent.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::received::{cursor, cursor_moves_to, cursors_are_written, gets_without_a_position};
use crate::support::cluster::{Cluster, Kind};
use crate::support::raw::{self, RawSocket};

/// A client that answers pings as the test says.
struct PingedClient {
    socket: RawSocket,
    name: String,
    requests: u64,
    /// The payloads of pings that were read, and not returned to the test.
    pings: VecDeque<Vec<u8>>,
}

impl PingedClient {
    /// A connection that is bound to its user.
    async fn bind(cluster: &Cluster, name: &str) -> Self {
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        socket.upgrade().await;
        let mut client = Self { socket, name: name.into(), requests: 0, pings: VecDeque::new() };
        client.ok("Auth").await;
        client
    }

    /// Sends a request, and returns the body of its `Ack`.
    async fn ok(&mut self, kind: &str) -> Value {
        self.requests += 1;
        let id = self.requests.to_string();
        let body = json!({ "sender_username": self.name });
        let request = json!({ "message_type": kind, "message_body": body, "id": id });
        self.socket.frame(raw::TEXT, request.to_string().as_bytes()).await;
        loop {
            let (opcode, payload) = self.socket.read_frame().await.expect("the connection ended");
            match opcode {
                raw::PING => self.pings.push_back(payload),
                raw::TEXT => {
                    let mut frame: Value = serde_json::from_slice(&payload).unwrap();
                    if frame["id"] == id.as_str() {
                        assert_eq!(frame["message_type"], "Ack", "{frame}");
                        return frame["message_body"].take();
                    }
                }
                other => panic!("an unexpected frame: {other}"),
            }
        }
    }

    /// Waits for the next ping, and returns its payload.
    async fn ping(&mut self) -> Vec<u8> {
        while self.pings.is_empty() {
            let (opcode, payload) = self.socket.read_frame().await.expect("the connection ended");
            assert_ne!(opcode, raw::CLOSE, "the node closed the connection");
            if opcode == raw::PING {
                self.pings.push_back(payload);
            }
        }
        self.pings.pop_front().unwrap()
    }

    /// Sends a pong, and waits until the node has read it.
    async fn pong(&mut self, payload: &[u8]) {
        self.socket.frame(raw::PONG, payload).await;
        self.ok("Ping").await;
    }

    async fn answers_with_an_empty_pong(&mut self) {
        self.ping().await;
        self.pong(b"").await;
    }
}

/// A node that gives a ping up early.
async fn impatient(kind: Kind) -> Cluster {
    Cluster::start_with(kind, 1, |config| config.server.pong_timeout = Duration::from_secs(2)).await
}

on_each_store! {
    async fn empty_pong_proves_arrival_from_the_second_ping_on(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        for number in 1..=20 {
            alice.whisper("bob", &number.to_string()).await;
        }
        let mut bob = PingedClient::bind(&cluster, "bob").await;
        bob.answers_with_an_empty_pong().await;
        cursors_are_written(&cluster, &backend, &mut alice).await;
        assert_eq!(cursor(&backend, "bob").await, None, "it may have come by chance");
        // The second ping comes without another message.
        bob.answers_with_an_empty_pong().await;
        cursor_moves_to(&backend, "bob", 20).await;
        alice.whisper("bob", "21").await;
        bob.answers_with_an_empty_pong().await;
        cursor_moves_to(&backend, "bob", 21).await;
        drop(bob);
        gets_without_a_position(&cluster, "bob", &[]).await;
    }

    async fn empty_pongs_prove_nothing_after_one_that_came_unasked(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        // One before any ping, and one that follows the answer to a ping.
        for (name, answers) in [("bob", 0), ("carol", 1)] {
            let mut client = PingedClient::bind(&cluster, name).await;
            for _ in 0..answers {
                alice.whisper(name, "answered").await;
                client.answers_with_an_empty_pong().await;
            }
            client.pong(b"").await;
            for _ in 0..3 {
                alice.whisper(name, "not proved").await;
                client.answers_with_an_empty_pong().await;
            }
            cursors_are_written(&cluster, &backend, &mut alice).await;
            assert_eq!(cursor(&backend, name).await, None, "{name}");
            // What has the payload of the ping still counts.
            alice.whisper(name, "proved").await;
            let payload = client.ping().await;
            client.pong(&payload).await;
            cursor_moves_to(&backend, name, answers + 4).await;
        }
    }

    async fn empty_pongs_prove_nothing_after_one_with_a_payload(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = PingedClient::bind(&cluster, "bob").await;
        alice.whisper("bob", "proved").await;
        let payload = bob.ping().await;
        bob.pong(&payload).await;
        cursor_moves_to(&backend, "bob", 1).await;
        for _ in 0..3 {
            alice.whisper("bob", "not proved").await;
            bob.answers_with_an_empty_pong().await;
        }
        cursors_are_written(&cluster, &backend, &mut alice).await;
        assert_eq!(cursor(&backend, "bob").await, Some(1));
    }

    async fn empty_pong_proves_nothing_if_the_ping_before_got_none(kind) {
        let cluster = impatient(kind).await;
        let backend = cluster.backend().await;
        let mut alice = cluster.connect(0, "alice").await;
        for (name, answers_the_last) in [("bob", false), ("carol", true)] {
            let mut client = PingedClient::bind(&cluster, name).await;
            alice.whisper(name, "one").await;
            client.answers_with_an_empty_pong().await;
            client.ping().await;
            // The ping of this message waits until the node has given up the one before.
            alice.whisper(name, "two").await;
            client.answers_with_an_empty_pong().await;
            if answers_the_last {
                client.answers_with_an_empty_pong().await;
                cursor_moves_to(&backend, name, 2).await;
            } else {
                cursors_are_written(&cluster, &backend, &mut alice).await;
                assert_eq!(cursor(&backend, name).await, None);
            }
        }
    }

    /// Its library answers no pings, as curl_cffi's while it is quiet.
    async fn requests_keep_a_client_that_answers_no_pings(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            config.server.ping_interval = Duration::from_secs(3);
            config.server.pong_timeout = Duration::from_millis(500);
        })
        .await;
        let mut alice = cluster.connect(0, "alice").await;
        let mut bob = PingedClient::bind(&cluster, "bob").await;
        // Each ping comes a second after its message, and closes nothing half a second later.
        for _ in 0..6 {
            alice.whisper("bob", "hello").await;
            bob.ping().await;
            bob.ok("Ping").await;
        }
        // Without requests, it is closed.
        assert_eq!(bob.socket.closed().await, Some((4004, "idle".into())));
    }

    async fn client_that_falls_silent_is_closed_after_one_ping(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            config.server.ping_interval = Duration::from_secs(1);
            config.server.pong_timeout = Duration::from_secs(1);
        })
        .await;
        let mut bob = PingedClient::bind(&cluster, "bob").await;
        bob.ok("Ping").await;
        let mut frames = Vec::new();
        while let Some((opcode, _)) = bob.socket.read_frame().await {
            frames.push(opcode);
        }
        assert_eq!(frames, [raw::PING, raw::CLOSE]);
    }

    async fn client_is_told_how_long_it_may_be_silent(kind) {
        let cluster = Cluster::start_with(kind, 1, |config| {
            config.server.ping_interval = Duration::from_secs(40);
            config.server.pong_timeout = Duration::from_secs(8);
        })
        .await;
        let mut alice = cluster.connect(0, "alice").await;
        for kind in ["Ping", "Auth", "Enter", "Enter"] {
            assert_eq!(alice.ok(kind, json!({})).await["idle_timeout_ms"], 48_000, "{kind}");
        }
    }
}
