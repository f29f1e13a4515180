//! What users and rooms may be called, and how Redis keys spell it.
//!
//! Holds: a name that was accepted is accepted again as it is, whatever is put round it; nobody's keys are another's; all keys
//! of one topic or user are in its one hash tag, and in the prefix.
#![no_main]

use std::collections::HashSet;

use arbitrary::Arbitrary;
use chatnode::{backend, protocol};
use libfuzzer_sys::fuzz_target;

// The source itself: how keys are spelled is nobody's business but the Redis backend's, and stays private there.
#[path = "../../src/backend/redis/keys.rs"]
#[expect(dead_code, reason = "of all keys only those with names in them are tried")]
mod keys;

use keys::Keys;
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
    let keys = Keys::new(PREFIX);
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

/// The name, if it is one.
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
    for dressed in [name.clone(), format!(" {name}\t"), format!("\n{name}\u{3000}")] {
        assert_eq!(UserName::parse(&dressed).unwrap().as_str(), name, "{text:?} is not the same twice");
    }
    let json = serde_json::to_string(&name).unwrap();
    assert_eq!(serde_json::from_str::<UserName>(&json).unwrap().as_str(), name);
    Some(name)
}

/// All keys with the name in them: the room's, and the user's; the channel first.
fn owned(keys: &Keys, name: &str) -> [Vec<String>; 2] {
    let (room, user) = (RoomName::parse(name).unwrap(), UserName::parse(name).unwrap());
    let (room_topic, user_topic) = (Topic::Room(room.clone()), Topic::User(user.clone()));
    let mut of_room = vec![keys.channel(&room_topic), keys.members(&room), keys.holders(&room)];
    of_room.extend(keys.log(&room_topic).all());
    let mut of_user = vec![keys.channel(&user_topic), keys.tokens(&user), keys.cursor(&user)];
    of_user.extend(keys.log(&user_topic).all());
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

/// The part that Redis Cluster hashes: between the first `{` and the next `}`.
fn hash_tag(key: &str) -> &str {
    let rest = &key[key.find('{').unwrap() + 1..];
    &rest[..rest.find('}').unwrap()]
}
