//! Every key and every channel in Redis. Owns their spelling: nothing else formats one; knows nothing of what is kept
//! under them. Called by everything in `backend::redis`.
//!
//! What belongs to one topic, or to one user, shares a hash tag (`{r:…}`, `{u:…}`), from the first day on, so that a
//! later move to Redis Cluster renames no key. A name is user input: `%`, `{` and `}` are percent-encoded, so that no
//! name can end the tag early or spell another name's key. All else of a name stays as it is, in UTF-8.

use crate::backend::{Incarnation, TokenHash};
use crate::protocol::{RoomName, Topic, UserName};

/// The keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

/// The keys of one log, in the order in which `log.lua` expects them.
pub(super) struct LogKeys {
    tag: String,
}

/// How many keys [`LogKeys::all`] gives.
pub(super) const KEYS_PER_LOG: usize = 4;

impl LogKeys {
    /// Meta hash, stream, and the two dedupe hashes.
    pub(super) fn all(&self) -> [String; KEYS_PER_LOG] {
        [self.meta(), self.with("log"), self.with("d0"), self.with("d1")]
    }

    /// The log's epoch, top and sums.
    pub(super) fn meta(&self) -> String {
        self.with("meta")
    }

    fn with(&self, part: &str) -> String {
        format!("{}:{part}", self.tag)
    }
}

impl Keys {
    /// The settings refuse a prefix with braces: it would be taken for the hash tag.
    pub(super) fn new(prefix: &str) -> Self {
        debug_assert!(!prefix.contains(['{', '}']), "the settings refuse braces in the prefix");
        Self { prefix: prefix.to_owned() }
    }

    fn room(&self, room: &RoomName) -> String {
        self.tag('r', room.as_str())
    }

    fn user(&self, user: &UserName) -> String {
        self.tag('u', user.as_str())
    }

    fn tag(&self, kind: char, name: &str) -> String {
        let mut key = String::with_capacity(self.prefix.len() + name.len() + 8);
        key.push_str(&self.prefix);
        key.push_str(":{");
        key.push(kind);
        key.push(':');
        for c in name.chars() {
            match c {
                '%' => key.push_str("%25"),
                '{' => key.push_str("%7B"),
                '}' => key.push_str("%7D"),
                c => key.push(c),
            }
        }
        key.push('}');
        key
    }

    /// The topic's channel.
    pub(super) fn channel(&self, topic: &Topic) -> String {
        match topic {
            Topic::Room(room) => self.room(room),
            Topic::User(user) => self.user(user),
        }
    }

    /// The topic's log.
    pub(super) fn log(&self, topic: &Topic) -> LogKeys {
        LogKeys { tag: self.channel(topic) }
    }

    /// The channel that all nodes listen to.
    pub(super) fn notices(&self) -> String {
        format!("{}:notices", self.prefix)
    }

    /// One node's own channel, over which it proves its subscriptions.
    pub(super) fn probe(&self, node: &str) -> String {
        format!("{}:probe:{node}", self.prefix)
    }

    /// ZSET: user names of a room's members, all of score 0.
    pub(super) fn members(&self, room: &RoomName) -> String {
        format!("{}:m", self.room(room))
    }

    /// HASH: member to the incarnations that hold it.
    pub(super) fn holders(&self, room: &RoomName) -> String {
        format!("{}:w", self.room(room))
    }

    /// ZSET: incarnation, by the end of its lease.
    pub(super) fn leases(&self) -> String {
        format!("{}:leases", self.prefix)
    }

    /// HASH: incarnation to its node's name.
    pub(super) fn nodes(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    /// ZSET: what an incarnation holds, as room, newline, user, all of score 0.
    pub(super) fn held(&self, incarnation: &Incarnation) -> String {
        format!("{}:held:{}", self.prefix, incarnation.0)
    }

    /// Who reaps the incarnation.
    pub(super) fn claim(&self, incarnation: &Incarnation) -> String {
        format!("{}:claim:{}", self.prefix, incarnation.0)
    }

    /// A token's record.
    pub(super) fn token(&self, hash: &TokenHash) -> String {
        self.token_of(&hash.to_string())
    }

    /// The same, from the hash's text in a user's index.
    pub(super) fn token_of(&self, hash: &str) -> String {
        format!("{}:token:{hash}", self.prefix)
    }

    /// ZSET: a user's token hashes, by expiry.
    pub(super) fn tokens(&self, user: &UserName) -> String {
        format!("{}:tokens", self.user(user))
    }

    /// HASH: how far a user's private log was delivered.
    pub(super) fn cursor(&self, user: &UserName) -> String {
        format!("{}:cursor", self.user(user))
    }

    /// HASH and ZSET: how far a user has read its rooms, and when each marker last moved.
    pub(super) fn room_markers(&self, user: &UserName) -> [String; 2] {
        let user = self.user(user);
        [format!("{user}:read:rooms"), format!("{user}:read:rooms:moved")]
    }

    /// The same of its private conversations.
    pub(super) fn private_markers(&self, user: &UserName) -> [String; 2] {
        let user = self.user(user);
        [format!("{user}:read:users"), format!("{user}:read:users:moved")]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn room(name: &str) -> Topic {
        Topic::Room(RoomName::parse(name).unwrap())
    }

    /// The part that Redis Cluster hashes: between the first `{` and the next `}`.
    fn hash_tag(key: &str) -> &str {
        let rest = &key[key.find('{').unwrap() + 1..];
        &rest[..rest.find('}').unwrap()]
    }

    #[test]
    fn distinct_names_have_distinct_tags_whatever_they_contain() {
        let names =
            ["a", "a}", "{a}", "a}{b", "a%7D%7Bb", "a%257D", "%", "%25", "a:b", "a:meta", "日本", "u:a"];
        let keys = Keys::new("chat");
        let mut tags = HashSet::new();
        for name in names {
            let user = Topic::User(UserName::parse(name).unwrap());
            for topic in [room(name), user] {
                for key in keys.log(&topic).all() {
                    assert_eq!(hash_tag(&key), hash_tag(&keys.channel(&topic)), "{key}");
                    assert!(key.starts_with("chat:{"), "{key}");
                }
                assert!(tags.insert(hash_tag(&keys.channel(&topic)).to_owned()), "{topic:?}");
            }
        }
    }

    proptest::proptest! {
        /// Names from few characters, the troublesome ones among them, so that near misses are common.
        #[test]
        fn two_names_share_a_key_only_if_they_are_one(one in "[a%{}:B7D日]{1,6}", other in "[a%{}:B7D日]{1,6}") {
            let keys = Keys::new("chat");
            let [one_key, other_key] = [&one, &other].map(|name| keys.channel(&room(name)));
            proptest::prop_assert_eq!(one == other, hash_tag(&one_key) == hash_tag(&other_key));
            let user = keys.channel(&Topic::User(UserName::parse(&one).unwrap()));
            proptest::prop_assert_ne!(hash_tag(&one_key), hash_tag(&user));
        }
    }

    #[test]
    fn a_plain_name_reads_as_itself() {
        let keys = Keys::new("chat");
        assert_eq!(keys.log(&room("lobby")).all()[1], "chat:{r:lobby}:log");
        assert_eq!(keys.channel(&room("日本 %")), "chat:{r:日本 %25}");
    }
}
