//! `GroupChat` and `PrivateChat`. Owns who may publish where; storing is the node's business. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::chat::publisher::Submission;
use crate::protocol::requests::{GroupChat, PrivateChat, PublishAck};
use crate::protocol::{Extras, RequestId, Topic, UserName};

impl Handle for GroupChat {
    async fn handle(mut self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let extras = self.take_extras();
        let room = session.membership(self.room)?;
        session.node.rooms.check_may_speak(&room)?;
        let to = Topic::Room(room);
        let body = publish(session, id, &self.sender_username, &to, &self.content, &extras).await?;
        Ok(ack::<Self>(id, &body))
    }
}

impl Handle for PrivateChat {
    async fn handle(mut self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        session.bind_quietly(&self.sender_username).await?;
        let extras = self.take_extras();
        let to = Topic::User(self.target_username);
        let body = publish(session, id, &self.sender_username, &to, &self.content, &extras).await?;
        Ok(ack::<Self>(id, &body))
    }
}

async fn publish(
    session: &mut Session,
    id: Id<'_>,
    sender: &UserName,
    to: &Topic,
    content: &str,
    extras: &Extras,
) -> Result<PublishAck> {
    let payer = &session.payer(sender);
    let message_id = session.span.message_id();
    let (asker, client_id) = (&session.asker(sender, to.room()), id.map(RequestId::as_str));
    let from = Submission { sender, to, client_id, payer: Some(payer), message_id, asker };
    let stored = session.node.publish(&from, content, extras).await?;
    session.span.stored(stored.position.message_id, stored.duplicate);
    if !stored.duplicate {
        session.node.sent.note(sender, to, stored.position);
    }
    session.node.registry.write_soon(session.outbox());
    Ok(PublishAck {
        message_id: stored.position.message_id,
        epoch: stored.position.epoch,
        seq: stored.position.seq,
        sent_at: stored.sent_at,
        duplicate: stored.duplicate,
    })
}
