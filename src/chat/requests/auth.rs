//! `Auth`. Owns what it does on a connection that is bound already; binding is the session's. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack, unready};
use crate::chat::join::Joined;
use crate::protocol::encode;
use crate::protocol::requests::{Auth, AuthAck};

impl Handle for Auth {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let Self { sender_username: user, since } = self;
        let read = session.node.backend.markers.private_markers(&user).await?.into_iter().collect();
        let dedupe_ms = session.dedupe_ms();
        if let Some(bound) = &session.bound {
            let top = bound.inbox.hold.topic.top().ok_or_else(unready)?;
            let joined = Session::joined(dedupe_ms, &Joined { top, recovery: None }, true);
            return Ok(ack::<Self>(id, &AuthAck { joined, read }));
        }
        let outbox = session.outbox().clone();
        let queue_ack = |joined: &Joined| {
            if let Some(id) = id {
                let joined = Session::joined(dedupe_ms, joined, false);
                outbox.reply(encode::ack::<Self>(id, &AuthAck { joined, read }));
            }
        };
        session.bind(&user, since, queue_ack).await?;
        Ok(Reply::Done)
    }
}
