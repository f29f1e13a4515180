//! Every script in a slot of a Redis cluster that moves to another server. Such a server fails each call for a key that does
//! not exist, also in the middle of a script. With all its keys there, a script must succeed; with one missing, it must be
//! refused before it has written anything.

use std::collections::BTreeSet;

use crate::support::cluster_slot::ClusterSlot;

const STATE: &str = include_str!("../../src/backend/redis/scripts/state.lua");
const RIGHTS: &str = include_str!("../../src/backend/redis/scripts/rights.lua");
const APPEND: &str = include_str!("../../src/backend/redis/scripts/append.lua");
const LOG: &str = include_str!("../../src/backend/redis/scripts/log.lua");
const CHANGE: &str = include_str!("../../src/backend/redis/scripts/change.lua");
const PUBLISH: &str = include_str!("../../src/backend/redis/scripts/publish.lua");
const HISTORY: &str = include_str!("../../src/backend/redis/scripts/history.lua");

/// One call of a script. Words are separated by spaces; `~` stands for an empty argument.
struct Case {
    name: &'static str,
    script: String,
    /// Commands before the call, one a line.
    state: &'static str,
    keys: &'static str,
    arguments: &'static str,
}

/// Two logs of one message each, with dedupe hashes of an ended window: the first publish has to empty one of them.
const LOGS: &str = "
    HSET {t}meta e ee s 1 i 00000000-0000-7000-8000-000000000001 b 3 f 1 h 1000 a 1000
    XADD {t}log 1-0 i 00000000-0000-7000-8000-000000000001 p ~ t 1000 b old
    HSET {t}d0 w 2 ha x hb x
    HSET {t}d1 w 1 ha x
    HSET {t}meta2 e e2 s 1 i 00000000-0000-7000-8000-000000000001 b 3 f 1 h 1000 a 1000 n 1
    XADD {t}log2 1-0 i 00000000-0000-7000-8000-000000000001 p ~ t 1000 b old
    HSET {t}d2 w 2 ha x
    HSET {t}d3 w 1 ha x";

/// The same without an epoch: the log starts again over what is left of it.
const REMAINS: &str = "
    HSET {t}meta s 1
    XADD {t}log 7-0 i x p ~ t 1000 b old
    HSET {t}d0 w 2 ha x
    HSET {t}d1 w 1 ha x";

const LEASES: &str = "
    ZADD {t}leases 5000 one 6000 two
    HSET {t}nodes one a two b
    HSET {t}durations gone 15000 left 15000 off 15000
    HSET {t}levels gone 2 left 2 off 2
    ZADD {t}held 0 room
    SET {t}claim one
    ZADD {t}claimed 1000 other";

const LEASE_KEYS: &str = "{t}leases {t}nodes {t}durations {t}levels";

/// Two messages in one call: the first finds a log that an older node wrote to, the second is ordinary.
const TWICE_ONE_LOG: &str = "{t}meta {t}log {t}d0 {t}d1 {t}meta {t}log {t}d0 {t}d1";
const TWICE_TWO_LOGS: &str = "{t}meta {t}log {t}d0 {t}d1 {t}meta2 {t}log2 {t}d2 {t}d3
    {t}meta {t}log {t}d0 {t}d1 {t}meta2 {t}log2 {t}d2 {t}d3";
const TWO_TO_A_ROOM: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 hash1 key1 00000000-0000-7000-8000-000000000002 5 1 body ch1 e1
    1 hash2 key2 00000000-0000-7000-8000-000000000003 5 1 body ch1 e1";
const TWO_BESIDE_AN_OLDER_NODE: &str = "1000 86400000 1000000 300000 3 0 64 65536 1 PUBLISH
    1 hash1 key1 00000000-0000-7000-8000-000000000002 5 1 body ch1 e1
    1 hash2 key2 00000000-0000-7000-8000-000000000003 5 1 body ch1 e1";
const TWO_WITHOUT_ID: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 ~ ~ 00000000-0000-7000-8000-000000000002 5 1 body ch1 e1
    1 ~ ~ 00000000-0000-7000-8000-000000000003 5 1 body ch1 e1";
const TWO_TO_A_USER: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    2 hash1 key1 00000000-0000-7000-8000-000000000002 5 1 body ch1 e1 ch2 e2
    2 hash2 key2 00000000-0000-7000-8000-000000000003 5 1 body ch1 e1 ch2 e2";

/// The logs of the targets of two messages, and those of their senders.
const TWO_FIRST_LOGS: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ SPUBLISH
    1 hash1 key1 00000000-0000-7000-8000-000000000002 5 5 body {t}ch e1
    1 hash2 key2 00000000-0000-7000-8000-000000000000 5 5 body {t}ch e1";
const TWO_SECOND_LOGS: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ SPUBLISH
    1 hash1 key1 00000000-0000-7000-8000-000000000002 5 8 body {t}ch e1
    1 hash2 key2 00000000-0000-7000-8000-000000000000 5 8 body {t}ch e1";

/// A log with a message, an edit of it and a reaction to it, all of which a hash of changes knows.
const CHANGED_LOG: &str = r#"
    HSET {t}meta e ee s 2 i 00000000-0000-7000-8000-000000000002 b 9 f 1 h 1000 a 1000 x 1
    XADD {t}log 1-0 i 00000000-0000-7000-8000-000000000001 p ~ t 1000 b "old"
    XADD {t}log 2-0 i 00000000-0000-7000-8000-000000000002 p 00000000-0000-7000-8000-000000000001 t 1000 b "change":"Edit"
    HSET {t}d0 w 2 ha x
    HSET {t}d1 w 1 ha x
    EVAL redis.call('HSET',KEYS[1],'e1\32ee',cmsgpack.pack({ARGV[1],'new',2}),'r1\32ee',cmsgpack.pack({{'+','bob'}}),'b',9) 1 {t}x 00000000-0000-7000-8000-000000000002"#;

const CHANGE_KEYS: &str = "{t}meta {t}log {t}d0 {t}d1 {t}x";
const EDIT: &str = r#"1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 hash1 key1 00000000-0000-7000-8000-000000000003 5 17 Edit ch1 e1
    00000000-0000-7000-8000-000000000001 "old ~ E newer 00000000-0000-7000-8000-000000000002 1000"#;
const RETRACTION: &str = r#"1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 hash1 key1 00000000-0000-7000-8000-000000000003 5 17 Retract ch1 e1
    00000000-0000-7000-8000-000000000001 "old ~ R Tombstone ~ ~"#;
const LAST_REACTION_OFF: &str = r#"1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 ~ ~ 00000000-0000-7000-8000-000000000003 5 17 React ch1 e1
    00000000-0000-7000-8000-000000000001 ~ ~ - + bob ~"#;

/// The same with so few bytes that the edit goes.
const LAST_REACTION_OFF_IN_LITTLE_SPACE: &str = r#"1000 9000000000000 12 300000 3 0 64 65536 ~ PUBLISH
    1 ~ ~ 00000000-0000-7000-8000-000000000003 5 17 React ch1 e1
    00000000-0000-7000-8000-000000000001 ~ ~ - + bob ~"#;
/// A message that answers one and mentions a user.
const LINKED: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 hash1 key1 00000000-0000-7000-8000-000000000003 5 33 body ch1 e1
    00000000-0000-7000-8000-000000000001 bob";

/// A room with rights and slow mode.
const ROOM_WITH_RIGHTS: &str = "
    HSET {t}meta e ee s R1 i 00000000-0000-7000-8000-000000000001 b 3 f 1 h 1000 a 1000 x 1
    XADD {t}log 1-0 i 00000000-0000-7000-8000-000000000001 p ~ t 1000 b old
    HSET {t}rights k private s 1000 o 1 n 2 uann o-0-0
    ZADD {t}slow 1 bob
    ZADD {t}m 0 bob";
/// A user that blocks another one, and the log of a user who writes to it.
const LOG_WITH_A_BLOCK: &str = "
    HSET {t}meta e ee s R1 i 00000000-0000-7000-8000-000000000001 b 3 f 1 h 1000 a 1000 x 1
    XADD {t}log 1-0 i 00000000-0000-7000-8000-000000000001 p ~ t 1000 b old
    HSET {t}rights k open o 0 n 1 ubob --9000000000000-0
    ZADD {t}slow 1 bob
    HSET {t}own e ff s 1 i 00000000-0000-7000-8000-000000000001 b 3 f 1 h 1000 a 1000
    XADD {t}ownlog 1-0 i 00000000-0000-7000-8000-000000000001 p ~ t 1000 b old";
const TO_A_USER_WHO_BLOCKS: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    2 ~ ~ 00000000-0000-7000-8000-000000000002 5 65 body ch1 e1 ch2 e2 pcleo ~";
const RIGHTS_KEYS: &str = "{t}meta {t}log {t}rights {t}slow";
const TO_A_ROOM_WITH_RIGHTS: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 ~ ~ 00000000-0000-7000-8000-000000000002 5 65 body ch1 e1 pbob ~";
const BAN: &str = "1000 9000000000000 1000000 300000 3 0 64 65536 ~ PUBLISH
    1 ~ ~ 00000000-0000-7000-8000-000000000002 5 193 Ban ch1 e1 ~ ~ ban bob ~ ~ ~ ~";

fn cases() -> Vec<Case> {
    let case = |name, script, state, keys, arguments| Case { name, script, state, keys, arguments };
    let file = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/redis/scripts");
        std::fs::read_to_string(format!("{folder}/{name}.lua")).unwrap()
    };
    let publish = |state, keys, arguments| {
        case("publish", [STATE, RIGHTS, APPEND, LOG, CHANGE, PUBLISH].concat(), state, keys, arguments)
    };
    let history =
        |state, keys, arguments| case("history", [STATE, LOG, HISTORY].concat(), state, keys, arguments);
    let unread = |keys, state| {
        let script = [STATE.to_owned(), LOG.to_owned(), file("unread")].concat();
        case("unread", script, state, keys, "1000 9000000000000 ee 0 bob")
    };
    let lease = |keys, arguments| case("lease", file("lease"), LEASES, keys, arguments);
    let mark = |arguments| {
        let state = "HSET {t}read a 1 b 2\nZADD {t}moved 1 a 2 b";
        case("mark", file("mark"), state, "{t}read {t}moved", arguments)
    };
    let room = "ZADD {t}m 0 bob\nHSET {t}w bob one\nZADD {t}held 0 lobby\nZADD {t}leases 5000 one\nHSET {t}nodes one a";
    vec![
        publish(LOGS, TWICE_ONE_LOG, TWO_TO_A_ROOM),
        publish(LOGS, "{t}meta {t}log {t}meta {t}log", TWO_WITHOUT_ID),
        publish(LOGS, TWICE_TWO_LOGS, TWO_TO_A_USER),
        publish(LOGS, TWICE_ONE_LOG, TWO_BESIDE_AN_OLDER_NODE),
        publish(REMAINS, TWICE_ONE_LOG, TWO_TO_A_ROOM),
        publish(LOGS, TWICE_ONE_LOG, TWO_FIRST_LOGS),
        publish(LOGS, TWICE_ONE_LOG, TWO_SECOND_LOGS),
        publish(CHANGED_LOG, CHANGE_KEYS, EDIT),
        publish(CHANGED_LOG, CHANGE_KEYS, RETRACTION),
        publish(CHANGED_LOG, "{t}meta {t}log {t}x", LAST_REACTION_OFF),
        publish(CHANGED_LOG, "{t}meta {t}log {t}x", LAST_REACTION_OFF_IN_LITTLE_SPACE),
        publish(CHANGED_LOG, CHANGE_KEYS, LINKED),
        publish(ROOM_WITH_RIGHTS, RIGHTS_KEYS, TO_A_ROOM_WITH_RIGHTS),
        publish(ROOM_WITH_RIGHTS, "{t}meta {t}log {t}rights {t}slow {t}m", BAN),
        publish(LOG_WITH_A_BLOCK, "{t}meta {t}log {t}own {t}ownlog {t}rights {t}slow", TO_A_USER_WHO_BLOCKS),
        case("claim_room", file("claim_room"), "ZADD {t}made 1 ops", "{t}made", "dev 5"),
        case("claim_room", file("claim_room"), "ZADD {t}made 1 ops", "{t}made", "ops 0"),
        case("rate", file("rate"), "SET {t}rate 1", "{t}rate", "10 20 5 1 10"),
        case("rights_of", file("rights_of"), ROOM_WITH_RIGHTS, "{t}meta {t}rights", "bob"),
        history(LOGS, "{t}meta {t}log", "ff 1000 86400000 after 0 100 100000 ~ 0 ~"),
        history(LOGS, "{t}meta {t}log", "ff 1000 9000000000000 after 0 100 100000 ~ 0 ~"),
        history(REMAINS, "{t}meta {t}log", "ff 1000 86400000 newest 0 100 100000 600000 0 ~"),
        history(CHANGED_LOG, "{t}meta {t}log {t}x", "ff 1000 9000000000000 newest 0 100 100000 ~ 1 bob"),
        unread("{t}meta {t}log", LOGS),
        unread("{t}meta {t}log {t}x", CHANGED_LOG),
        case(
            "add",
            file("add"),
            room,
            "{t}m {t}w {t}held {t}leases",
            "two lobby ch PUBLISH 500 eve ev bob ~ zoe ev",
        ),
        case("remove", file("remove"), room, "{t}m {t}w {t}held", "one lobby ch PUBLISH ev 500 bob"),
        case("remove", file("remove"), room, "{t}m {t}w {t}held", "two lobby ch PUBLISH ev 500 bob"),
        case("add", file("add"), room, "{t}m {t}w", "two lobby ch PUBLISH 500 eve ev bob ~ zoe ev"),
        case("remove", file("remove"), room, "{t}m {t}w", "one lobby ch PUBLISH ev 500 bob"),
        case("members", file("members"), room, "{t}m {t}w", "one - 100 one 1 two 0"),
        case("members", file("members"), room, "{t}m {t}w {t}leases {t}nodes", "one - 100"),
        case("rooms", file("rooms"), "ZADD {t}held 0 lobby-bob", "{t}held", "~ 100"),
        mark("c 3 1000000 2 0"),
        mark("a 3 1000000 1 1"),
        case(
            "token",
            file("token"),
            "ZADD {t}tokens 1 old\nSET {t}token x",
            "{t}tokens {t}token",
            "new u 2 99999999999999 both",
        ),
        case(
            "token",
            file("token"),
            "ZADD {t}tokens 1 old\nSET {t}token x",
            "{t}tokens {t}token",
            "new u ~ 99999999999999 both",
        ),
        case("token", file("token"), "ZADD {t}tokens 1 old", "{t}tokens", "new u 2 99999999999999 index"),
        case("token", file("token"), "SET {t}token x", "{t}token", "new u 2 99999999999999 record"),
        case("revoke", file("revoke"), "SET {t}revoked 5", "{t}revoked", "7 99999999999999"),
        case("revoke", file("revoke"), "SET {t}revoked 5", "{t}revoked", "3 ~"),
        case("clock", file("clock"), "HSET {t}clock offset 5", "{t}clock", "5 7"),
        lease("{t}leases {t}nodes {t}durations {t}levels {t}claimed", "renew one 15000 a 1 2"),
        lease(LEASE_KEYS, "retire one 15000 2"),
        lease(LEASE_KEYS, "observe one"),
        lease(LEASE_KEYS, "expired one 16"),
        lease("{t}leases {t}nodes {t}durations {t}levels {t}claim {t}claimed", "claim two 30000 one 6000"),
        lease("{t}leases {t}nodes {t}durations {t}levels {t}claim {t}held", "forget two 0"),
        lease("{t}leases {t}nodes {t}durations {t}levels {t}claim", "forget two 1"),
        lease(LEASE_KEYS, "list one"),
    ]
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().map(|word| if word == "~" { "" } else { word }).collect()
}

impl Case {
    fn prepare(&self, slot: &ClusterSlot) {
        slot.stay();
        slot.command(&["FLUSHALL"]).unwrap();
        for command in self.state.lines().map(words).filter(|command| !command.is_empty()) {
            slot.command(&command).unwrap();
        }
    }

    fn call(&self, slot: &ClusterSlot) -> std::io::Result<String> {
        let keys = words(self.keys);
        let count = keys.len().to_string();
        let mut command = vec!["EVAL", &self.script, &count];
        command.extend(keys);
        command.extend(words(self.arguments));
        slot.command(&command)
    }
}

#[test]
fn every_script_is_whole_or_nothing_in_a_slot_that_moves() {
    let slot = ClusterSlot::start();
    for case in cases() {
        let name = format!("{} {}", case.name, case.arguments);
        case.prepare(&slot);
        slot.migrate();
        let reply = case.call(&slot);
        assert!(reply.is_ok(), "{name}: {reply:?}");
        for missing in words(case.keys) {
            case.prepare(&slot);
            slot.command(&["DEL", missing]).unwrap();
            let before = slot.digest();
            slot.migrate();
            let error = case.call(&slot).expect_err("a key is missing").to_string();
            assert!(error.starts_with("TRYAGAIN") || error.starts_with("ASK"), "{name}: {error}");
            assert_eq!(slot.digest(), before, "{name} without {missing}");
        }
    }
}

#[test]
fn every_script_is_among_the_cases() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/redis/scripts");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let scripts: BTreeSet<String> =
        files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let tested = cases()
        .into_iter()
        .map(|case| case.name.to_owned())
        .chain(["state", "append", "log", "change", "rights"].map(String::from));
    assert_eq!(tested.collect::<BTreeSet<_>>(), scripts);
}
