//! `Block` and `Blocked`. Owns who may block whom; what it means is the business of `chat::blocks` and of the store. Called by `dispatch`.

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::backend::Asker;
use crate::chat::answer_size::{fitting, name_bytes};
use crate::chat::error::RequestError;
use crate::chat::room_updates::Caller;
use crate::protocol::requests::{Block, Blocked, BlockedAck, RightsAck};
use crate::protocol::{ErrorCode, RequestId, encode};

impl Handle for Block {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        session.check_names_are_proved()?;
        let Self { sender_username: user, target_username: target, on } = self;
        if user == target {
            return Err(RequestError::new(ErrorCode::InvalidMessage, "nobody can block themselves"));
        }
        session.bind_quietly(&user).await?;
        let (client_id, payer) = (id.map(RequestId::as_str), Some(&session.payer(&user)));
        let message_id = session.span.message_id();
        let caller = Caller { asker: Asker::Server, by: Some(&user), client_id, payer, message_id };
        let stored = session.node.block(&caller, (&user, &target), on).await?;
        session.span.stored(stored.position.message_id, stored.duplicate || stored.is_unchanged);
        Ok(ack::<Self>(id, &RightsAck::from(stored)))
    }
}

impl Handle for Blocked {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        session.check_names_are_proved()?;
        let user = self.sender_username;
        session.bind_quietly(&user).await?;
        session.outbox().has_page_room().await;
        let mut users = session.node.blocked(&user).await?;
        session.owe(users.iter().map(name_bytes).sum());
        users.retain(|user| self.after.as_ref().is_none_or(|after| user > after));
        let sizes = users.iter().take(self.limit as usize).map(name_bytes);
        let fit = fitting(sizes, session.list_bytes(None));
        let more = fit < users.len();
        users.truncate(fit);
        Ok(session.page(id.map(|id| encode::ack::<Self>(id, &BlockedAck { users, more }))))
    }
}
