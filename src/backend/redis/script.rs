//! The Lua scripts. Owns their texts and hashes; does not know what they mean. Called by the link and the pool, which
//! run them.
//!
//! Not `redis::Script`: it answers NOSCRIPT by loading and sending again in two steps, and builds each call from
//! vectors of vectors. Here a call is packed once, and the answer to NOSCRIPT is one `EVAL`, which loads and runs.

use std::fmt::Write;
use std::sync::LazyLock;

use redis::Cmd;
use sha1::{Digest, Sha1};

/// One script.
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

    /// A call of the script that the server knows by its hash. `fill` appends `keys` keys, then the arguments.
    pub(super) fn by_hash(&self, keys: usize, fill: &impl Fn(&mut Cmd)) -> Cmd {
        call("EVALSHA", &self.hash, keys, fill)
    }

    /// The same call, for a server that has forgotten the script.
    pub(super) fn by_text(&self, keys: usize, fill: &impl Fn(&mut Cmd)) -> Cmd {
        call("EVAL", &self.text, keys, fill)
    }

    /// Makes the server know it.
    pub(super) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }
}

fn call(verb: &str, script: &str, keys: usize, fill: &impl Fn(&mut Cmd)) -> Cmd {
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

scripts! {
    /// Appends and publishes.
    PUBLISH = "log.lua", "publish.lua";
    /// Reads a page of a log.
    HISTORY = "log.lua", "history.lua";
    /// Enters users into a room.
    ADD = "add.lua";
    /// Takes a user out of a room.
    REMOVE = "remove.lua";
    /// Reads a piece of a room's members.
    MEMBERS = "members.lua";
    /// Takes and renews leases, and everything else that happens to them.
    LEASE = "lease.lua";
    /// Keeps a token.
    TOKEN = "token.lua";
    /// Moves a marker forward.
    MARK = "mark.lua";
}
