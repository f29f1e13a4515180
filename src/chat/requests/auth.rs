//! `Auth`. Owns what it does on a connection that is bound already; binding is the session's, resuming that of `join`. Called by
//! `dispatch`.

use super::{Handle, Id, Reply, Result, Session, unready};
use crate::chat::answer_size;
use crate::chat::join::Joined;
use crate::protocol::encode::{self, SPARE_BYTES};
use crate::protocol::requests::{Auth, AuthAck};

impl Handle for Auth {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let Self { sender_username: user, since } = self;
        let markers = session.node.backend.markers.private_markers(&user).await?;
        let bytes = session.node.config().limits.delivery_bytes().saturating_sub(SPARE_BYTES);
        let (read, read_more) = answer_size::latest_markers(markers, bytes);
        let durations = session.durations();
        let already = session.bound.is_some();
        let outbox = session.outbox().clone();
        let queue_ack = |joined: &Joined| {
            if let Some(id) = id {
                let joined = Session::joined(durations, joined, already);
                outbox.reply(encode::ack::<Self>(id, &AuthAck { joined, read, read_more }));
            }
        };
        match (&session.bound, since) {
            (None, since) => session.bind(&user, since, queue_ack).await?,
            (Some(bound), None) => {
                let top = bound.inbox.hold.topic.top().ok_or_else(unready)?;
                queue_ack(&Joined { top, recovery: None });
            }
            (Some(bound), Some(since)) => {
                let topic = &bound.inbox.hold.topic;
                let joins = &session.node.joins;
                joins.resume_late(topic, &outbox, (since, None), queue_ack).await?;
            }
        }
        Ok(Reply::Done)
    }
}
