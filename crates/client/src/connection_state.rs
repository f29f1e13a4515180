//! What the model knows of its connection. Owns whether the user is signed in, and what the node knows; does not know the
//! socket. Held by the model.

use std::time::{Duration, Instant};

use chatnode_protocol::Request;
use chatnode_protocol::requests::Features;

use crate::reason::LostReason;

/// The state of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// There was no connection yet.
    Connecting,
    /// It is open, and the node has not signed the user in yet.
    SigningIn,
    /// The user is signed in.
    Live,
    /// It is lost; the next attempt starts at this time.
    Waiting(Instant, LostReason),
}

/// The connection, and the node at its other end.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    connection: Connection,
    /// What the node knows; after a loss, what the last one knew.
    features: Features,
    /// How long the node lets the client be silent. `None` if it does not say so, as older nodes.
    idle_timeout: Option<Duration>,
}

impl ConnectionState {
    /// No connection yet.
    pub(crate) fn new() -> Self {
        Self { connection: Connection::Connecting, features: Features::default(), idle_timeout: None }
    }

    pub(crate) fn get(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn features(&self) -> &Features {
        &self.features
    }

    /// Whether the user is signed in.
    pub(crate) fn is_live(&self) -> bool {
        self.connection == Connection::Live
    }

    /// Whether the node knows a request.
    pub(crate) fn has<R: Request>(&self) -> bool {
        self.features.has_request::<R>()
    }

    /// A connection is open.
    pub(crate) fn opened(&mut self) {
        self.connection = Connection::SigningIn;
    }

    /// How long the node lets the client be silent.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// The user is signed in, at a node that lists these features and lets clients be silent for so many milliseconds.
    pub(crate) fn signed_in(&mut self, features: Features, idle_timeout_ms: Option<u64>) {
        self.idle_timeout = idle_timeout_ms.map(Duration::from_millis);
        let has_list = features.iter().next().is_some();
        self.features = if has_list { features } else { Features::before_list() };
        self.connection = Connection::Live;
    }

    /// The connection is lost; the next attempt starts at this time.
    pub(crate) fn lost(&mut self, reason: LostReason, until: Instant) {
        self.connection = Connection::Waiting(until, reason);
    }
}

#[cfg(test)]
mod tests {
    use chatnode_protocol::requests::{Auth, Edit, History};
    use serde_json::json;

    use super::*;

    #[test]
    fn connection_is_live_from_sign_in_to_its_loss() {
        let (mut state, now) = (ConnectionState::new(), Instant::now());
        assert_eq!(state.get(), &Connection::Connecting);
        state.opened();
        assert!(!state.is_live() && state.get() == &Connection::SigningIn);
        state.signed_in(Features::all(), Some(35_000));
        assert!(state.is_live());
        assert_eq!(state.idle_timeout(), Some(Duration::from_secs(35)));
        state.lost(LostReason::NoAnswer, now);
        assert!(!state.is_live());
        assert_eq!(state.get(), &Connection::Waiting(now, LostReason::NoAnswer));
        assert_eq!(state.features(), &Features::all(), "the last node's");
    }

    #[test]
    fn node_without_a_list_of_features_knows_no_changes() {
        let mut state = ConnectionState::new();
        assert!(!state.has::<History>());
        state.signed_in(serde_json::from_value(json!(["auth"])).unwrap(), None);
        assert!(state.has::<Auth>() && !state.has::<History>());
        state.signed_in(Features::default(), None);
        assert!(state.has::<History>() && !state.has::<Edit>());
    }
}
