//! Whether somebody is at the other end of a connection. Owns what a connection's requests say about that; who is shown to
//! whom is the business of `presence`. Used by the session.
//!
//! A program that answers pings runs. A browser answers pings also for a page whose scripts do not run, because the user has
//! left it. So a page that is known to send requests by itself has to go on doing so.

use std::time::Duration;

use tokio::time::Instant;

/// The pause before the user is shown as present again, if that failed: it costs the store a change for each room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// A page in a browser.
    Browser,
    /// Anything else.
    Program,
}

/// What is known of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client is no page, or one that may know only the four core requests: silence says nothing.
    Connected,
    /// The page sent its last request at this time.
    Active(Instant),
    /// The page sent nothing for too long. From this time on, a request makes its user present again.
    Away(Instant),
}

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    kind: ClientKind,
    state: State,
}

impl Activity {
    pub(super) fn new(kind: ClientKind) -> Self {
        Self { kind, state: State::Connected }
    }

    /// A request came; `is_regular` if only pages that send requests regularly send it. True if the user, who was away,
    /// has to be made present again: report the success with [`Activity::returned`].
    pub(super) fn request(&mut self, now: Instant, is_regular: bool) -> bool {
        match self.state {
            State::Connected if self.kind == ClientKind::Browser && is_regular => {
                self.state = State::Active(now);
                false
            }
            State::Connected => false,
            State::Active(_) => {
                self.state = State::Active(now);
                false
            }
            State::Away(from) if now < from => false,
            State::Away(_) => {
                self.state = State::Away(now + RETRY_AFTER);
                true
            }
        }
    }

    /// The user is present again.
    pub(super) fn returned(&mut self, now: Instant) {
        self.state = State::Active(now);
    }

    /// When the user no longer counts as present, if nothing comes until then.
    pub(super) fn away_at(&self, after: Duration) -> Option<Instant> {
        match self.state {
            State::Active(last) => Some(last + after),
            State::Connected | State::Away(_) => None,
        }
    }

    /// The user no longer counts as present.
    pub(super) fn leave(&mut self, now: Instant) {
        self.state = State::Away(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(150);

    #[tokio::test(start_paused = true)]
    async fn only_a_page_with_regular_requests_can_be_away() {
        let now = Instant::now();
        for (kind, is_regular) in
            [(ClientKind::Program, true), (ClientKind::Program, false), (ClientKind::Browser, false)]
        {
            let mut activity = Activity::new(kind);
            assert!(!activity.request(now, is_regular));
            assert_eq!(activity.away_at(AFTER), None, "{kind:?} {is_regular}");
        }
        let mut page = Activity::new(ClientKind::Browser);
        assert!(!page.request(now, true));
        let later = now + Duration::from_secs(20);
        assert!(!page.request(later, false));
        assert_eq!(page.away_at(AFTER), Some(later + AFTER));
    }

    #[tokio::test(start_paused = true)]
    async fn user_returns_with_the_next_request() {
        let (mut page, now) = (Activity::new(ClientKind::Browser), Instant::now());
        page.request(now, true);
        page.leave(now);
        assert_eq!(page.away_at(AFTER), None);
        assert!(page.request(now, false));
        assert!(!page.request(now, false), "the attempt failed a moment ago");
        let later = now + RETRY_AFTER;
        assert!(page.request(later, false));
        page.returned(later);
        assert!(!page.request(later, false));
        assert_eq!(page.away_at(AFTER), Some(later + AFTER));
    }
}
