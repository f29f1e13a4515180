//! How long the client sends nothing. Owns when it has to send something, so that the node does not take it for dead; sends
//! nothing itself. Held by the link.

use std::time::Duration;

use tokio::time::Instant;

/// The longest silence, and that of a client which was not told how long it may be silent.
const LONGEST: Duration = Duration::from_secs(20);

/// The shortest, whatever the node asks for.
const SHORTEST: Duration = Duration::from_millis(100);

/// The silence of one connection.
#[derive(Debug)]
pub(crate) struct Silence {
    most: Duration,
    until: Instant,
}

impl Silence {
    /// A connection is opened.
    pub(crate) fn new() -> Self {
        Self { most: LONGEST, until: Instant::now() + LONGEST }
    }

    /// The node closes a connection on which it hears nothing for this time. Half of it is left for what is sent to arrive.
    pub(crate) fn limit(&mut self, idle_timeout: Option<Duration>) {
        self.most = idle_timeout.map_or(LONGEST, |timeout| (timeout / 2).clamp(SHORTEST, LONGEST));
        self.until = self.until.min(Instant::now() + self.most);
    }

    /// Something was sent.
    pub(crate) fn ends(&mut self) {
        self.until = Instant::now() + self.most;
    }

    /// When something has to be sent.
    pub(crate) fn until(&self) -> Instant {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_lasts_half_of_what_the_node_allows() {
        let begin = Instant::now();
        let mut silence = Silence::new();
        assert_eq!(silence.until(), begin + LONGEST);
        for (idle_timeout, seconds) in
            [(None, 20.0), (Some(35.0), 17.5), (Some(0.0), 0.1), (Some(3_600.0), 20.0)]
        {
            let mut silence = Silence::new();
            silence.limit(idle_timeout.map(Duration::from_secs_f64));
            assert_eq!(silence.until(), begin + Duration::from_secs_f64(seconds), "{idle_timeout:?}");
        }
        silence.limit(Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(4)).await;
        silence.ends();
        assert_eq!(silence.until(), begin + Duration::from_secs(9));
    }
}
