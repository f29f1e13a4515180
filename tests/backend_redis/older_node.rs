//! A node of this version beside one of the first version that is still supported, on one Redis: an upgrade, and the way back.
//! The older one is its scripts (`support::older_node`).

use bytes::Bytes;
use chatnode::backend::{BackendError, Change, ChangeKind, Lease, NewEntry, Publish, Range};

use crate::support::backend::{ALL, Harness, bodies, message, room, seqs, user_name};
use crate::support::listener::eventually;
use crate::support::older_node::{DAY, KEYS, OlderNode};
use crate::support::redis_server::RedisServer;

/// The state of the log is that of its entries, for a node of any version.
fn assert_whole(server: &RedisServer) {
    let field = |name| server.command(&["HGET", KEYS[0], name]).unwrap().parse::<u64>().unwrap();
    let entries = server.command(&["XRANGE", KEYS[1], "-", "+"]).unwrap();
    let lines: Vec<&str> = entries.split('\n').collect();
    let held: Vec<(u64, usize)> = lines
        .chunks(9)
        .map(|entry| (entry[0].strip_suffix("-0").unwrap().parse().unwrap(), entry[8].len()))
        .filter(|(seq, _)| *seq >= field("f"))
        .collect();
    let seqs: Vec<u64> = held.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, (field("f")..=field("s")).collect::<Vec<u64>>());
    assert_eq!(held.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>(), field("b"));
    assert_eq!(lines[lines.len() - 7], server.command(&["HGET", KEYS[0], "i"]).unwrap());
}

/// Whether the new node writes records in its own format.
async fn writes_own_format(node: &Harness, server: &RedisServer) -> bool {
    node.say(&room("lobby"), "which format?").await;
    let fields = ["chat:{r:lobby}:d0", "chat:{r:lobby}:d1"].map(|key| {
        server
            .command(&[
                "EVAL",
                "local n = 0 for _, f in ipairs(redis.call('HKEYS', KEYS[1])) do
            if string.sub(f, 1, 1) == 'h' then n = n + 1 end end return n",
                "1",
                key,
            ])
            .unwrap()
    });
    let count: u64 = fields.iter().map(|count| count.parse::<u64>().unwrap()).sum();
    server
        .command(&[
            "EVAL",
            "for _, k in ipairs(KEYS) do for _, f in ipairs(redis.call('HKEYS', k)) do
        if string.sub(f, 1, 1) == 'h' then redis.call('HDEL', k, f) end end end",
            "2",
            KEYS[2],
            KEYS[3],
        ])
        .unwrap();
    count > 0
}

#[tokio::test(flavor = "multi_thread")]
async fn older_node_and_new_one_share_a_log_and_go_back() {
    let server = RedisServer::start();
    let older = OlderNode { server: &server, max_messages: "40", max_bytes: "3000" };
    older.starts();
    let node = Harness::redis(&server, |config| {
        config.history.max_messages = 40;
        config.history.max_bytes = 3_000;
    })
    .await;
    let lobby = room("lobby");
    node.subscribe(&lobby).await;

    // Mixed: each recognises the repeats of the other.
    let mut seq = 0;
    for round in 0..60 {
        let body = "x".repeat(round * 3);
        let first = older.publish(&format!("older {round}"), &body);
        assert_eq!((first.seq, first.is_duplicate), (seq + 1, false));
        let again = node.publish(&[&lobby], &format!("older {round}"), "again").await.unwrap();
        assert_eq!((again.duplicate, again.position.seq), (true, first.seq));
        let first = node.publish(&[&lobby], &format!("new {round}"), &body).await.unwrap();
        assert_eq!((first.position.seq, first.duplicate), (seq + 2, false));
        let again = older.publish(&format!("new {round}"), "again");
        assert_eq!((again.is_duplicate, again.seq), (true, first.position.seq));
        assert_eq!(again.message_id, first.position.message_id.to_string());
        seq += 2;
        assert_whole(&server);
    }
    assert_eq!(node.listener.messages(&lobby, 120).await.len(), 120);
    assert!(!writes_own_format(&node, &server).await);

    // Only new nodes.
    older.ends();
    eventually("the node knows that the older one has ended", || async {
        writes_own_format(&node, &server).await
    })
    .await;
    for round in 0..200 {
        let key = format!("alone {round}");
        let first = node.publish(&[&lobby], &key, &"y".repeat(round)).await.unwrap();
        let again = node.backend.broker.publish(message(&[&lobby], &key, "again")).await.unwrap();
        assert_eq!((again.duplicate, again.position), (true, first.position));
        assert_whole(&server);
    }
    let held = node.log(&lobby).await;

    // Back to the older one, with the new one still there.
    older.starts();
    assert!(older.read(DAY).ends_with(&bodies(&held).iter().map(ToString::to_string).collect::<Vec<_>>()));
    eventually("the node knows that an older one is there", || async {
        !writes_own_format(&node, &server).await
    })
    .await;
    let top = node.page(&lobby, Range::Top, ALL).await.top;
    assert_eq!(older.publish("back", "by the older").seq, top.seq + 1);
    assert_whole(&server);
    assert_eq!(node.say(&lobby, "by the new").await.position.seq, top.seq + 2);
    assert_whole(&server);
    // The older one deletes what is too old for it, without a new message.
    assert_eq!(older.read("0"), Vec::<String>::new());
    assert_eq!(node.say(&lobby, "by the new again").await.position.seq, top.seq + 3);
    assert_whole(&server);
    assert_eq!(seqs(&node.log(&lobby).await), [top.seq + 3]);
    node.shut_down().await;
    assert_eq!(older.publish("alone", "at last").seq, top.seq + 4);
    assert_whole(&server);
}

/// A reaction to a message that the node stores for it.
async fn reaction(node: &Harness) -> Publish {
    let lobby = room("lobby");
    let said = node.say(&lobby, r#""sender_username":"ann""#).await.position;
    let change = Change {
        target: said.message_id,
        author: Bytes::new(),
        window: None,
        kind: ChangeKind::React { user: user_name("bob"), reaction: "+1".into(), on: true },
    };
    Publish {
        entry: NewEntry::Change(change),
        ..message(&[&lobby], "key", r#""change":"React","sender_username":"bob""#)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn change_is_taken_after_all_data_was_lost() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Kept);
    server.command(&["FLUSHALL"]).unwrap();
    assert_eq!(node.backend.presence.renew().await.unwrap(), Lease::Lost);
    node.backend.presence.reincarnate().await.unwrap();
    // The last lease of the former incarnation is not that of an older node.
    let next = Harness::redis(&server, |_| {}).await;
    let publish = reaction(&next).await;
    next.backend.broker.publish(publish).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn change_waits_until_no_older_node_runs() {
    let server = RedisServer::start();
    let older = OlderNode { server: &server, max_messages: "1000", max_bytes: "1000000" };
    older.starts();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    let publish = reaction(&node).await;
    let refused = node.backend.broker.publish(publish.clone()).await;
    assert_eq!(refused, Err(BackendError::OlderNodes));
    older.ends();
    eventually("the change is stored", || async {
        node.backend.broker.publish(publish.clone()).await.is_ok()
    })
    .await;
    // An older node that comes back reads and writes the log as ever: to it, a change is a message.
    older.starts();
    assert_eq!(older.publish("other", "from the older node").seq, 3);
    assert_eq!(seqs(&node.log(&lobby).await), [1, 2, 3]);
}
