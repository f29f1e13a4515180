//! How a request fails. Owns, for each failure, what the client sees and what is logged. Built by the session and its
//! parts, answered in one place.

use serde::Deserialize;

use crate::backend::{BackendError, ChangeRefusal, FOREVER, RightsRefusal};
use crate::protocol::{Current, ErrorBody, ErrorCode, Outcome, Rejected, encode};

/// The error that the client receives for its request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestError {
    code: ErrorCode,
    message: String,
    retry_after_ms: Option<u64>,
    outcome: Option<Outcome>,
    current: Option<Box<Current>>,
}

/// When a ban or a mute ends, for the end of a sentence.
fn until_text(until: u64) -> String {
    if until == FOREVER { String::new() } else { format!(" until {until} (Unix ms)") }
}

impl RequestError {
    /// A code of the protocol's table with its reason.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None, outcome: None, current: None }
    }

    /// The code on the wire.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The text for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When the client may try again, ms.
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after_ms
    }

    /// For a publish, whether it may have been stored.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// For a conflict, the present text.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_deref()
    }

    /// What the client sees.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody {
            code: self.code.into(),
            message: self.message.clone(),
            retry_after_ms: self.retry_after_ms,
            outcome: self.outcome.map(Into::into),
            current: self.current.clone(),
        }
    }

    /// The same with the text of a conflict cut so that it takes at most so many bytes as JSON.
    pub(super) fn with_text_of(mut self, max_bytes: usize) -> Self {
        if let Some(current) = &mut self.current {
            while encode::string_bytes(&current.content) > max_bytes {
                let end = current.content.floor_char_boundary(current.content.len() / 2);
                current.content.truncate(end);
            }
        }
        self
    }

    /// The request took longer than its deadline: its outcome is unknown.
    pub fn timed_out() -> Self {
        Self::unavailable(Outcome::Unknown)
    }

    /// The frame of a message would have so many bytes, the spare ones included; this field takes most of them.
    pub(super) fn frame_too_large(field: &str, bytes: usize, max_bytes: usize) -> Self {
        let message = format!(
            "as JSON, the message takes {bytes} bytes; the limit is {max_bytes}; shorten `{field}` (quotes, backslashes and \
             control characters take two to six bytes each)"
        );
        Self::new(ErrorCode::MessageTooLarge, message)
    }

    pub(super) fn change_refused(refusal: ChangeRefusal) -> Self {
        let (code, message) = match &refusal {
            ChangeRefusal::NotFound => (
                ErrorCode::NotFound,
                "the log does not hold this message; `message_id` has to name a message, not an edit of one",
            ),
            ChangeRefusal::NotAuthor => (ErrorCode::Forbidden, "only the author of a message may change it"),
            ChangeRefusal::Gone => (ErrorCode::Gone, "the message was taken back"),
            ChangeRefusal::Conflict { .. } => {
                (ErrorCode::Conflict, "the message was edited meanwhile; `current` has its text")
            }
            ChangeRefusal::TooLate => (ErrorCode::TooLate, "the message is too old to be edited"),
            ChangeRefusal::TooLarge => (
                ErrorCode::MessageTooLarge,
                "the new text and what the message says beside its text are too large together; shorten `content`",
            ),
            ChangeRefusal::TooMany => {
                (ErrorCode::TooManyChanges, "the message has as many changes of this kind as it may have")
            }
        };
        let current = match refusal {
            ChangeRefusal::Conflict { version, text } => {
                Some(Box::new(Current { version, content: content_of(&text) }))
            }
            _ => None,
        };
        Self { current, outcome: Some(Outcome::Refused), ..Self::new(code, message) }
    }

    /// The same, for what may have been stored in part: a repeat completes it.
    pub(super) fn into_unknown(self) -> Self {
        Self { outcome: Some(Outcome::Unknown), ..self }
    }

    /// The user is banned from the whole server until then, Unix ms, or for ever.
    pub(super) fn banned(until: u64) -> Self {
        Self::new(ErrorCode::Forbidden, format!("you are banned from this server{}", until_text(until)))
    }

    /// Whether a token opened nothing: because of the token, or of its user.
    pub(super) fn is_of_token(&self) -> bool {
        matches!(self.code, ErrorCode::Unauthorized | ErrorCode::Forbidden)
    }

    /// The rights of the room forbid it.
    pub(super) fn rights_refused(refusal: RightsRefusal) -> Self {
        let message: std::borrow::Cow<'static, str> = match refusal {
            RightsRefusal::Banned(at) => format!("you are banned from this room{}", until_text(at)).into(),
            RightsRefusal::Muted(at) => format!("you are muted in this room{}", until_text(at)).into(),
            RightsRefusal::NoRole => "this room is private: ask for an invitation".into(),
            RightsRefusal::ReadOnly => "only moderators and owners write in this room".into(),
            RightsRefusal::Rank => {
                "your role in this room is too low: moderators and owners act on users with a lower role than their own".into()
            }
            RightsRefusal::NoRights => "this room has no roles: anyone may enter it and write there".into(),
            RightsRefusal::Exists => {
                "there is such a room already, without this owner: a room with rights is made before anyone enters it or writes there; \
                 use another name, or have its owner or an administrator give the role `owner`"
                    .into()
            }
            RightsRefusal::NoKind => {
                let message = "`kind` is missing: a new room needs one (open, private or announce)";
                let error = Self::new(ErrorCode::InvalidMessage, message);
                return Self { outcome: Some(Outcome::Refused), ..error };
            }
            RightsRefusal::LastOwner => "the last owner can't leave: make another user owner first".into(),
            RightsRefusal::TargetBanned => "this user is banned: end the ban first (`unban`)".into(),
            RightsRefusal::Past => {
                let error = Self::new(ErrorCode::InvalidMessage, "`until` has passed");
                return Self { outcome: Some(Outcome::Refused), ..error };
            }
            RightsRefusal::TooManyUsers => "this room has as many roles, bans and mutes as it may have".into(),
            RightsRefusal::Blocked => "this user takes no messages from you".into(),
            RightsRefusal::TooManyBlocked => {
                "you block as many users as you may: end another block first".into()
            }
            RightsRefusal::Slow(left) => {
                let message = "this room has slow mode: wait before your next message";
                return Self::rate_limited(message, std::time::Duration::from_millis(left));
            }
        };
        Self { outcome: Some(Outcome::Refused), ..Self::new(ErrorCode::Forbidden, message) }
    }

    /// The user, or with authentication off the address, has stored too much or too fast: nothing was stored.
    pub(super) fn stores_too_much(retry_after: std::time::Duration) -> Self {
        let message =
            "you have stored too much in a short time; this message was not stored; try again later";
        Self::rate_limited(message, retry_after)
    }

    /// The user, or with authentication off the address, has sent too much over all connections: nothing was stored.
    pub(super) fn sends_too_much(retry_after: std::time::Duration) -> Self {
        let message = "you have sent too much in a short time, over all your connections together; this message was not stored; try \
                       again later";
        Self::rate_limited(message, retry_after)
    }

    /// This token was not looked up: too many others of the same address were not valid.
    pub(super) fn too_many_failed_tokens(retry_after: std::time::Duration) -> Self {
        Self::rate_limited(
            "too many failed tokens from this address; keep the token; try again later",
            retry_after,
        )
    }

    /// The keys of the identity provider can't be read, so this token was not checked.
    pub(super) fn no_keys() -> Self {
        let message = "the token can't be checked now: the keys of the identity provider can't be read; keep the token; try again \
                       later";
        let error = Self::new(ErrorCode::Unavailable, message);
        Self { retry_after_ms: Some(5_000), outcome: Some(Outcome::Refused), ..error }
    }

    fn rate_limited(message: &str, retry_after: std::time::Duration) -> Self {
        let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX).max(1);
        let error = Self::new(ErrorCode::RateLimited, message);
        Self { retry_after_ms: Some(retry_after_ms), outcome: Some(Outcome::Refused), ..error }
    }

    /// The node has no seat for this user; the client may come back after this time.
    pub(super) fn no_seat(retry_after_ms: Option<u64>) -> Self {
        let error = Self::new(ErrorCode::Unavailable, "the node is full: it has no free seat; connect again");
        Self { retry_after_ms, outcome: Some(Outcome::Refused), ..error }
    }

    pub(super) fn unavailable(outcome: Outcome) -> Self {
        let message = match outcome {
            Outcome::Refused => "the store can't be reached; nothing was stored; try again",
            Outcome::Unknown => {
                "the store did not answer; the request may have taken effect; repeat it with the same `id`"
            }
        };
        let error = Self::new(ErrorCode::Unavailable, message);
        Self { retry_after_ms: Some(1_000), outcome: Some(outcome), ..error }
    }
}

impl From<Rejected> for RequestError {
    fn from(rejected: Rejected) -> Self {
        Self::new(rejected.code, rejected.message)
    }
}

impl From<BackendError> for RequestError {
    fn from(error: BackendError) -> Self {
        let outcome = error.outcome();
        // The store's own message may name hosts and keys: it is for the log, not for the client.
        match &error {
            BackendError::Corrupt(_) => {
                tracing::error!(%error, "a request failed: the store holds data that no node wrote");
                let message = "the stored data can't be read; an operator has to look at it";
                Self { outcome: Some(outcome), ..Self::new(ErrorCode::Internal, message) }
            }
            BackendError::Full(_) => {
                tracing::warn!(%error, "a publish was refused: the store is full");
                let message = "the store is full; nothing was stored; try again later";
                Self { message: message.into(), ..Self::unavailable(outcome) }
            }
            BackendError::InboxFull => {
                let message =
                    "this user has never connected, and the inbox is full; the message was not stored";
                Self { outcome: Some(outcome), ..Self::new(ErrorCode::Forbidden, message) }
            }
            BackendError::Change(refusal) => Self::change_refused((**refusal).clone()),
            BackendError::Rights(refusal) => Self::rights_refused(*refusal),
            BackendError::OlderNodes => {
                let message = "a node of an earlier version runs, which does not know this; nothing was stored; try again after \
                               the upgrade";
                let error = Self::unavailable(outcome);
                Self { message: message.into(), retry_after_ms: Some(10_000), ..error }
            }
            // What a client does to itself is no line in the log.
            BackendError::OverShare(retry_after) => Self::stores_too_much(*retry_after),
            BackendError::NotARepeat => {
                Self::new(ErrorCode::MessageTooLarge, "the message is too large; it was not stored")
            }
            BackendError::Refused(_) | BackendError::Unknown(_) => {
                tracing::warn!(%error, "a request failed: the store is not available");
                Self::unavailable(outcome)
            }
        }
    }
}

/// The text in the members of a JSON object.
fn content_of(members: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Text {
        content: String,
    }
    let json = [b"{", members, b"}"].concat();
    serde_json::from_slice::<Text>(&json).map(|text| text.content).unwrap_or_default()
}
