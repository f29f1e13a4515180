//! `Ping`. Owns its answer, which touches nothing. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::protocol::requests::{Ping, PingAck};

impl Handle for Ping {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let idle_timeout_ms = Some(session.durations().idle_timeout_ms);
        Ok(ack::<Self>(id, &PingAck { sender_username: session.token_owner().cloned(), idle_timeout_ms }))
    }
}
