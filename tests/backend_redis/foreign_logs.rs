//! Logs whose state is out of its range: the scripts fail and change nothing, Redis goes on to answer, and other logs work.

use chatnode::backend::{BackendError, Range};

use crate::support::backend::{ALL, Harness, bodies, room, seqs};
use crate::support::redis_server::RedisServer;

const META: &str = "chat:{r:lobby}:meta";
const LOG: &str = "chat:{r:lobby}:log";

/// The log refuses a publish and a read as foreign data, and both calls end.
async fn expect_foreign(node: &Harness, what: &str) {
    let lobby = room("lobby");
    let error = node.publish(&[&lobby], what, "x").await.unwrap_err();
    assert!(matches!(error, BackendError::Corrupt(_)), "publish with {what}: {error}");
    let read = node.backend.broker.history(&lobby, Range::After(0), ALL).await;
    assert!(matches!(read, Err(BackendError::Corrupt(_))), "history with {what}: {read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn log_state_out_of_range_is_an_error_and_no_loop() {
    let server = RedisServer::start();
    // Every entry is old enough to be trimmed, so that a wrong state reaches the loop that trims.
    let node = Harness::redis(&server, |config| config.history.max_messages = 2).await;
    let (lobby, other) = (room("lobby"), room("other"));
    for text in ["one", "two", "three"] {
        node.say(&lobby, text).await;
    }
    let too_large = ["9007199254740992", "9223372036854775807", "18446744073709551615"];
    let malformed = ["-1", "1.5", "1e15", "0x10", "nan", "inf", "", "many"];
    for field in ["s", "b", "f", "h", "a"] {
        let valid = server.command(&["HGET", META, field]).unwrap();
        for value in too_large.iter().chain(&malformed) {
            server.command(&["HSET", META, field, value]).unwrap();
            expect_foreign(&node, &format!("{field} = {value:?}")).await;
        }
        server.command(&["HDEL", META, field]).unwrap();
        expect_foreign(&node, &format!("no {field}")).await;
        server.command(&["HSET", META, field, &valid]).unwrap();
    }
    for first in ["0", "5", "9007199254740991"] {
        server.command(&["HSET", META, "f", first]).unwrap();
        expect_foreign(&node, &format!("f = {first}, and the newest is 3")).await;
    }
    server.command(&["HSET", META, "f", "2"]).unwrap();
    // The largest number is read, but no message can follow it.
    server.command(&["HSET", META, "s", "9007199254740991"]).unwrap();
    let error = node.publish(&[&lobby], "last", "x").await.unwrap_err();
    assert!(matches!(error, BackendError::Corrupt(_)), "{error}");
    server.command(&["HSET", META, "s", "3"]).unwrap();

    assert_eq!(node.say(&other, "not affected").await.position.seq, 1);
    assert_eq!(node.say(&lobby, "four").await.position.seq, 4);
    let log = node.log(&lobby).await;
    assert_eq!((seqs(&log), bodies(&log)), (vec![3, 4], vec!["three", "four"]), "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_log_entry_is_an_error_and_no_loop() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |config| config.history.max_messages = 1).await;
    let lobby = room("lobby");
    for (id, fields) in [
        // Beyond the newest message, and not one that a node writes.
        ("9223372036854775807-0", vec!["i", "x", "p", "x", "t", "1", "b", "x"]),
        ("2-1", vec!["i", "x", "p", "x", "t", "1", "b", "x"]),
        ("2-0", vec!["i", "x", "p", "x", "t", "nan", "b", "x"]),
        ("2-0", vec!["not", "ours"]),
    ] {
        node.say(&lobby, "one").await;
        server.command(&["DEL", LOG]).unwrap();
        let entry: Vec<&str> = ["XADD", LOG, id].into_iter().chain(fields).collect();
        server.command(&entry).unwrap();
        // As if the log held more than it may, so that the entry is looked at.
        server.command(&["HSET", META, "s", "3", "f", "1", "h", "1"]).unwrap();
        expect_foreign(&node, &format!("entry {entry:?}")).await;
        server.command(&["DEL", META, LOG]).unwrap();
    }
    assert_eq!(node.say(&lobby, "afresh").await.position.seq, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn top_above_the_largest_seq_is_foreign_data() {
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    node.say(&room("lobby"), "one").await;
    server.command(&["HSET", META, "s", "18446744073709551615"]).unwrap();
    let tops = node.backend.broker.tops(&[room("lobby")]).await;
    assert!(matches!(tops, Err(BackendError::Corrupt(_))), "{tops:?}");
}
