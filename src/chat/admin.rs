//! What an administrator may ask of the whole cluster. Owns tokens' issue and revocation, and removing users; the server
//! API calls it, after it has checked its key.

use std::time::Duration;

use uuid::Uuid;

use super::error::RequestError;
use super::node::Node;
use crate::backend::{BackendError, MembersPage, NodeInfo, Notice, TokenHash, TokenRecord, unix_ms};
use crate::protocol::{RoomName, UserName};

/// A token that was just made: the only time that it is seen whole.
pub struct Issued {
    /// The token.
    pub token: Uuid,
    /// When it ends, Unix ms.
    pub expires_at: u64,
}

impl Node {
    /// Makes a token for a user, for `ttl` or the configured time.
    pub async fn issue_token(&self, user: &UserName, ttl: Option<Duration>) -> Result<Issued, RequestError> {
        let token = Uuid::new_v4();
        let ttl = ttl.unwrap_or(self.config.auth.token_ttl);
        let expires_at = unix_ms().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let record = TokenRecord { user: user.clone(), expires_at: Some(expires_at) };
        self.backend.tokens.insert(TokenHash::of(token), &record).await?;
        Ok(Issued { token, expires_at })
    }

    /// Ends a token and closes its connections on every node. Ending one that is none is no error.
    pub async fn revoke_token(&self, token: Uuid) -> Result<(), RequestError> {
        let hash = TokenHash::of(token);
        self.backend.tokens.remove(hash).await?;
        Ok(self.tell_all(Notice::TokenRevoked(hash)).await?)
    }

    /// Ends all tokens of a user, as [`Node::revoke_token`] does.
    pub async fn revoke_tokens_of(&self, user: &UserName) -> Result<(), RequestError> {
        self.backend.tokens.remove_all(user).await?;
        Ok(self.tell_all(Notice::UserTokensRevoked(user.clone())).await?)
    }

    /// Closes a user's connections on every node. It may come back, unless its tokens are revoked too.
    pub async fn disconnect(&self, user: &UserName) -> Result<(), RequestError> {
        Ok(self.tell_all(Notice::Disconnect(user.clone())).await?)
    }

    async fn tell_all(&self, notice: Notice) -> Result<(), BackendError> {
        self.backend.broker.notify(notice).await
    }

    /// A page of a room's members, cluster-wide.
    pub async fn members(
        &self,
        room: &RoomName,
        after: Option<&UserName>,
        limit: u32,
    ) -> Result<MembersPage, RequestError> {
        Ok(self.backend.presence.members(room, after, limit).await?)
    }

    /// The cluster's nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, RequestError> {
        Ok(self.backend.presence.nodes().await?)
    }
}
