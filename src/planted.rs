//! Flaws on purpose, so that the history checker can be shown to find them. Owns which flaw this process has: none, unless
//! it was built with the feature `planted-faults` and told by `CHATNODE_PLANTED_FAULT`; without the feature every
//! question is a constant `false`, and nothing of this is in the program. Asked at the one place where each flaw would be.

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
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

#[cfg(not(feature = "planted-faults"))]
mod choice {
    use super::Flaw;

    /// Whether this process has the flaw: never.
    pub(crate) const fn is(_: Flaw) -> bool {
        false
    }

    /// Every so many calls: never.
    pub(crate) const fn one_in(_: u64) -> bool {
        false
    }
}

#[cfg(feature = "planted-faults")]
mod choice {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Flaw;

    /// Whether this process has the flaw.
    pub(crate) fn is(flaw: Flaw) -> bool {
        static PLANTED: OnceLock<Option<Flaw>> = OnceLock::new();
        *PLANTED.get_or_init(|| {
            let name = std::env::var("CHATNODE_PLANTED_FAULT").ok()?;
            tracing::warn!(flaw = name, "this node has a flaw on purpose");
            named(&name)
        }) == Some(flaw)
    }

    /// True for every so many calls.
    pub(crate) fn one_in(count: u64) -> bool {
        static CALLS: AtomicU64 = AtomicU64::new(1);
        CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(count)
    }

    fn named(name: &str) -> Option<Flaw> {
        Some(match name {
            "drop_live" => Flaw::DropLive,
            "ack_first" => Flaw::AckFirst,
            "read_first" => Flaw::ReadFirst,
            "no_dedupe" => Flaw::NoDedupe,
            "ignore_epoch" => Flaw::IgnoreEpoch,
            "ignore_prev" => Flaw::IgnorePrev,
            "no_catch_up" => Flaw::NoCatchUp,
            "no_lease" => Flaw::NoLease,
            "trust_name" => Flaw::TrustName,
            "local_revoke" => Flaw::LocalRevoke,
            _ => return None,
        })
    }
}

pub(crate) use choice::{is, one_in};
