//! Blocked users, for programs. Owns the calls that block users and list them; the node refuses their messages. Part of the handle of a client.

use chatnode_protocol::UserName;
use chatnode_protocol::requests::{Block, Blocked, MAX_BLOCKED, RightsAck};

use super::Client;
use super::rights::user_name;
use crate::error::RequestError;

impl Client {
    /// Blocks a user, who can then send this user neither private messages nor invitations to rooms. In rooms, nothing changes.
    ///
    /// # Errors
    /// The name is invalid or this user's own, there is no connection, the node is too old for it, it does not check names, or the client
    /// has ended. If the connection is lost before the answer comes, it may be done or not: to ask again does no harm.
    pub async fn block(&self, user: &str) -> Result<RightsAck, RequestError> {
        self.set_blocked(user, true).await
    }

    /// Ends a block. See [`Client::block`].
    ///
    /// # Errors
    /// As [`Client::block`].
    pub async fn unblock(&self, user: &str) -> Result<RightsAck, RequestError> {
        self.set_blocked(user, false).await
    }

    async fn set_blocked(&self, user: &str, on: bool) -> Result<RightsAck, RequestError> {
        let request = Block { sender_username: self.user().clone(), target_username: user_name(user)?, on };
        self.ask(&request, |ack, _| ack).await
    }

    /// Whom this user blocks, sorted by the bytes of their names. Asks for as many pages as there are.
    ///
    /// # Errors
    /// As [`Client::block`].
    pub async fn blocked(&self) -> Result<Vec<UserName>, RequestError> {
        let mut users: Vec<UserName> = Vec::new();
        loop {
            let (sender_username, after) = (self.user().clone(), users.last().cloned());
            let request = Blocked { sender_username, after, limit: MAX_BLOCKED };
            let page = self.ask(&request, |page, _| page).await?;
            let is_last = !page.more || page.users.is_empty();
            users.extend(page.users);
            if is_last {
                return Ok(users);
            }
        }
    }
}
