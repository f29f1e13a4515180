//! A node of the first version that is still supported. Building one would double the time of the tests. What such a node does to logs
//! and leases are its scripts, so this runs them: `older_scripts/` holds them as they were.

use chatnode::protocol::MessageId;

use super::redis_server::RedisServer;

const LOG: &str = include_str!("older_scripts/log.lua");
const PUBLISH: &str = include_str!("older_scripts/publish.lua");
const HISTORY: &str = include_str!("older_scripts/history.lua");
const LEASE: &str = include_str!("older_scripts/lease.lua");

/// Keys of the log of the room `lobby`.
pub const KEYS: [&str; 4] =
    ["chat:{r:lobby}:meta", "chat:{r:lobby}:log", "chat:{r:lobby}:d0", "chat:{r:lobby}:d1"];
pub const DAY: &str = "86400000";

/// The scripts of an older node, which has the room `lobby`.
pub struct OlderNode<'a> {
    pub server: &'a RedisServer,
    pub max_messages: &'a str,
    pub max_bytes: &'a str,
}

/// What a publish returned.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub seq: u64,
    pub message_id: String,
    pub is_duplicate: bool,
}

impl OlderNode<'_> {
    fn try_call(&self, script: &str, keys: &[&str], arguments: &[&str]) -> std::io::Result<String> {
        let count = keys.len().to_string();
        let command = [&["EVAL", script, &count], keys, arguments].concat();
        self.server.command(&command)
    }

    fn call(&self, script: &str, keys: &[&str], arguments: &[&str]) -> String {
        self.try_call(script, keys, arguments).unwrap()
    }

    /// Its lease runs for 15 s, or for longer if this is called again.
    pub fn starts(&self) {
        self.call(LEASE, &["chat:leases", "chat:nodes"], &["renew", "0ld", "15000", "older", "1"]);
    }

    /// Its lease has ended.
    pub fn ends(&self) {
        self.call(LEASE, &["chat:leases", "chat:nodes", "chat:held:0ld", "chat:claim:0ld"], &["bury", "0ld"]);
    }

    /// `{id}` in the body becomes the id of the message.
    pub fn publish(&self, key: &str, body: &str) -> Answer {
        let id = MessageId::generate().to_string();
        let body = &body.replace("{id}", &id);
        let limits = [self.max_messages, DAY, self.max_bytes, "300000"];
        let script = [LOG, PUBLISH].concat();
        let message = [key, &id, "1700000000123", body];
        let answer = self.call(
            &script,
            &KEYS,
            &[&message[..], &limits, &["chat:{r:lobby}", "0123456789abcdef"]].concat(),
        );
        let lines: Vec<&str> = answer.lines().collect();
        let [_, seq, message_id, _, duplicate] = lines[..] else { panic!("{answer}") };
        Answer { seq: seq.parse().unwrap(), message_id: message_id.into(), is_duplicate: duplicate == "1" }
    }

    /// The errors that it gets for a message to the room, and for reading its log.
    pub fn errors(&self) -> [String; 2] {
        let limits = [self.max_messages, DAY, self.max_bytes, "300000"];
        let message = ["key", &MessageId::generate().to_string(), "1700000000123", "body"];
        let channel = ["chat:{r:lobby}", "0123456789abcdef"];
        let publish = [LOG, PUBLISH].concat();
        let stored = self.try_call(&publish, &KEYS, &[&message[..], &limits, &channel].concat());
        let page = ["0123456789abcdef", DAY, "after", "0", "10000", "1000000000"];
        let read = self.try_call(&[LOG, HISTORY].concat(), &KEYS, &page);
        [stored, read].map(|reply| reply.expect_err("it is refused").to_string())
    }

    /// Reads the whole log, and returns the bodies. Deletes entries above this age.
    pub fn read(&self, max_age: &str) -> Vec<String> {
        let script = [LOG, HISTORY].concat();
        let answer =
            self.call(&script, &KEYS, &["0123456789abcdef", max_age, "after", "0", "10000", "1000000000"]);
        let lines: Vec<&str> = answer.lines().collect();
        let bodies = lines.windows(2).filter(|pair| pair[0] == "b").map(|pair| pair[1].to_owned());
        bodies.collect()
    }
}
