//! `Members`. Owns that only members may ask; the list is the business of `chat::members`. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::protocol::requests::{Members, MembersAck};

impl Handle for Members {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let room = session.membership(self.room)?;
        let page = session.node.members.page(&room, self.after.as_ref(), self.limit).await?;
        let body = MembersAck { room, members: page.members, count: page.count, more: page.more };
        Ok(ack::<Self>(id, &body))
    }
}
