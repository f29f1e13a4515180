//! The names that a request could bring into the store. Owns which of them are new, and refuses those that differ from others
//! only in characters that nobody sees. Called by the session before a request is carried out.

use super::{Result, Session};
use crate::chat::error::RequestError;
use crate::chat::new_names;
use crate::protocol::{Action, AnyRequest, ErrorCode, RoomName, Topic, UserName};

impl Session {
    /// Refuses new names that can be mistaken for others. Names that the settings, the token, the store or this connection
    /// know already are not new: only for the others, and only if they would be refused, the store is asked.
    ///
    /// `sender`: the sender of the request, unless the token or the connection belongs to this user.
    pub(in crate::chat) async fn check_names(
        &self,
        request: &AnyRequest,
        sender: Option<&UserName>,
    ) -> Result<()> {
        if let Some(sender) = sender {
            self.check_user("sender_username", sender).await?;
        }
        match request {
            AnyRequest::Enter(request) => match &request.room {
                Some(room) => self.check_room(room).await,
                None => Ok(()),
            },
            AnyRequest::PrivateChat(request) => {
                self.check_user("target_username", &request.target_username).await
            }
            AnyRequest::Room(request) => self.check_room(&request.room).await,
            AnyRequest::Moderate(request) if matches!(request.action, Action::Invite | Action::Role) => {
                self.check_user("target_username", &request.target_username).await
            }
            AnyRequest::Block(request) if request.on => {
                self.check_user("target_username", &request.target_username).await
            }
            // The others need a membership, or store nothing under the name.
            _ => Ok(()),
        }
    }

    async fn check_user(&self, field: &str, user: &UserName) -> Result<()> {
        let Err(error) = new_names::check(user.as_str()) else { return Ok(()) };
        if self.is_stored(Topic::User(user.clone())).await? {
            return Ok(());
        }
        Err(RequestError::new(ErrorCode::InvalidMessage, format!("`{field}` {error}")))
    }

    async fn check_room(&self, room: &RoomName) -> Result<()> {
        let Err(error) = new_names::check(room.as_str()) else { return Ok(()) };
        if self.rooms.contains_key(room)
            || self.node.rooms.is_named(room)
            || self.is_stored(Topic::Room(room.clone())).await?
            || self.node.backend.presence.members(room, None, 1).await?.count > 0
        {
            return Ok(());
        }
        Err(RequestError::new(ErrorCode::InvalidMessage, format!("`room` {error}")))
    }

    /// Whether the log of this topic has ever held a message.
    async fn is_stored(&self, topic: Topic) -> Result<bool> {
        let tops = self.node.backend.broker.tops(&[topic]).await?;
        Ok(tops.first().is_some_and(|top| top.is_some_and(|top| top.seq > 0)))
    }
}
