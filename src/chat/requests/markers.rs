//! `Markers`. Owns nothing but the order of its steps: the store has the markers, and `answer_size` cuts the page. Called by
//! `dispatch`.

use super::{Handle, Id, Reply, Result, Session};
use crate::chat::answer_size::{self, marker_bytes};
use crate::protocol::encode;
use crate::protocol::requests::{Markers, MarkersAck};

impl Handle for Markers {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let user = self.sender_username;
        session.bind_quietly(&user).await?;
        session.outbox().has_page_room().await;
        let all = session.node.backend.markers.private_markers(&user).await?;
        session.owe(all.iter().map(marker_bytes).sum());
        let bytes = session.list_bytes(None);
        let (markers, more) = answer_size::page_of_markers(all, self.after.as_ref(), self.limit, bytes);
        Ok(session.page(id.map(|id| encode::ack::<Self>(id, &MarkersAck { markers, more }))))
    }
}
