//! `GroupChat` and `PrivateChat`. Owns who may publish where; storing is the node's business. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::protocol::requests::{GroupChat, PrivateChat, PublishAck};
use crate::protocol::{RequestId, Topic, UserName};

impl Handle for GroupChat {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let room = session.membership(self.room)?;
        session.node.rooms.check_may_speak(&room)?;
        let body = publish(session, id, &self.sender_username, &Topic::Room(room), &self.content).await?;
        Ok(ack::<Self>(id, &body))
    }
}

impl Handle for PrivateChat {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        session.bind_quietly(&self.sender_username).await?;
        let topic = Topic::User(self.target_username);
        let body = publish(session, id, &self.sender_username, &topic, &self.content).await?;
        Ok(ack::<Self>(id, &body))
    }
}

async fn publish(
    session: &mut Session,
    id: Id<'_>,
    sender: &UserName,
    topic: &Topic,
    content: &str,
) -> Result<PublishAck> {
    let owner = Some(session.owner(sender));
    let message_id = session.span.message_id();
    let id = id.map(RequestId::as_str);
    let stored = session.node.publish(sender, topic, content, id, owner, message_id).await?;
    session.span.stored(stored.position.message_id, stored.duplicate);
    session.node.registry.write_soon(session.outbox());
    Ok(PublishAck {
        message_id: stored.position.message_id,
        epoch: stored.position.epoch,
        seq: stored.position.seq,
        sent_at: stored.sent_at,
        duplicate: stored.duplicate,
    })
}
