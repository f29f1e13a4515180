//! `Rooms`. Owns nothing but the order of its steps: `chat::members` reads the page. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session};
use crate::protocol::encode;
use crate::protocol::requests::{ListedRoom, Rooms, RoomsAck};

impl Handle for Rooms {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        session.bind_quietly(&self.sender_username).await?;
        let owner = session.owner(&self.sender_username);
        session.outbox().has_page_room().await;
        let bytes = session.list_bytes(None);
        let node = session.node.clone();
        let listed = node.rooms.listed();
        let page = node.members.listed(listed, self.after.as_ref(), self.limit, bytes, owner).await?;
        session.owe(page.rooms.iter().map(|size| size.room.as_str().len()).sum());
        let rooms = page.rooms.into_iter().map(|size| ListedRoom { room: size.room, count: size.count });
        let body = RoomsAck { rooms: rooms.collect(), more: page.more };
        Ok(session.page(id.map(|id| encode::ack::<Self>(id, &body))))
    }
}
