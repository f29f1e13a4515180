//! Flaws on purpose, so that the history checker can be shown to find them. Owns which flaw this process has: none, unless
//! it was built with the feature `failpoints` and told by `CHATNODE_FAILPOINT`; without the feature every
//! question is a constant `false`, and nothing of this is in the program. Asked at the one place where each flaw would be.

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failpoint {
    /// One of a thousand live messages is not pushed to a member.
    DropLive,
    /// A publish is acknowledged whether the store has it or not.
    AckFirst,
    /// A topic is read before it is subscribed to, and its first live message is taken for the next.
    ReadFirst,
    /// A repeat is stored again.
    NoDedupe,
    /// A position of another epoch counts.
    IgnoreEpoch,
    /// The message before does not count.
    IgnorePrev,
    /// Nothing is read back after the subscriptions were lost.
    NoCatchUp,
    /// A dead node's lease does not end.
    NoLease,
    /// The name in the request counts, not the token's.
    TrustName,
    /// A revocation is for the node that was told.
    LocalRevoke,
}

#[cfg(not(feature = "failpoints"))]
mod choice {
    use super::Failpoint;

    /// Whether this process has the flaw: never.
    pub(crate) const fn is(_: Failpoint) -> bool {
        false
    }

    /// Every so many calls: never.
    pub(crate) const fn one_in(_: u64) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod choice {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Failpoint;

    /// Whether this process has the flaw.
    pub(crate) fn is(flaw: Failpoint) -> bool {
        static PLANTED: OnceLock<Option<Failpoint>> = OnceLock::new();
        *PLANTED.get_or_init(|| {
            let name = std::env::var("CHATNODE_FAILPOINT").ok()?;
            tracing::warn!(flaw = name, "this node has a flaw on purpose");
            named(&name)
        }) == Some(flaw)
    }

    /// True for every so many calls.
    pub(crate) fn one_in(count: u64) -> bool {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(count)
    }

    fn named(name: &str) -> Option<Failpoint> {
        Some(match name {
            "drop_live" => Failpoint::DropLive,
            "ack_first" => Failpoint::AckFirst,
            "read_first" => Failpoint::ReadFirst,
            "no_dedupe" => Failpoint::NoDedupe,
            "ignore_epoch" => Failpoint::IgnoreEpoch,
            "ignore_prev" => Failpoint::IgnorePrev,
            "no_catch_up" => Failpoint::NoCatchUp,
            "no_lease" => Failpoint::NoLease,
            "trust_name" => Failpoint::TrustName,
            "local_revoke" => Failpoint::LocalRevoke,
            _ => return None,
        })
    }
}

pub(crate) use choice::{is, one_in};
