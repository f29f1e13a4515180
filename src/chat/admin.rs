//! What an administrator may do in the whole cluster. Owns issuing and revoking tokens, disconnecting and banning
//! users, and the list of nodes. Called by the server API, after it has checked its key.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::error::RequestError;
use crate::backend::{Backend, FOREVER, NodeInfo, Notice, TokenHash, TokenRecord, shown_end, unix_ms};
use crate::config::Auth;
use crate::jwt::{Refusal, Verifier, jti_id};
use crate::protocol::{ErrorCode, UserName};

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
    /// Whether requests need a token.
    checks_tokens: bool,
    token_ttl: Duration,
    jwt: Arc<Verifier>,
}

impl Admin {
    pub(super) fn new(backend: Backend, auth: &Auth, jwt: Arc<Verifier>) -> Self {
        Self { backend, checks_tokens: auth.enabled, token_ttl: auth.token_ttl, jwt }
    }

    /// Makes a token for a user, valid for `ttl` or the configured time.
    ///
    /// # Errors
    /// The user is banned.
    pub async fn issue_token(&self, user: &UserName, ttl: Option<Duration>) -> Result<Issued, RequestError> {
        if self.ban_of(user).await?.is_some() {
            return Err(RequestError::new(ErrorCode::Forbidden, "this user is banned from the server"));
        }
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

    /// Revokes a JWT, as [`Admin::revoke_token`] does. One that is not valid anyway is no error.
    ///
    /// # Errors
    /// JWTs are off; or the token can't be checked now, so that nobody knows what to revoke.
    pub async fn revoke_jwt(&self, token: &str) -> Result<(), RequestError> {
        self.check_jwt_is_on()?;
        match self.jwt.verify(token, unix_ms()).await {
            Ok(token) => self.revoke_signed(token.id, Some(token.expires_at)).await,
            Err(Refusal::Invalid { .. }) => Ok(()),
            Err(Refusal::Unavailable) => Err(RequestError::no_keys()),
        }
    }

    /// Revokes the JWT with this `jti`, which need not exist yet. `expires_at` is the end of the token (Unix ms); without it, the
    /// revocation is kept for as long as a token may be valid.
    ///
    /// # Errors
    /// JWTs are off.
    pub async fn revoke_jti(&self, jti: &str, expires_at: Option<u64>) -> Result<(), RequestError> {
        self.check_jwt_is_on()?;
        let until = expires_at.map(|at| self.jwt.with_leeway(at)).or_else(|| self.jwt.last_end(unix_ms()));
        self.revoke_signed(jti_id(jti), until).await
    }

    async fn revoke_signed(&self, id: [u8; 32], until: Option<u64>) -> Result<(), RequestError> {
        let id = TokenHash::from_bytes(id);
        self.backend.tokens.revoke_signed(id, until).await?;
        Ok(self.backend.broker.notify(Notice::TokenRevoked(id)).await?)
    }

    fn check_jwt_is_on(&self) -> Result<(), RequestError> {
        if self.jwt.is_on() {
            return Ok(());
        }
        let message = "this node accepts no JWTs (auth.jwt is unset), so there is none to revoke";
        Err(RequestError::new(ErrorCode::InvalidMessage, message))
    }

    /// Revokes all tokens of a user, as [`Admin::revoke_token`] does: also JWTs that were issued until now.
    pub async fn revoke_tokens_of(&self, user: &UserName) -> Result<(), RequestError> {
        self.backend.tokens.remove_all(user).await?;
        if self.jwt.is_on() {
            let now = unix_ms();
            self.backend.tokens.revoke_issued_before(user, now, self.jwt.last_end(now)).await?;
        }
        Ok(self.backend.broker.notify(Notice::UserTokensRevoked(user.clone())).await?)
    }

    /// Bans a user from the whole server until a time (Unix ms; `None`: until [`Admin::unban`]), and closes its connections on every
    /// node. Its tokens stay, and open nothing meanwhile.
    ///
    /// # Errors
    /// Nodes check no tokens, or the time has passed.
    pub async fn ban(&self, user: &UserName, until: Option<u64>) -> Result<(), RequestError> {
        if !self.checks_tokens {
            let message = "this node checks no tokens (auth.enabled is off), so a banned user could take any other name";
            return Err(RequestError::new(ErrorCode::Forbidden, message));
        }
        let until = until.unwrap_or(FOREVER);
        if until <= unix_ms() {
            return Err(RequestError::new(ErrorCode::InvalidMessage, "`until` has passed"));
        }
        self.backend.tokens.ban(user, until).await?;
        Ok(self.backend.broker.notify(Notice::UserBanned(user.clone())).await?)
    }

    /// Ends the ban of a user. One that is not banned is no error.
    pub async fn unban(&self, user: &UserName) -> Result<(), RequestError> {
        Ok(self.backend.tokens.unban(user).await?)
    }

    /// When the ban of a user ends, Unix ms; 0: never. `None` for one who is not banned.
    pub async fn ban_of(&self, user: &UserName) -> Result<Option<u64>, RequestError> {
        let found = self.backend.tokens.bans(std::slice::from_ref(user)).await?;
        let until = found.into_iter().next().transpose()?.flatten();
        Ok(until.and_then(|until| shown_end(until, unix_ms())))
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
