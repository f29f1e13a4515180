//! Why a JWT is refused. Owns the reasons, their names in metrics and their words for people; decides nothing. Made by the verifier
//! and by `chat::auth`, told to clients.

use std::borrow::Cow;

/// Why a token is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No JWT, or one with a header that this node does not understand.
    Malformed,
    /// The settings do not allow the algorithm.
    Algorithm,
    /// No key fits the token.
    UnknownKey,
    /// A key fits, but the signature is not of it.
    Signature,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is of another issuer.
    Issuer,
    /// It is for others.
    Audience,
    /// A claim is missing, or has an invalid value.
    Claims,
    /// It was revoked.
    Revoked,
}

impl Reason {
    /// Every reason, for metrics that show each label value from the start.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Issuer,
        Self::Audience,
        Self::Claims,
        Self::Revoked,
    ];

    /// The value of the metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Revoked => "revoked",
        }
    }

    /// What is wrong, for the person who writes the client.
    const fn words(self) -> &'static str {
        match self {
            Self::Malformed => "it is no JWT that this node understands",
            Self::Algorithm => "this node does not accept its algorithm",
            Self::UnknownKey => "no key of this node fits it",
            Self::Signature => "its signature is wrong",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::Issuer => "it is of another issuer",
            Self::Audience => "it is for another audience",
            Self::Claims => "a claim is missing or invalid",
            Self::Revoked => "it was revoked",
        }
    }
}

/// A token that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is not valid.
    Invalid {
        /// Why.
        reason: Reason,
        /// What is wrong, for people.
        text: Cow<'static, str>,
    },
    /// Whether it is valid can't be found out now: the keys of the identity provider can't be read.
    Unavailable,
}

impl Refusal {
    /// A claim is missing or invalid. The text says which.
    pub(super) fn claims(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { reason: Reason::Claims, text: text.into() }
    }

    /// The value of the metric's label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Invalid { reason, .. } => reason.as_str(),
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Invalid { reason, text: reason.words().into() }
    }
}
