//! Whether the client is in a room. Owns the steps from outside to inside and back; does not know the room or the request.
//! Held by the conversation.

use std::time::Instant;

/// Whether the client is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// It is not, and will enter it, not before this time.
    Out(Option<Instant>),
    /// The request to enter is on its way.
    Entering,
    /// It is.
    In,
    /// The node refused it.
    Refused,
}

impl Membership {
    /// Starts to enter the room. False if it is not time, or if the client entered it before.
    pub(crate) fn enter(&mut self, now: Instant) -> bool {
        let is_due = matches!(*self, Self::Out(at) if at.is_none_or(|at| at <= now));
        if is_due {
            *self = Self::Entering;
        }
        is_due
    }

    /// When the client enters the room, if it has to wait until then.
    pub(crate) fn waits_until(self) -> Option<Instant> {
        match self {
            Self::Out(at) => at,
            Self::Entering | Self::In | Self::Refused => None,
        }
    }

    /// Whether the client is in the room, or the request to enter is on its way.
    pub(crate) fn is_in_or_entering(self) -> bool {
        matches!(self, Self::In | Self::Entering)
    }

    /// The connection is lost: the next one enters the room, unless the node refused that.
    pub(crate) fn lost(&mut self) {
        if *self != Self::Refused {
            *self = Self::Out(None);
        }
    }

    /// The user wants to enter the room, even if the node refused that before.
    pub(crate) fn retry(&mut self) {
        if *self == Self::Refused {
            *self = Self::Out(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn room_is_entered_once_and_at_its_time() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut membership = Membership::Out(Some(later));
        assert_eq!(membership.waits_until(), Some(later));
        assert!(!membership.enter(now));
        assert!(membership.enter(later) && !membership.enter(later));
        assert_eq!((membership, membership.waits_until()), (Membership::Entering, None));
        assert!(membership.is_in_or_entering() && Membership::In.is_in_or_entering());
        assert!(!Membership::Out(None).is_in_or_entering() && !Membership::Refused.is_in_or_entering());
    }

    #[test]
    fn refusal_outlives_the_connection_but_not_the_next_attempt() {
        let mut membership = Membership::Refused;
        membership.lost();
        assert!(!membership.enter(Instant::now()));
        membership.retry();
        assert_eq!(membership, Membership::Out(None));
        for mut membership in [Membership::In, Membership::Entering] {
            let before = membership;
            membership.retry();
            assert_eq!(membership, before);
            membership.lost();
            assert_eq!(membership, Membership::Out(None));
        }
    }
}
