//! Deliberate flaws, to show that the history checker finds them. Owns the list of their names, which the node and the
//! checker share, and which flaw this process has. That is none, unless it was built with the feature `failpoints` and
//! `CHATNODE_FAILPOINT` names one: without the feature every question is a constant `false`, and no flaw is in the
//! program. Each flaw stands where it asks here: those that a store can show in `backend::flawed_broker`,
//! the others in the layer that would prevent them.

use clap::ValueEnum;

/// What can be wrong with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Failpoint {
    /// One of a thousand live messages is not pushed to a member.
    DropLive,
    /// A publish is acknowledged although the store does not have it.
    AckFirst,
    /// A topic is read before it is subscribed to, and what is published in between is skipped.
    ReadFirst,
    /// A repeated publish is stored again.
    NoDedupe,
    /// A position of another epoch counts.
    IgnoreEpoch,
    /// The id of the message before is not compared.
    IgnorePrev,
    /// Nothing is read back after messages were missed.
    NoCatchUp,
    /// The name in a request counts, not the token's.
    TrustName,
    /// After a stall, a server that calls itself master is believed, whatever the Sentinels say, and a late answer counts.
    TrustStall,
    /// The dedupe records of an ended window are deleted after the message is stored, so that a server whose slot is moving fails the
    /// write of the new record.
    RotateLate,
    /// A revocation of a user's tokens stays on the node that was asked for it.
    LocalRevoke,
    /// A page of history is the one that the node read the last time.
    StalePage,
    /// Who asks has the rights of the server API.
    IgnoreRights,
    /// A member is not taken out at the entry that says so.
    KeepMembers,
}

impl Failpoint {
    /// The value of `CHATNODE_FAILPOINT`.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

#[cfg(not(feature = "failpoints"))]
mod choice {
    use super::Failpoint;

    /// Whether this process has the flaw: never.
    pub(crate) const fn is(_: Failpoint) -> bool {
        false
    }

    /// True once in so many calls: never.
    pub(crate) const fn one_in(_: u64) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod choice {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use clap::ValueEnum;

    use super::Failpoint;

    /// Whether this process has the flaw.
    pub(crate) fn is(failpoint: Failpoint) -> bool {
        static CHOSEN: OnceLock<Option<Failpoint>> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let name = std::env::var("CHATNODE_FAILPOINT").ok()?;
            tracing::warn!(failpoint = name, "this node has a deliberate flaw");
            Failpoint::from_str(&name, false).ok()
        }) == Some(failpoint)
    }

    /// True once in so many calls.
    pub(crate) fn one_in(count: u64) -> bool {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(count)
    }
}

pub(crate) use choice::{is, one_in};
