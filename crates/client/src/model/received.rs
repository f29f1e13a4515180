//! What the node is told of private messages that were received. Owns when it is told; the position is that of the private
//! log. Called by the session and by the connection task, once somebody has a message.

use std::time::Instant;

use chatnode_protocol::requests::Ping;
use chatnode_protocol::{ClientMessage, Position, Request};

use super::{Effect, Model};

impl Model {
    /// The message at this position of the private log was handed on: to the program, or to whom shows it. From now on the
    /// node may take it, and all before it, as received.
    pub fn handed_on(&mut self, position: Position, now: Instant) {
        self.private_log.handed_on(position, now);
    }

    /// Tells the node if it is time, and if no other request has told it.
    pub(super) fn tell_received(&mut self, now: Instant) {
        if self.private_log.tell_at().is_some_and(|at| at <= now)
            && let Some(frame) = self.take_received()
        {
            self.effect(Effect::Send(frame));
        }
    }

    /// The frame that tells the node what it was not told yet.
    pub(crate) fn take_received(&mut self) -> Option<String> {
        if !self.is_live() || !self.connection.has::<Ping>() || self.private_log.tell_at().is_none() {
            return None;
        }
        Some(self.unanswered(&Ping { sender_username: Some(self.me.clone()) }))
    }

    /// Sends a request without an id, which the node does not answer.
    pub(super) fn tell<R: Request>(&mut self, request: &R) {
        let frame = self.unanswered(request);
        self.effect(Effect::Send(frame));
    }

    fn unanswered<R: Request>(&mut self, request: &R) -> String {
        let received = self.private_log.received();
        self.private_log.told();
        ClientMessage::encode(request, None, None, Some(&received))
    }
}
