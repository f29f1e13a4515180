//! `Members`. Owns that only members may ask; the list is the business of `chat::members`. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session};
use crate::protocol::requests::{Members, MembersAck};
use crate::protocol::{Topic, encode};

impl Handle for Members {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let room = session.membership(self.room)?;
        let owner = Some(session.owner(&self.sender_username));
        session.outbox().has_page_room().await;
        let bytes = session.list_bytes(self.max_bytes);
        let read = session.node.members.read(&room, self.after.as_ref(), self.limit, bytes, owner).await?;
        session.owe(read.bytes_read);
        let topic = session.local_log(&Topic::Room(room.clone()));
        if topic.is_some_and(|topic| topic.has_rights()) {
            session.check_may_read(&room, &self.sender_username).await?;
        }
        let page = read.page;
        let body = MembersAck { room, members: page.members, count: page.count, more: page.more };
        Ok(session.page(id.map(|id| encode::ack::<Self>(id, &body))))
    }
}
