//! Names of users and rooms, and their form in Redis keys.
//!
//! Checks: an accepted name is accepted again unchanged, also with white space around it; two names never share a key; all
//! keys of a topic or user have the same hash tag and start with the prefix.
#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use chatnode::{backend, protocol};
use libfuzzer_sys::fuzz_target;

// The source files themselves: the format of keys stays private to the Redis backend.
#[path = "../../src/backend/redis/channel_names.rs"]
#[expect(dead_code, reason = "only keys are tested")]
mod channel_names;
#[path = "../../src/backend/redis/format_level.rs"]
#[expect(dead_code, reason = "only keys are tested")]
mod format_level;
#[path = "../../src/backend/redis/keys.rs"]
#[expect(dead_code, reason = "only keys that contain names are tested")]
mod keys;
#[path = "../../src/backend/redis/slot.rs"]
#[expect(dead_code, reason = "only keys are tested")]
mod slot;

use backend::Payer;
use channel_names::ChannelNames;
use keys::{Keys, Layout};
use protocol::{MAX_NAME_CHARS, RoomName, Topic, UserName};

const PREFIX: &str = "chat";

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    one: &'a str,
    other: &'a str,
}

fuzz_target!(|input: Input<'_>| {
    let accepted = [input.one, input.other].map(accept);
    let [Some(one), Some(other)] = accepted else { return };
    let keys = Keys::new(PREFIX, ChannelNames::new(0, Default::default()), Layout::Single);
    let (mine, others) = (owned(&keys, &one), owned(&keys, &other));
    if one == other {
        assert_eq!(mine, others);
        return;
    }
    let distinct: HashSet<&String> = mine.iter().chain(&others).flatten().collect();
    assert_eq!(
        distinct.len(),
        mine.iter().chain(&others).map(Vec::len).sum::<usize>(),
        "{one:?} and {other:?} share a key"
    );
    assert!(mine.iter().all(|of| others.iter().all(|them| hash_tag(&of[0]) != hash_tag(&them[0]))));
});

/// Returns the normalised name, if the text is a valid name.
fn accept(text: &str) -> Option<String> {
    let user = UserName::parse(text);
    let room = RoomName::parse(text);
    assert_eq!(user.as_ref().map(UserName::as_str), room.as_ref().map(RoomName::as_str));
    let name = match user {
        Ok(user) => user.as_str().to_owned(),
        Err(refused) => {
            assert!(refused.to_string().len() < 100, "{refused}");
            return None;
        }
    };
    assert!((1..=MAX_NAME_CHARS).contains(&name.chars().count()));
    assert_eq!(name.trim(), name);
    assert!(!name.contains(['\n', '\r', '\0', '\u{feff}', '\u{202e}']));
    for padded in [name.clone(), format!(" {name}\t"), format!("\n{name}\u{3000}")] {
        assert_eq!(
            UserName::parse(&padded).unwrap().as_str(),
            name,
            "{text:?} changes when it is parsed again"
        );
    }
    let json = serde_json::to_string(&name).unwrap();
    assert_eq!(serde_json::from_str::<UserName>(&json).unwrap().as_str(), name);
    Some(name)
}

/// Returns all keys that contain the name, of the room and of the user. The channel comes first.
fn owned(keys: &Keys, name: &str) -> [Vec<String>; 2] {
    let (room, user) = (RoomName::parse(name).unwrap(), UserName::parse(name).unwrap());
    let (room_topic, user_topic) = (Topic::Room(room.clone()), Topic::User(user.clone()));
    let mut of_room = vec![keys.channel(&room_topic), keys.members(&room), keys.holders(&room)];
    of_room.extend(log_keys(keys, &room_topic));
    let mut of_user = vec![keys.channel(&user_topic), keys.tokens(&user), keys.cursor(&user)];
    of_user.extend([
        keys.rate(&Payer::User(user.clone())),
        keys.made_rooms(&user),
        keys.revoked_before(&user),
    ]);
    of_user.extend(log_keys(keys, &user_topic));
    of_user.extend(keys.room_markers(&user));
    of_user.extend(keys.private_markers(&user));
    for (of_one, kind) in [(&of_room, "r:"), (&of_user, "u:")] {
        for key in of_one {
            assert!(key.starts_with(&format!("{PREFIX}:{{{kind}")), "{key}");
            assert_eq!(hash_tag(key), hash_tag(&of_one[0]), "{key}");
            assert_eq!(key.matches(['{', '}']).count(), 2, "{key}");
        }
    }
    [of_room, of_user]
}

/// All keys of a log.
fn log_keys(keys: &Keys, topic: &Topic) -> Vec<String> {
    let log = keys.log(topic);
    log.meta_and_stream().into_iter().chain(log.dedupe()).chain([log.changes()]).collect()
}

/// Returns the part that Redis Cluster hashes: between the first `{` and the next `}`.
fn hash_tag(key: &str) -> &str {
    let rest = &key[key.find('{').unwrap() + 1..];
    &rest[..rest.find('}').unwrap()]
}
