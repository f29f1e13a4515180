//! `History`. Owns whose log is read; the page is made by `chat::history`. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session};
use crate::protocol::requests::History;
use crate::protocol::{Topic, encode};

impl Handle for History {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let (topic, peer) = match session.addressed(self.topic)? {
            room @ Topic::Room(_) => (room, None),
            Topic::User(peer) => {
                session.bind_quietly(&self.sender_username).await?;
                (Topic::User(self.sender_username), Some(peer))
            }
        };
        let page = session.node.history.conversation(&topic, peer.as_ref(), self.before, self.limit).await?;
        Ok(id.map_or(Reply::Done, |id| Reply::Ack(encode::history_ack(id, &page))))
    }
}
