//! What an administrator may do in the whole cluster. Owns issuing and revoking tokens, disconnecting users, and the
//! list of nodes. Called by the server API, after it has checked its key.

use std::time::Duration;

use uuid::Uuid;

use super::error::RequestError;
use crate::backend::{Backend, NodeInfo, Notice, TokenHash, TokenRecord, unix_ms};
use crate::protocol::UserName;

/// A token that was just made. This is the only time that its text is seen.
pub struct Issued {
    /// The token.
    pub token: Uuid,
    /// When it expires, Unix ms.
    pub expires_at: u64,
}

/// The administrator's side of the node.
pub struct Admin {
    backend: Backend,
    token_ttl: Duration,
}

impl Admin {
    /// `token_ttl` is how long a token is valid if its request does not say.
    pub(super) fn new(backend: Backend, token_ttl: Duration) -> Self {
        Self { backend, token_ttl }
    }

    /// Makes a token for a user, valid for `ttl` or the configured time.
    pub async fn issue_token(&self, user: &UserName, ttl: Option<Duration>) -> Result<Issued, RequestError> {
        let token = Uuid::new_v4();
        let ttl = ttl.unwrap_or(self.token_ttl);
        let expires_at = unix_ms().saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        let record = TokenRecord { user: user.clone(), expires_at: Some(expires_at) };
        self.backend.tokens.insert(TokenHash::of(token), &record).await?;
        Ok(Issued { token, expires_at })
    }

    /// Revokes a token and closes its connections on every node. A token that does not exist is no error.
    pub async fn revoke_token(&self, token: Uuid) -> Result<(), RequestError> {
        let hash = TokenHash::of(token);
        self.backend.tokens.remove(hash).await?;
        Ok(self.backend.broker.notify(Notice::TokenRevoked(hash)).await?)
    }

    /// Revokes all tokens of a user, as [`Admin::revoke_token`] does.
    pub async fn revoke_tokens_of(&self, user: &UserName) -> Result<(), RequestError> {
        self.backend.tokens.remove_all(user).await?;
        Ok(self.backend.broker.notify(Notice::UserTokensRevoked(user.clone())).await?)
    }

    /// Closes a user's connections on every node. The user may connect again, unless the tokens are revoked too.
    pub async fn disconnect(&self, user: &UserName) -> Result<(), RequestError> {
        Ok(self.backend.broker.notify(Notice::Disconnect(user.clone())).await?)
    }

    /// The cluster's nodes.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>, RequestError> {
        Ok(self.backend.presence.nodes().await?)
    }
}
