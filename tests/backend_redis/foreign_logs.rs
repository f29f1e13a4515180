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
    // As an older node leaves it: with the state, the other fields are not read.
    server.command(&["HDEL", META, "z"]).unwrap();
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
async fn packed_state_out_of_range_is_an_error_and_no_loop() {
    const CHANGE: &str = "local state = { cmsgpack.unpack(redis.call('HGET', KEYS[1], 'z')) }
        if ARGV[1] == 'all' then return redis.call('HSET', KEYS[1], 'z', ARGV[2]) end
        state[tonumber(ARGV[1])] = tonumber(ARGV[2]) or ARGV[2]
        return redis.call('HSET', KEYS[1], 'z', cmsgpack.pack(unpack(state)))";
    let server = RedisServer::start();
    let node = Harness::redis(&server, |_| {}).await;
    let lobby = room("lobby");
    let change =
        |place: &str, value: &str| server.command(&["EVAL", CHANGE, "1", META, place, value]).unwrap();
    let valid = node.say(&lobby, "one").await.position;
    // Bytes, and the times at which the oldest and the newest entry were stored.
    for place in ["4", "6", "7"] {
        for value in ["-1", "9007199254740992", "1e300", "many"] {
            change(place, value);
            expect_foreign(&node, &format!("place {place} = {value}")).await;
            server.command(&["HDEL", META, "z"]).unwrap();
            node.say(&lobby, "written again").await;
        }
    }
    // A state that is not that of the log, or no state at all, is not used.
    for (place, value) in [("1", "9007199254740992"), ("5", "7"), ("all", "not packed"), ("all", "")] {
        change(place, value);
        node.say(&lobby, "as before").await;
    }
    let log = node.log(&lobby).await;
    assert_eq!(seqs(&log), (valid.seq..=valid.seq + 16).collect::<Vec<u64>>());
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
