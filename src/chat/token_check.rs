//! The check of one token, whichever kind it is. Owns the difference between the two: a UUID is looked up in the store; a JWT is
//! verified by its signature, and the store is asked whether it was revoked. Called by `auth`, for tokens that are new on this node
//! and, once in a while, for those in use.

use std::sync::Arc;

use metrics::counter;

use super::error::RequestError;
use crate::backend::{BackendError, SignedToken, TokenHash, TokenRecord, Tokens, unix_ms};
use crate::jwt::{Reason, Refusal, RoomGrants, VerifiedToken, Verifier};
use crate::metrics as names;
use crate::protocol::{ErrorCode, Token, UserName};

/// Tokens checked again in one call.
const CHECK_AT_ONCE: usize = 500;

/// A token that is valid.
#[derive(Debug, Clone)]
pub(super) struct ValidToken {
    pub(super) record: TokenRecord,
    /// For a JWT: what revokes it.
    pub(super) signed: Option<SignedToken>,
    /// For a JWT: what it grants in rooms.
    pub(super) rooms: RoomGrants,
}

/// Checks tokens.
pub(super) struct TokenCheck {
    tokens: Arc<dyn Tokens>,
    jwt: Arc<Verifier>,
}

/// The hash by which this node knows a token. None for a text that is no token.
pub(super) fn hash_of(token: &Token) -> Option<TokenHash> {
    token.uuid().map(TokenHash::of).or_else(|| token.jwt().map(TokenHash::of_text))
}

impl TokenCheck {
    pub(super) fn new(tokens: Arc<dyn Tokens>, jwt: Arc<Verifier>) -> Self {
        Self { tokens, jwt }
    }

    /// Checks a token that no connection of this node relies on yet.
    ///
    /// # Errors
    /// `unauthorized` if the token is not valid, `forbidden` if its user is banned; `unavailable` if that can't be found out.
    pub(super) async fn check(&self, token: &Token, hash: TokenHash) -> Result<ValidToken, RequestError> {
        let valid = self.check_token(token, hash).await?;
        // Only now the user is known.
        let users = std::slice::from_ref(&valid.record.user);
        match self.tokens.bans(users).await?.into_iter().next().transpose()?.flatten() {
            None => Ok(valid),
            Some(until) => Err(RequestError::banned(until)),
        }
    }

    async fn check_token(&self, token: &Token, hash: TokenHash) -> Result<ValidToken, RequestError> {
        let Some(text) = token.jwt() else { return self.look_up(hash).await };
        let result = self.verify(text).await;
        let label = match &result {
            Ok(_) => "ok",
            Err(Failure::Refused(refusal)) => refusal.as_str(),
            Err(Failure::Store(_)) => "unavailable",
        };
        counter!(names::JWT_CHECKS, "result" => label).increment(1);
        result.map_err(|failure| match failure {
            Failure::Refused(Refusal::Invalid { reason, text }) => {
                tracing::debug!(reason = reason.as_str(), %text, "refused a JWT");
                let message = format!("the token is not valid: {text}; get a new one");
                RequestError::new(ErrorCode::Unauthorized, message)
            }
            Failure::Refused(Refusal::Unavailable) => RequestError::no_keys(),
            Failure::Store(error) => error.into(),
        })
    }

    async fn look_up(&self, hash: TokenHash) -> Result<ValidToken, RequestError> {
        let found = self.tokens.look_up(&[hash]).await?;
        let found = found.into_iter().next().transpose()?.flatten();
        let record = found.filter(TokenRecord::is_current).ok_or_else(unauthorized)?;
        Ok(ValidToken { record, signed: None, rooms: RoomGrants::default() })
    }

    async fn verify(&self, token: &str) -> Result<ValidToken, Failure> {
        let VerifiedToken { user, expires_at, issued_at, id, rooms } =
            self.jwt.verify(token, unix_ms()).await?;
        let signed = SignedToken { id: TokenHash::from_bytes(id), user: user.clone(), issued_at };
        let revoked = self.tokens.are_revoked(std::slice::from_ref(&signed)).await?;
        if revoked.into_iter().next().unwrap_or(Ok(true))? {
            return Err(Failure::Refused(Reason::Revoked.into()));
        }
        let record = TokenRecord { user, expires_at: Some(expires_at) };
        Ok(ValidToken { record, signed: Some(signed), rooms })
    }

    /// Of tokens in use, those that are no longer valid.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn find_revoked(
        &self,
        in_use: Vec<(TokenHash, Option<SignedToken>)>,
    ) -> Result<Vec<TokenHash>, BackendError> {
        // No proof of a revocation: its connections stay open, and this line is repeated until an operator has removed the cause.
        let report = |error: BackendError| tracing::error!(%error, "a token in use can't be checked");
        let mut gone = Vec::new();
        let (signed, stored): (Vec<_>, Vec<_>) = in_use.into_iter().partition(|(_, signed)| signed.is_some());
        let stored: Vec<TokenHash> = stored.into_iter().map(|(hash, _)| hash).collect();
        for hashes in stored.chunks(CHECK_AT_ONCE) {
            for (hash, found) in hashes.iter().zip(self.tokens.look_up(hashes).await?) {
                match found {
                    Ok(Some(_)) => {}
                    Ok(None) => gone.push(*hash),
                    Err(error) => report(error),
                }
            }
        }
        let (hashes, signed): (Vec<_>, Vec<_>) =
            signed.into_iter().filter_map(|(hash, signed)| Some((hash, signed?))).unzip();
        for (hashes, signed) in hashes.chunks(CHECK_AT_ONCE).zip(signed.chunks(CHECK_AT_ONCE)) {
            for (hash, found) in hashes.iter().zip(self.tokens.are_revoked(signed).await?) {
                match found {
                    Ok(true) => gone.push(*hash),
                    Ok(false) => {}
                    Err(error) => report(error),
                }
            }
        }
        Ok(gone)
    }

    /// Of users, those that are banned.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn find_banned(&self, users: &[UserName]) -> Result<Vec<UserName>, BackendError> {
        let mut banned = Vec::new();
        for users in users.chunks(CHECK_AT_ONCE) {
            for (user, found) in users.iter().zip(self.tokens.bans(users).await?) {
                match found {
                    Ok(Some(_)) => banned.push(user.clone()),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "the ban of a user can't be checked"),
                }
            }
        }
        Ok(banned)
    }
}

/// The token is not valid.
pub(super) fn unauthorized() -> RequestError {
    RequestError::new(ErrorCode::Unauthorized, "the token is not valid; get a new one")
}

/// Why a JWT is not accepted.
enum Failure {
    Refused(Refusal),
    Store(BackendError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<BackendError> for Failure {
    fn from(error: BackendError) -> Self {
        Self::Store(error)
    }
}
