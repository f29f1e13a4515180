//! Names of all keys and channels in Redis. Owns their format: no other file formats a key; does not know their contents.
//! Called by all stores in `backend::redis`.
//!
//! All keys of one room or one user share a hash tag (`{r:…}`, `{u:…}`; `{a:…}` of an address), and so one slot of a Redis Cluster. A name is user input: `%`, `{` and `}` are percent-encoded, so that no name can end the tag early or produce
//! the key of another name. All other characters stay as they are, in UTF-8.

use super::channel_names::ChannelNames;
use super::slot::Slot;
use crate::backend::{Incarnation, Payer, TokenHash};
use crate::protocol::{RoomName, Topic, UserName};

/// Which keys share a hash tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All keys are on one server. Keys of nodes have no tag: they had none before there were clusters.
    Single,
    /// Each call is for keys of one tag.
    Cluster,
}

/// Formats keys under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    names: ChannelNames,
    layout: Layout,
}

/// The keys of one log.
pub(super) struct LogKeys {
    tag: String,
}

impl LogKeys {
    /// Meta hash and stream, in the order of `log.lua`.
    pub(super) fn meta_and_stream(&self) -> [String; 2] {
        [self.meta(), self.with("log")]
    }

    /// HASH, twice: dedupe records, alternately for one window each.
    pub(super) fn dedupe(&self) -> [String; 2] {
        [self.with("d0"), self.with("d1")]
    }

    /// HASH: what the changes of the messages come to.
    pub(super) fn changes(&self) -> String {
        self.with("x")
    }

    /// HASH: the rights of the room, and what its users are; ZSET: when each user has sent the last message, in slow mode.
    pub(super) fn rights(&self) -> [String; 2] {
        [self.with("rights"), self.with("slow")]
    }

    /// HASH: epoch, top and sums of the log.
    pub(super) fn meta(&self) -> String {
        self.with("meta")
    }

    fn with(&self, part: &str) -> String {
        format!("{}:{part}", self.tag)
    }
}

impl Keys {
    /// The prefix has no braces, which would start a hash tag. The settings reject them.
    pub(super) fn new(prefix: &str, names: ChannelNames, layout: Layout) -> Self {
        debug_assert!(!prefix.contains(['{', '}']), "the settings reject braces in the prefix");
        Self { prefix: prefix.to_owned(), names, layout }
    }

    /// Which keys share a hash tag.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// A key that concerns all nodes.
    fn of_nodes(&self, single: &str, cluster: &str) -> String {
        match self.layout {
            Layout::Single => format!("{}:{single}", self.prefix),
            Layout::Cluster => format!("{}:{{nodes}}:{cluster}", self.prefix),
        }
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

    /// Channel of a topic, to publish there.
    pub(super) fn channel_on_server(&self, topic: &Topic) -> String {
        self.names.on_server(&self.channel(topic))
    }

    /// Channel of a topic, to subscribe to: the connection knows its name on the server.
    pub(super) fn channel(&self, topic: &Topic) -> String {
        match topic {
            Topic::Room(room) => self.room(room),
            Topic::User(user) => self.user(user),
        }
    }

    /// Keys of a topic's log.
    pub(super) fn log(&self, topic: &Topic) -> LogKeys {
        LogKeys { tag: self.channel(topic) }
    }

    /// Channel of all nodes, to publish there.
    pub(super) fn notices_on_server(&self) -> String {
        self.names.on_server(&self.notices())
    }

    /// Channel of all nodes, to subscribe to.
    pub(super) fn notices(&self) -> String {
        format!("{}:notices", self.prefix)
    }

    /// Channel of one node, for the probe of its subscriptions.
    pub(super) fn probe(&self, node: &str) -> String {
        format!("{}:probe:{node}", self.prefix)
    }

    /// Key and channel of one node in a slot.
    pub(super) fn probe_in(&self, node: &str, slot: Slot) -> String {
        format!("{}:probe:{node}:{{{}}}", self.prefix, slot.tag())
    }

    /// ZSET: names of a room's members, all with score 0.
    pub(super) fn members(&self, room: &RoomName) -> String {
        format!("{}:m", self.room(room))
    }

    /// HASH: a room's member to the incarnations that hold it.
    pub(super) fn holders(&self, room: &RoomName) -> String {
        format!("{}:w", self.room(room))
    }

    /// ZSET: incarnations by the beat of their lease.
    pub(super) fn leases(&self) -> String {
        self.of_nodes("leases", "leases")
    }

    /// HASH: incarnation to the name of its node.
    pub(super) fn nodes(&self) -> String {
        self.of_nodes("nodes", "names")
    }

    /// HASH: incarnation to the duration of its lease, ms.
    pub(super) fn lease_durations(&self) -> String {
        self.of_nodes("durations", "durations")
    }

    /// HASH: incarnation to the format level of its node.
    pub(super) fn levels(&self) -> String {
        self.of_nodes("levels", "levels")
    }

    /// ZSET: members that an incarnation holds, as room, newline, user, all with score 0.
    pub(super) fn held(&self, incarnation: &Incarnation) -> String {
        match self.layout {
            Layout::Single => format!("{}:held:{}", self.prefix, incarnation.0),
            Layout::Cluster => format!("{}:{{n:{}}}:held", self.prefix, incarnation.0),
        }
    }

    /// STRING: the incarnation that may remove the members of an expired one.
    pub(super) fn claim(&self, incarnation: &Incarnation) -> String {
        self.of_nodes(&format!("claim:{}", incarnation.0), &format!("claim:{}", incarnation.0))
    }

    /// ZSET: incarnations that another node has claimed, in the order of the claims.
    pub(super) fn claimed(&self) -> String {
        self.of_nodes("claimed", "claimed")
    }

    /// STRING: a random value in place of the run id of a server that does not tell it.
    pub(super) fn run(&self) -> String {
        self.of_nodes("run", "run")
    }

    /// STRING: how the nodes of a cluster publish.
    pub(super) fn pubsub(&self) -> String {
        self.of_nodes("pubsub", "pubsub")
    }

    /// HASH: offset of the nodes' common time from the clock of Redis, ms.
    pub(super) fn clock(&self) -> String {
        format!("{}:clock", self.prefix)
    }

    /// STRING: record of a token.
    pub(super) fn token(&self, hash: &TokenHash) -> String {
        self.token_of(&hash.to_string())
    }

    /// The same key, from the hash as text in a user's index.
    pub(super) fn token_of(&self, hash: &str) -> String {
        format!("{}:token:{hash}", self.prefix)
    }

    /// ZSET: hashes of a user's tokens by expiry.
    pub(super) fn tokens(&self, user: &UserName) -> String {
        format!("{}:tokens", self.user(user))
    }

    /// STRING: present if the signed token with this identity was revoked.
    pub(super) fn revoked_token(&self, id: &TokenHash) -> String {
        format!("{}:revoked:{id}", self.prefix)
    }

    /// STRING: a user's signed tokens that were issued before this time are revoked, Unix ms.
    pub(super) fn revoked_before(&self, user: &UserName) -> String {
        format!("{}:revoked", self.user(user))
    }

    /// STRING: when the ban of a user from the whole server ends, Unix ms.
    pub(super) fn banned(&self, user: &UserName) -> String {
        format!("{}:banned", self.user(user))
    }

    /// ZSET: the rooms with rights that a user has made, by their time.
    pub(super) fn made_rooms(&self, user: &UserName) -> String {
        format!("{}:made", self.user(user))
    }

    /// STRING: when all that a user has stored is paid for, microseconds by the clock of Redis.
    pub(super) fn rate(&self, payer: &Payer) -> String {
        let payer = match payer {
            Payer::User(user) => self.user(user),
            Payer::Address(address) => self.tag('a', &address.to_string()),
        };
        format!("{payer}:rate")
    }

    /// HASH: the delivery cursor of a user's private log.
    pub(super) fn cursor(&self, user: &UserName) -> String {
        format!("{}:cursor", self.user(user))
    }

    /// HASH and ZSET: a user's read markers in rooms, and the time of each marker's last move.
    pub(super) fn room_markers(&self, user: &UserName) -> [String; 2] {
        let user = self.user(user);
        [format!("{user}:read:rooms"), format!("{user}:read:rooms:moved")]
    }

    /// HASH and ZSET: the same for private conversations.
    pub(super) fn private_markers(&self, user: &UserName) -> [String; 2] {
        let user = self.user(user);
        [format!("{user}:read:users"), format!("{user}:read:users:moved")]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;

    fn keys() -> Keys {
        Keys::new("chat", ChannelNames::new(0, Arc::default()), Layout::Single)
    }

    fn room(name: &str) -> Topic {
        Topic::Room(RoomName::parse(name).unwrap())
    }

    /// Returns the part that Redis Cluster hashes: between the first `{` and the next `}`.
    fn hash_tag(key: &str) -> &str {
        let rest = &key[key.find('{').unwrap() + 1..];
        &rest[..rest.find('}').unwrap()]
    }

    #[test]
    fn different_names_have_different_hash_tags() {
        let names =
            ["a", "a}", "{a}", "a}{b", "a%7D%7Bb", "a%257D", "%", "%25", "a:b", "a:meta", "日本", "u:a"];
        let keys = keys();
        let mut tags = HashSet::new();
        for name in names {
            let user = Topic::User(UserName::parse(name).unwrap());
            for topic in [room(name), user] {
                let log = keys.log(&topic);
                let all = log.meta_and_stream().into_iter().chain(log.dedupe()).chain(log.rights());
                for key in all.chain([log.changes()]) {
                    assert_eq!(hash_tag(&key), hash_tag(&keys.channel(&topic)), "{key}");
                    assert!(key.starts_with("chat:{"), "{key}");
                }
                assert!(tags.insert(hash_tag(&keys.channel(&topic)).to_owned()), "{topic:?}");
            }
        }
    }

    proptest::proptest! {
        /// Names from a few characters, including the special ones, so that similar names are frequent.
        #[test]
        fn keys_are_equal_only_for_equal_names(one in "[a%{}:B7D日]{1,6}", other in "[a%{}:B7D日]{1,6}") {
            let keys = keys();
            let [one_key, other_key] = [&one, &other].map(|name| keys.channel(&room(name)));
            proptest::prop_assert_eq!(one == other, hash_tag(&one_key) == hash_tag(&other_key));
            let user = keys.channel(&Topic::User(UserName::parse(&one).unwrap()));
            proptest::prop_assert_ne!(hash_tag(&one_key), hash_tag(&user));
        }
    }

    #[test]
    fn plain_names_appear_unchanged_in_keys() {
        let keys = keys();
        assert_eq!(keys.log(&room("lobby")).meta_and_stream()[1], "chat:{r:lobby}:log");
        assert_eq!(keys.channel(&room("日本 %")), "chat:{r:日本 %25}");
    }
}
