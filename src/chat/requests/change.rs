//! `Edit`, `Retract` and `React`. Owns who may change messages where; which change fits its message is decided by the store. Called by
//! `dispatch`.

use super::{Handle, Id, Reply, Request, Result, Session, ack};
use crate::backend::ChangeRefusal;
use crate::chat::error::RequestError;
use crate::chat::moderation::ModeratedRetraction;
use crate::chat::publisher::{NewChange, Submission};
use crate::protocol::requests::{ChangeAck, Edit, React, Retract};
use crate::protocol::stored::Moderation;
use crate::protocol::{ErrorCode, MessageId, RequestId, Topic, UserName};

impl Handle for Edit {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let change = NewChange::Edit { content: &self.content, if_version: self.if_version };
        let about = (&self.sender_username, self.topic(), self.message_id);
        Ok(reply::<Self>(id, publish(session, id, about, change).await?))
    }
}

impl Handle for Retract {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let change = NewChange::Retract { reason: self.reason.as_deref(), moderation: Moderation::default() };
        let about = (&self.sender_username, self.topic(), self.message_id);
        Ok(reply::<Self>(id, publish(session, id, about, change).await?))
    }
}

impl Handle for React {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let change = NewChange::React { reaction: &self.reaction, on: self.on };
        let about = (&self.sender_username, self.topic(), self.message_id);
        Ok(reply::<Self>(id, publish(session, id, about, change).await?))
    }
}

fn reply<R: Request<Ack = ChangeAck>>(id: Id<'_>, ack_body: Option<ChangeAck>) -> Reply {
    ack_body.map_or(Reply::Done, |body| ack::<R>(id, &body))
}

/// Who changes a message, what the request says of its room or user, and its id.
type About<'a> = (&'a UserName, std::result::Result<Option<Topic>, &'static str>, MessageId);

/// Publishes a change. `None` if its answer is queued already.
async fn publish(
    session: &mut Session,
    id: Id<'_>,
    (sender, topic, target): About<'_>,
    change: NewChange<'_>,
) -> Result<Option<ChangeAck>> {
    let topic = topic.map_err(|why| RequestError::new(ErrorCode::InvalidMessage, why))?;
    let to = session.addressed(topic)?;
    match &to {
        Topic::Room(room) => session.node.rooms.check_may_speak(room)?,
        Topic::User(_) => session.bind_quietly(sender).await?,
    }
    let payer = &session.payer(sender);
    let message_id = session.span.message_id();
    let (asker, client_id) = (&session.asker(sender, to.room()), id.map(RequestId::as_str));
    let from = Submission { sender, to: &to, client_id, payer: Some(payer), message_id, asker };
    let log = match &to {
        Topic::Room(_) => session.local_log(&to),
        Topic::User(_) => session.local_log(&Topic::User(sender.clone())),
    };
    let retractions = log.as_ref().map_or(0, |log| log.retractions());
    let mut changed = session.node.change(&from, target, change).await;
    if let (NewChange::Retract { reason, .. }, Some(log), Err(error)) = (change, &log, &changed)
        && error.code() == ErrorCode::Forbidden
        && log.has_rights()
    {
        // It is the message of another user: perhaps the user moderates the room.
        let (by, log) = (Some(sender), &to);
        let payer = from.payer;
        let retraction = ModeratedRetraction { log, target, by, reason, client_id, payer, message_id, asker };
        changed = session.node.moderate(&retraction).await;
    }
    if let (Err(error), Some(log)) = (&changed, log)
        && error.current().is_some()
    {
        // It bears a text that may have been erased meanwhile.
        let is_queued = log.queue_read(&[target], retractions, || session.queue_error(id, error));
        return if is_queued { Ok(None) } else { Err(RequestError::change_refused(ChangeRefusal::Gone)) };
    }
    let stored = changed?;
    session.span.stored(stored.position.message_id, stored.duplicate || stored.is_unchanged);
    session.node.registry.write_soon(session.outbox());
    Ok(Some(stored.into()))
}
