//! `Typing`. Owns who may send it where, and that most of it is dropped. Called by `dispatch`.

use tokio::time::Instant;

use super::{Handle, Id, Reply, Result, Session, ack};
use crate::protocol::requests::{Done, Typing};
use crate::protocol::{Topic, encode, events};

impl Handle for Typing {
    async fn handle(self, session: &mut Session, id: Id<'_>) -> Result<Reply> {
        let topic = session.addressed(self.topic)?;
        match &topic {
            Topic::Room(room) => session.node.rooms.check_may_speak(room)?,
            Topic::User(_) => session.bind_quietly(&self.sender_username).await?,
        }
        if session.typing.passes(&topic, Instant::now()) {
            let event = events::Typing { sender_username: self.sender_username, topic };
            session.announce(&event.topic, encode::event_json(&event)).await?;
        }
        Ok(ack::<Self>(id, &Done {}))
    }
}
