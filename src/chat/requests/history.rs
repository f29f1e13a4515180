//! `History`. Owns whose log is read; the page is made by `chat::history`. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session};
use crate::backend::PageLimit;
use crate::protocol::requests::History;
use crate::protocol::{Topic, encode};

impl Handle for History {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let owner = session.owner(&self.sender_username);
        let reader = self.sender_username.clone();
        let (topic, peer) = match session.addressed(self.topic)? {
            room @ Topic::Room(_) => (room, None),
            Topic::User(peer) => {
                session.bind_quietly(&self.sender_username).await?;
                (Topic::User(self.sender_username), Some(peer))
            }
        };
        session.outbox().has_page_room().await;
        let pages = &session.node.history;
        let limit = PageLimit { messages: self.limit, bytes: session.list_bytes(self.max_bytes) };
        let by = (Some(&reader), Some(owner));
        let page = pages.conversation(&topic, peer.as_ref(), self.before, limit, by).await?;
        session.owe(page.bytes_read);
        Ok(session.page(id.map(|id| encode::history_ack(id, &page.json))))
    }
}
