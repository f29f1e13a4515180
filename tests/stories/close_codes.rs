//! Close codes: each code in the table of the protocol, caused through a socket.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::support::client::Client;
use crate::support::cluster::{Cluster, Kind, metric};
use crate::support::raw::{self, RawSocket};

/// The milliseconds in the reason of a close frame.
fn retry_after(reason: &str) -> u64 {
    let number = reason.strip_prefix("retry_after_ms=");
    number.unwrap_or_else(|| panic!("no retry time in {reason:?}")).parse().unwrap()
}

/// Connections closed for slowness, by both metrics that count them. (Metrics are of the whole process and include other tests.)
async fn slow_disconnects(cluster: &Cluster) -> [f64; 2] {
    let by_reason = metric(cluster.address(0), "chat_connections_closed_total{reason=\"slow\"}").await;
    [by_reason, metric(cluster.address(0), "chat_slow_consumer_disconnects_total").await]
}

/// A client that enters room `ops` and then reads nothing.
async fn enter_narrow(cluster: &Cluster, name: &str) -> RawSocket {
    let mut socket = RawSocket::connect_narrow(cluster.address(0)).await;
    socket.upgrade().await;
    let body = json!({ "sender_username": name, "room": "ops" });
    let enter = json!({ "message_type": "Enter", "message_body": body, "id": "1" });
    socket.frame(raw::TEXT, enter.to_string().as_bytes()).await;
    let (_, answer) = socket.read_frame().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["message_type"], "Ack", "{answer}");
    socket
}

/// Sends more to room `ops` than kernel and node keep for a client that reads nothing, until that client has left. Returns the
/// number of messages.
async fn say_until_gone(client: &mut Client, name: &str) -> u64 {
    let has_left =
        |frame: &Value| frame["message_type"] == "Leave" && frame["message_body"]["sender_username"] == name;
    let long = "x".repeat(16_000);
    let mut said = 0;
    let saying = async {
        while !client.seen().iter().any(has_left) {
            client.say("ops", &long).await;
            said += 1;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), saying).await.expect("the slow reader was not closed");
    said
}

on_each_store! {
    async fn close_frame_is_answered_with_a_close_frame(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let goodbye = CloseFrame { code: 1000.into(), reason: "bye".into() };
        alice.send_frame(Message::Close(Some(goodbye))).await;
        assert_eq!(alice.closed().await.0, 1000);
        assert_eq!(bob.next("Leave").await["sender_username"], "alice");
        // A close frame without a code is answered without a code.
        let mut carol = cluster.enter(0, "carol", "ops").await;
        carol.send_frame(Message::Close(None)).await;
        assert_eq!(carol.closed().await.0, 1005);
    }

    async fn request_before_a_close_frame_is_executed(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let id = alice.send("GroupChat", json!({ "content": "and off" })).await;
        alice.send_frame(Message::Close(None)).await;
        assert_eq!(bob.hears().await, "and off");
        alice.closed().await;
        assert!(alice.seen().iter().any(|frame| frame["id"] == *id && frame["message_type"] == "Ack"));
    }

    async fn dropped_connection_leaves_its_rooms(kind) {
        let cluster = Cluster::start(kind, 2).await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        for name in ["shut", "dropped"] {
            let mut gone = enter_narrow(&cluster, name).await;
            if name == "shut" {
                // Ends its direction of the connection without a close frame.
                gone.shut().await;
                assert_eq!(gone.closed().await, None);
            } else {
                drop(gone);
            }
            bob.wait_for("the Leave event", |f| f["message_type"] == "Leave" && f["message_body"]["sender_username"] == name).await;
        }
        assert_eq!(bob.ok("Members", json!({})).await["members"], json!(["bob"]));
    }

    async fn broken_frame_closes_with_1002(kind) {
        let cluster = Cluster::start(kind, 1).await;
        for (last, broken) in (1..).zip([
            &[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'][..], // no mask
            &[0x83, 0x80, 0, 0, 0, 0],                       // an invalid opcode
            &[0xc1, 0x80, 0, 0, 0, 0],                       // a reserved bit without an extension
            &[0x80, 0x80, 0, 0, 0, 0],                       // a continuation without a first frame
            &[0x09, 0x80, 0, 0, 0, 0],                       // a fragmented ping
        ]) {
            // An address that is closed so often has to wait.
            let mut socket = RawSocket::connect_from([127, 0, 0, last], cluster.address(0)).await;
            socket.upgrade().await;
            socket.send(broken).await;
            assert_eq!(socket.closed().await.map(|(code, _)| code), Some(1002), "{broken:x?}");
            assert_eq!(socket.rest().await, b"");
        }
    }

    async fn binary_frame_gets_an_error_and_closes_with_1003(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        alice.send_frame(Message::binary(&b"{}"[..])).await;
        assert_eq!(alice.next("Error").await["code"], "unsupported_frame");
        assert_eq!(alice.closed().await.0, 1003);
    }

    async fn invalid_utf_8_closes_with_1007(kind) {
        let cluster = Cluster::start(kind, 1).await;
        for text in [&b"\xff\xfe"[..], b"{\"message_type\":\"\xc3\x28\"}", b"\xed\xa0\x80"] {
            let mut socket = RawSocket::connect(cluster.address(0)).await;
            socket.upgrade().await;
            socket.frame(raw::TEXT, text).await;
            assert_eq!(socket.closed().await.map(|(code, _)| code), Some(1007), "{text:x?}");
        }
    }

    async fn eleventh_invalid_frame_closes_with_1008(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        for invalid in ["", "[]", "{\"message_type\":\"Shout\"}", "{}", "x", "y", "z", "1", "2", "3"] {
            alice.send_text(invalid).await;
            alice.next("Error").await;
        }
        // Ten invalid frames don't close the connection.
        alice.say("ops", "sorry").await;
        alice.send_text("{").await;
        let (code, reason) = alice.closed().await;
        assert_eq!((code, reason.as_str()), (1008, "too_many_invalid"));
        // The eleventh frame got an answer too.
        assert!(alice.seen().iter().any(|frame| frame["message_body"]["code"] == "invalid_json"));
    }

    async fn authentication_timeout_closes_with_1008(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.auth.enabled = true;
            c.auth.deadline = Duration::from_millis(300);
        })
        .await;
        let mut alice = cluster.connect(0, "alice").await;
        alice.refused("Enter", json!({}), "unauthorized").await;
        let (code, reason) = alice.closed().await;
        assert_eq!((code, reason.as_str()), (1008, "not_authenticated"));
    }

    async fn oversized_message_gets_an_error_and_closes_with_1009(kind) {
        let cluster = Cluster::start(kind, 1).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        // A frame of the maximum size is still processed.
        let mut longest = json!({ "message_type": "Ping", "id": "1", "padding": "" }).to_string();
        longest.insert_str(longest.find("\"\"").unwrap() + 1, &"x".repeat(131_072 - longest.len()));
        assert_eq!(longest.len(), 131_072);
        alice.send_text(longest.clone()).await;
        assert_eq!(alice.answer("1").await["message_type"], "Ack");
        alice.send_text(longest + " ").await;
        let error = alice.next("Error").await;
        assert_eq!(error["code"], "message_too_large");
        assert_eq!(alice.closed().await.0, 1009);
        // The same as a fragmented message whose fragments are not too large.
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        socket.upgrade().await;
        let mut pieces = raw::frame(raw::TEXT, &vec![b' '; 70_000]);
        pieces[0] &= 0x7f;
        pieces.extend(raw::frame(0, &vec![b' '; 70_000]));
        socket.send(&pieces).await;
        assert_eq!(socket.closed().await.map(|(code, _)| code), Some(1009));
    }

    async fn draining_node_closes_with_4012_and_a_retry_time(kind) {
        let mut cluster = Cluster::start(kind, 1).await;
        let mut clients = Vec::new();
        for name in ["alice", "bob", "carol"] {
            clients.push(cluster.enter(0, name, "ops").await);
        }
        cluster.nodes[0].drain();
        for client in &mut clients {
            let (code, reason) = client.closed().await;
            assert_eq!(code, 4012);
            assert!((1..=60_000).contains(&retry_after(&reason)), "{reason}");
        }
        cluster.nodes[0].stop().await;
    }

    async fn slow_reader_is_closed_and_other_members_receive_all(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.write_timeout = Duration::from_millis(500);
            c.limits.max_queue_bytes = 64 << 10;
        })
        .await;
        let before = slow_disconnects(&cluster).await;
        let _slow = enter_narrow(&cluster, "slow").await;
        let mut bob = cluster.enter(0, "bob", "ops").await;
        let hearing = tokio::spawn(async move {
            let mut seqs = Vec::new();
            loop {
                let heard = bob.next("GroupChat").await;
                seqs.push(heard["seq"].as_u64().unwrap());
                if heard["content"] == "the end" {
                    return seqs;
                }
            }
        });
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let said = say_until_gone(&mut alice, "slow").await;
        alice.say("ops", "the end").await;
        let after = slow_disconnects(&cluster).await;
        assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}");
        assert_eq!(hearing.await.unwrap(), (1..=said + 1).collect::<Vec<_>>());
    }

    async fn slow_reader_that_reads_again_gets_4002_and_a_retry_time(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| c.limits.write_timeout = Duration::from_secs(1)).await;
        let mut slow = enter_narrow(&cluster, "slow").await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        say_until_gone(&mut alice, "slow").await;
        let (code, reason) = slow.closed().await.expect("a client that reads again gets a close frame");
        assert_eq!(code, 4002);
        assert!((1..=60_000).contains(&retry_after(&reason)), "{reason}");
    }

    async fn user_removed_by_an_administrator_is_closed_with_4003(kind) {
        let cluster = Cluster::start_with(kind, 2, |c| c.auth.admin_key = Some("0123456789abcdef".into())).await;
        let mut alice = cluster.enter(0, "alice", "ops").await;
        let mut elsewhere = cluster.enter(1, "alice", "ops").await;
        let mut bob = cluster.enter(1, "bob", "ops").await;
        let key = [("Authorization", "Bearer 0123456789abcdef")];
        let path = "/api/v1/users/alice/disconnect";
        assert_eq!(crate::support::cluster::http(cluster.address(0), "POST", path, &key, "").await.0, 204);
        for client in [&mut alice, &mut elsewhere] {
            let (code, reason) = client.closed().await;
            assert_eq!((code, reason.as_str()), (4003, "removed"));
        }
        assert_eq!(bob.next("Leave").await["sender_username"], "alice");
        bob.ok("Ping", json!({})).await;
    }

    async fn client_without_pongs_is_closed_with_4004(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.server.ping_interval = Duration::from_millis(100);
            c.server.pong_timeout = Duration::from_millis(300);
        })
        .await;
        let mut silent = RawSocket::connect(cluster.address(0)).await;
        silent.upgrade().await;
        assert_eq!(silent.read_frame().await.unwrap().0, raw::PING);
        let (code, reason) = silent.closed().await.unwrap();
        assert_eq!((code, reason.as_str()), (4004, "idle"));
        // A client that only answers pings stays connected.
        let mut alice = cluster.connect(0, "alice").await;
        for _ in 0..10 {
            alice.ping_comes().await;
        }
        alice.ok("Ping", json!({})).await;
    }

    async fn unfinished_messages_over_the_budget_close_with_4013(kind) {
        let cluster = Cluster::start_with(kind, 1, |c| {
            c.limits.max_unfinished_bytes = 400_000;
            c.auth.enabled = true;
            c.auth.admin_key = Some(crate::support::api::KEY.into());
        })
        .await;
        let token = cluster.token(0, "alice").await;
        // Bound to a user, and the oldest.
        let mut alice = RawSocket::connect(cluster.address(0)).await;
        alice.upgrade().await;
        let body = json!({ "sender_username": "alice" });
        let auth = json!({ "message_type": "Auth", "id": "1", "token": token, "message_body": body });
        alice.frame(raw::TEXT, auth.to_string().as_bytes()).await;
        let (_, answer) = alice.read_frame().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["message_type"], "Ack", "{answer}");
        let part = vec![b' '; 130_000];
        alice.send(&raw::fragment(raw::TEXT, &part)).await;
        let mut others = Vec::new();
        for number in 0..20 {
            // An address that is closed so often has to wait.
            let mut socket = RawSocket::connect_from([127, 0, 0, number + 1], cluster.address(0)).await;
            socket.upgrade().await;
            // Half of them in one frame, half in fragments.
            let whole = raw::frame(raw::TEXT, &vec![b' '; 131_000]);
            socket.send(if number % 2 == 0 { &whole[..130_000] } else { &whole }).await;
            if number % 2 == 1 {
                socket.read_frame().await.unwrap();
                socket.send(&raw::fragment(raw::TEXT, &part)).await;
            }
            others.push(socket);
        }
        // Two more fit besides the message of alice. They never authenticate.
        let mut survivors = 0;
        for mut socket in others {
            let (code, reason) = socket.closed().await.unwrap();
            if code == 1008 {
                survivors += 1;
                continue;
            }
            assert_eq!(code, 4013);
            let (retry, why) = reason.split_once("; ").unwrap();
            assert!((1..=60_000).contains(&retry_after(retry)), "{reason}");
            assert_eq!(why, "unfinished message");
        }
        assert_eq!(survivors, 2);
        let ping = json!({ "message_type": "Ping", "id": "2", "token": token }).to_string();
        alice.send(&raw::frame(raw::CONTINUATION, &[b" ", ping.as_bytes()].concat())).await;
        let (opcode, answer) = alice.read_frame().await.unwrap();
        assert_eq!(opcode, raw::TEXT);
        assert!(String::from_utf8(answer).unwrap().contains("Ack"));
    }
}

/// The deadline is fixed, so this test takes as long as it.
#[tokio::test]
async fn message_that_never_ends_closes_with_4013() {
    let cluster = Cluster::start(Kind::Embedded, 1).await;
    let mut starts = Vec::new();
    for start in [&b"\x81"[..], b"\x81\xfe\xff", b"\x01\x80\0\0\0\0", b"\x89\x85\0\0\0\0a"] {
        let mut socket = RawSocket::connect(cluster.address(0)).await;
        socket.upgrade().await;
        socket.send(start).await;
        starts.push((std::time::Instant::now(), socket));
    }
    for (began, mut socket) in starts {
        let (code, reason) = socket.closed().await.unwrap();
        assert_eq!(code, 4013, "{reason}");
        assert!(
            reason.starts_with("retry_after_ms=") && reason.ends_with("; unfinished message"),
            "{reason}"
        );
        assert!(began.elapsed() >= Duration::from_secs(14), "{:?}", began.elapsed());
    }
}

/// The kernel tells of room only after a third of its buffer was read: slow is not stuck.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_that_is_slow_all_the_time_is_not_closed() {
    let cluster =
        Cluster::start_with(Kind::Embedded, 1, |c| c.limits.write_timeout = Duration::from_secs(2)).await;
    let mut slow = enter_narrow(&cluster, "slow").await;
    let mut alice = cluster.enter(0, "alice", "ops").await;
    alice.say_many("ops", &"x".repeat(8_000), 150).await;
    let mut seqs = Vec::new();
    while seqs.len() < 150 {
        let (_, frame) = slow.read_frame().await.expect("the connection stays open");
        let frame: Value = serde_json::from_slice(&frame).unwrap();
        if frame["message_type"] == "GroupChat" {
            seqs.push(frame["message_body"]["seq"].as_u64().unwrap());
            // At first 20 KB/s: in each timeout less than the kernel waits for.
            if seqs.len() < 15 {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        }
    }
    assert!(seqs.iter().copied().eq(1..=150), "{seqs:?}");
}
