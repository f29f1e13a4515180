//! `History`. Owns whose log is read; the page is made by `chat::history`. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, unready};
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
        let Some(log) = session.local_log(&topic) else { return Err(unready()) };
        let mut bytes_read = 0;
        loop {
            let retractions = log.retractions();
            let page = pages.conversation(&topic, peer.as_ref(), self.before, limit, by).await?;
            bytes_read += page.bytes_read;
            // After the read: who may read it now may have what it says.
            if let (Topic::Room(room), true) = (&topic, page.has_rights) {
                session.check_may_read(room, &reader).await?;
            }
            let frame = id.map(|id| encode::history_ack(id, &page.json));
            // A message that was taken back during the read must not come after its retraction: it is read again.
            if log.queue_read(&page.messages, retractions, || session.queue_page(frame)) {
                session.owe(bytes_read);
                return Ok(Reply::Done);
            }
        }
    }
}
