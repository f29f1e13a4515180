//! Lua scripts. Owns their texts and hashes; does not know their meaning. Called by the command connections and the pool,
//! which run them.
//!
//! `redis::Script` is not used: after NOSCRIPT it loads and runs in two round trips, and it builds each call from nested
//! vectors. Here a call is packed once, and one `EVAL` after NOSCRIPT loads and runs the script.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::LazyLock;

use redis::Cmd;
use sha1::{Digest, Sha1};

use crate::failpoints::{self, Failpoint};

/// A script.
pub(super) struct Script {
    text: String,
    hash: String,
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let text = parts.concat();
        let mut hash = String::with_capacity(40);
        for byte in Sha1::digest(text.as_bytes()) {
            write!(hash, "{byte:02x}").expect("writing to a string can't fail");
        }
        Self { text, hash }
    }

    /// Calls the script by its hash. `fill` appends `keys` keys, then the arguments.
    pub(super) fn by_hash(&self, keys: usize, fill: &dyn Fn(&mut Cmd)) -> Cmd {
        call("EVALSHA", &self.hash, keys, fill)
    }

    /// Calls the script by its text, for a server that does not know the hash.
    pub(super) fn by_text(&self, keys: usize, fill: &dyn Fn(&mut Cmd)) -> Cmd {
        call("EVAL", &self.text, keys, fill)
    }

    /// Loads the script into the server.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }
}

fn call(verb: &str, script: &str, keys: usize, fill: &dyn Fn(&mut Cmd)) -> Cmd {
    let mut command = redis::cmd(verb);
    command.arg(script).arg(keys);
    fill(&mut command);
    command
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($file:literal),+;)+) => {
        $(
            $(#[$doc])*
            pub(super) static $name: LazyLock<Script> =
                LazyLock::new(|| Script::new(&[$(include_str!(concat!("scripts/", $file))),+]));
        )+
    };
}

/// What empties the records of an ended window in `publish.lua`: the key never goes away.
const EMPTY_RECORDS: &str = "redis.call('COPY', log.meta, hash, 'REPLACE')";

/// Text of `publish.lua`.
fn publish_text() -> Cow<'static, str> {
    let text = include_str!("scripts/publish.lua");
    if failpoints::is(Failpoint::RotateLate) {
        return text.replace(EMPTY_RECORDS, "redis.call('DEL', hash)").into();
    }
    text.into()
}

/// Appends messages to one or two logs each, and publishes them.
pub(super) static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(&[
        include_str!("scripts/state.lua"),
        include_str!("scripts/rights.lua"),
        include_str!("scripts/append.lua"),
        include_str!("scripts/log.lua"),
        include_str!("scripts/change.lua"),
        &publish_text(),
    ])
});

/// The scripts that the command connections load before their first use.
pub(super) static ON_COMMAND_CONNECTIONS: [&LazyLock<Script>; 5] = [&PUBLISH, &HISTORY, &ADD, &REMOVE, &MARK];

scripts! {
    /// Reads a page of a log.
    HISTORY = "state.lua", "log.lua", "history.lua";
    /// Counts what a user has not read of a log.
    UNREAD = "state.lua", "log.lua", "unread.lua";
    /// Reads what a user is in a room with rights.
    RIGHTS_OF = "rights_of.lua";
    /// Notes that a user makes a room.
    CLAIM_ROOM = "claim_room.lua";
    /// Adds users to a room.
    ADD = "add.lua";
    /// Removes a user from a room.
    REMOVE = "remove.lua";
    /// Reads a page of a room's members.
    MEMBERS = "members.lua";
    /// Reads a page of the rooms that an incarnation holds.
    ROOMS = "rooms.lua";
    /// Acquires, renews, claims and deletes leases.
    LEASE = "lease.lua";
    /// Stores a token.
    TOKEN = "token.lua";
    /// Revokes signed tokens.
    REVOKE = "revoke.lua";
    /// Changes the offset of the common time.
    CLOCK = "clock.lua";
    /// Moves a marker forward.
    MARK = "mark.lua";
    /// Leases requests of a user.
    RATE = "rate.lua";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliberate_flaw_finds_its_place_in_the_script() {
        assert_eq!(publish_text().matches(EMPTY_RECORDS).count(), 1);
    }
}
