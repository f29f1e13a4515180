//! `Leave`. Owns the order of its steps; telling the members is the business of `presence`. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::chat::error::RequestError;
use crate::chat::membership::Membership;
use crate::protocol::ErrorCode;
use crate::protocol::requests::{Leave, LeaveAck};

impl Handle for Leave {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let room = session.membership(self.room)?;
        let Some(Membership { member, present }) = session.rooms.shift_remove(&room) else {
            return Err(RequestError::new(ErrorCode::Internal, "the room was left while it was being left"));
        };
        // Out of the fan-out first: the client sees neither its own `Leave` nor anything after the `Ack`.
        drop(member);
        if let Some(present) = present
            && let Err(error) = session.node.presence.leave(present).await
        {
            // The connection has left, and can't do so again. The store learns of it with the next heartbeat that it
            // answers; an error would only have the client repeat what is `not_in_room` by now.
            tracing::debug!(%error, "a departure waits for the store");
        }
        Ok(ack::<Self>(id, &LeaveAck { room }))
    }
}
